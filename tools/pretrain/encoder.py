"""Pretraining of what reads pictures: name colour, shape and size of what each cell holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vlbench.data.mini.world import COLORS, GRID, SHAPES, SIZES, Scene, draw, scenes
from vlbench.encoders.mini import WIDTH, pixels

KINDS = (("color", COLORS), ("shape", SHAPES), ("size", SIZES))
BATCH = 128
PICTURES = 24_000
LEARNING_RATE = 2e-3


def cell_labels(scene: Scene) -> Tensor:
    """(3, 16): for each kind and cell 0 where empty, else 1 + the index of the value."""
    labels = torch.zeros(len(KINDS), GRID * GRID, dtype=torch.long)
    for thing in scene.things:
        for kind, (name, values) in enumerate(KINDS):
            labels[kind, thing.row * GRID + thing.column] = 1 + values.index(getattr(thing, name))
    return labels


def learn_cells(
    net: nn.Module,
    seed: int,
    steps: int,
    report: Callable[[int, float, float], None],
    rate: float = LEARNING_RATE,
    clip_norm: float = math.inf,
    names_cells: bool = False,
) -> None:
    """Train `net`, which returns a state of each cell (B, 16, 128) of pixels (B, 3, 64, 64).

    `names_cells`: the states must tell too which cell they are of. `report(step, loss, accuracy)`
    every 100 steps; accuracy is over the occupied cells of scenes not trained on, all kinds right.
    """
    sizes = [1 + len(values) for _, values in KINDS] + [GRID * GRID] * names_cells
    heads = nn.ModuleList([nn.Linear(WIDTH, size) for size in sizes])
    shown = list(islice(scenes("pretraining", Random(seed)), PICTURES + 512))
    images = pixels([draw(scene) for scene in shown]).mul(255).byte()
    labels = torch.stack([cell_labels(scene) for scene in shown])  # (N, 3, 16)
    cells = torch.arange(GRID * GRID).expand(len(shown), 1, -1)
    labels = torch.cat([labels, cells], dim=1) if names_cells else labels
    parameters = [*(p for p in net.parameters() if p.requires_grad), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for step in range(1, steps + 1):
        picked = torch.randint(PICTURES, (BATCH,))
        states = net(images[picked].float() / 255)
        loss = torch.stack(
            [
                cross_entropy(head(states).flatten(0, 1), labels[picked, kind].flatten())
                for kind, head in enumerate(heads)
            ]
        ).sum()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            report(step, loss.item(), _accuracy(net, heads, images[PICTURES:], labels[PICTURES:]))
    net.eval()


@torch.inference_mode()
def _accuracy(net: nn.Module, heads: nn.ModuleList, images: Tensor, labels: Tensor) -> float:
    states = net(images.float() / 255)
    right = torch.ones_like(labels[:, 0], dtype=torch.bool)
    for kind, head in enumerate(heads):
        right &= head(states).argmax(-1) == labels[:, kind]
    return right[labels[:, 0] > 0].float().mean().item()
