"""Joint encoder-decoders: their sites, what flows through them, what BART and T5 do differently."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import EncoderDecoderCache

from vlbench.backbones.bart import JointBart
from vlbench.backbones.base import SUBLAYERS
from vlbench.backbones.encoder_decoder import BeamCache, EncoderDecoder
from vlbench.backbones.t5 import JointT5, text_bias


def test_the_sites_are_two_per_encoder_layer_and_three_per_decoder_layer(
    joint: EncoderDecoder,
) -> None:
    assert [site.name for site in joint.sites() if site.kind in SUBLAYERS] == [
        "encoder_0_self_attention",
        "encoder_0_feed_forward",
        "encoder_1_self_attention",
        "encoder_1_feed_forward",
        "decoder_0_self_attention",
        "decoder_0_cross_attention",
        "decoder_0_feed_forward",
    ]
    for kind in ("query", "key", "value"):  # of every attention
        sites = [site for site in joint.sites() if site.kind == kind]
        assert all(site.name.endswith(f"_{site.sublayer}_{kind}") for site in sites)
        assert [site.sublayer for site in sites].count("cross_attention") == 1
        assert len(sites) == 2 + 2


def test_every_site_lies_on_the_path_to_the_logits(joint: EncoderDecoder, batch: Any) -> None:
    plain = joint(batch)
    for site in joint.sites():
        if site.kind != "encoder_input":
            handle = site.on_output(lambda u: u + torch.arange(16.0))
            assert not torch.allclose(joint(batch), plain), site.name
            handle.remove()
    assert torch.equal(joint(batch), plain)


def test_padding_of_the_text_changes_nothing(joint: EncoderDecoder, batch: Any) -> None:
    batch.input_ids[batch.input_ids == 1] = joint.config.pad_token_id
    short = SimpleNamespace(**vars(batch))
    short.input_ids = batch.input_ids[1:, :3]
    short.features, short.target_ids = batch.features[1:], batch.target_ids[1:]
    both = joint(batch)[1, :2]
    torch.testing.assert_close(joint(short)[0, :2], both, atol=1e-6, rtol=1e-5)


def test_norms_and_biases_are_the_language_models(backbone: JointBart, t5: JointT5) -> None:
    encoder, decoder = backbone.language.model.encoder, backbone.language.model.decoder
    norms = backbone.norms()
    assert {encoder.layernorm_embedding, decoder.layernorm_embedding} <= set(norms)
    assert len(norms) == 1 + 2 * 2 + 1 + 3
    assert not set(norms) & set(backbone.visual.modules())
    assert (len(t5.norms("encoder")), len(t5.norms("decoder"))) == (2 * 2 + 1, 3 + 1)
    assert len(t5.norms()) == 9
    assert t5.biases() == []


def test_the_pad_row_learns_like_any_other(backbone: JointBart, batch: Any) -> None:
    backbone(batch).sum().backward()
    assert backbone.language.get_input_embeddings().padding_idx is None
    assert backbone.token_embedding.grad is not None
    assert backbone.token_embedding.grad[1].abs().sum() > 0


def test_dropout_of_all_kinds_is_set(joint: EncoderDecoder, batch: Any) -> None:
    joint.set_dropout(0.25)
    if isinstance(joint, JointBart):
        layer = joint.language.model.encoder.layers[0]
        rates = (layer.dropout, layer.activation_dropout, layer.self_attn.dropout)
    else:
        attention = joint.language.encoder.block[0].layer[0]
        rates = (attention.dropout.p, attention.SelfAttention.dropout)
    assert set(rates) == {0.25}
    joint.set_dropout(0.0)
    assert torch.equal(joint.train()(batch), joint.eval()(batch))


def test_answers_start_at_the_start_token_and_are_at_most_as_long_as_asked(
    backbone: JointBart, batch: Any
) -> None:
    settings = backbone.language.generation_config  # nothing that a checkpoint brings along
    assert settings.no_repeat_ngram_size in (None, 0)
    assert settings.forced_bos_token_id is None
    for beams in (1, 3):
        for row in backbone.generate(batch, beams=beams, max_length=6):
            assert row[0] == 2
            assert len(row) <= 6


def test_beams_that_keep_the_encoders_keys_answer_as_the_librarys_do(
    joint: EncoderDecoder, batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint.eval().token_embedding.data.mul_(8)  # so that beams change places
    moved: list[list[int]] = []
    monkeypatch.setattr(BeamCache, "reorder_cache", noted(BeamCache.reorder_cache, moved))
    answers = joint.generate(batch, beams=5, max_length=9)
    assert any(rows != sorted(rows) for rows in moved)
    monkeypatch.setattr("vlbench.backbones.encoder_decoder.BeamCache", EncoderDecoderCache)
    assert joint.generate(batch, beams=5, max_length=9) == answers


def noted(reorder: Any, moved: list[list[int]]) -> Any:
    def noting(cache: BeamCache, beams: Any) -> None:
        moved.append(beams.tolist())
        reorder(cache, beams)

    return noting


def test_what_enters_a_sublayer_is_the_stream_before_its_norm(t5: JointT5, batch: Any) -> None:
    seen = {}

    def look(name: str) -> Any:
        def change(entered: Tensor, output: Tensor) -> Tensor:
            seen[name] = (entered, output)
            return output

        return change

    for site in t5.sites():
        if site.kind in SUBLAYERS:
            site.on_passage(look(site.name))
    t5(batch)
    encoder = [name for name in seen if name.startswith("encoder")]
    for before, after in itertools.pairwise(encoder):  # x + SubLayer(norm(x))
        entered, output = seen[before]
        torch.testing.assert_close(seen[after][0], entered + output)


def test_the_bias_is_between_text_tokens_only_and_spared_weight_decay(t5: JointT5) -> None:
    bias = text_bias(t5.language.encoder, text=3, vision=4)
    assert bias.shape == (1, 2, 7, 7)
    assert bias[:, :, :3, :3].abs().min() > 0
    assert not bias[:, :, 3:].any() and not bias[:, :, :, 3:].any()
    names = {p: name for name, p in t5.language.named_parameters()}
    spared = [names[p] for p in t5.undecayed()]
    assert [name.partition(".")[0] for name in spared] == ["encoder", "decoder"]
    assert all(name.endswith("relative_attention_bias.weight") for name in spared)
