"""Backbones of the published sizes with random weights, and batches of the benchmark's shapes."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from measure import options

from vlbench.backbones import find_backbone
from vlbench.backbones.bart import new_bart
from vlbench.backbones.base import IGNORED, Backbone
from vlbench.backbones.t5 import new_t5
from vlbench.backbones.weights import ADDED_TOKENS, BART_BASE, T5_BASE, T5_ROWS
from vlbench.cards.load import load_method
from vlbench.cards.schema import MethodCard, Visual
from vlbench.data.batches import FeatureBatch
from vlbench.techniques import resolve_method
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.training.train import Trainer

CLIP = find_backbone("clip-bart").features
TASKS = ("vqav2", "gqa", "nlvr2", "coco")
TEXT = {"image": 20, "video": 300}
TARGETS = {"image": 10, "video": 20}
VISION = {"image": 49, "video": 64}
"""Before pooling: a grid of 7 x 7 features gives 36 tokens."""
SUITES = {"image": "image-text", "video": "video-text"}


def random_backbone(name: str, visual: Visual) -> Backbone:
    """`clip-bart` or `clip-t5` in the published size; built anew, with the same weights each time.

    None is kept to copy from: the peak of a process would count it beside the model.
    """
    features = CLIP[visual]
    torch.manual_seed(0)
    if name == "clip-bart":
        config: Any = deepcopy(BART_BASE)
        config.vocab_size += len(ADDED_TOKENS)
        return new_bart(config, features.width, features.tokens)
    config = deepcopy(T5_BASE)
    config.vocab_size = T5_ROWS
    return new_t5(config, features.width, features.tokens)


def random_batch(visual: Visual, size: int) -> FeatureBatch:
    """A batch of VQA's shapes: full texts; targets of all lengths up to the longest."""
    torch.manual_seed(0)
    longest = TARGETS[visual]
    targets = torch.randint(10, 30_000, (size, longest))
    lengths = torch.linspace(longest // 2, longest, size).round().long()
    targets[torch.arange(longest)[None] >= lengths[:, None]] = IGNORED
    return FeatureBatch(
        task=TASKS[0],
        ids=tuple(map(str, range(size))),
        input_ids=torch.randint(10, 30_000, (size, TEXT[visual])),
        features=torch.randn(size, 1, VISION[visual], CLIP[visual].width),
        target_ids=targets,
        scores=torch.ones(size),
    )


def card(method: str, backbone: str, visual: Visual, settings: Sequence[str] = ()) -> MethodCard:
    """The method's card as a run on this backbone has it, with `--set` of each setting."""
    return resolve_method(load_method(method), backbone, SUITES[visual], settings)


def step_options(text: str | None) -> ArgumentParser:
    """A parser of what a training step may be like."""
    parser = options(text)
    parser.add_argument("--backbone", default="clip-bart", choices=["clip-bart", "clip-t5"])
    parser.add_argument("--visual", default="image", choices=["image", "video"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=8, help="examples in a batch")
    parser.add_argument("--rounds", type=int, default=7)
    return parser


def step_title(given: Any) -> str:
    """What the options say; it is printed too, with the number of threads."""
    where = f"{given.backbone}, {given.visual}, batch {given.batch}, {given.precision}"
    print(f"{where}, {torch.get_num_threads()} threads")
    return where


def adapted(backbone: Backbone, method: MethodCard, names: Sequence[str] = TASKS) -> AdaptedModel:
    """The backbone, adapted for these tasks."""
    return adapt(backbone, method, names)


def new_trainer(
    method: str, backbone: str, visual: Visual, settings: Sequence[str] = (), cpu: bool = True
) -> Trainer:
    """Takes training steps, on random weights."""
    resolved = card(method, backbone, visual, settings)
    model = adapted(random_backbone(backbone, visual), resolved)
    mixed = "bf16" if resolved.train.precision == "bf16" else "no"
    accelerator = Accelerator(cpu=cpu, mixed_precision=mixed)
    stubs: Any = tasks()
    return Trainer(model.train(), stubs, resolved.train, 0, accelerator)


def tasks(names: Sequence[str] = TASKS) -> list[SimpleNamespace]:
    """As much of the tasks as a trainer asks for."""
    cards = [SimpleNamespace(name=name, loss="score-weighted") for name in names]
    return [SimpleNamespace(card=card, batches=1000) for card in cards]
