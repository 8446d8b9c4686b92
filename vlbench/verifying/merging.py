"""Take runs out of an archive into a results folder: all of them, verified, or none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vlbench.errors import DataError, UsageError
from vlbench.files import flush, remove_dead_beside, temporary_beside
from vlbench.running.sums import NAME, RESULT, WEIGHTS, hash_of, sealed_files
from vlbench.verifying.archive import unpack
from vlbench.verifying.verify import Verified

Verify = Callable[[Sequence[Path]], Sequence[Verified]]
SHOWN = 10


class Merged(NamedTuple):
    """A run of the archive, and what became of it."""

    key: str
    verified: Verified | None
    """None where the same files are there already: nothing is new."""

    @property
    def outcome(self) -> str:
        """In words."""
        return "already there" if self.verified is None else "added"


def merge(archive: Path, results: Path, verify: Verify) -> list[Merged]:
    """Unpack beside, verify what is new, then rename; nothing that is there is changed."""
    remove_dead_beside(results / "import")
    beside = temporary_beside(results / "import")
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{results}: cannot be written: {error.strerror}") from None
    try:
        runs = unpack(archive, beside)
        _require_sums(archive, runs)
        new = [run for run in runs if not _is_there(run, results)]
        found = {each.key: each for each in verify(new)}
        _refuse_unsound(archive, list(found.values()))
        _rename(new, results)
    except OSError as error:
        raise UsageError(
            f"{error.filename or results}: {error.strerror}: nothing of {archive} was taken."
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return [Merged(run.name, found.get(run.name)) for run in runs]


def _require_sums(archive: Path, runs: Sequence[Path]) -> None:
    """Each run comes with its sums, and with a result."""
    for run in runs:
        lacking = [name for name in (NAME, RESULT, "spec.json") if not (run / name).is_file()]
        if lacking:
            raise DataError(
                f"{archive}: run {run.name} has no {lacking[0]}: nothing of it was taken."
            )


def _refuse_unsound(archive: Path, found: Sequence[Verified]) -> None:
    """What does not hold in itself is refused; what merely is otherwise here now is not."""
    lines = [
        f"{each.name} ({each.key}): {fault.text}"
        for each in found
        for fault in each.findings.faults
        if not fault.is_since
    ]
    if lines:
        more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
        shown = "\n  ".join([*lines[:SHOWN], *more])
        raise DataError(
            f"{archive}: {len(lines):,} cells do not hold: nothing of it was taken.\n  {shown}"
        )


def _is_there(run: Path, results: Path) -> bool:
    """Whether the same run with the same files is there; one with other files is refused."""
    place = results / "runs" / run.name
    if not place.exists():
        return False
    if not (place / RESULT).is_file():
        raise UsageError(
            f"{place}: a run of that key is there and is not done: nothing was taken. "
            "Finish or remove it first."
        )
    coming, kept = _sums_of(run), _sums_of(place)
    differing = [
        name
        for name in sorted(coming.keys() | kept.keys())
        if name != WEIGHTS and coming.get(name) != kept.get(name)
    ]
    if differing:
        raise UsageError(
            f"{place}: a run of that key is there with other files ({', '.join(differing)}): "
            "nothing was taken, as nothing is overwritten."
        )
    return True


def _sums_of(place: Path) -> dict[str, str]:
    """Of the files as they are, whatever their folders say of them."""
    return {name: hash_of(place / name) for name in sealed_files(place)}


def _rename(runs: Sequence[Path], results: Path) -> None:
    """Give the runs their names; where one cannot have it, the others lose theirs again."""
    folder = results / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    done: list[Path] = []
    try:
        for run in runs:
            flush(run)
            place = folder / run.name
            run.rename(place)
            done.append(place)
        flush(folder)
    except BaseException:
        for place in done:
            shutil.rmtree(place, ignore_errors=True)
        raise
