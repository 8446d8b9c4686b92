"""Whether `torch.compile` pays: a training step with compiled layers against the plain one.

Each layer of the backbone is compiled with the technique's hooks in it, for shapes that change from
batch to batch. `worth it after` is the number of steps that make up for the compilation.

    python benchmarks/compiled.py [--backbone clip-bart] [--methods frozen,shared-adapter]
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from measure import interleaved, options, record
from shapes import new_trainer, random_batch

from vlbench.backbones.base import SIDES

LENGTHS = (20, 14, 17)
"""Texts of the batches that both are warmed up with: later shapes are compiled no more."""


def main() -> None:
    """Print a table, a technique a line."""
    parser = options(__doc__)
    parser.add_argument("--backbone", default="clip-bart", choices=["clip-bart", "clip-t5"])
    parser.add_argument("--batch", type=int, default=8, help="examples in a batch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", default="frozen,shared-adapter,shared-compacter,full")
    given = parser.parse_args()
    print(f"{given.backbone}, batch {given.batch}, fp32, {torch.get_num_threads()} threads")
    heads = f"{'compiled: ratio':20}{'compiling s':>12}{'worth it after':>16}"
    print(f"{'method':20}{'s/step':>8}  {heads}")
    for method in given.methods.split(","):
        show(method, given)


def show(method: str, given: Any) -> None:
    """A line of the table."""
    plain, compiled = (new_trainer(method, given.backbone, "image") for _ in range(2))
    for side in SIDES:
        for layer in compiled.bare.backbone.layers(side):
            layer.compile(dynamic=True)
    began = time.perf_counter()
    for number, length in enumerate(LENGTHS):
        compiled.step(random_batch("image", given.batch, text=length), number + 1)
    seconds = time.perf_counter() - began
    batch = random_batch("image", given.batch)
    cases = {"plain": partial(plain.step, batch, 1), "compiled": partial(compiled.step, batch, 1)}
    measured = interleaved(cases, given.rounds)
    step, found = measured["plain"].seconds, measured["compiled"]
    gain = step * (1 - found.ratio)
    worth = f"{seconds / gain:,.0f} steps" if gain > 0 else "never"
    print(f"{method:20}{step:8.2f}  {found.spread:20}{seconds:12.0f}{worth:>16}", flush=True)
    record("compiled", backbone=given.backbone, method=method, compile=seconds, **found._asdict())


if __name__ == "__main__":
    main()
