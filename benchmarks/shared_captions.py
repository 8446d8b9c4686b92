"""What an encoder pass that captions of one picture share saves: `train.share_encoder`.

A training step with eight pictures and five captions of each, an encoder pass for every caption, as
the authors have it, against one for every picture.

    python benchmarks/shared_captions.py [--backbone clip-bart] [--methods frozen,shared-adapter]
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from measure import interleaved, options, record
from shapes import new_trainer, random_batch

from vlbench.data.batches import Batch

PICTURES = 8
CAPTIONS = 5
PROMPT = 5
"""Tokens of the text: the task's prompt."""


def main() -> None:
    """Print a table, a technique a line."""
    parser = options(__doc__)
    parser.add_argument("--backbone", default="clip-bart", choices=["clip-bart", "clip-t5"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", default="frozen,shared-adapter,shared-compacter,full")
    given = parser.parse_args()
    print(f"{given.backbone}, {PICTURES} pictures with {CAPTIONS} captions each, fp32")
    print(f"{'method':20}{'s/step':>8}  shared: ratio")
    for method in given.methods.split(","):
        show(method, given)


def show(method: str, given: Any) -> None:
    """A line of the table."""
    apart, shared = batches()
    trainer = new_trainer(method, given.backbone, "image")
    cases = {
        "apart": partial(trainer.step, apart, 1),
        "shared": partial(trainer.step, shared, 1),
    }
    measured = interleaved(cases, given.rounds)
    found = measured["shared"]
    print(f"{method:20}{measured['apart'].seconds:8.2f}  {found.spread}", flush=True)
    record("shared_captions", backbone=given.backbone, method=method, **found._asdict())


def batches() -> tuple[Batch, Batch]:
    """All captions, with the pictures once for each and once for all."""
    whole = random_batch("image", PICTURES * CAPTIONS, text=PROMPT)
    rows = torch.arange(PICTURES).repeat_interleave(CAPTIONS)
    inputs = whole.part(slice(PICTURES))
    shared = replace(
        whole, input_ids=inputs.input_ids, features=inputs.features.half(), inputs=rows
    )
    apart = replace(whole, input_ids=inputs.input_ids[rows], features=shared.features[rows])
    return apart, shared


if __name__ == "__main__":
    main()
