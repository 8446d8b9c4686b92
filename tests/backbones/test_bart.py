from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from vlbench.backbones.bart import JointBart


def test_the_norms_are_the_language_models(backbone: JointBart) -> None:
    encoder, decoder = backbone.language.model.encoder, backbone.language.model.decoder
    norms = backbone.norms()
    assert encoder.layernorm_embedding in norms
    assert decoder.layernorm_embedding in norms
    assert len(norms) == 1 + 2 * 2 + 1 + 3
    assert not set(norms) & set(backbone.visual.modules())


def test_padding_of_the_text_changes_nothing(backbone: JointBart, batch: Any) -> None:
    short = SimpleNamespace(**vars(batch))
    short.input_ids = batch.input_ids[1:, :3]
    short.features, short.target_ids = batch.features[1:], batch.target_ids[1:]
    both = backbone(batch)[1, :2]
    torch.testing.assert_close(backbone(short)[0, :2], both, atol=1e-6, rtol=1e-5)


def test_visual_tokens_follow_the_text_without_its_norm(backbone: JointBart, batch: Any) -> None:
    hidden, mask = backbone.encode(batch)
    assert hidden.shape == (2, 5 + 4, 16)
    assert mask.tolist() == [[True] * 9, [True] * 3 + [False] * 2 + [True] * 4]


def test_the_two_halves_of_a_pair_are_told_apart(backbone: JointBart, batch: Any) -> None:
    pair = SimpleNamespace(**vars(batch))
    pair.features = torch.cat([batch.features, batch.features.flip(2)], dim=1)
    swapped = SimpleNamespace(**vars(pair))
    swapped.features = pair.features.flip(1)
    assert backbone.encode(pair)[0].shape[1] == 5 + 8
    assert not torch.allclose(backbone(pair), backbone(swapped))


def test_a_prompt_hooked_to_the_encoder_input_stands_in_front(
    backbone: JointBart, batch: Any
) -> None:
    plain, _ = backbone.encode(batch)
    prompt = torch.randn(1, 3, 16)

    def hook(module: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        text, mask = output
        prompts = prompt.expand(text.shape[0], -1, -1)
        return torch.cat([prompts, text], 1), torch.cat([mask.new_ones(2, 3), mask], 1)

    (site,) = [site for site in backbone.sites() if site.kind == "encoder_input"]
    site.module.register_forward_hook(hook)
    hidden, mask = backbone.encode(batch)
    assert hidden.shape[1] == plain.shape[1] + 3
    assert mask[:, :3].all()
    assert backbone(batch).shape == (2, 3, 240)


def test_the_pad_row_learns_like_any_other(backbone: JointBart, batch: Any) -> None:
    backbone(batch).sum().backward()
    embeddings = backbone.language.get_input_embeddings()
    assert embeddings.padding_idx is None
    assert backbone.token_embedding.grad is not None
    assert backbone.token_embedding.grad[1].abs().sum() > 0


def test_dropout_of_all_kinds_is_set(backbone: JointBart, batch: Any) -> None:
    backbone.set_dropout(0.25)
    layer = backbone.language.model.encoder.layers[0]
    assert (layer.dropout, layer.activation_dropout, layer.self_attn.dropout) == (0.25,) * 3
    backbone.set_dropout(0.0)
    assert torch.equal(backbone.train()(batch), backbone.eval()(batch))


def test_answers_start_at_the_start_token_and_are_at_most_as_long_as_asked(
    backbone: JointBart, batch: Any
) -> None:
    for beams in (1, 3):
        for row in backbone.generate(batch, beams=beams, max_length=6):
            assert row[0] == 2
            assert len(row) <= 6


def test_generation_ignores_what_a_checkpoint_brings_along(backbone: JointBart) -> None:
    settings = backbone.language.generation_config
    assert settings.no_repeat_ngram_size in (None, 0)
    assert settings.forced_bos_token_id is None
