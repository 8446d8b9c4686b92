"""Tiny random chat models of eight families, each in a folder as a published one lies in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from vlbench.backbones.chat import Chat
from vlbench.backbones.chat_rows import Row, target_ids
from vlbench.backbones.chat_source import chat_backbone
from vlbench.data.chat import ChatBatch
from vlbench.errors import UsageError

LESSONS = (
    "what colour is the ball ? red green blue yellow",
    "is there a circle left of the square ? yes no",
    "User: a picture of two cats Assistant: true false",
    "one two three four five small large above below",
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "initializer_range": 0.2,
}
SIDE = {"height": 32, "width": 32}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{{ 'PICTURE' if part.type == 'image' else part.text }}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = (
    "START{% for message in messages %}{{ message.role | capitalize }}:"
    "{% for part in message.content %}"
    "{{ 'PICTURE' if part.type == 'image' else ' ' + part.text }}"
    "{% endfor %}END\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


class Family(NamedTuple):
    """What one kind of model is made of; `config` gets the vocabulary's size and the token ids."""

    name: str
    model: str
    processor: str
    image_processor: str
    config: Callable[[int, Callable[[str], int]], dict[str, Any]]
    pictures: Mapping[str, Any]
    """Keys of its image processor's file."""
    processing: Mapping[str, Any] = {}
    """Keys of its processor's file."""
    tokens: tuple[str, ...] = ("<image>",)
    named: Mapping[str, str] = {}
    """Tokens that its tokenizer knows by a name."""
    template: str = ""
    end: str = "<eos>"
    """The end of an answer, which the template writes."""
    adds_bos: bool = False
    """Whether its tokenizer puts a <bos> in front."""


def text(vocabulary: int, kind: str, **changes: Any) -> dict[str, Any]:
    """A decoder's configuration."""
    special = {"vocab_size": vocabulary, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {"model_type": kind, **special, **TEXT, **changes}


def mrope(**more: Any) -> dict[str, Any]:
    """Three-dimensional positions of Qwen's decoders."""
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], **more}


def qwen_ids(of: Callable[[str], int]) -> dict[str, int]:
    return {
        "image_token_id": of("<|image_pad|>"),
        "video_token_id": of("<|video_pad|>"),
        "vision_start_token_id": of("<|vision_start|>"),
        "vision_end_token_id": of("<|vision_end|>"),
    }


QWEN = {
    "processing": {},
    "pictures": {
        "patch_size": 8,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 256, "longest_edge": 2048},
    },
    "tokens": ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    "template": CHATML.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>"),
    "end": "<|im_end|>",
}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "patch_size": 8,
    "out_hidden_size": 32,
    "initializer_range": 0.2,
}
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **VISION}
PINPOINTS = [[32, 32], [32, 64], [64, 32]]

FAMILIES = (
    Family(
        "smolvlm",
        "SmolVLMForConditionalGeneration",
        "SmolVLMProcessor",
        "SmolVLMImageProcessor",
        lambda vocabulary, of: {
            "vision_config": VISION,
            "text_config": text(vocabulary, "llama"),
            "image_token_id": of("<image>"),
            "scale_factor": 2,
            "pad_token_id": 0,
            "tie_word_embeddings": True,
        },
        {
            "do_image_splitting": True,
            "size": {"longest_edge": 64},
            "max_image_size": {"longest_edge": 32},
        },
        {"image_seq_len": 4},
        (
            *("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
            *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
        ),
        template=TURNS.replace("START", "<|im_start|>")
        .replace("PICTURE", "<image>")
        .replace("END", "<end_of_utterance>"),
        end="<end_of_utterance>",
    ),
    Family(
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2_5_VLProcessor",
        "Qwen2VLImageProcessor",
        lambda vocabulary, of: {
            "vision_config": {**QWEN_VISION, "fullatt_block_indexes": [1], "window_size": 32},
            "text_config": text(vocabulary, "qwen2_5_vl_text", rope_parameters=mrope()),
            **qwen_ids(of),
        },
        **QWEN,
    ),
    Family(
        "qwen3_vl",
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLProcessor",
        "Qwen2VLImageProcessor",
        lambda vocabulary, of: {
            "vision_config": {
                **QWEN_VISION,
                "deepstack_visual_indexes": [0],
                "num_position_embeddings": 16,
            },
            "text_config": text(
                vocabulary,
                "qwen3_vl_text",
                head_dim=16,
                rope_parameters=mrope(mrope_interleaved=True),
            ),
            **qwen_ids(of),
        },
        **QWEN,
    ),
    Family(
        "llava",
        "LlavaForConditionalGeneration",
        "LlavaProcessor",
        "CLIPImageProcessor",
        lambda vocabulary, of: {
            "vision_config": {"model_type": "clip_vision_model", "projection_dim": 16, **VISION},
            "text_config": text(vocabulary, "llama"),
            "image_token_index": of("<image>"),
            "image_seq_length": 16,
        },
        {"size": {"shortest_edge": 32}, "crop_size": SIDE},
        {
            "patch_size": 8,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
        template=TURNS.replace("START", "").replace("PICTURE", " <image>").replace("END", "<eos>"),
        adds_bos=True,
    ),
    Family(
        "llava_onevision",
        "LlavaOnevisionForConditionalGeneration",
        "LlavaOnevisionProcessor",
        "LlavaOnevisionImageProcessor",
        lambda vocabulary, of: {
            "vision_config": SIGLIP,
            "text_config": text(vocabulary, "qwen2"),
            "image_token_index": of("<image>"),
            "video_token_index": of("<video>"),
            "image_grid_pinpoints": PINPOINTS,
        },
        {"size": SIDE, "image_grid_pinpoints": PINPOINTS},
        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
        ("<image>", "<video>"),
        template=CHATML.replace("PICTURE", "<image>"),
        end="<|im_end|>",
    ),
    Family(
        "paligemma2",
        "PaliGemmaForConditionalGeneration",
        "PaliGemmaProcessor",
        "SiglipImageProcessor",
        lambda vocabulary, of: {
            "vision_config": {"projection_dim": 32, **SIGLIP},
            "text_config": text(vocabulary, "gemma2", head_dim=16, query_pre_attn_scalar=16),
            "image_token_index": of("<image>"),
            "projection_dim": 32,
        },
        {"size": SIDE, "image_seq_length": 16},
    ),
    Family(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        "Gemma3Processor",
        "Gemma3ImageProcessor",
        lambda vocabulary, of: {
            "vision_config": SIGLIP,
            "text_config": text(
                vocabulary,
                "gemma3_text",
                head_dim=16,
                query_pre_attn_scalar=16,
                sliding_window=64,
                layer_types=["sliding_attention", "full_attention"],
            ),
            "mm_tokens_per_image": 4,
            "boi_token_index": of("<boi>"),
            "eoi_token_index": of("<eoi>"),
            "image_token_index": of("<soft>"),
        },
        {"size": SIDE, "image_seq_length": 4},
        {"image_seq_length": 4},
        ("<boi>", "<eoi>", "<soft>", "<end_of_turn>"),
        {"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<soft>"},
        TURNS.replace("START", "{{ bos_token }}")
        .replace("PICTURE", "<boi>")
        .replace("END", "<end_of_turn>"),
        end="<end_of_turn>",
        adds_bos=True,
    ),
    Family(
        "internvl",
        "InternVLForConditionalGeneration",
        "InternVLProcessor",
        "GotOcr2ImageProcessor",
        lambda vocabulary, of: {
            "vision_config": {**VISION, "image_size": [32, 32], "patch_size": [8, 8]},
            "text_config": text(vocabulary, "qwen2"),
            "image_token_id": of("<IMG_CONTEXT>"),
            "image_seq_length": 4,
            "downsample_ratio": 0.5,
        },
        {"size": SIDE, "crop_to_patches": True, "min_patches": 1, "max_patches": 2},
        {"image_seq_length": 4},
        ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        CHATML.replace("PICTURE", "<IMG_CONTEXT>\n"),
        end="<|im_end|>",
    ),
)

BY_NAME = {family.name: family for family in FAMILIES}
SLOW = ("qwen3_vl", "llava", "llava_onevision", "internvl")
"""Families that differ little from the others, as plain tests see them."""
EACH = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else (), id=name) for name in BY_NAME
]


def write_family(family: Family, folder: Path) -> Path:
    """Write a random model of the family and all that belongs to it; returns the folder."""
    tokenizer = _tokenizer(family)
    tokenizer.save_pretrained(folder)
    kind = getattr(transformers, family.model).config_class
    config = kind(**family.config(len(tokenizer), tokenizer.convert_tokens_to_ids))
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # such as Gemma 3's projector, which sees nothing
            if not parameter.any() and parameter.dim() > 1:
                parameter.normal_(std=0.2)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<eos>", family.end])
    model.save_pretrained(folder)
    pictures = {"image_processor_type": family.image_processor, **family.pictures}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    processing = {"processor_class": family.processor, **family.processing}
    (folder / "processor_config.json").write_text(json.dumps(processing))
    if family.template:
        (folder / "chat_template.jinja").write_text(family.template)
    return folder


def _tokenizer(family: Family) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", *family.tokens]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(LESSONS, trainer)
    if family.adds_bos:
        bpe.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens=dict(family.named) or None,
    )


def picture(seed: int, width: int = 48, height: int = 32) -> Image.Image:
    """A picture of noise."""
    pixels: NDArray[np.uint8] = np.random.default_rng(seed).integers(
        0, 255, (height, width, 3), dtype=np.uint8
    )
    return Image.fromarray(pixels)


@cache
def load(name: str) -> Chat:
    """The family's backbone in evaluation, its sites measured; for reading only: see `fresh`."""
    with TemporaryDirectory() as folder:
        backbone = chat_backbone(write_family(BY_NAME[name], Path(folder)), None, meta=False).eval()
    with suppress(UsageError):  # of a further family, whose decoder may have none
        backbone.sites()
    return backbone


def fresh(name: str, meta: bool = False) -> Chat:
    """A copy that may be changed, or the same on the meta device."""
    if not meta:
        return deepcopy(load(name))
    backbone = load(name)
    with torch.device("meta"):
        language: Any = type(backbone.language)(deepcopy(backbone.config))
        return Chat(language, backbone.conversation.processor)


def rows_of(backbone: Chat) -> list[Row]:
    """Two questions of different lengths with answers, the second about two pictures."""
    talk = backbone.conversation
    return [
        talk.row("what is it ?", [picture(0)], talk.answer("yes no")),
        talk.row(
            "is there a circle left of it ?", [picture(1, 64, 40), picture(2)], talk.answer("two")
        ),
    ]


def batch_of(backbone: Chat, rows: Sequence[Row], task: str = "one") -> ChatBatch:
    """A batch of these rows."""
    ids = tuple(str(number) for number in range(len(rows)))
    targets, scores = target_ids(rows), torch.ones(len(rows))
    return ChatBatch(task, ids, targets, scores, tuple(rows), backbone.conversation)


def asked(rows: Sequence[Row]) -> list[Row]:
    """The same questions without answers."""
    return [row._replace(answer=None) for row in rows]
