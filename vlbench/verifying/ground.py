"""The data that runs were made with, where they are at hand; read once for all runs alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vlbench.backbones import Features
from vlbench.cards.resolve import hashed
from vlbench.cards.task import TaskCard
from vlbench.cards.train import TrainSettings
from vlbench.data.batches import TaskData
from vlbench.data.example import Example
from vlbench.data.prepared import PreparedTask, prepare
from vlbench.errors import VlbenchError
from vlbench.metrics.scored import Scored
from vlbench.running.plan import data_root, features_read, wanted_features
from vlbench.running.result import majority_scored
from vlbench.running.spec import RunSpec
from vlbench.verifying.trust import refusal

Say = Callable[[str], None]


class TaskGround:
    """A task's data."""

    def __init__(self, prepared: PreparedTask) -> None:
        self.prepared = prepared
        self.fingerprint = prepared.fingerprint

    @cached_property
    def test(self) -> list[Example]:
        """The examples of the test split, in the order in which they are scored."""
        return list(self.prepared.test)

    @cached_property
    def majority(self) -> Scored | None:
        """What always giving the most frequent training answer scores; None for captions."""
        return majority_scored(self.prepared.card, self.prepared.train, self.test)

    def batches(self, settings: TrainSettings) -> int:
        """Batches of an epoch of training."""
        card, train = self.prepared.card, self.prepared.train
        return TaskData(card, train, self.prepared.store, None, settings).batches


@dataclass(frozen=True)
class Ground:
    """The data of a run's tasks; empty where they are not at hand, and why."""

    tasks: dict[str, TaskGround] = field(default_factory=dict)
    features: Features | None = None
    reason: str = ""

    def of(self, spec: RunSpec, card: TaskCard) -> TaskGround | None:
        """The task's data where they are those of the run."""
        found = self.tasks.get(card.name)
        return found if found and found.fingerprint == spec.data.get(card.name) else None


class Grounds:
    """Reads data when a run needs them, and keeps them for the next."""

    def __init__(self, root: Path | None, say: Say, is_trusting: bool) -> None:
        self._root = root
        self._say = say
        self._is_trusting = is_trusting
        self._read: dict[str, Ground] = {}

    def of(self, spec: RunSpec) -> Ground:
        """The data of the spec's tasks as they are here now."""
        outside = sorted({name for name in (spec.encoder, *_readers(spec)) if ":" in name})
        if outside and not self._is_trusting:
            return Ground(reason=refusal(outside))
        key = json.dumps(
            [
                [hashed(task) for task in spec.tasks],
                [spec.backbone, spec.encoder, spec.features, spec.edition, spec.root, spec.limit],
                spec.data,
            ]
        )
        if key not in self._read:
            self._read[key] = self._find(spec)
        return self._read[key]

    def _find(self, spec: RunSpec) -> Ground:
        visual = spec.tasks[0].visual
        try:
            root = data_root(spec.tasks, spec.edition, self._place(spec), self._say)
            wanted = wanted_features(spec.backbone, visual, spec.encoder, _folders(spec))
            tasks = prepare(spec.tasks, spec.edition, root, spec.limit, wanted, self._say)
            read = features_read(spec.backbone, visual, spec.encoder, tasks)
        except (VlbenchError, OSError) as error:
            told = str(error).strip().splitlines()
            first = " ".join(line.strip() for line in told[:2]) or type(error).__name__
            return Ground(reason=f"the data are not at hand: {first}")
        found = {task.card.name: task.fingerprint for task in tasks}
        if found != spec.data and self._is_moved(spec):
            return Ground(reason=f"the data are not at hand: {spec.root}: no such folder")
        return Ground({task.card.name: TaskGround(task) for task in tasks}, read)

    def _place(self, spec: RunSpec) -> Path | None:
        """Where to look; the generated edition has its own place, unless the run had another.

        No key covers the folder's name: where it leads nowhere, the generated edition is looked at,
        whose fingerprints say whether it is what the run had.
        """
        if spec.edition == "mini" and (not spec.root or self._is_moved(spec)):
            return None
        return self._root or (Path(spec.root) if spec.root else None)

    def _is_moved(self, spec: RunSpec) -> bool:
        return bool(spec.root) and not self._root and not Path(spec.root).is_dir()


def _folders(spec: RunSpec) -> tuple[Path, ...]:
    """The feature stores that the run named; the generated edition needs none that are gone."""
    folders = map(Path, spec.features)
    return tuple(folder for folder in folders if spec.edition != "mini" or folder.exists())


def _readers(spec: RunSpec) -> list[str]:
    return [task.reader for task in spec.tasks]
