"""A chat model and its processor from a folder, or by its name from the hub's cache.

Nothing is downloaded. Pictures are processed by PIL alone and videos not at all, so the numbers do
not depend on whether torchvision is there, and processors load that would otherwise ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    ProcessorMixin,
)
from transformers.models.auto.auto_mappings import PROCESSOR_MAPPING_NAMES
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.utils import logging

from vlbench.backbones.chat import Chat
from vlbench.backbones.chat_rows import Conversation
from vlbench.backbones.sources import missing, weights_folder
from vlbench.backbones.weights import refuse_weights
from vlbench.errors import MissingError, UsageError

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def chat_backbone(
    source: str | Path, picture_tokens: int | None, meta: bool, weights: str = "fp32"
) -> Chat:
    """The model as a backbone, its weights in fp32, bf16 or 4bit.

    On the meta device it has shapes and no weights, and any number is a float.
    """
    folder = weights_folder(source)
    config = load_config(source)
    processor = load_processor(source)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    models: Any = AutoModelForImageTextToText
    if type(config) not in models._model_mapping:
        raise UsageError(
            f"{source}: '{config.model_type}' is no image-text-to-text model of transformers."
        )
    if weights == "4bit" and find_spec("bitsandbytes") is None:
        raise MissingError(
            "train.weights: 4bit needs bitsandbytes, which is not installed: "
            "pip install 'vlbench[4bit]'."
        )
    with torch.device("meta"), _installed(source, config.model_type):
        shapes = Chat(models.from_config(config, dtype=torch.float32), processor)
    rows = shapes.check_processor()
    if picture_tokens:
        limit_pictures(Conversation(processor), config.image_token_id, picture_tokens)
    if meta:
        return shapes.train()
    options: dict[str, Any] = {"dtype": torch.float32 if weights == "fp32" else torch.bfloat16}
    if weights == "4bit":
        options["quantization_config"] = _four_bits(shapes)
    with missing(source):
        language, loading = models.from_pretrained(
            folder, ignore_mismatched_sizes=True, output_loading_info=True, **options, **LOCAL
        )
    faults = {"other shapes": {name for name, *_ in loading["mismatched_keys"]}}
    faults["missing"] = loading["missing_keys"]
    refuse_weights(source, type(language).__name__, faults)
    for module in language.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # packs weights anew when it first answers
    backbone = Chat(language, processor).eval()
    backbone.check_padding(rows)
    return backbone.train()


def _four_bits(shapes: Chat) -> BitsAndBytesConfig:
    """NF4 for the decoder's linear layers alone (Dettmers et al., 2023)."""
    inside = set(shapes.injectable.modules())
    kept = [
        name
        for name, module in shapes.language.named_modules()
        if isinstance(module, nn.Linear) and module not in inside
    ]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=kept,
    )


def chat_tokenizer(source: str | Path) -> Any:
    """The tokenizer of the model's processor."""
    return load_processor(source).tokenizer


def load_config(source: str | Path) -> Any:
    """The configuration, of a model that the library knows."""
    with missing(source):
        return AutoConfig.from_pretrained(weights_folder(source), **LOCAL)


def load_processor(source: str | Path) -> Any:
    """The processor, with a part left out for which there is no place here: that of videos."""
    folder, config = weights_folder(source), load_config(source)
    name = PROCESSOR_MAPPING_NAMES.get(config.model_type)
    kind: Any = processor_class_from_name(name) if name else None
    if kind is None:
        raise UsageError(f"{source}: no processor is known for a model '{config.model_type}'.")
    with missing(source), _installed(source, config.model_type), _parts_may_be_none():
        options, unused = kind.get_processor_dict(folder, local_files_only=True)
        parts = [_part(part, folder) for part in kind.get_attributes()]
        return kind.from_args_and_dict(parts, options, **unused)


@contextmanager
def _installed(source: str | Path, kind: str) -> Iterator[None]:
    """Raise as a MissingError that the library asks for a package."""
    try:
        yield
    except ImportError as error:
        reason, *_ = " ".join(str(error).split()).split(". ")
        raise MissingError(
            f"{source}: '{kind}' needs a package that is not here: {reason.rstrip('.')}."
        ) from error


def _part(name: str, folder: Path) -> Any:
    if name == "image_processor":
        images: Any = AutoImageProcessor
        try:
            return images.from_pretrained(folder, backend="pil", **LOCAL)
        except ValueError as error:  # an OSError is of a file
            raise ImportError("its image processor needs torchvision") from error
    if name == "tokenizer":
        return AutoTokenizer.from_pretrained(folder, **LOCAL)
    return None


def limit_pictures(conversation: Conversation, token: int, most: int) -> None:
    """Have pictures of any size read as `most` visual tokens or fewer; `token` is a visual one.

    By the pixels they are scaled to, the number of tiles they are cut into, or none.
    """
    images = conversation.processor.image_processor
    if hasattr(images, "merge_size"):
        pixels = most * (images.patch_size * images.merge_size) ** 2
        edges = ("shortest_edge", "longest_edge")  # of pixels in all, whatever their name
        images.size = {edge: min(images.size[edge], pixels) for edge in edges}
    while (read := _visual_tokens(conversation, token)) > most:
        if getattr(images, "max_patches", 0) > 1:
            images.max_patches -= 1
        elif getattr(images, "do_image_splitting", False):
            images.do_image_splitting = False
        else:
            raise UsageError(
                f"picture_tokens = {most}: this model reads a large picture as {read} tokens and "
                f"cannot read it as fewer. Should be {read} or more, or left out."
            )


def _visual_tokens(conversation: Conversation, token: int) -> int:
    """The most that a large picture is read as, square or wide."""
    pictures = (Image.new("RGB", size, "grey") for size in ((1536, 1536), (1536, 768)))
    ids = [conversation.row("", [picture]).tokens["input_ids"] for picture in pictures]
    return max(int(row.eq(token).sum()) for row in ids)


@contextmanager
def _parts_may_be_none() -> Iterator[None]:
    """Let the library's processors do without a part."""
    name = "check_argument_for_proper_class"
    check = getattr(ProcessorMixin, name)

    def lenient(processor: Any, part: str, value: Any) -> Any:
        return None if value is None else check(processor, part, value)

    setattr(ProcessorMixin, name, lenient)
    try:
        yield
    finally:
        setattr(ProcessorMixin, name, check)
