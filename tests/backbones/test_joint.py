"""What is true of every backbone: its sites, and what flows through them."""

from __future__ import annotations

from typing import Any

import torch

from vlbench.backbones.base import SUBLAYERS, Backbone


def test_the_sites_are_two_per_encoder_layer_and_three_per_decoder_layer(joint: Backbone) -> None:
    assert [site.name for site in joint.sites() if site.kind in SUBLAYERS] == [
        "encoder_0_self_attention",
        "encoder_0_feed_forward",
        "encoder_1_self_attention",
        "encoder_1_feed_forward",
        "decoder_0_self_attention",
        "decoder_0_cross_attention",
        "decoder_0_feed_forward",
    ]


def test_every_attention_has_its_projections(joint: Backbone) -> None:
    for kind in ("query", "key", "value"):
        sites = [site for site in joint.sites() if site.kind == kind]
        assert all(site.name.endswith(f"_{site.sublayer}_{kind}") for site in sites)
        assert [site.sublayer for site in sites].count("cross_attention") == 1
        assert len(sites) == 2 + 2


def test_every_site_lies_on_the_path_to_the_logits(joint: Backbone, batch: Any) -> None:
    plain = joint(batch)
    for site in joint.sites():
        if site.kind == "encoder_input":
            continue
        handle = site.on_output(lambda u: u + torch.arange(16.0))
        assert not torch.allclose(joint(batch), plain), site.name
        handle.remove()
    assert torch.equal(joint(batch), plain)
