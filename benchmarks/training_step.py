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
from pathlib import Path
from typing import Any

import torch
from measure import Measured, interleaved, record
from shapes import new_trainer, random_batch, step_options, step_title

from vlbench.data.batches import Batch

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
    parser.add_argument(
        "--peak", help="take two steps of this method and print the peak, nothing else"
    )
    given = parser.parse_args()
    if given.peak:
        step = stepping(given.peak, given, random_batch(given.visual, given.batch))
        step(), step()
        print(json.dumps(peak_mb()))
        return
    where = step_title(given)
    print(f"{'method':22}{'s/step':>8}  {'ratio to the floor':24}{'saved MB':>9}{'peak MB':>9}")
    batch = random_batch(given.visual, given.batch)
    floor = stepping(FLOOR, given, batch)
    for method in (FLOOR, *given.methods.split(",")):
        show(method, where, *measure(method, given, batch, floor))


def measure(
    method: str, given: Any, batch: Batch, floor: Callable[[], object]
) -> tuple[Measured, float, float]:
    """The technique and the floor, in turn; then the technique's MB, saved and peak."""
    cases = {FLOOR: floor}
    if method != FLOOR:
        cases[method] = stepping(method, given, batch)
    timing = interleaved(cases, given.rounds)[method]
    words = [sys.executable, __file__, "--peak", method, "--backbone", given.backbone]
    words += ["--visual", given.visual, "--precision", given.precision, "--batch", str(given.batch)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return timing, saved_bytes(cases[method]) / 1e6, json.loads(done.stdout)


def peak_mb() -> float:
    """Of this process since it was started; `getrusage` would also count the one that forked it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def show(method: str, where: str, timing: Measured, saved: float, peak: float) -> None:
    """A line of the table."""
    sizes = f"{saved:9,.0f}{peak:9,.0f}"
    print(f"{method:22}{timing.seconds:8.2f}  {timing.spread:24}{sizes}", flush=True)
    measured = {**timing._asdict(), "saved_mb": saved, "peak_mb": peak}
    record("training_step", where=where, method=method, **measured)


def stepping(method: str, given: Any, batch: Batch) -> Callable[[], object]:
    """Takes a whole step of training, optimiser and schedule included."""
    trainer = new_trainer(method, given.backbone, given.visual, precision=given.precision)
    return partial(trainer.step, batch, 1)


def saved_bytes(step: Callable[[], object]) -> int:
    """Bytes of the storages that a step keeps for its backward pass, parameters left out."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not is_of_parameter(tensor):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values())


def is_of_parameter(tensor: torch.Tensor) -> bool:
    """Whether it is a view of a parameter, as a transposed weight is."""
    return isinstance(tensor._base, torch.nn.Parameter)


if __name__ == "__main__":
    main()
