"""A run's spec: everything resolved, and the key that says whether two runs are the same run."""

from __future__ import annotations

import hashlib
import json
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from vlbench.cards.load import card_hash, hashed
from vlbench.cards.schema import CardFile, Edition, MethodCard, TaskCard
from vlbench.errors import DataError
from vlbench.files import parse_object, read_small

KEY_VERSION = 2
"""Raise it when equal specs no longer mean equal results; old keys then no longer match."""
SCHEMA = "vlbench.spec/1"
REMEDY = "Move the folder out of the results, and start the run again."
NOT_IN_KEY = {
    "root": "where the data lies; what they are is in `data`",
    "features": "where features lie; what they are is in `data`",
    "method_file": "where an outside card lies; what it says is in `method`",
    "settings": "how the user spelled what `method` already holds",
    "backbone_file": "where an outside card lies; what it says is in `backbone_hash`",
    "backbone_path": "where weights lie; what they are is in `backbone_hash`",
    "init": "where the weights to start from lie; what they are is in `init_hash`",
    "device": "the same numbers up to rounding on any device",
    "max_batch": "the same gradient up to rounding in any parts, but for dropout's draws",
    "checkpoint_activations": "the same numbers, computed twice",
}
"""What is left out of the key, and why; everything else is in it."""


class RunSpec(BaseModel):
    """method x suite x backbone x edition x seed, fully resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_version: int = KEY_VERSION
    method: MethodCard
    method_file: str = ""
    settings: tuple[str, ...] = ()
    suite: str
    tasks: tuple[TaskCard, ...] = Field(min_length=1)
    backbone: str
    backbone_file: str = ""
    """Its card's path, or the source of a model without a card; empty: a card of ours."""
    backbone_path: str = ""
    backbone_hash: str
    init: str = ""
    """The file of weights the run starts from; empty: from scratch."""
    init_hash: str = ""
    """sha256 of that file."""
    edition: Edition
    root: str
    """Where the data lie; empty for the mini edition in the cache."""
    encoder: str = ""
    """The frozen encoder whose features are read; empty: the backbone's own."""
    features: tuple[str, ...] = ()
    """Feature stores that the user named."""
    data: dict[str, str]
    """Task -> data fingerprint."""
    code: dict[str, str] = {}
    """`module:name` of technique, readers and metrics that are not ours -> sha256 of its file."""
    seed: int
    limit: int | None = None
    is_trial: bool = False
    """Whether it is a trial of a search: scored on the validation splits, and in no table."""
    device: str = "cpu"
    max_batch: PositiveInt | Literal["auto"] | None = None
    """Examples computed at once, of batches that stay what they are; None: all of a batch."""
    checkpoint_activations: bool = False
    """Whether activations are computed again for the backward pass instead of kept."""

    @property
    def scope(self) -> str:
        """`search` for a trial; else `smoke` where the data were limited, and `complete`."""
        if self.is_trial:
            return "search"
        return "complete" if self.limit is None else "smoke"

    @property
    def split(self) -> Literal["val", "test"]:
        """What the result is of."""
        return "val" if self.is_trial else "test"

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in the order that mixes their batches."""
        return [task.name for task in self.tasks]

    @property
    def backbone_reference(self) -> str:
        """What finds the backbone: its name, its card's path, or its source without a card."""
        return self.backbone_file or self.backbone

    @property
    def pattern(self) -> str:
        """Backbone and suite, as a method card's `when` names them."""
        return f"{self.backbone}/{self.suite}"

    @property
    def overrides(self) -> list[str]:
        """What the user set that the card and the backbone have otherwise."""
        return [*self.settings, *([f"encoder={self.encoder}"] if self.encoder else [])]

    @property
    def name(self) -> str:
        """The run in words, for messages."""
        start = [f"from {Path(self.init).name}"] if self.init else []
        words = [self.method.name, *self.overrides, self.suite, self.backbone]
        return ", ".join([*words, f"seed {self.seed}", *start])

    @property
    def facts(self) -> dict[str, Any]:
        """Metadata that identify the run in lists."""
        names = ("suite", "backbone", "edition", "scope", "seed")
        return {
            "key": self.key,
            "method": self.method.name,
            "settings": list(self.settings),
            "init": f"{self.init_hash[:12]} {Path(self.init).name}" if self.init_hash else "",
            **{name: getattr(self, name) for name in names},
        }

    @property
    def cells(self) -> dict[str, Any]:
        """Columns that are the same in all rows of the run's result."""
        method, names = self.method, ("learning_rate", "epochs", "batch_size", "precision")
        return {
            **self.facts,
            **{name: getattr(method, name) for name in ("title", "technique", "sharing")},
            **{name: getattr(method.train, name) for name in names},
            "settings": ",".join(self.overrides),
            "backbone_hash": self.backbone_hash,
            "limit": self.limit,
            "card_hash": card_hash(method, *self.tasks),
        }

    @property
    def key(self) -> str:
        """16 hex digits of sha256 over all that can influence the result."""
        table = self.model_dump(mode="json", exclude=set(NOT_IN_KEY))
        table["method"] = hashed(self.method)
        table["tasks"] = [hashed(task) for task in self.tasks]
        text = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The text of `spec.json`."""
        table = {"schema": SCHEMA, "key": self.key, **self.model_dump(mode="json")}
        return json.dumps(table, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Traversable) -> RunSpec:
        """Read the spec of a run folder; outside code is still looked for beside its card."""
        spec, key = cls.parse(path)
        if spec.key != key:
            raise DataError(
                f"{path}: the spec was changed: its key is {spec.key}, it says {key}. {REMEDY}"
            )
        return spec

    @classmethod
    def parse(cls, path: Traversable) -> tuple[RunSpec, str]:
        """Read a spec and the key beside it; whether they fit is not checked."""
        try:
            table = parse_object(read_small(path))
            key = table.pop("key")
            if table.pop("schema") != SCHEMA:
                raise ValueError(f"its schema is not {SCHEMA}")
            spec = cls.model_validate(table)
            spec.to_json()
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise DataError(f"{path}: not a run's spec: {error}. {REMEDY}") from None
        if spec.method_file:
            file = Path(spec.method_file)
            spec.method._file = CardFile(spec.method.name, file, str(file), is_outside=True)
        return spec, key
