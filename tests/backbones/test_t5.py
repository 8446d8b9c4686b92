from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from tests.techniques.toys import GATED
from vlbench.backbones import build_backbone, build_tokenizer
from vlbench.backbones.base import SUBLAYERS
from vlbench.backbones.t5 import JointT5, new_t5, text_bias
from vlbench.errors import DataError


@pytest.fixture
def batch() -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        task="vqav2",
        input_ids=torch.tensor([[10, 9, 8, 7, 1], [11, 9, 1, 0, 0]]),
        features=torch.randn(2, 1, 9, 6, generator=generator),
        target_ids=torch.tensor([[11, 12, 1], [13, 1, -100]]),
    )


def test_what_enters_a_sublayer_is_the_stream_before_its_norm(t5: JointT5, batch: Any) -> None:
    seen = {}

    def look(name: str) -> Any:
        def change(entered: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
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


def test_the_bias_is_between_text_tokens_only(t5: JointT5) -> None:
    bias = text_bias(t5.language.encoder, text=3, vision=4)
    assert bias.shape == (1, 2, 7, 7)
    assert bias[:, :, :3, :3].abs().min() > 0
    assert not bias[:, :, 3:].any()
    assert not bias[:, :, :, 3:].any()


def test_padding_of_the_text_changes_nothing(t5: JointT5, batch: Any) -> None:
    short = SimpleNamespace(**vars(batch))
    short.input_ids = batch.input_ids[1:, :3]
    short.features, short.target_ids = batch.features[1:], batch.target_ids[1:]
    torch.testing.assert_close(t5(short)[0, :2], t5(batch)[1, :2])


def test_pictures_have_root_mean_square_norms_and_torchs_own_initialisation() -> None:
    torch.manual_seed(0)
    config = T5Config(vocab_size=128, d_model=64, num_layers=1, decoder_start_token_id=0)
    visual = new_t5(config, 512).visual
    norms = [m for m in visual.modules() if type(m).__name__ == "T5LayerNorm"]
    assert [norm.variance_epsilon for norm in norms] == [1e-6, 1e-6]
    linear: Any = visual.feature[0]
    bound = 1 / 512**0.5
    assert 0.98 * bound < linear.weight.abs().max() <= bound
    assert linear.bias.abs().max() > 0.5 * bound
    assert 0.8 < visual.image.weight.std() < 1.2


def test_new_modules_stay_as_torch_made_them(t5: JointT5) -> None:
    linear = nn.Linear(100, 100)
    before = linear.weight.clone()
    t5.initialise(linear)
    assert torch.equal(linear.weight, before)


def test_the_position_biases_are_spared_weight_decay(t5: JointT5) -> None:
    names = {p: name for name, p in t5.language.named_parameters()}
    spared = [names[p] for p in t5.undecayed()]
    assert [name.partition(".")[0] for name in spared] == ["encoder", "decoder"]
    assert all(name.endswith("relative_attention_bias.weight") for name in spared)


def test_norms_of_one_side_or_all(t5: JointT5) -> None:
    encoder, decoder = t5.norms("encoder"), t5.norms("decoder")
    assert (len(encoder), len(decoder)) == (2 * 2 + 1, 3 + 1)
    assert len(t5.norms()) == 9
    assert t5.biases() == []


def test_dropout_of_all_kinds_is_set(t5: JointT5, batch: Any) -> None:
    t5.set_dropout(0.25)
    attention = t5.language.encoder.block[0].layer[0]
    assert (attention.dropout.p, attention.SelfAttention.dropout) == (0.25, 0.25)
    t5.set_dropout(0.0)
    assert torch.equal(t5.train()(batch), t5.eval()(batch))


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
def test_an_output_layer_of_its_own_is_kept_and_counted(
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


def test_a_folder_without_weights_is_counted_by_its_configuration(
    t5_config: T5Config, tmp_path: Path
) -> None:
    publish(t5_config, tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    del config["scale_decoder_outputs"]
    file.write_text(json.dumps({**config, "tie_word_embeddings": False}))
    (tmp_path / "model.safetensors").unlink()
    shapes = build_backbone("clip-t5", path=tmp_path, meta=True)
    assert shapes.language.lm_head.weight is not shapes.token_embedding


@pytest.mark.parametrize(
    ("name", "shape", "fault"),
    [
        ("decoder__embed_tokens__weight", (128, 16), "token tables other than the one"),
        ("encoder__prefix", (1,), "not part of it: encoder.prefix"),
        ("encoder__final_layer_norm__weight", (8,), "other shapes: encoder.final_layer_norm"),
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


def test_half_precision_is_read_as_float32(t5_config: T5Config, tmp_path: Path) -> None:
    publish(t5_config, tmp_path).bfloat16().save_pretrained(tmp_path)
    assert {p.dtype for p in build_backbone("clip-t5", path=tmp_path).parameters()} == {
        torch.float32
    }


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


def test_clip_t5_has_the_papers_parameters_without_weights() -> None:
    backbone = build_backbone("clip-t5", meta=True)
    assert sum(p.numel() for p in backbone.parameters()) == 224_540_160
    video = build_backbone("clip-t5", meta=True, visual="video")
    assert sum(p.numel() for p in video.parameters()) == 223_360_512
    assert (backbone.visual_tokens, video.visual_tokens) == (36, 64)
    assert backbone.token_embedding.shape == (32_200, 768)
