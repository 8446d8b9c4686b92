"""Read a file of predictions; all its faults are told in one message that names the ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.errors import DataError, UsageError
from vlbench.metrics.records import of_kind, parse, read_text, value_at
from vlbench.metrics.scored import listed

Item = tuple[str, Any]
"""The words that name a record in a message, and the record."""


@dataclass(slots=True)
class Answers:
    """What a file of predictions says, and what is wrong with its records."""

    path: Path
    by_id: dict[str, Any] = field(default_factory=dict)
    repeated: dict[str, None] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    faulty: set[str] = field(default_factory=set)
    """Ids of records with another fault: they are not missing."""

    def checked(
        self,
        wanted: Collection[str],
        known: Collection[str] = (),
        ignore_extra: bool = False,
        hint: str = "",
    ) -> dict[str, Any]:
        """The answers by id, one for each that is wanted, or a UsageError with all the faults.

        Ids in `known` may be there or not; `hint` ends the message if there are others.
        """
        missing = [each for each in wanted if each not in self.by_id and each not in self.faulty]
        allowed = {*wanted, *known}
        extra = [] if ignore_extra else [each for each in self.by_id if each not in allowed]
        parts = [
            *_part(self.faults, "records that cannot be used: ", "; "),
            *_part(missing, f"of {len(wanted)} examples without a prediction: "),
            *_part(extra, "predictions for unknown examples: "),
            *_part(list(self.repeated), "examples predicted more than once: "),
        ]
        if not self.by_id and not self.faults:
            parts.insert(0, "the file holds no predictions")
        elif all(isinstance(text, str) and not text.strip() for text in self.by_id.values()):
            parts += [f"all {len(self.by_id)} predictions are empty"] if self.by_id else []
        if parts:
            end = f" {hint}" if extra and hint else ""
            raise UsageError(f"{self.path}: {'. '.join(parts)}.{end}")
        return self.by_id


def _part(found: list[str], words: str, between: str = ", ") -> list[str]:
    return [f"{len(found)} {words}{listed(found, between)}"] if found else []


def read_results(path: Path, id_key: str, id_kind: type, key: str) -> Answers:
    """A JSON list of objects, each with an id and a text."""
    return _gather(
        path,
        lambda text: _list(text, path),
        lambda record, where: _id(record, id_key, id_kind, where),
        lambda record, where: value_at(record, key, str, where),
    )


def read_choices(path: Path, options: int) -> Answers:
    """VALUE's JSON object: question id -> index of the option, of so many."""
    return _gather(
        path,
        lambda text: (("question", pair) for pair in _pairs(text, path)),
        lambda pair, where: str(pair[0]),
        lambda pair, where: option(pair[1], options, f"{where}: the index"),
    )


def read_clips(path: Path) -> Answers:
    """VALUE's JSON Lines: a `clip_id` and `descs`, of which the first counts."""
    return _gather(
        path,
        _lines,
        lambda line, where: _id(parse(line, where), "clip_id", int, where),
        lambda line, where: descriptions(parse(line, where), where)[0],
    )


def read_verdicts(path: Path) -> Answers:
    """CSV of identifier and true or false, without a header; case, spaces and quotes are free."""
    return _gather(
        path,
        _lines,
        lambda line, where: _split(line, where)[0],
        lambda line, where: verdict(_split(line, where)[1], f"{where}: the prediction"),
    )


def option(value: Any, options: int, where: str) -> int:
    """The index of an option, which must be one of so many."""
    index = of_kind(value, int, where)
    if index not in range(options):
        raise DataError(f"{where} should be 0 to {options - 1}, found {index}")
    return index


def verdict(text: str, where: str) -> str:
    """The text, which must be true or false."""
    if text.lower() not in ("true", "false"):
        raise DataError(f"{where} should be true or false, found {text[:60]!r}")
    return text


def descriptions(record: dict[str, Any], where: str) -> list[str]:
    """The captions of a clip in VALUE's format; there must be one."""
    found = value_at(record, "descs", list, where)
    if not found:
        raise DataError(f"{where}: 'descs' is empty.")
    objects = (of_kind(each, dict, f"{where}: 'descs'") for each in found)
    return [value_at(each, "desc", str, where) for each in objects]


def _gather(
    path: Path,
    items: Callable[[str], Iterable[Item]],
    id_of: Callable[[Any, str], str],
    answer_of: Callable[[Any, str], Any],
) -> Answers:
    answers = Answers(path)
    try:
        found = list(items(read_text(path)))
    except DataError as error:
        raise UsageError(str(error)) from None
    for where, item in found:
        each = None
        try:
            each = id_of(item, where)
            answer = answer_of(item, f"{where} ({each})")
        except DataError as error:
            answers.faults.append(str(error).rstrip("."))
            answers.faulty.update(() if each is None else (each,))
        else:
            if each in answers.by_id:
                answers.repeated[each] = None
            answers.by_id[each] = answer
    return answers


def _list(text: str, path: Path) -> Iterator[Item]:
    values = of_kind(parse(text, str(path)), list, f"{path}: the file") if text.strip() else []
    return ((f"record {number}", value) for number, value in enumerate(values, 1))


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object."""


def _pairs(text: str, path: Path) -> list[tuple[str, Any]]:
    found = parse(text, str(path), _Pairs) if text.strip() else _Pairs()
    if not isinstance(found, _Pairs):
        raise DataError(f"{path}: the file should be an object of question id and index.")
    return found


def _lines(text: str) -> Iterator[Item]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", line


def _id(record: Any, key: str, kind: type, where: str) -> str:
    return str(value_at(of_kind(record, dict, where), key, kind, where))


def _split(line: str, where: str) -> list[str]:
    parts = line.strip().split(",")
    if len(parts) != 2:
        raise DataError(f"{where} should be identifier,prediction, found {line.strip()[:60]!r}.")
    return [part.strip().strip("\"'").strip() for part in parts]
