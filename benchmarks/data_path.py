"""Whether the data keeps up: examples a second from the store to a batch, and what a step needs.

All training batches of the mini edition, as a run makes them: with the edition's own features in
its cards' batches, and with random features of the full size, 36 x 2048, in the authors' batches,
in line and by the prefetching thread. Files come from the system's page cache. Then steps of the
floor on CLIP-BART with batches built before, built between steps, and built by the thread.

    python benchmarks/data_path.py [--rounds 5] [--batches 4]

The store of random features takes 600 MB. The texts are the mini edition's, with its tokenizer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from measure import interleaved, options, record
from shapes import CLIP, card, new_trainer

from vlbench.backbones import build_tokenizer
from vlbench.cards.load import find_tasks
from vlbench.data.batches import Batch, FeatureData, prefetched
from vlbench.data.prepare import PreparedTask, prepare
from vlbench.data.stores.base import Store
from vlbench.data.stores.extract import BATCH_SIZE
from vlbench.data.stores.own import write_store
from vlbench.process import with_defaults
from vlbench.runs.plan import data_root, feature_spec_for

FLOOR = "frozen"
STEP_BATCH = 8


def main() -> None:
    """Print two tables."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=4, help=f"of {STEP_BATCH}, for the steps")
    given = parser.parse_args()
    os.environ.update(with_defaults(os.environ))  # as a worker has it
    tasks = mini_tasks()
    with tempfile.TemporaryDirectory() as folder:
        store = full_size_store(Path(folder) / "store", tasks)
        mini = [task_data(task, task.store, "mini-bart") for task in tasks]
        full = [task_data(task, store, "clip-bart") for task in tasks]
        small = task_data(tasks[0], store, "clip-bart", f"train.batch_size={STEP_BATCH}")
        print(f"{'':42}{'examples/s':>12}  ratio of times")
        show_making("features of the mini edition", mini, given.rounds)
        supply = show_making("features of the full size", full, given.rounds)
        demand = show_steps(small, given.batches, given.rounds)
    print(f"Data comes {supply / demand:,.0f} times as fast as these steps take it; a device that")
    print(f"trains more than {supply:,.0f} examples a second waits for it.")
    record("data_path", supply=supply, demand=demand)


def mini_tasks() -> list[PreparedTask]:
    """The image tasks as a run on mini-bart reads them."""
    _, cards = find_tasks("image-text")
    spec = feature_spec_for("mini-bart", "image", "", ())
    return prepare(cards, "mini", data_root(cards, "mini", None), None, spec)


def full_size_store(folder: Path, tasks: Sequence[PreparedTask]) -> Store:
    """Features of CLIP's shape for all pictures of the training splits."""
    shape = (CLIP["image"].tokens, CLIP["image"].width)
    row = np.random.default_rng(0).standard_normal((1, *shape), np.float32).astype(np.float16)
    images = list({image: None for task in tasks for image in task.train.images()})
    shards = (images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE))
    return write_store(folder, (({"ids": ids}, row.repeat(len(ids), 0)) for ids in shards))


def task_data(task: PreparedTask, store: Store, backbone: str, *settings: str) -> FeatureData:
    """The training examples with these features, in the batches of the floor on this backbone."""
    train = card(FLOOR, backbone, "image", settings).train
    return FeatureData(task.card, task.train, build_tokenizer("mini-bart"), train, store)


def epoch(tasks: Iterable[FeatureData]) -> Iterator[Batch]:
    """The training batches of all tasks."""
    for task in tasks:
        yield from task.epoch(np.random.default_rng(0))


def show_making(name: str, tasks: Sequence[FeatureData], rounds: int) -> float:
    """Make an epoch's batches and throw them away; the examples a second in line."""
    cases = {
        "in line": partial(exhaust, lambda: epoch(tasks)),
        "by the thread": partial(exhaust, lambda: prefetched(epoch(tasks))),
    }
    return show(name, cases, sum(map(len, tasks)), rounds)


def exhaust(batches: Callable[[], Iterator[Batch]]) -> None:
    """Take them all."""
    for _ in batches():
        pass


def show_steps(task: FeatureData, count: int, rounds: int) -> float:
    """Train with batches that come in each way; the examples a second that steps alone take."""
    trainer = new_trainer(FLOOR, "clip-bart", "image")
    built = list(islice(epoch([task]), count))

    def train(batches: Callable[[], Iterator[Batch]]) -> None:
        for batch in islice(batches(), count):
            trainer.step(batch, 1)

    cases = {
        "batches built before": partial(train, lambda: iter(built)),
        "built between steps": partial(train, lambda: epoch([task])),
        "built by the thread": partial(train, lambda: prefetched(epoch([task]))),
    }
    return show(f"{count} steps", cases, count * STEP_BATCH, rounds)


def show(name: str, cases: Mapping[str, Callable[[], None]], examples: int, rounds: int) -> float:
    """A line a case; the examples a second of the first."""
    timings = interleaved(cases, rounds)
    rates = {case: examples / timing.seconds for case, timing in timings.items()}
    for case, timing in timings.items():
        print(f"{f'{name}, {case}':42}{rates[case]:12,.1f}  {timing.spread}", flush=True)
        rate = {"examples_per_second": rates[case]}
        record("data_path", what=name, case=case, **rate, **timing._asdict())
    return next(iter(rates.values()))


if __name__ == "__main__":
    main()
