"""mini-vlm untrained: SmolVLM's own classes at 1.5 M parameters, with tokenizer and processor.

One visual token for each cell of a picture: 64 patches of 8 x 8 pixels, four of them joined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, SmolVLMConfig, SmolVLMForConditionalGeneration

from tools.pretrain.lessons import MASK
from tools.pretrain.tokenizer import byte_pairs
from vlbench.backbones.sources import CONFIG_FILE
from vlbench.data.mini.world import GRID, SIDE
from vlbench.files import write_atomically

WIDTH = 128
VOCABULARY = 1000
IMAGE, AROUND, GLOBAL, END = (
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
)
SPECIAL = ["<|im_start|>", "<pad>", "<|im_end|>", END, AROUND, GLOBAL, IMAGE, MASK]
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for line in message['content'] %}{% if line['type'] == 'image' %}<image>"
    "{% elif line['text'] %} {{ line['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
PROCESSOR = {
    "processor_class": "SmolVLMProcessor",
    "image_seq_len": GRID * GRID,
    "image_processor": {
        "image_processor_type": "SmolVLMImageProcessor",
        "do_convert_rgb": True,
        "do_image_splitting": False,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "max_image_size": {"longest_edge": SIDE},
        "resample": 1,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": SIDE},
    },
}


def write_processor(texts: Iterable[str], folder: Path) -> None:
    """Learn a vocabulary on `texts`; write tokenizer, chat template and processor."""
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=byte_pairs(texts, SPECIAL, VOCABULARY),
        bos_token=SPECIAL[0],
        pad_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        extra_special_tokens={
            "image_token": IMAGE,
            "fake_image_token": AROUND,
            "global_image_token": GLOBAL,
            "end_of_utterance_token": END,
        },
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    write_atomically(folder / "processor_config.json", json.dumps(PROCESSOR, indent=2) + "\n")


def mini_vlm(tokenizer: Any, seed: int) -> SmolVLMForConditionalGeneration:
    """The untrained model: a tower of 3 layers, a decoder of 4, both 128 wide."""
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": SIDE // GRID // 2,
    }
    text = {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.convert_tokens_to_ids(END),
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = SmolVLMConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        scale_factor=2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    return SmolVLMForConditionalGeneration(config)


def save_model(model: SmolVLMForConditionalGeneration, folder: Path) -> None:
    """Write weights and configuration as the library does."""
    model.save_pretrained(folder)
    for file in (folder / CONFIG_FILE, folder / "generation_config.json"):
        table = json.loads(file.read_text(encoding="utf-8"))
        table.pop("transformers_version", None)
        write_atomically(file, json.dumps(table, indent=2, sort_keys=True) + "\n")
