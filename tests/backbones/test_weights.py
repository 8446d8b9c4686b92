from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from tests.techniques.toys import GATED
from tools.pretrain.recipe import save_backbone
from vlbench.backbones import build_backbone, build_tokenizer, find_backbone, weights_files
from vlbench.backbones.bart import JointBart
from vlbench.backbones.weights import (
    ADDED_TOKENS,
    bart_tokenizer,
    first_tokens,
    load_backbone,
    pretrained_bart,
    pretrained_tokenizer,
)
from vlbench.errors import DataError, MissingError, UsageError

CLIP = find_backbone("clip-bart").features_of("image")


def test_a_saved_backbone_gives_bit_equal_outputs(
    backbone: JointBart, batch: Any, tmp_path: Path
) -> None:
    save_backbone(backbone, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(load_backbone(tmp_path).eval()(batch), backbone(batch))
    tables = [t for t in load_file(tmp_path / "model.safetensors").values() if len(t) == 240]
    assert len(tables) == 1  # tied weights are saved once
    (tmp_path / "model.safetensors").unlink()
    shapes = load_backbone(tmp_path, meta=True)
    assert shapes.token_embedding.device.type == "meta"
    assert [p.shape for p in shapes.parameters()] == [p.shape for p in backbone.parameters()]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", None),
        ("config.json", b"{"),
        ("config.json", b'{"language": {}}'),
        ("model.safetensors", None),
        ("model.safetensors", b"half"),
    ],
)
def test_a_damaged_folder_is_explained(
    backbone: JointBart, tmp_path: Path, file: str, content: bytes | None
) -> None:
    save_backbone(backbone, tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(MissingError, match="No backbone in"):
        load_backbone(tmp_path)


def test_a_folder_named_like_a_model_of_the_hub_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in the current folder, which may be anybody's; the key holds the hub's weights."""
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    config = BartConfig(
        vocab_size=9, d_model=8, encoder_attention_heads=1, decoder_attention_heads=1, **sizes
    )
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "nobody" / "bart")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pretrained_bart(tmp_path / "nobody" / "bart", CLIP, meta=False)
    for read in (lambda name: pretrained_bart(name, CLIP, False), pretrained_tokenizer):
        with pytest.raises(MissingError, match="'nobody/bart' are not on this machine"):
            read("nobody/bart")


WORDS = ("<s>", "<pad>", "</s>", "<unk>", "true", "false", "is", "it")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_the_added_tokens_end_with_the_first_visual_one(file: Path) -> None:
    tokenizer = bart_tokenizer(file)
    assert len(tokenizer) == len(WORDS) + 200
    assert len(ADDED_TOKENS) == len(set(ADDED_TOKENS)) == 200
    ids = tokenizer.convert_tokens_to_ids(["<extra_id_99>", "<extra_id_0>", "<vis_extra_id_0>"])
    assert ids == [len(WORDS), len(WORDS) + 99, len(WORDS) + 199]
    special = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert special == (0, 1, 2)
    tokenizer.backend_tokenizer.save(str(file))
    assert len(bart_tokenizer(file)) == len(WORDS) + 200  # those of the file are not added again
    with pytest.raises(MissingError, match=r"no\.json"):
        bart_tokenizer(file.parent / "no.json")


def test_choices_are_told_apart_by_their_first_token(file: Path) -> None:
    tokenizer = bart_tokenizer(file)
    assert first_tokens(tokenizer, ["false", "true"]) == [5, 4]
    with pytest.raises(UsageError, match="do not differ"):
        first_tokens(tokenizer, ["it is", "it"])


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
    with pytest.raises(DataError, match=r"missing: tensor 'lm_head"):
        build_backbone("clip-bart", path=tmp_path)


def test_an_embedded_backbone_must_fit_the_features(backbone: JointBart, tmp_path: Path) -> None:
    save_backbone(backbone, tmp_path)
    with pytest.raises(UsageError, match="4 visual tokens of width 6"):
        build_backbone("mini-bart", path=tmp_path)


def test_features_of_another_encoder_get_a_projection_of_their_own_and_leave_the_rest() -> None:
    own = find_backbone("mini-bart").features_of("image")
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


def publish(config: T5Config, folder: Path, **changes: Any) -> T5ForConditionalGeneration:
    """A folder as the hub has it, with 128 rows and a tokenizer of 105 tokens."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁yes", -1.0), ("▁no", -2.0)]
    T5Tokenizer(vocab=pieces, extra_ids=100).save_pretrained(folder)
    table = {**config.to_diff_dict(), "vocab_size": 128, **changes}
    published = T5ForConditionalGeneration(T5Config(**table))
    published.save_pretrained(folder)
    return published


def change_weights(folder: Path, **tensors: torch.Tensor) -> None:
    """Weights beside or instead of those in a folder; their names have `__` for dots."""
    file = folder / "model.safetensors"
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file({**load_file(file), **named}, file, metadata={"format": "pt"})


def test_a_folder_with_published_weights_gets_the_visual_tokens(
    t5_config: T5Config, tmp_path: Path
) -> None:
    published = publish(t5_config, tmp_path)
    tokenizer = build_tokenizer("clip-t5", path=tmp_path)
    backbone = build_backbone("clip-t5", path=tmp_path)
    rows = 5 + 100 + 100
    assert len(tokenizer) == rows
    assert tokenizer.convert_tokens_to_ids("<vis_extra_id_0>") == rows - 1
    assert tokenizer.convert_tokens_to_ids("<vis_extra_id_99>") == 105
    assert backbone.token_embedding.shape == (rows, 16)
    assert torch.equal(backbone.token_embedding[:128], published.shared.weight)
    assert 0.9 < backbone.token_embedding[128:].std() < 1.1
    assert backbone.language.lm_head.weight is backbone.token_embedding
    assert tokenizer("yes no").input_ids[-1] == backbone.config.eos_token_id


@pytest.mark.parametrize("tie_word_embeddings", [False, True])
def test_a_t5_keeps_an_output_layer_of_its_own(
    t5_config: T5Config, tmp_path: Path, tie_word_embeddings: bool
) -> None:
    publish(t5_config, tmp_path, **GATED)
    change_weights(tmp_path, lm_head__weight=torch.randn(128, 16))
    file = tmp_path / "config.json"  # of T5 v1.1; where it says True, the weights say otherwise
    config = json.loads(file.read_text()) | {"tie_word_embeddings": tie_word_embeddings}
    config.pop("scale_decoder_outputs")
    file.write_text(json.dumps(config))
    published = T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    backbone = build_backbone("clip-t5", path=tmp_path).eval()
    asked = {
        "input_ids": torch.tensor([[5, 9, 8, 7, 1]]),
        "decoder_input_ids": torch.tensor([[0, 9, 3]]),
    }
    with torch.no_grad():
        ours, theirs = (model(**asked).logits for model in (backbone.language, published))
    torch.testing.assert_close(ours[..., :128], theirs, rtol=0, atol=1e-5)
    new = backbone.language.lm_head.weight[128:].abs()
    assert 0.2 < new.max() <= 1 / 16**0.5  # as torch makes a linear layer
    shapes = build_backbone("clip-t5", path=tmp_path, meta=True)
    names = [{name: p.shape for name, p in b.named_parameters()} for b in (backbone, shapes)]
    assert names[0] == names[1]
    assert names[0]["language.lm_head.weight"] == (205, 16)


@pytest.mark.parametrize(
    ("name", "shape", "fault"),
    [
        ("decoder__embed_tokens__weight", (128, 16), "token tables other than the one"),
        ("encoder__prefix", (1,), "not part of it: tensor 'encoder.prefix"),
        ("encoder__final_layer_norm__weight", (8,), "other shapes: tensor 'encoder.final"),
    ],
)
def test_weights_that_would_be_lost_are_refused(
    t5_config: T5Config, tmp_path: Path, name: str, shape: tuple[int, ...], fault: str
) -> None:
    publish(t5_config, tmp_path)
    change_weights(tmp_path, **{name: torch.zeros(shape)})
    for meta in (False, True):
        with pytest.raises(DataError, match=fault):
            build_backbone("clip-t5", path=tmp_path, meta=meta)


def test_damaged_weights_are_told(t5_config: T5Config, tmp_path: Path) -> None:
    publish(t5_config, tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match="the weights are damaged or not whole"):
        build_backbone("clip-t5", path=tmp_path)
    file.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"no pickle")
    with pytest.raises(DataError, match="the weights are damaged or not whole"):
        build_backbone("clip-t5", path=tmp_path)
