"""Export runs that are done, import runs of others: all of them, verified, or none.

An archive may come from anyone. A member's name must be one that a file of a run has, and what is
unpacked, headers included, has a budget that follows from the archive's own size.
"""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from vlbench.errors import DataError, UsageError
from vlbench.files import Budgeted, check_out, flush, remove_forgotten, temporary_beside, write_out
from vlbench.runs.packed import stored_run
from vlbench.runs.sums import NAME, RESULT, WEIGHTS, hash_of, result_files
from vlbench.verify.inputs import Findings
from vlbench.verify.today import check_sums
from vlbench.verify.verify import Verified

SHOWN = 10
SUFFIX = ".tar.gz"
_NAME = re.compile(
    r"runs/([0-9a-f]{16})/(predictions/\w[\w.+ -]{0,99}\.parquet|"
    + "|".join(map(re.escape, ("spec.json", "metrics.jsonl", RESULT, WEIGHTS, NAME)))
    + ")"
)


def unpack(file: Path, folder: Path) -> list[Path]:
    """Write the archive's runs below `folder`, which is new; return their folders.

    The first member that is not what it should be ends it with a DataError.
    """
    names: set[str] = set()

    def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        if not _NAME.fullmatch(member.name) or not member.isreg() or member.issparse():
            raise DataError(f"{member.name[:200]!r} is not a plain file of a run")
        if (name := unicodedata.normalize("NFC", member.name).casefold()) in names:
            raise DataError(f"{member.name!r} is there twice")
        names.add(name)
        return tarfile.data_filter(member, path)

    try:
        with gzip.open(file) as unpacked:
            budgeted: Any = Budgeted(unpacked, file.stat().st_size)
            with tarfile.open(fileobj=budgeted, mode="r|") as archive:
                archive.extractall(folder, filter=checked)
    except DataError as error:
        raise DataError(f"{file}: {error}: nothing of it was taken.") from None
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OSError) as error:
        what = f"not a whole {SUFFIX} archive: {error}: nothing of it was taken."
        raise DataError(f"{file}: {getattr(error, 'strerror', None) or what}") from None
    if not names:
        raise DataError(f"{file}: holds no runs.")
    for path in folder.glob("runs/**/*"):
        flush(path)
    return sorted(folder.glob("runs/*"))


def pack(runs: Sequence[Traversable], out: Path, with_weights: bool) -> dict[str, int]:
    """Write the archive; return run -> bytes before packing. What does not fit its sums stays.

    The same runs give the same bytes.
    """
    if not out.name.endswith(SUFFIX):
        raise UsageError(f"--out {out}: the name should end in {SUFFIX}.")
    if out.exists():
        raise UsageError(f"--out {out}: there already; nothing is overwritten.")
    check_out(out)
    files = {run: _files(run, with_weights) for run in runs}
    sizes = {run.name: 0 for run in runs}

    def write(beside: Path) -> None:
        with (
            beside.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for run in sorted(runs, key=lambda run: run.name):
                for name in sorted(files[run]):
                    info = tarfile.TarInfo(f"runs/{run.name}/{name}")
                    with (run / name).open("rb") as content:
                        info.size = content.seek(0, io.SEEK_END)
                        content.seek(0)
                        archive.addfile(info, content)
                        sizes[run.name] += info.size

    write_out(out, write)
    return sizes


def _files(run: Traversable, with_weights: bool) -> list[str]:
    """The names of what is packed of a run, once it is sure that it is what its sums say."""
    check_sums(run, findings := Findings())
    if findings.faults:
        raise DataError(f"{run}: not as {NAME} says: {findings.faults[0].text}")
    files = result_files(run)
    if with_weights and WEIGHTS not in files:
        raise DataError(f"{run}: no {WEIGHTS}, so --with-weights has nothing to pack.")
    return [NAME, *(name for name in files if with_weights or name != WEIGHTS)]


def merge(
    archive: Path, results: Path, verify: Callable[[Sequence[Traversable]], Sequence[Verified]]
) -> dict[str, Verified | None]:
    """Unpack beside, verify what is new, then rename; nothing that is there is changed.

    Return the archive's runs by key, None for one that is there with the same files already.
    """
    remove_forgotten(results)
    beside = temporary_beside(results / "import")
    try:
        beside.mkdir(parents=True)
        runs = unpack(archive, beside)
        new = [run for run in runs if not _is_stored(run, results)]
        verified = {run.key: run for run in verify(new)}
        _refuse_unsound(archive, list(verified.values()))
        (results / "runs").mkdir(exist_ok=True)
        for run in new:
            flush(run.rename(results / "runs" / run.name))
        flush(results / "runs")
    except OSError as error:
        raise UsageError(
            f"{error.filename or results}: {error.strerror}: nothing of {archive} was taken."
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return {run.name: verified.get(run.name) for run in runs}


def _refuse_unsound(archive: Path, verified: Sequence[Verified]) -> None:
    """Refuse what does not hold in itself; what merely is otherwise here now may come."""
    lines = [
        f"\n  {run.name} ({run.key}): {fault.text}"
        for run in verified
        for fault in run.findings.faults
        if not fault.is_since
    ]
    if lines:
        more = f"\n  and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
        text = f"{archive}: {len(lines):,} cells do not hold: nothing of it was taken."
        raise DataError("".join([text, *lines[:SHOWN], more]))


def _is_stored(run: Path, results: Path) -> bool:
    """Whether the same run with the same files is there; one with other files is refused."""
    stored = stored_run(results, run.name)
    if not stored.is_dir():
        return False
    coming, kept = (  # as the files are, whatever their folders say of them
        {(name, hash_of(folder / name)) for name in result_files(folder) if name != WEIGHTS}
        for folder in (run, stored)
    )
    if differing := sorted({name for name, _ in coming ^ kept}):
        raise UsageError(
            f"{stored}: a run of that key is there with other files ({', '.join(differing)}): "
            "nothing was taken, as nothing is overwritten."
        )
    return True
