from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch

from tests.techniques.models import Flow, adapted, counts, stirred, theirs
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.backbones.sites import SUBLAYERS
from vlbench.techniques.low_rank_adapter import LowRankAdapter, LowRankLinear, LowRankParams
from vlbench.training.optimiser import parameter_groups

EACH = pytest.mark.parametrize("kind", ["bart", "t5"])
WIDTH, LOW = 32, 4


@EACH
@pytest.mark.parametrize("rank", [1, 3])
def test_every_sublayer_gets_the_formula(kind: str, rank: int) -> None:
    model = stirred(adapted(kind, technique="low_rank_adapter", params={"rank": rank}))
    sites = [site for site in model.backbone.sites() if site.kind in SUBLAYERS]
    assert list(model.technique.sites) == [site.name for site in sites]
    flow = Flow(sites)
    model(toy_batch())
    for site in sites:
        bottleneck: Any = model.technique.sites[site.name]
        down, up = bottleneck.down.layers["all"], bottleneck.up.layers["all"]
        assert down.left.shape == (WIDTH, rank) and down.right.shape == (rank, LOW)
        u = flow.before[site.name]
        low = u @ (down.left @ down.right) + down.b
        low = 0.5 * low * (1 + torch.tanh(sqrt(2 / torch.pi) * (low + 0.044715 * low**3)))
        expected = u + low @ (up.left @ up.right) + up.b
        torch.testing.assert_close(flow.after[site.name], expected)


def test_a_layer_of_full_rank_is_any_linear_layer() -> None:
    layer = LowRankLinear(3, 2, rank=3)
    matrix, b, x = torch.randn(3, 2), torch.randn(2), torch.randn(4, 3)
    layer.left.data, layer.right.data, layer.b.data = torch.eye(3), matrix, b
    torch.testing.assert_close(layer(x), x @ matrix + b)


@EACH
def test_factors_start_xavier_uniform_and_biases_zero_on_every_backbone(kind: str) -> None:
    torch.manual_seed(0)
    technique = LowRankAdapter(LowRankParams(reduction=1, rank=32), "all", TASKS)
    technique.attach(toy_backbone(kind))
    for name, parameter in technique.named_parameters():
        if name.endswith(".b"):
            assert not parameter.any()
        else:
            bound = sqrt(2) * sqrt(6 / sum(parameter.shape))
            assert 0.98 * bound < parameter.abs().max() <= bound
            assert 0.9 < parameter.std() / (bound / sqrt(3)) < 1.1


@pytest.mark.parametrize("sharing", ["task", "all", "up", "down"])
def test_sharing_decides_which_halves_a_task_owns(sharing: str) -> None:
    model = stirred(adapted("bart", technique="low_rank_adapter", sharing=sharing))
    bottleneck: Any = model.technique.sites["encoder_0_feed_forward"]
    own, shared = list(TASKS), ["all"]
    assert list(bottleneck.down.layers) == (own if sharing in ("task", "up") else shared)
    assert list(bottleneck.up.layers) == (own if sharing in ("task", "down") else shared)
    model(toy_batch()).sum().backward()
    for name, parameter in model.technique.named_parameters():
        assert (parameter.grad is not None) == (".layers.two." not in name), name


def test_b_decays_as_in_the_reference() -> None:
    model = adapted("bart", technique="low_rank_adapter")
    decayed = parameter_groups(model, 0.01, model.undecayed())[0]["params"]
    assert set(model.technique.parameters()) <= set(decayed)


def test_counts_follow_from_the_shapes() -> None:
    at_a_site = (768 + 96) + 96 + (96 + 768) + 768
    norms = (2 + 6 * 2 + 6 * 3) * 2 * 768  # behind the embeddings and each sub-layer
    bart = counts("clip-bart", technique="low_rank_adapter", train={"norms": True})
    assert bart == (30 * at_a_site + norms + 1_582_848, 141_156_864 + 30 * at_a_site)
    t5 = counts("clip-t5", technique="low_rank_adapter", train={"norms": False})
    assert t5 == (60 * at_a_site + 1_581_312, 224_540_160 + 60 * at_a_site)


def test_the_authors_keep_them_where_adapters_are() -> None:
    found = theirs("bart", technique="low_rank_adapter", sharing="up")
    site = "sites.decoder_1_cross_attention"
    adapter = "model.decoder.layers.1.enc_attn_adapter.adapters"
    assert found[f"{site}.down.layers.gqa.left"] == (f"{adapter}.gqa.down_sampler.W_left",)
    assert found[f"{site}.down.layers.vqav2.b"] == (f"{adapter}.vqa.down_sampler.b",)
    assert found[f"{site}.up.layers.all.right"] == (
        f"{adapter}.vqa.up_sampler.W_right",
        f"{adapter}.gqa.up_sampler.W_right",
    )


def test_a_width_that_does_not_divide_is_rounded_down() -> None:
    model = adapted("bart", technique="low_rank_adapter", params={"reduction": 5})
    shapes = {p.shape for name, p in model.technique.named_parameters() if name.endswith(".b")}
    assert shapes == {(6,), (32,)}
