"""A LLaVA of two small pretrained networks that Python packages carry.

EfficientNet-Lite0 (Tan and Le, 2019; trained on ImageNet) reads the pictures, SmolLM2-135M-Instruct
(Allal et al., 2025; Q4_1 in GGUF) answers. The projector between them is new, so it trains with
every method: the setting of VL-Adapter, a language model that never saw a picture.

Shapes: B pictures.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import logging

from vlbench.backbones import TOWERS
from vlbench.backbones.chat import Chat
from vlbench.backbones.sources import package_folder, weights_folder
from vlbench.errors import MissingError, UsageError

SIDE, CELLS, WIDTH = 224, 49, 320
"""Pixels of a side, cells of the tower's last grid, and their width."""
PICTURE = "<file_sep>"
"""A token of SmolLM2's vocabulary that no question has, in a picture's place."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}" + PICTURE + "\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class LiteTower(nn.Module):
    """EfficientNet-Lite0 in the place of a LLaVA's picture tower."""

    def __init__(self) -> None:
        super().__init__()
        try:
            network = import_module("efficientnet_lite_pytorch").EfficientNet
        except ImportError as error:
            raise MissingError(f"{error}: pip install 'vlbench[smollm2]'") from None
        self.net = network.from_name("efficientnet-lite0")

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """(B, 3, 224, 224) -> states (B, 49, 320) of the grid, row by row."""
        grid: Tensor = self.net._swish(self.net._bn0(self.net._conv_stem(pixel_values)))
        for block in self.net._blocks:
            grid = block(grid)
        states: Any = grid.flatten(2).mT
        return BaseModelOutputWithPooling(last_hidden_state=states, hidden_states=(states,))

    def train(self, mode: bool = True) -> LiteTower:
        """Stay in evaluation: the statistics of its normalisation are frozen with its weights."""
        return super().train(False)


class Lite0SmolLM2(Chat):
    """The two with a new projector."""

    trains_visual = True


def lite0_smollm2(
    source: str | Path, picture_tokens: int | None, meta: bool, weights: str = "fp32"
) -> Lite0SmolLM2:
    """The backbone with its pretrained weights; on the meta device with shapes only."""
    if picture_tokens or weights == "4bit":
        raise UsageError("lite0-smollm2: no picture_tokens; train.weights: fp32 or bf16.")
    processor = lite0_smollm2_processor(source)
    file = _gguf(source)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=1,
            image_size=SIDE,
            patch_size=32,
        ),
        text_config=AutoConfig.from_pretrained(file.parent, gguf_file=file.name),
        image_token_index=processor.tokenizer.convert_tokens_to_ids(PICTURE),
        image_seq_length=CELLS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    with torch.device("meta" if meta else "cpu"):
        language = LlavaForConditionalGeneration(config)
        language.model.vision_tower = LiteTower()
    if not meta:
        text: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
        language.model.language_model.load_state_dict(text.model.state_dict())
        (tower_file,) = package_folder(TOWERS["lite0-smollm2"]).glob("*.pth")
        state = torch.load(tower_file, map_location="cpu", weights_only=True)
        language.model.vision_tower.net.load_state_dict(state)
    if weights == "bf16":
        language = language.bfloat16()
    return Lite0SmolLM2(language, processor).train()


def lite0_smollm2_tokenizer(source: str | Path) -> Any:
    """SmolLM2's tokenizer."""
    return lite0_smollm2_processor(source).tokenizer


def lite0_smollm2_processor(source: str | Path) -> Any:
    """Pictures squeezed to a square and scaled as Lite0 was trained; text in SmolLM2's own form."""
    file = _gguf(source)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    images = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
    )
    return LlavaProcessor(  # type: ignore[no-untyped-call]
        images,
        tokenizer,
        patch_size=32,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=PICTURE,
        chat_template=TEMPLATE,
    )


def _gguf(source: str | Path) -> Path:
    """The one file of the language model."""
    (file,) = weights_folder(source).glob("*.gguf")
    return file
