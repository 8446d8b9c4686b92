"""Training steps on a GPU in the published sizes: time, tokens, share of the card's peak, memory.

A line for each backbone, precision and method at the paper's batch. `busy` is the share of a step
in which the GPU computes: well below 1, launches bind, not arithmetic. `compiled` is the time with
every layer under torch.compile, as a share of the time without; `shared` that of two processes that
train at once on the card, beside one alone.

    python benchmarks/gpu.py [--batch 500] [--peak 989] [--methods frozen,shared-adapter,...]

With --device cpu it measures the same on the CPU, without `busy`: a rehearsal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from measure import options, record
from shapes import new_trainer, random_batch
from sides import Side, obey
from torch.utils.flop_counter import FlopCounterMode

from vlbench.backbones.base import SIDES
from vlbench.training.train import Trainer

METHODS = "frozen,shared-adapter,compacter,shared-lora,peft-lora,full"
PRECISIONS = ("fp32", "tf32", "bf16")
VISUAL_TOKENS = 36


def main() -> None:
    """Print a table."""
    parser = options(__doc__)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--backbones", default="clip-bart,clip-t5")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--peak", type=float, default=989, help="the card's dense bf16 TFLOP/s")
    parser.add_argument("--side", metavar="METHOD", help="be a process that trains")
    given = parser.parse_args()
    if given.side:
        step = stepping(new(given.side, given.backbones, "bf16", given.device), given)
        obey({"steps": partial(timed, step, given)})
        return
    name = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    print(f"{name}, batch {given.batch}, torch {torch.__version__}")
    print(f"{'backbone':11}{'precision':10}{'method':16}{'ms/step':>9}{'tokens/s':>11}", end="")
    print(f"{'of peak':>9}{'busy':>6}{'compiled':>10}{'peak GB':>9}")
    for backbone in given.backbones.split(","):
        for precision in PRECISIONS:
            for method in given.methods.split(","):
                show(measured(method, backbone, precision, given))
        shared = two_at_once("shared-adapter", backbone, given)
        print(f"{backbone}: two runs that share the card take {shared:.2f} of one's time each")
        record("gpu", card=name, backbone=backbone, shared=shared)


def new(method: str, backbone: str, precision: str, device: str) -> Trainer:
    """A trainer on the device."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    settings = [f"train.precision={'bf16' if precision == 'bf16' else 'fp32'}"]
    return new_trainer(method, backbone, "image", settings, cpu=device == "cpu")


def stepping(trainer: Trainer, given: Any) -> Callable[[], object]:
    """Whole training steps on one batch."""
    return partial(trainer.step, random_batch("image", given.batch), 1)


def timed(step: Callable[[], object], given: Any) -> float:
    """Seconds a step, the first one left out."""
    wait: Callable[[], object] = torch.cuda.synchronize if given.device == "cuda" else time.time
    step(), wait()
    began = time.perf_counter()
    for _ in range(given.steps):
        step()
    wait()
    return (time.perf_counter() - began) / given.steps


def measured(method: str, backbone: str, precision: str, given: Any) -> dict[str, Any]:
    """One line's figures."""
    trainer = new(method, backbone, precision, given.device)
    step, batch = stepping(trainer, given), random_batch("image", given.batch)
    with trainer.cast(), FlopCounterMode(display=False) as counter:
        step()
    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with trainer.cast():
        seconds = timed(step, given)
        gigabytes = torch.cuda.max_memory_allocated() / 1e9 if given.device == "cuda" else 0.0
        busy = busy_seconds(step, given) / seconds
        for side in SIDES:
            for layer in trainer.bare.backbone.layers(side):
                layer.compile()
        compiled = timed(step, given) / seconds
    tokens = batch.input_ids.numel() + VISUAL_TOKENS * given.batch + batch.target_ids.numel()
    return {
        **{"backbone": backbone, "precision": precision, "method": method, "seconds": seconds},
        **{"tokens_per_second": tokens / seconds, "busy": busy, "compiled": compiled},
        "of_peak": counter.get_total_flops() / seconds / (1e12 * given.peak),
        "peak_gb": gigabytes,
    }


def busy_seconds(step: Callable[[], object], given: Any) -> float:
    """The GPU's own time for a step."""
    if given.device == "cpu":
        return 0.0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step(), torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6


def show(figures: dict[str, Any]) -> None:
    """A line of the table."""
    record("gpu", **figures)
    print(f"{figures['backbone']:11}{figures['precision']:10}{figures['method']:16}", end="")
    print(f"{1000 * figures['seconds']:9.0f}{figures['tokens_per_second']:11,.0f}", end="")
    print(f"{figures['of_peak']:9.2f}{figures['busy']:6.2f}{figures['compiled']:10.2f}", end="")
    print(f"{figures['peak_gb']:9.1f}", flush=True)


def two_at_once(method: str, backbone: str, given: Any) -> float:
    """The time of a step while another process trains, beside its time alone."""
    words = [__file__, "--side", method, "--backbones", backbone, "--device", given.device]
    words += ["--batch", str(given.batch), "--steps", str(given.steps)]
    sides = [Side(words), Side(words)]
    alone = sides[0].ask("steps")
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda side: side.ask("steps"), sides))
    return sum(together) / 2 / alone


if __name__ == "__main__":
    main()
