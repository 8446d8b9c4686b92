"""A run's `spec.json` in itself: its key, its folder's name, and that it is spelt as it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlbench.errors import DataError
from vlbench.running.spec import RunSpec
from vlbench.verifying.findings import Findings

SPEC = "spec.json"


def check_spec(run: Path, findings: Findings) -> RunSpec | None:
    """The spec, checked against its key and the folder's name; None where it cannot be read."""
    try:
        spec, key = RunSpec.parse(run / SPEC)
    except (DataError, RecursionError) as error:
        text = str(error).removeprefix(f"{run / SPEC}: ")
        findings.fault(SPEC, "", "", "", "", " ".join(text.split())[:500])
        return None
    findings.cell(SPEC, "", "key", key, spec.key, "the spec is not the one that has this key")
    findings.cell(SPEC, "", "folder", run.name, spec.key, "the folder has another run's name")
    _check_spelling(run, spec, findings)
    _check_places(spec, findings)
    return spec


def _check_spelling(run: Path, spec: RunSpec, findings: Findings) -> None:
    """What stands in the file is what is read from it: no `"1"` for 1, which others read as text.

    A file of an older vlbench may lack what came to specs since.
    """
    stored: dict[str, Any] = json.loads((run / SPEC).read_text(encoding="utf-8"))
    written: dict[str, Any] = json.loads(spec.to_json())
    for name, found, wanted in _differing({**stored, "key": spec.key}, written):
        findings.fault(SPEC, "", name, found, wanted, "not as a run's spec is written")


def _differing(stored: object, written: object, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where a JSON value is not what it is written as: dotted name, and both."""
    if isinstance(stored, dict) and isinstance(written, dict):
        for key in stored:
            yield from _differing(stored[key], written.get(key), f"{name}.{key}".lstrip("."))
    elif isinstance(stored, list) and isinstance(written, list) and len(stored) == len(written):
        for number, (one, other) in enumerate(zip(stored, written, strict=True)):
            yield from _differing(one, other, f"{name}.{number}")
    elif type(stored) is not type(written) or stored != written:
        yield name, stored, written


def _check_places(spec: RunSpec, findings: Findings) -> None:
    """Of the paths in a spec what follows from the rest of it: a card's name, weights or none."""
    if spec.method_file:
        stored, wanted = Path(spec.method_file).stem, spec.method.name
        findings.cell(SPEC, "", "method_file", stored, wanted, "a card has its file's name")
    if not spec.init_hash:
        findings.cell(SPEC, "", "init", spec.init, "", "init_hash says that there are no weights")
