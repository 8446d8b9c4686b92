"""A training small enough for tests: toy backbones, made-up batches, ranks that are threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Barrier, Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from tests.techniques.toys import FEATURE_WIDTH, ONE_LAYER, toy_backbone
from vlbench.cards import load_method
from vlbench.cards.schema import TrainSettings
from vlbench.data.batches import WHOLE, Batch, FeatureBatch
from vlbench.techniques import resolve_method
from vlbench.techniques.adapt import adapt
from vlbench.training.distributed import Ranks
from vlbench.training.train import Step, Trainer

PAD = 1


@dataclass
class Task:
    """Examples of random tokens; a batch is as long as its longest text, as in real ones."""

    name: str
    examples: int = 5
    batch_size: int = 3
    loss: str = "score-weighted"

    @property
    def card(self) -> Any:
        return SimpleNamespace(name=self.name, loss=self.loss)

    @property
    def batches(self) -> int:
        return -(-self.examples // self.batch_size)

    def epoch(
        self, random: np.random.Generator, skip: int = 0, share: slice = WHOLE
    ) -> Iterator[Batch]:
        order = random.permutation(self.examples).tolist()
        for number in range(self.batches):
            places = order[number * self.batch_size : (number + 1) * self.batch_size]
            draws = [random.uniform() for _ in places]
            if number >= skip:
                yield self.batch(places[share], draws[share])

    def batch(self, places: list[int], scores: list[float]) -> Batch:
        drawn = [np.random.default_rng([len(self.name), place]) for place in places]
        lengths = [(2 + place % 4, 1 + place % 3) for place in places]
        pairs = list(zip(drawn, lengths, strict=True))
        texts = [[*random.integers(4, 60, text), 2] for random, (text, _) in pairs]
        targets = [[0, *random.integers(4, 60, target), 2] for random, (_, target) in pairs]
        features = [random.standard_normal((1, 9, FEATURE_WIDTH)) for random in drawn]
        return FeatureBatch(
            task=self.name,
            ids=tuple(f"{self.name}-{place}" for place in places),
            input_ids=_padded(texts, PAD),
            features=torch.tensor(np.array(features), dtype=torch.float32),
            target_ids=_padded(targets, -100),
            scores=torch.tensor(scores),
        )


def _padded(rows: list[list[Any]], filling: int) -> torch.Tensor:
    longest = max((len(row) for row in rows), default=0)
    filled = [[*row, *[filling] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long).reshape(len(rows), longest)


TASKS = (Task("one"), Task("two", loss="per-token"))


def new_trainer(
    method: str = "shared-adapter",
    tasks: tuple[Task, ...] = TASKS,
    ranks: Ranks | None = None,
    backbone: str = "mini-bart",
    device: str = "cpu",
    **settings: Any,
) -> Trainer:
    """The card's technique on a toy BART, the same each time, ready to train."""
    card = resolve_method(load_method(method), backbone, "image-text")
    given = {"epochs": 2, "learning_rate": 0.01, "dropout": 0.1, "warmup_ratio": 0.0, **settings}
    train = TrainSettings(**{**card.train.model_dump(), **given})
    card = card.model_copy(update={"train": train})
    toy = toy_backbone("bart", **ONE_LAYER["bart"])
    torch.manual_seed(0)
    model = adapt(toy, card, [task.name for task in tasks])
    precision = "bf16" if train.precision == "bf16" else None
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision)
    return Trainer(model, tasks, train, 0, accelerator, ranks)  # type: ignore[arg-type]


class Watcher:
    """Notes what it is told, and does something after a step."""

    def __init__(self, act: Callable[[Step], None] | None = None) -> None:
        self.steps: list[Step] = []
        self.epochs: list[int] = []
        self._act = act

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]

    def on_step(self, step: Step) -> None:
        self.steps.append(step)
        if self._act:
            self._act(step)

    def on_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


@dataclass
class Table:
    """Where threads put what they exchange."""

    count: int
    values: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = Barrier(self.count)


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    """A rank that is a thread of this process."""

    table: Table = field(default_factory=lambda: Table(1))

    def gather(self, value: Any) -> list[Any]:
        table = self.table
        table.values[self.rank] = value
        table.barrier.wait(60)
        found = [table.values[rank] for rank in range(self.count)]
        table.barrier.wait(60)
        return found

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        first, *others = self.gather(tensor.clone())
        return sum(others, first.clone())  # type: ignore[no-any-return]

    def from_main(self, value: Any) -> Any:
        return self.gather(value)[0]


def new_ranks(count: int) -> list[ThreadRanks]:
    """So many that exchange with each other."""
    table = Table(count)
    return [ThreadRanks(rank, count, table) for rank in range(count)]


def in_threads(acts: list[Callable[[], Any]]) -> list[Any]:
    """What each rank's part of something gives, or the error of the first that has one."""
    found: dict[int, Any] = {}

    def run(rank: int) -> None:
        try:
            found[rank] = acts[rank]()
        except BaseException as error:
            found[rank] = error

    threads = [Thread(target=run, args=(rank,)) for rank in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found.values():
        if isinstance(each, BaseException):
            raise each
    return [found[rank] for rank in range(len(acts))]
