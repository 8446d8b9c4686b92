"""What a training step of each technique costs, against the floor of the same process.

The floor is the frozen backbone whose visual embedding trains (the method `frozen`), with the same
batch, dropout and precision; no technique inside the backbone can be cheaper. Backbones of the
published sizes, random weights.

    python benchmarks/training_step.py [--backbone clip-bart] [--visual image] [--precision fp32]

`saved MB` is what the forward pass keeps for the backward pass, `peak MB` the memory of a process
of its own that takes two steps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measure import interleaved, peak_mb, record
from shapes import new_trainer, random_batch, step_options, step_title

from vlbench.training.train import Trainer

FLOOR = "frozen"
METHODS = (
    *("bitfit", "shared-adapter", "adapter", "shared-compacter", "compacter", "hyperformer"),
    *("shared-lora", "lora", "low-rank-adapter", "vl-pet-large", "shared-prompt-tuning"),
    *("prompt-tuning", "lst", "full"),
)


def main() -> None:
    """Print a table, a technique a line."""
    parser = step_options(__doc__)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--peak", help="print what two steps of this method take, nothing else")
    given = parser.parse_args()
    batch = random_batch(given.visual, given.batch)
    if given.peak:
        trainer = new(given.peak, given)
        trainer.step(batch, 1), trainer.step(batch, 1)
        print(json.dumps({"peak": peak_mb(), "trains": trained_mb(trainer)}))
        return
    where = step_title(given)
    print(f"{'method':22}{'s/step':>8}  {'ratio to the floor':24}{'saved MB':>9}", end="")
    print(f"{'peak MB':>9}{'over floor':>12}  largest")
    floor = partial(new(FLOOR, given).step, batch, 1)
    least = peak(FLOOR, given)
    for method in (FLOOR, *given.methods.split(",")):
        cases = {FLOOR: floor}
        if method != FLOOR:
            cases[method] = partial(new(method, given).step, batch, 1)
        timing = interleaved(cases, given.rounds)[method]
        memory = saved(cases[method]) | peak(method, given)
        over = memory["peak"] / (least["peak"] + memory["trains"] - least["trains"])
        print(
            f"{method:22}{timing.seconds:8.2f}  {timing.spread:24}{memory['saved']:9,.0f}", end=""
        )
        print(f"{memory['peak']:9,.0f}{over:12.3f}  {memory['largest']}", flush=True)
        measured = {**timing._asdict(), **memory, "over_floor": over}
        record("training_step", where=where, method=method, **measured)


def new(method: str, given: Any) -> Trainer:
    """A trainer in the precision that the options say."""
    settings = [f"train.precision={given.precision}"]
    return new_trainer(method, given.backbone, given.visual, settings)


def peak(method: str, given: Any) -> dict[str, float]:
    """MB of a process of its own after two steps, and of what trains."""
    words = [sys.executable, __file__, "--peak", method, "--backbone", given.backbone]
    words += ["--visual", given.visual, "--precision", given.precision, "--batch", str(given.batch)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def trained_mb(trainer: Trainer) -> float:
    """MB of the parameters that train, their gradients and their two moments."""
    return 4 * sum(p.nbytes for p in trainer.trained) / 1e6


def saved(step: Callable[[], object]) -> dict[str, Any]:
    """What a step keeps for its backward pass: MB without parameters, and the largest's shape."""
    storages: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not any(isinstance(t, torch.nn.Parameter) for t in (tensor, tensor._base)):
            storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    sizes = {tensor.untyped_storage().nbytes(): tuple(tensor.shape) for tensor in storages.values()}
    total = sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
    return {"saved": total / 1e6, "largest": sizes[max(sizes)]}


if __name__ == "__main__":
    main()
