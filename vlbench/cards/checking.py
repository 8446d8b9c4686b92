"""Check a table against a pydantic model: each fault with its key, what is there, what is valid."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from vlbench.errors import CardError, nearest

M = TypeVar("M", bound=BaseModel)
Location = tuple[int | str, ...]
MOST_FAULTS = 10
"""Faults of a card that are told in full."""
TOLD = "told"
"""Type of an error whose message is all there is to say."""


class Checked(BaseModel):
    """Base of all cards: frozen, no unknown keys, each field documented by the string below it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Fault(NamedTuple):
    """One fault of a card: where it is and what is wrong there."""

    at: Location
    text: str

    @property
    def key(self) -> str:
        """Where it is, as TOML spells it."""
        return dotted(self.at)


def check(model: type[M], table: dict[str, Any], at: Location = ()) -> tuple[M | None, list[Fault]]:
    """The model that the table makes, or all its faults; `at` is where in the card it stands.

    TOML knows its types, so nothing is converted: "8" is no integer, and 8 is no string.
    """
    try:
        return model.model_validate_json(json.dumps(table, default=str), strict=True), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        others = [Fault((*at, *each["loc"]), each["msg"]) for each in details[MOST_FAULTS:]]
        return None, [_fault(model, each, at) for each in details[:MOST_FAULTS]] + others


def refuse(shown: str, faults: Iterable[Fault]) -> CardError:
    """One error with the faults of the card, a line each."""
    return CardError(listed([f"{shown}: {fault.key}: {fault.text}" for fault in faults]))


def listed(lines: Sequence[str]) -> str:
    """The first of them; the last one says how many more there are."""
    more = len(lines) - MOST_FAULTS
    return "\n".join(lines[:MOST_FAULTS]) + (f" And {more:,} more." if more > 0 else "")


def telling(faults: Iterable[Fault]) -> ValidationError:
    """What a validator raises to tell faults of its own, each at its place below the model."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError(TOLD, "{text}", {"text": fault.text}), loc=fault.at, input=None
        )
        for fault in faults
    ]
    return ValidationError.from_exception_data("faults", details)


def dotted(location: Iterable[int | str]) -> str:
    """A location as TOML spells it: `when."clip-t5/*".params.rank`, `tasks[0]`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part.replace("-", "").replace("_", "").isalnum()
            text += ("." if text else "") + (part if bare else json.dumps(part, ensure_ascii=False))
    return text


def _fault(model: type[BaseModel], details: ErrorDetails, at: Location) -> Fault:
    location = tuple(part for part in details["loc"] if part != "[key]")
    place = (*at, *location)
    if details["type"] == TOLD:
        return Fault(place, details["msg"])
    if details["type"] == "extra_forbidden":
        word = "parameter" if "params" in at else "key"
        known = _keys(_model_at(model, location[:-1]))
        return Fault(place, f"Unknown {word} '{location[-1]}'. {nearest(str(location[-1]), known)}")
    if details["type"] == "missing":
        field = _model_at(model, location[:-1]).model_fields[str(location[-1])]
        return Fault(place, " ".join(f"Missing. {field.description or ''}".split()))
    text = details["msg"].removeprefix("Value error, ")
    text = text.replace("Input should be", "Should be", 1).rstrip(".")
    return Fault(place, f"{text}, found {excerpt(details['input'])}.")


def _keys(model: type[BaseModel]) -> list[str]:
    """The keys a card may hold; a card's name is its file's name and no key."""
    return [name for name in model.model_fields if name != "name"]


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The model that checks the table at `location`."""
    annotation: Any = model
    for part in location:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[str(part)].annotation
        elif get_origin(annotation) in (dict, tuple, list):
            arguments = [each for each in get_args(annotation) if each is not Ellipsis]
            annotation = arguments[-1]
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation


def excerpt(value: object, longest: int = 60) -> str:
    """A value as messages show it."""
    text = json.dumps(value, default=str)
    return text if len(text) <= longest else text[:longest] + "..."
