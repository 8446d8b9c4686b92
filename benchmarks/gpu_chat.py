"""Training steps of chat models on a GPU, in true shapes with random weights: time and memory.

A line for each model, number format and method, with and without checkpointed activations: the
step's time beside that of `frozen`, tokens a second, the peak of the memory, and its share of what
`vlbench plan` estimates. Configurations are those of the published models; no file of theirs is
read. Tokenizer and picture processor are mini-vlm's, with the size of a picture of theirs.

    python benchmarks/gpu_chat.py [--models smolvlm-256m,smolvlm-2.2b] [--batch 32]

With --device cpu --models mini-vlm --batch 2 it is rehearsed on a CPU.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from measure import options, peak_mb, record
from PIL import Image
from torch import nn
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

from vlbench.backbones.chat import Chat
from vlbench.backbones.chat_rows import target_ids
from vlbench.backbones.chat_source import load_processor
from vlbench.cards.load import load_method
from vlbench.data.chat import ChatBatch
from vlbench.runs.memory import MicroBatch, estimate_model
from vlbench.techniques import resolve_method
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.training.train import MicroBatches, Trainer

SHAPES: dict[str, dict[str, Any]] = {
    "mini-vlm": {
        "vision": (128, 384, 3, 4, 64, 8),
        "text": (128, 384, 4, 4, 2, 600),
        "scale": 2,
    },
    "smolvlm-256m": {
        "vision": (768, 3072, 12, 12, 512, 16),
        "text": (576, 1536, 30, 9, 3, 49_280),
        "scale": 4,
    },
    "smolvlm-2.2b": {
        "vision": (1152, 4304, 27, 16, 384, 14),
        "text": (2048, 8192, 24, 32, 32, 49_155),
        "scale": 3,
    },
}
"""Vision: width, feed-forward, layers, heads, pixels of a side, of a patch. Text: width,
feed-forward, layers, heads, heads of keys, vocabulary. Scale: patches joined, along a side."""
METHODS = "frozen,shared-adapter,shared-lora,peft-lora,full"
TASK, QUESTION, ANSWER = "vqav2", "how many of the items on the canvas are large", "three"


def main() -> None:
    """Print a table."""
    parser = options(__doc__)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--models", default="smolvlm-256m,smolvlm-2.2b")
    parser.add_argument("--weights", default="fp32,bf16,4bit")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    name = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    print(f"{name}, batch {given.batch}, torch {torch.__version__}")
    print(f"{'model':14}{'weights':8}{'method':16}{'checkpoints':12}{'ms/step':>9}", end="")
    print(f"{'to frozen':>11}{'tokens/s':>10}{'peak GB':>9}{'of estimate':>12}")
    for model in given.models.split(","):
        for weights in given.weights.split(","):
            floor = 0.0
            for method in given.methods.split(","):
                if (method, weights) == ("full", "4bit"):
                    continue
                for is_checkpointed in (False, True):
                    floor = show(given, model, weights, method, is_checkpointed, floor)


def show(
    given: Namespace, model: str, weights: str, method: str, is_checkpointed: bool, floor: float
) -> float:
    """Measure and print a line; return the time of a step of `frozen`."""
    figures = measured(given, model, weights, method, is_checkpointed)
    floor = floor or figures["seconds"]
    figures["to_frozen"] = figures["seconds"] / floor
    record("gpu_chat", model=model, weights=weights, method=method, **figures)
    print(f"{model:14}{weights:8}{method:16}{'yes' if is_checkpointed else '':12}", end="")
    print(f"{1000 * figures['seconds']:9.0f}{figures['to_frozen']:11.2f}", end="")
    print(f"{figures['tokens_per_second']:10,.0f}{figures['peak_gb']:9.1f}", end="")
    print(f"{figures['of_estimate']:12.2f}", flush=True)
    return floor


def measured(
    given: Namespace, name: str, weights: str, method: str, is_checkpointed: bool
) -> dict[str, float]:
    """Seconds of a step, tokens a second, and the peak."""
    card = resolve_method(load_method(method), name, "image-text", [f"train.weights={weights}"])
    accelerator = Accelerator(cpu=given.device == "cpu")
    backbone = built(name, weights, accelerator.device)
    model = adapt(backbone, card, [TASK]).to(accelerator.device)
    shapes = adapt(built(name, "fp32", torch.device("meta")), card, [TASK])
    if is_checkpointed and not model.technique.only_once:
        model.checkpoint_activations()
        shapes.checkpoint_activations()
    batch = batch_of(backbone, given.batch).to(accelerator.device)
    step = stepping(model, batch, card.train, accelerator)
    wait: Callable[[], object] = torch.cuda.synchronize if given.device == "cuda" else time.time
    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step(), wait()
    began = time.perf_counter()
    for _ in range(given.steps):
        step()
    wait()
    seconds = (time.perf_counter() - began) / given.steps
    tokens = batch.tensors["input_ids"].numel()
    parts = [MicroBatch(given.batch, tokens // given.batch, batch.target_ids.shape[1])]
    peak = torch.cuda.max_memory_allocated() if given.device == "cuda" else peak_mb() * 1e6
    of_estimate = peak / sum(estimate_model(shapes, card.train, parts))
    figures = {"seconds": seconds, "tokens_per_second": tokens / seconds}
    return figures | {"peak_gb": peak / 1e9, "of_estimate": of_estimate}


def stepping(
    model: AdaptedModel, batch: ChatBatch, settings: Any, accelerator: Accelerator
) -> Callable[[], object]:
    """A step of the trainer on one batch."""
    tasks: Iterable[Any] = [Namespace(card=Namespace(name=TASK, loss="per-example"), batches=1)]
    trainer = Trainer(model, [*tasks], settings, 0, accelerator, None, MicroBatches())
    return partial(trainer.step, batch, 1)


def built(name: str, weights: str, device: torch.device) -> Chat:
    """The model with random weights as a backbone."""
    sizes = SHAPES[name]
    processor = load_processor("weights/mini-vlm")
    tokenizer = processor.tokenizer
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    vision = dict(zip((*keys, "image_size", "patch_size"), sizes["vision"], strict=True))
    text = dict(zip((*keys, "num_key_value_heads", "vocab_size"), sizes["text"], strict=True))
    side = {"longest_edge": vision["image_size"]}
    processor.image_processor.size = processor.image_processor.max_image_size = side
    processor.image_seq_len = (vision["image_size"] // vision["patch_size"] // sizes["scale"]) ** 2
    config = SmolVLMConfig(
        vision_config=vision,
        text_config={"model_type": "llama", "tie_word_embeddings": True, **text},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=sizes["scale"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    with device:
        model = SmolVLMForConditionalGeneration(config)
    if weights != "fp32":
        model = model.bfloat16()
    backbone = Chat(model, processor)
    if weights == "4bit":
        for layer in backbone.layers("decoder"):
            quantise(layer, device)
    return backbone.train()  # type: ignore[return-value]


def quantise(module: nn.Module, device: torch.device) -> None:
    """Put layers of 4 bits in the place of all linear ones."""
    from bitsandbytes.nn import Linear4bit

    for name, child in [*module.named_children()]:
        if isinstance(child, nn.Linear):
            layer = Linear4bit(
                child.in_features,
                child.out_features,
                bias=child.bias is not None,
                compute_dtype=torch.bfloat16,
                quant_type="nf4",
            )
            layer.support_avx512bf16_for_cpu = False  # as a run has it
            layer.load_state_dict(child.state_dict())
            setattr(module, name, layer.to(device))
        else:
            quantise(child, device)


def batch_of(backbone: Chat, size: int) -> ChatBatch:
    """Questions about a picture of the model's own size."""
    talk = backbone.conversation
    picture = Image.new("RGB", (640, 480), "grey")
    row = talk.row(QUESTION, [picture], talk.answer(ANSWER))
    rows = (row,) * size
    return ChatBatch(
        TASK, tuple(map(str, range(size))), target_ids(rows), torch.ones(size), rows, talk
    )


if __name__ == "__main__":
    main()
