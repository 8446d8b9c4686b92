"""The JSON half of a golden pair: how the authors' model was made, and numbers about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlbench.errors import DataError

F = TypeVar("F", bound=BaseModel)


class TaskFacts(BaseModel):
    """One task's batch."""

    loss: float
    grad_norm: dict[str, float | None]
    """Norm per tensor that trains; None: no gradient in this task."""
    total_grad_norm: float | None = None
    """Of all gradients together; follow-ups do not have it."""


class ModelFacts(BaseModel):
    """A `{bart,t5}__*.json` or a `followup__*.json`."""

    model_config = ConfigDict(protected_namespaces=())

    method: str
    backbone: str
    sizes: dict[str, Any] = Field(alias="model_config")
    args: dict[str, Any] | None = None
    """The authors' options as they parsed them; follow-ups have `argv` and `extra_args` instead."""
    argv: list[str] = []
    extra_args: list[str] = []
    reduced_constants: dict[str, Any] = {}
    """Constants of their classes that were made smaller."""
    trainable: list[str]
    aliases: dict[str, str]
    """Further names of shared tensors -> the name they are stored under."""
    trainable_params: int | None = None
    total_params: int | None = None
    tasks: dict[str, TaskFacts] = Field(min_length=1)


class Step(BaseModel):
    """One optimiser step."""

    task: str
    loss: float
    lr_used: float
    grad_norm_before_clip: float


class OptimiserFacts(BaseModel):
    """An `optim__*.json`."""

    lr: float
    weight_decay: float
    adam_eps: float
    total_steps: int
    warmup_steps: int
    no_decay_trainables: list[str]
    steps: list[Step] = Field(min_length=1)


class OrderFacts(BaseModel):
    """`multitask_order.json`: number of batches by task (as JSON) -> epoch -> [task, batch]."""

    orders: dict[str, dict[int, list[tuple[str, int]]]] = Field(min_length=1)


def read_facts(file: Path, kind: type[F]) -> F:
    """The file as that model; DataError where it is none."""
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        return kind.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise DataError(f"{file.name}: {at}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file.name}: not readable as JSON: {error}") from None
