from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BartConfig, BartForConditionalGeneration

from vlbench.backbones import BACKBONES, build_backbone, build_tokenizer, weights_files
from vlbench.backbones.bart import JointBart
from vlbench.backbones.weights import save_backbone
from vlbench.errors import DataError, MissingError, UsageError


def test_reading_the_tables_imports_nothing_heavy() -> None:
    code = (
        "import sys, vlbench.backbones, vlbench.techniques;"
        "heavy = {'torch', 'transformers', 'safetensors', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'mini-bart'"):
        build_backbone("mini-brat")


def test_clip_bart_has_the_papers_parameters_without_weights() -> None:
    backbone = build_backbone("clip-bart", meta=True)
    assert sum(p.numel() for p in backbone.parameters()) == 141_156_864
    video = build_backbone("clip-bart", meta=True, visual="video")
    assert sum(p.numel() for p in video.parameters()) == 139_977_216


def test_weights_that_are_not_here_are_missing_and_nothing_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for backbone in ("clip-bart", "clip-t5"):
        for build in (build_backbone, build_tokenizer, weights_files):
            with pytest.raises(MissingError, match="--backbone-path"):
                build(backbone)
        for build in (build_backbone, build_tokenizer, weights_files):
            with pytest.raises(MissingError, match=f"No backbone in {tmp_path}: it should hold"):
                build(backbone, path=tmp_path)


def test_a_folder_with_published_weights_gets_the_added_rows(
    config: BartConfig, tmp_path: Path
) -> None:
    published = BartForConditionalGeneration(config)
    published.save_pretrained(tmp_path)
    backbone = build_backbone("clip-bart", path=tmp_path)
    assert backbone.token_embedding.shape == (240 + 200, 16)
    assert torch.equal(backbone.token_embedding[:240], published.model.shared.weight)
    assert 0.18 < backbone.token_embedding[240:].std() < 0.22
    assert backbone.language.lm_head.weight is backbone.token_embedding
    assert backbone.language.final_logits_bias.shape == (1, 440)


@pytest.mark.parametrize("tie_word_embeddings", [False, True])
def test_a_bart_keeps_an_output_layer_and_a_bias_of_its_own(
    config: BartConfig, tmp_path: Path, tie_word_embeddings: bool
) -> None:
    published = BartForConditionalGeneration(config)
    published.save_pretrained(tmp_path)
    own = {"lm_head.weight": torch.randn(240, 16), "final_logits_bias": torch.randn(1, 240)}
    file = tmp_path / "model.safetensors"
    save_file({**load_file(file), **own}, file, metadata={"format": "pt"})
    config.tie_word_embeddings = tie_word_embeddings  # where it is True, the weights tell
    config.save_pretrained(tmp_path)
    backbone, shapes = (build_backbone("clip-bart", path=tmp_path, meta=m) for m in (False, True))
    asked = {"input_ids": torch.tensor([[0, 9, 2]]), "decoder_input_ids": torch.tensor([[2, 0]])}
    with torch.no_grad():
        states = published.eval().model(**asked).last_hidden_state
        expected = states @ own["lm_head.weight"].T + own["final_logits_bias"]
        logits = backbone.eval().language(**asked).logits[..., :240]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    names = [{name: p.shape for name, p in b.named_parameters()} for b in (backbone, shapes)]
    assert names[0] == names[1]
    assert names[0]["language.lm_head.weight"] == (440, 16)


def test_an_output_layer_that_the_weights_lack_is_told(config: BartConfig, tmp_path: Path) -> None:
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    config.tie_word_embeddings = False
    config.save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"missing: lm_head\.weight"):
        build_backbone("clip-bart", path=tmp_path)


def test_an_embedded_backbone_must_fit_the_features(backbone: JointBart, tmp_path: Path) -> None:
    save_backbone(backbone, tmp_path)
    with pytest.raises(UsageError, match="4 visual tokens of width 6"):
        build_backbone("mini-bart", path=tmp_path)


def test_features_of_another_encoder_get_a_projection_of_their_own_and_leave_the_rest() -> None:
    own = BACKBONES["mini-bart"].features["image"]
    assert own.of("mini", 128) == own
    pretrained, other = (
        build_backbone("mini-bart", features=features) for features in (None, own.of("other", 24))
    )
    assert other.visual.feature_width == 24
    assert other.visual.feature[0].weight.shape == (128, 24)
    assert other.visual.feature[0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    ours = pretrained.state_dict()
    for name, tensor in other.state_dict().items():
        if not name.startswith("visual.feature.0"):
            assert torch.equal(tensor, ours[name]), name
    shapes = build_backbone("mini-bart", meta=True, features=own.of("other", 24))
    assert shapes.visual.feature[0].weight.shape == (128, 24)


def test_every_row_names_code_that_is_there() -> None:
    from importlib import import_module

    for row in BACKBONES.values():
        for reference in (row.builder, row.tokenizer):
            module, _, function = reference.partition(":")
            assert callable(getattr(import_module(module), function))
