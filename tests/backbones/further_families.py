"""Tiny random chat models of families that the backbones' code was not built on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from tests.backbones.families import (
    BY_NAME,
    CHATML,
    QWEN,
    QWEN_VISION,
    SIDE,
    SIGLIP,
    TEXT,
    TURNS,
    VISION,
    Family,
    mrope,
    qwen_ids,
    text,
)

GLM_TOKENS = ("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>")
AYA_TOKENS = ("<image>", "<|IMG_PATCH|>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "TILE_GLOBAL")
OVIS_TOKENS = ("START", "GRID", "COL", "ROW", "END")
MIXED = ["sliding_attention", "full_attention"]
GATED = {
    "head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
    "rope_parameters": mrope(mrope_interleaved=True, partial_rotary_factor=1.0),
    **{f"linear_num_{part}_heads": 2 for part in ("key", "value")},
    **{f"linear_{part}_head_dim": 8 for part in ("key", "value")},
}
PATCHED = {key: value for key, value in VISION.items() if key != "image_size"}
PATCHED |= {"model_type": "siglip2_vision_model", "num_patches": 16}
TILED = {**VISION, "vision_output_dim": 32, "intermediate_layers_indices": [0]}
CROPPED = {"size": SIDE, "crop_to_patches": True, "min_patches": 1, "max_patches": 2}


def glm(kind: str, vocabulary: int, of: Callable[[str], int], **more: Any) -> dict[str, Any]:
    rope = mrope(partial_rotary_factor=1.0)
    ids = ("image_token_id", "video_token_id", "image_start_token_id", "image_end_token_id")
    return {
        "vision_config": {**QWEN_VISION, "image_size": 32},
        "text_config": text(vocabulary, kind, rope_parameters=rope, **more),
        **dict(zip(ids, map(of, GLM_TOKENS), strict=True)),
    }


def turns(picture: str, end: str) -> str:
    """A chat template that leaves <bos> to the tokenizer."""
    return TURNS.replace("START", "").replace("PICTURE", picture).replace("END", end)


GLM = Family(  # norms in front of its sub-layers and behind them
    "glm4v",
    "Glm4vForConditionalGeneration",
    "Glm4vProcessor",
    "Glm4vImageProcessor",
    lambda vocabulary, of: glm("glm4v_text", vocabulary, of),
    QWEN["pictures"],
    tokens=GLM_TOKENS,
    template=CHATML.replace("PICTURE", "<|begin_of_image|><|image|><|end_of_image|>"),
    end="<|im_end|>",
)
FURTHER = (
    BY_NAME["smolvlm"]._replace(
        name="idefics3",
        model="Idefics3ForConditionalGeneration",
        processor="Idefics3Processor",
        image_processor="Idefics3ImageProcessor",
    ),
    Family(  # its sub-layers read the same norm, side by side
        "aya_vision",
        "AyaVisionForConditionalGeneration",
        "AyaVisionProcessor",
        "GotOcr2ImageProcessor",
        lambda vocabulary, of: {
            "vision_config": SIGLIP,
            "text_config": text(vocabulary, "cohere2", sliding_window=4, layer_types=MIXED),
            "image_token_index": of("<|IMG_PATCH|>"),
        },
        CROPPED,
        {"patch_size": 8, "img_size": 32, "downsample_factor": 2},
        AYA_TOKENS,
        template=turns("<image>", "<|im_end|>"),
        end="<|im_end|>",
        adds_bos=True,
    ),
    GLM,
    Family(  # its projector is a table of visual words
        "ovis2",
        "Ovis2ForConditionalGeneration",
        "Ovis2Processor",
        "Ovis2ImageProcessor",
        lambda vocabulary, of: {
            "vision_config": {**VISION, "vocab_size": 40, "hidden_stride": 2},
            "text_config": text(vocabulary, "qwen2"),
            "image_token_id": of("<IMG_ATOM>"),
            "visual_indicator_token_ids": [of(f"<IMG_{name}>") for name in OVIS_TOKENS],
            "hidden_size": TEXT["hidden_size"],
            "vocab_size": vocabulary,
        },
        CROPPED,
        {"image_seq_length": 4},
        ("<image>", "<IMG_ATOM>", *(f"<IMG_{name}>" for name in OVIS_TOKENS)),
        template=CHATML.replace("PICTURE", "<image>\n"),
        end="<|im_end|>",
    ),
    Family(  # layers of gated linear attention amid others
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        "Qwen3VLProcessor",
        "Qwen2VLImageProcessor",
        lambda vocabulary, of: {
            "vision_config": {**QWEN_VISION, "num_position_embeddings": 16},
            "text_config": text(vocabulary, "qwen3_5_text", **GATED),
            **qwen_ids(of),
        },
        **QWEN,
    ),
    GLM._replace(
        name="glm4v_moe",
        model="Glm4vMoeForConditionalGeneration",
        config=lambda vocabulary, of: glm(
            *("glm4v_moe_text", vocabulary, of),
            **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
        ),
    ),
    Family(  # its processor needs torchvision
        "mistral3",
        "Mistral3ForConditionalGeneration",
        "PixtralProcessor",
        "PixtralImageProcessor",
        lambda vocabulary, of: {
            "vision_config": {"model_type": "pixtral", "head_dim": 8, **VISION},
            "text_config": text(vocabulary, "mistral", head_dim=16),
            "image_token_index": of("[IMG]"),
        },
        {"size": {"longest_edge": 32}},
        tokens=("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        template=turns("[IMG]", "<eos>"),
    ),
    Family(  # its image processor needs torchvision; layers of convolutions amid others
        "lfm2_vl",
        "Lfm2VlForConditionalGeneration",
        "Lfm2VlProcessor",
        "Lfm2VlImageProcessor",
        lambda vocabulary, of: {
            "vision_config": PATCHED,
            "text_config": text(vocabulary, "lfm2", layer_types=["conv", "full_attention"]),
            "image_token_id": of("<image>"),
        },
        {"tile_size": 32},
        template=CHATML.replace("PICTURE", "<image>"),
    ),
    Family(  # pictures are read by cross-attention
        "mllama",
        "MllamaForConditionalGeneration",
        "MllamaProcessor",
        "MllamaImageProcessor",
        lambda vocabulary, of: {
            "vision_config": TILED,
            "text_config": text(vocabulary, "mllama_text_model", cross_attention_layers=[1]),
            "image_token_index": of("<|image|>"),
        },
        {"size": SIDE, "max_image_tiles": 4},
        tokens=("<|image|>",),
        template=turns("<|image|>", "<eos>"),
    ),
)


class StandIn:
    """What processors that need torchvision return: pictures of 4 x 4 patches, as 2 x 2 tokens."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.chat_template = (folder / "chat_template.jinja").read_text()
        (self.token,) = {"<image>", "[IMG]"} & {*self.tokenizer.get_vocab()}

    def __call__(self, images: Any, text: list[str], **options: Any) -> dict[str, Any]:
        spelt = [part.replace(self.token, 4 * self.token) for part in text]
        shown = [np.asarray(image.resize((32, 32)), dtype=np.float32) for image in images[0]]
        pixels = np.stack(shown).transpose(0, 3, 1, 2) / 255  # (N, 3, 32, 32)
        read = {"pixel_values": pixels, "image_sizes": np.full((len(shown), 2), 32)}
        if self.token == "<image>":
            patches = pixels.reshape(-1, 3, 4, 8, 4, 8).transpose(0, 2, 4, 3, 5, 1)
            read = {
                "pixel_values": patches.reshape(-1, 16, 192),
                "pixel_attention_mask": np.ones((len(shown), 16), dtype=np.int64),
                "spatial_shapes": np.full((len(shown), 2), 4),
            }
        return {**self.tokenizer(spelt, **options), **read}
