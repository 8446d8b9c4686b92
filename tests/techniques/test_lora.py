from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.techniques.models import EACH, Flow, adapted, stirred
from tests.techniques.toys import TASKS, toy_batch
from vlbench.errors import CardError
from vlbench.techniques.adapt import trained_parameters
from vlbench.techniques.lora import DroppedLinear
from vlbench.training.optimiser import parameter_groups

PARAMS = {"rank": 4, "alpha": 3}


@EACH
def test_every_query_and_value_gets_the_papers_update(kind: str) -> None:
    model = stirred(adapted(kind, technique="lora", params=PARAMS))
    sites = [site for site in model.backbone.sites() if site.kind in ("query", "value")]
    assert list(model.technique.sites) == [site.name for site in sites]
    assert len(sites) == 2 * (2 * 1 + 2 * 2)  # two layers a side, two attentions in the decoder
    flow = Flow(sites)
    model(toy_batch())
    for site in sites:
        update: Any = model.technique.sites[site.name]
        a, b = update.down.layers["all"].weight, update.up.layers["all"].weight
        assert a.shape == (4, site.width_in) and b.shape == (site.width, 4)
        x, linear = flow.entered[site.name], site.module
        expected = functional.linear(x, linear.weight + 3 / 4 * b @ a, linear.bias)
        torch.testing.assert_close(flow.after[site.name], expected)


def test_the_biases_of_bart_train_too_but_not_its_norms_weights() -> None:
    model = adapted("bart", technique="lora", train={"norms": False})
    own = set(model.technique.parameters()) | set(model.backbone.visual.parameters())
    rest = set(trained_parameters(model).values()) - own
    assert rest == {p for name, p in model.backbone.language.named_parameters() if "bias" in name}
    spared = parameter_groups(model, 0.01, model.undecayed())[1]["params"]
    assert rest <= set(spared) and not set(model.technique.parameters()) & set(spared)
    without = adapted("bart", technique="lora", params={"biases": False}, train={"norms": False})
    assert not any(p.requires_grad for p in without.backbone.language.parameters())


def test_targets_choose_the_projections() -> None:
    model = adapted("t5", technique="lora", params={"targets": ["key"]})
    assert {name.rpartition("_")[2] for name in model.technique.sites} == {"key"}
    claimed = [site.name for site in model.technique.claims(model.backbone)]
    assert claimed == list(model.technique.sites)
    with pytest.raises(CardError, match=r"params\.targets: .* at least 1 item"):
        adapted("bart", technique="lora", params={"targets": []})


@EACH
@pytest.mark.parametrize("sharing", ["all", "task", "up"])
def test_folded_into_the_frozen_weights_it_is_the_same_function(kind: str, sharing: str) -> None:
    model = stirred(adapted(kind, technique="lora", params=PARAMS, sharing=sharing))
    before = {name: each.detach().clone() for name, each in model.backbone.named_parameters()}
    for task in TASKS:
        expected = model(toy_batch(task))
        with model.answering(task):
            flow = Flow([site for site in model.backbone.sites() if site.kind == "query"])
            torch.testing.assert_close(model(toy_batch(task)), expected, atol=1e-5, rtol=1e-5)
            for name, y in flow.after.items():
                site = next(site for site in model.backbone.sites() if site.name == name)
                assert torch.equal(y, site.module.forward(flow.entered[name]))
    for name, each in model.backbone.named_parameters():
        assert torch.equal(each, before[name]), name
    torch.testing.assert_close(model(toy_batch("two")), expected, atol=0, rtol=0)


def test_the_weights_come_back_when_answering_is_broken_off() -> None:
    model = stirred(adapted("bart", technique="lora", params=PARAMS)).train()
    expected = [each.detach().clone() for each in model.parameters()]
    with pytest.raises(KeyboardInterrupt), model.answering("one"):
        assert not model.training
        raise KeyboardInterrupt
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected, strict=True))
    assert not any(update.is_folded for update in model.technique.sites.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_dropped_update_has_the_gradients_of_dropout_and_a_product(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, requires_grad=True)
    weight = torch.randn(4, 8, requires_grad=True)
    above = torch.randn(2, 3, 4)
    results = []
    for product in (
        lambda: DroppedLinear.apply(x, weight, 0.3),
        lambda: functional.linear(functional.dropout(x, 0.3), weight),
    ):
        torch.manual_seed(7)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            low = product()
        results.append((low, *torch.autograd.grad(low.float(), (x, weight), above)))
    exact = {} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.05}
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, **exact)


def test_of_what_an_update_drops_only_a_mask_is_kept() -> None:
    x, weight = torch.randn(2, 3, 8, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        DroppedLinear.apply(x, weight, 0.3)
    assert [t.data_ptr() for t in kept[:2]] == [x.data_ptr(), weight.data_ptr()]
    assert [t.dtype for t in kept[2:]] == [torch.bool]
