"""How a training step grows with the batch, with the text, and with the number of tasks.

The floor (`frozen`), and techniques that keep something for each task, on CLIP-BART of random
weights; each time is told as a ratio to that of the smallest point, taken in the same round. With
more tasks each step is still of one task, in turn, so it should cost no more: what is another
task's has no gradient. `update` is the step without its gradients: clipping, optimiser, schedule.

    python benchmarks/growth.py [--rounds 3] [--batch 8] [--plot FILE]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from growth_picture import Growth, save_picture
from measure import Measured, interleaved, options, record
from shapes import new_trainer, random_batch

METHODS = ("frozen", "adapter", "compacter", "hyperformer")
BATCHES = (2, 4, 8, 16, 32)
TEXTS = (10, 20, 40, 80, 160)
TASKS = (1, 4, 8, 16)


def main() -> None:
    """Print a table a question, and draw them where asked to."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="examples, where that does not vary")
    parser.add_argument("--batches", type=numbers, default=BATCHES)
    parser.add_argument("--texts", type=numbers, default=TEXTS)
    parser.add_argument("--tasks", type=numbers, default=TASKS)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--plot", type=Path, help="the picture: .svg, .png or .pdf")
    given = parser.parse_args()
    methods = given.methods.split(",")
    found = [
        show("examples in a batch", {each: of_batches(each, given) for each in methods}),
        show("text tokens", {each: of_texts(each, given) for each in methods}),
    ]
    steps, updates = {}, {}
    for method in methods:
        steps[method], updates[method] = of_tasks(method, given)
    found.append(show("tasks", steps))
    show_updates(updates)
    if given.plot:
        save_picture(found, given.plot)


def numbers(text: str) -> tuple[int, ...]:
    """`2,4,8`."""
    return tuple(map(int, text.split(",")))


def of_batches(method: str, given: Any) -> dict[int, Measured]:
    """A step by the examples in its batch."""
    step = new_trainer(method, "clip-bart", "image").step
    cases = {size: partial(step, random_batch("image", size), 1) for size in given.batches}
    return measured(cases, given.rounds)


def of_texts(method: str, given: Any) -> dict[int, Measured]:
    """A step by the tokens of each text."""
    step = new_trainer(method, "clip-bart", "image").step
    cases = {
        length: partial(step, random_batch("image", given.batch, text=length), 1)
        for length in given.texts
    }
    return measured(cases, given.rounds)


def of_tasks(method: str, given: Any) -> tuple[dict[int, Measured], dict[int, float]]:
    """A step by the number of tasks, and the seconds of its update."""
    cases = {count: OfTasks(method, count, given.batch) for count in given.tasks}
    found = measured(cases, given.rounds)
    return found, {count: case.update_seconds(given.rounds) for count, case in cases.items()}


def measured(cases: Mapping[int, Callable[[], object]], rounds: int) -> dict[int, Measured]:
    """The cases in turn, by their number."""
    found = interleaved({str(number): case for number, case in cases.items()}, rounds)
    return {int(number): each for number, each in found.items()}


class OfTasks:
    """Takes steps of so many tasks in turn, and keeps the seconds that are not gradients."""

    def __init__(self, method: str, count: int, size: int) -> None:
        names = [f"task-{number}" for number in range(count)]
        self.trainer = new_trainer(method, "clip-bart", "image", names)
        self.compute = self.trainer.gradient
        self.trainer.gradient = self.timed
        self.gradient_seconds = 0.0
        self.updates: list[float] = []
        batch = random_batch("image", size)
        self.batches = cycle([replace(batch, task=name) for name in names])
        for name in names:  # from now on the optimiser has all states
            self.trainer.step(replace(random_batch("image", 1, text=2), task=name), 1)

    def timed(self, *given: Any) -> tuple[float, int]:
        """The trainer's gradients."""
        began = time.perf_counter()
        found = self.compute(*given)
        self.gradient_seconds = time.perf_counter() - began
        return found

    def __call__(self) -> None:
        """A step of the next task."""
        began = time.perf_counter()
        self.trainer.step(next(self.batches), 1)
        self.updates.append(time.perf_counter() - began - self.gradient_seconds)

    def update_seconds(self, rounds: int) -> float:
        """The median of the last rounds."""
        return statistics.median(self.updates[-rounds:])


def show(name: str, found: Mapping[str, Mapping[int, Measured]]) -> Growth:
    """A table: a point a line, a method a column, the seconds of the first point above."""
    firsts = [f"1.00 is {next(iter(points.values())).seconds:.2f} s" for points in found.values()]
    print_row(name, list(found))
    print_row("", firsts)
    for number in next(iter(found.values())):
        print_row(str(number), [points[number].spread for points in found.values()])
        for method, points in found.items():
            record("growth", by=name, at=number, method=method, **points[number]._asdict())
    return Growth(name, found)


def show_updates(found: Mapping[str, Mapping[int, float]]) -> None:
    """The milliseconds of an update, a number of tasks a line."""
    print_row("update, ms", list(found))
    for number in next(iter(found.values())):
        print_row(str(number), [f"{1000 * counts[number]:.1f}" for counts in found.values()])
        for method, counts in found.items():
            record("growth", by="tasks", at=number, method=method, update_seconds=counts[number])


def print_row(head: str, cells: Sequence[str]) -> None:
    """A line of a table."""
    print(f"{head:20}" + "".join(f"{cell:23}" for cell in cells).rstrip(), flush=True)


if __name__ == "__main__":
    main()
