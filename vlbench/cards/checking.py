"""Check a table against its pydantic model; a fault names its key, the value and what is valid."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from vlbench.errors import CardError, nearest
from vlbench.toml import dotted

M = TypeVar("M", bound=BaseModel)
Location = tuple[int | str, ...]
MOST_FAULTS = 10
"""Faults of a table that a message lists."""


class Checked(BaseModel):
    """Base of all cards: frozen, no unknown keys, each field documented by the string below it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Generated(Checked):
    """Base of models built at run time. Looking for docstrings that they lack takes 0.2 s each."""

    model_config = ConfigDict(use_attribute_docstrings=False)


class Fault(NamedTuple):
    """One fault of a card: its location and what is wrong there."""

    at: Location
    text: str

    @property
    def key(self) -> str:
        """The location as TOML spells it."""
        return dotted(self.at)


def check(model: type[M], table: dict[str, Any], at: Location = ()) -> tuple[M | None, list[Fault]]:
    """Validate a table that stands at `at` in its card; return the model, or its first faults.

    TOML knows its types, so nothing is converted: "8" is no integer, and 8 is no string.
    """
    try:
        return model.model_validate_json(json.dumps(table, default=str), strict=True), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        faults = [_fault(model, detail, at) for detail in details[:MOST_FAULTS]]
        if more := len(details) - len(faults):
            faults[-1] = faults[-1]._replace(text=f"{faults[-1].text} And {more:,} more.")
        return None, faults


def refuse(shown: str, faults: Iterable[Fault]) -> CardError:
    """Return one error with the faults of the card, a line for each."""
    return CardError("\n".join(f"{shown}: {fault.key}: {fault.text}" for fault in faults))


def _fault(model: type[BaseModel], details: ErrorDetails, at: Location) -> Fault:
    """Spell an error of pydantic: what was found, what is valid, or the nearest known name."""
    location = tuple(part for part in details["loc"] if part != "[key]")
    name, text = str(location[-1]) if location else "", details["msg"]
    if details["type"] == "extra_forbidden":
        word = "parameter" if "params" in at else "key"
        known = _fields_at(model, location[:-1]).keys() - {"name"}  # a card's is its file's
        text = f"Unknown {word} '{name}'. {nearest(name, known)}"
    elif details["type"] == "missing":
        description = _fields_at(model, location[:-1])[name].description or ""
        text = " ".join(f"Missing. {description}".split())
    elif details["type"] == "value_error" and isinstance(details["input"], dict):  # of a table
        text = text.removeprefix("Value error, ")
    else:
        value = json.dumps(details["input"], default=str)
        value = value if len(value) <= 60 else value[:60] + "..."
        text = text.removeprefix("Value error, ").replace("Input should be", "Should be", 1)
        text = f"{text.rstrip('.')}, found {value}."
    return Fault((*at, *location), text)


def _fields_at(model: type[BaseModel], location: Location) -> dict[str, Any]:
    """Return the fields of the model that checks the table at `location`."""
    annotation: Any = model
    for part in location:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[str(part)].annotation
        else:  # a dict's or tuple's values
            annotation = [kind for kind in get_args(annotation) if kind is not Ellipsis][-1]
        if isinstance(annotation, UnionType):  # a table that may be left out
            annotation = get_args(annotation)[0]
    fields: dict[str, Any] = annotation.model_fields
    return fields
