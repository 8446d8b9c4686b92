from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.techniques.models import EACH, Flow, adapted, is_normal, stirred
from tests.techniques.toys import TASKS, toy_batch
from vlbench.backbones.base import SUBLAYERS, Site
from vlbench.techniques.adapt import AdaptedModel
from vlbench.training.optimiser import AdamW, parameter_groups

MODES = pytest.mark.parametrize("one", [False, True], ids=["many", "one"])
NUMBERS = {"feed_forward": 0, "self_attention": 1, "cross_attention": 2}
WIDTH, LOW = 32, 4


def table(one: bool = False, **params: Any) -> dict[str, Any]:
    small = {"task_dim": 6, "hidden": 5, "dim": 3, "one_hypernetwork": one, **params}
    return {"technique": "hyperformer", "params": small}


def hyper(kind: str, one: bool = False, **params: Any) -> AdaptedModel:
    return stirred(adapted(kind, **table(one, **params)))


def plainly(model: Any, site: Site, task: str, u: Tensor) -> Tensor:
    """The papers' formula at one site."""
    side = model.technique.sides[site.side]
    known = [model.technique.task_vectors[task], side.layers.weight[site.layer]]
    name: str = site.kind
    if side.types is not None:
        known.append(side.types.weight[NUMBERS[site.kind]])
        name = "any"
    first, second = side.projector[0], side.projector[2]
    z = torch.relu(first.weight @ torch.cat(known) + first.bias)
    z = second.weight @ z + second.bias
    z = (z - z.mean()) / (z.var(unbiased=False) + 1e-6).sqrt() * side.norm.weight + side.norm.bias
    down, up = side.down[name], side.up[name]
    low = u @ (down.weight.weight @ z + down.weight.bias).view(LOW, WIDTH).T
    low = functional.gelu(low + down.bias.weight @ z + down.bias.bias, approximate="tanh")
    out = low @ (up.weight.weight @ z + up.weight.bias).view(WIDTH, LOW).T
    return u + out + up.bias.weight @ z + up.bias.bias


def made(model: AdaptedModel) -> list[str]:
    """Grows by a side each time that side's adapters are made."""
    found: list[str] = []
    sides: Any = model.technique.sides
    for name, side in sides.items():
        side.register_forward_hook(lambda *_, name=name: found.append(name))
    return found


def outputs(model: AdaptedModel, task: str = "one") -> Tensor:
    with torch.no_grad():
        return model(toy_batch(task))


@EACH
@MODES
def test_every_sublayer_gets_an_adapter_made_as_the_papers_say(kind: str, one: bool) -> None:
    model = hyper(kind, one)
    sites = [site for site in model.backbone.sites() if site.kind in SUBLAYERS]
    assert len(sites) == 2 * (2 + 3)
    flow = Flow(sites)
    for task in TASKS:
        model(toy_batch(task))
        for site in sites:
            expected = plainly(model, site, task, flow.before[site.name])
            torch.testing.assert_close(flow.after[site.name], expected, atol=1e-4, rtol=1e-4)


@MODES
def test_a_sides_adapters_are_made_once_a_batch_and_once_a_generation(one: bool) -> None:
    model = hyper("bart", one)
    calls = made(model)
    model(toy_batch()).sum().backward()
    assert calls == ["encoder", "decoder"]
    calls.clear()
    model.generate(toy_batch(), beams=3, max_length=7)
    assert calls == ["encoder", "decoder"]
    calls.clear()
    model.choice_logits(toy_batch(), [5, 6])
    assert calls == ["encoder", "decoder"]


def test_only_the_vector_of_the_batchs_task_learns() -> None:
    model = hyper("bart")
    assert not torch.equal(outputs(model, "one"), outputs(model, "two"))
    model(toy_batch("two")).square().mean().backward()
    for name, parameter in model.technique.named_parameters():
        assert (parameter.grad is not None) == (name != "task_vectors.one"), name
    before = {task: vector.clone() for task, vector in model.technique.task_vectors.items()}
    AdamW(parameter_groups(model, 0.01, model.undecayed()), lr=1e-2).step()
    moved = [t for t in TASKS if not torch.equal(model.technique.task_vectors[t], before[t])]
    assert moved == ["two"]


def test_its_own_start_is_overwritten_on_bart_only() -> None:
    for kind, std, layer_std in (("bart", 0.1, 0.1), ("t5", 0.01, 1.0)):
        technique: Any = adapted(kind, technique="hyperformer").technique
        named = dict(technique.named_parameters())
        weights = [p for n, p in named.items() if n.endswith("weight") and "norm" not in n]
        tables = [p for p in weights if p.shape == (2, 512)]
        matrices = [p.flatten() for p in weights if p.shape != (2, 512)]
        assert is_normal(torch.cat(matrices), std)
        assert is_normal(torch.cat(tables), layer_std)
        assert is_normal(torch.cat([named[f"task_vectors.{task}"] for task in TASKS]), 1.0)
