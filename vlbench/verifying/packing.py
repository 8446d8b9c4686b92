"""Pack runs that are done into one archive: the same runs, the same bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from vlbench.errors import DataError, UsageError
from vlbench.files import check_out, write_out
from vlbench.running.sums import NAME, RESULT, WEIGHTS, hash_of, read_sums, sealed_files
from vlbench.text import results_option

LOGS = ("status.json", "attempts.jsonl", "log.txt")
"""How a run went: with names of hosts and folders, so only on request."""
SUFFIXES = (".zip", ".tar.gz")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can tell; each file of an archive has it."""
MODE = 0o644


def pack(runs: Sequence[Path], out: Path, with_weights: bool, with_logs: bool) -> dict[str, int]:
    """Write the archive; returns run -> bytes before packing. What does not fit its sums stays."""
    if not out.name.endswith(SUFFIXES):
        raise UsageError(f"--out {out}: the name should end in {' or '.join(SUFFIXES)}.")
    if out.exists():
        raise UsageError(f"--out {out}: there already; nothing is overwritten.")
    check_out(out)
    files = {run: _files(run, with_weights, with_logs) for run in runs}
    members = [(f"runs/{run.name}/{name}", run / name) for run in runs for name in files[run]]
    write = _write_zip if out.name.endswith(".zip") else _write_tar
    write_out(out, lambda beside: write(beside, sorted(members)))
    return {run.name: sum((run / name).stat().st_size for name in files[run]) for run in runs}


def _files(run: Path, with_weights: bool, with_logs: bool) -> list[str]:
    """The names of what is packed of a run, once it is sure that it is what its sums say."""
    there = sealed_files(run)
    sums = read_sums(run)
    if sums is None:
        raise DataError(
            f"{run}: no {NAME}: it is of an older vlbench. "
            f"Write it: vlbench results seal{results_option(run.parents[1])}"
        )
    changed = [name for name in there if sums.get(name) != hash_of(run / name)]
    gone = sorted(sums.keys() - {*there, WEIGHTS})
    if changed or gone or RESULT not in there:
        what = ", ".join(changed + gone) or RESULT
        raise DataError(
            f"{run}: not as {NAME} says: {what}. "
            f"See more: vlbench verify{results_option(run.parents[1])}"
        )
    if with_weights and WEIGHTS not in there:
        raise DataError(f"{run}: no {WEIGHTS}, so --with-weights has nothing to pack.")
    left = [name for name in there if with_weights or name != WEIGHTS]
    return [*left, NAME, *(name for name in LOGS if with_logs and (run / name).is_file())]


def _write_zip(place: Path, members: Sequence[tuple[str, Path]]) -> None:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, file in members:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = (0o100000 | MODE) << 16
            info.file_size = file.stat().st_size  # so that a large one gets the fields it needs
            with file.open("rb") as source, archive.open(info, "w") as target:
                for part in _parts(source):
                    target.write(part)


def _write_tar(place: Path, members: Sequence[tuple[str, Path]]) -> None:
    with (
        place.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, file in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = file.stat().st_size, MODE
            with file.open("rb") as source:
                archive.addfile(info, source)


def _parts(source: io.BufferedReader) -> Iterator[bytes]:
    while part := source.read(1 << 20):
        yield part


def machine_paths(run: Path) -> list[str]:
    """The folders and files of this machine that a run's spec names: they are packed with it."""
    from vlbench.running.spec import RunSpec

    spec = RunSpec.read(run / "spec.json")
    named = [spec.root, spec.backbone_path, spec.init, spec.method_file, *spec.features]
    return [path for path in named if path]
