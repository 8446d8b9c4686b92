"""What a training step spends its time on: each technique beside the floor, in milliseconds.

torch's profiler tells the time within each kind of operation; what stands here is the least of the
rounds, in which the techniques take turns, so that a machine's other work hardly counts. A group is
a line of GROUPS; `calls` is the rest: views, bookkeeping of autograd, Python.

    python benchmarks/step_profile.py [--backbone clip-bart] [--visual image] [--precision fp32]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from measure import record
from shapes import new_trainer, random_batch, step_options, step_title
from torch.profiler import ProfilerActivity, profile

FLOOR = "frozen"
METHODS = (
    *("bitfit", "shared-adapter", "shared-compacter", "hyperformer", "shared-lora"),
    *("vl-pet-large", "shared-prompt-tuning", "lst", "full"),
)
GROUPS = {
    "products": ("mm", "addmm", "bmm", "baddbmm"),
    "masks of dropout": ("bernoulli_", "div_"),
    "element by element": (
        *("add", "add_", "sub", "mul", "div", "where", "gelu", "gelu_backward", "relu", "sigmoid"),
        *("sum", "mean", "pow", "rsqrt", "threshold_backward", "masked_fill_"),
        *("_softmax", "_softmax_backward_data", "_log_softmax", "_log_softmax_backward_data"),
        *("native_layer_norm", "native_layer_norm_backward", "embedding", "index", "index_put_"),
    ),
    "copies": ("copy_", "cat", "stack", "fill_", "zero_"),
    "update": ("_fused_adamw_", "linalg_vector_norm", "mul_", "_foreach_norm", "_foreach_mul_"),
}
"""Column -> operations of ATen."""
REST = "calls"


def main() -> None:
    """Print a table: a technique a line, a group a column."""
    parser = step_options(__doc__)
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    where = step_title(given)
    columns = (*GROUPS, REST, "step")
    print(f"{'ms':22}" + "".join(f"{column:>20}" for column in columns) + f"{'ratio':>8}")
    steps = {method: stepping(method, given) for method in (FLOOR, *given.methods.split(","))}
    profiles = least(steps, given.rounds)
    floor = grouped(profiles[FLOOR])
    for method, operations in profiles.items():
        found = grouped(operations)
        ratio = found["step"] / floor["step"]
        cells = "".join(f"{found[column]:20.0f}" for column in columns)
        print(f"{method:22}{cells}{ratio:8.2f}", flush=True)
        record("step_profile", where=where, method=method, milliseconds=found, ratio=ratio)


def stepping(method: str, given: Any) -> Callable[[], object]:
    """Takes a step of training; one is taken, so that the optimiser has its states."""
    trainer = new_trainer(method, given.backbone, given.visual, precision=given.precision)
    step = partial(trainer.step, random_batch(given.visual, given.batch), 1)
    step()
    return step


def least(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Technique -> operation -> the fewest milliseconds within it, of its steps."""
    found: dict[str, dict[str, float]] = {method: {} for method in steps}
    for _ in range(rounds):
        for method, step in steps.items():
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                step()
            for event in seen.key_averages():
                took = event.self_cpu_time_total / 1000
                found[method][event.key] = min(took, found[method].get(event.key, took))
    return found


def grouped(operations: dict[str, float]) -> Counter[str]:
    """Group -> its milliseconds, and `step`, the sum of all."""
    of = {f"aten::{name}": group for group, names in GROUPS.items() for name in names}
    found: Counter[str] = Counter()
    for operation, took in operations.items():
        found[of.get(operation, REST)] += took
        found["step"] += took
    return found


if __name__ == "__main__":
    main()
