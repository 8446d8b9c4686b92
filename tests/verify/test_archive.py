"""Export and import: archives from anywhere are refused or taken whole, nothing is overwritten."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.data.mini.builders import digests
from tests.runs.builders import Bench
from tests.verify.builders import Change, gone, in_result, reseal
from tests.verify.conftest import Verify
from vlbench import files
from vlbench.errors import DataError, UsageError
from vlbench.runs.sums import NAME, RESULT, WEIGHTS, result_files
from vlbench.verify.archive import merge, pack, unpack
from vlbench.verify.verify import Verified, Verifier

KEY = "0123456789abcdef"
GOOD = f"runs/{KEY}/spec.json"
NAMES = (
    *(f"/runs/{KEY}/spec.json", f"runs/{KEY}/../../../spec.json", f"C:/runs/{KEY}/spec.json"),
    *(f"runs\\{KEY}\\spec.json", f"runs/{KEY}/predictions/../spec.json", "runs/latest/spec.json"),
    *(f"runs/{KEY}/setup.py", f"runs/{KEY}/predictions/.vqav2.parquet", ""),
    f"runs/{KEY}/predictions/a\nb.parquet",
)
Member = tuple[str, bytes]


def make_tar(folder: Path, *members: Member, **headers: str) -> Path:
    file = folder / "runs.tar.gz"
    with tarfile.open(file, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(content), headers
            tar.addfile(info, io.BytesIO(content))
    return file


def refused(file: Path, folder: Path, words: str) -> None:
    """The archive is refused in these words; nothing is written outside the folder."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=words) as error:
        unpack(file, folder / "new")
    assert str(file) in str(error.value)
    shutil.rmtree(folder / "new", ignore_errors=True)
    assert sorted(folder.rglob("*")) == before


def test_members_that_no_file_of_a_run_is_or_that_are_there_twice_are_refused(
    tmp_path: Path,
) -> None:
    for name in NAMES:
        file = make_tar(tmp_path, (GOOD, b"{}"), (name, b"x"))
        refused(file, tmp_path, "is not a plain file of a run")
        file.unlink()
    for second in ("a", "A"):
        names = [f"runs/{KEY}/predictions/{name}.parquet" for name in ("a", second)]
        refused(make_tar(tmp_path, *((name, b"1") for name in names)), tmp_path, "is there twice")
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    for kind in (*kinds, tarfile.GNUTYPE_SPARSE):
        file = tmp_path / "runs.tar.gz"
        with tarfile.open(file, "w:gz", format=tarfile.GNU_FORMAT) as tar:
            info = tarfile.TarInfo(GOOD)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        refused(file, tmp_path, "is not a plain file of a run")


def test_contents_members_and_headers_beyond_the_budget_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FREE_BYTES", 1 << 16)
    words = "unpacks to more than 50 times its size"
    refused(make_tar(tmp_path, (GOOD, bytes(1 << 22))), tmp_path, words)
    empty = [(f"runs/{KEY}/predictions/t{n}.parquet", b"") for n in range(2_000)]
    refused(make_tar(tmp_path, *empty), tmp_path, words)
    refused(make_tar(tmp_path, (GOOD, b"{}"), comment="x" * (1 << 22)), tmp_path, words)


def test_what_is_no_whole_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "runs.tar.gz"
    refused(file, tmp_path, "No such file")
    content = make_tar(tmp_path, (GOOD, Random(0).randbytes(9000))).read_bytes()
    parts = [content[: int(len(content) * part)] for part in (0.3, 0.6, 0.95)]
    for text in (*parts, b"", b"PK\3\4junk", gzip.compress(b"hello", mtime=0)):
        file.write_bytes(text)
        refused(file, tmp_path, "not a whole .tar.gz archive")
    refused(make_tar(tmp_path), tmp_path, "holds no runs")


VerifyAll = Callable[[Sequence[Path]], Sequence[Verified]]


@pytest.fixture
def verify_all(verify: Verify) -> VerifyAll:
    return lambda runs: [verify(run) for run in runs]


def packed(run: Path, weights: bool = False) -> Path:
    out = run.parents[2] / "runs.tar.gz"
    out.unlink(missing_ok=True)
    pack([run], out, weights)
    return out


def kept(results: Path) -> dict[str, str]:
    return digests(results) if results.exists() else {}


def test_what_is_packed_is_the_same_bytes_and_comes_out_as_it_was_and_holds(
    run: Path, verify: Verify, verify_all: VerifyAll, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    merged = merge(packed(run), other, verify_all)
    assert [key for key, verified in merged.items() if verified] == [run.name]
    copy = other / "runs" / run.name
    own = {file: digest for file, digest in digests(run).items() if file in digests(copy)}
    assert digests(copy) == own
    assert set(own) == {
        *("SHA256SUMS", "metrics.jsonl", "result.parquet", "spec.json"),
        *("predictions/nlvr2.parquet", "predictions/vqav2.parquet"),
    }
    assert verify(copy).findings.faults == []
    assert sorted(path.name for path in other.iterdir()) == ["runs"]
    first = packed(run).read_bytes()
    for file in run.rglob("*"):
        os.utime(file, (1, 1))
    (run / "spec.json").chmod(0o600)
    assert packed(run).read_bytes() == first
    with tarfile.open(packed(run, weights=True)) as tar:
        assert f"runs/{run.name}/{WEIGHTS}" in tar.getnames()
    with tarfile.open(packed(run)) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 420)


def test_what_does_not_fit_its_sums_or_lacks_is_not_packed(run: Path) -> None:
    gone(WEIGHTS)(run)
    out = packed(run)
    with pytest.raises(UsageError, match="nothing is overwritten"):
        pack([run], out, False)
    with pytest.raises(UsageError, match=r"should end in \.tar\.gz"):
        pack([run], out.with_name("runs.rar"), False)
    with pytest.raises(DataError, match=r"no adapter\.safetensors"):
        packed(run, weights=True)
    wrong_sum(run)
    with pytest.raises(DataError, match=r"not as SHA256SUMS says: metrics\.jsonl"):
        packed(run)
    assert not out.exists()


def test_a_run_that_is_there_stays_as_it_is_and_one_that_is_not_done_is_left_alone(
    run: Path, verify_all: VerifyAll
) -> None:
    results, file = run.parents[1], packed(run)
    before = kept(results)
    assert merge(file, results, verify_all) == {run.name: None}
    assert kept(results) == before
    gone(RESULT)(run)
    before = kept(results)
    with pytest.raises(UsageError, match=r"other files \(result\.parquet\)"):
        merge(file, results, verify_all)
    assert kept(results) == before


def repacked(run: Path) -> Path:
    """An archive of what `results export` would refuse."""
    files = [file for file in sorted(run.rglob("*")) if file.is_file()]
    return make_tar(
        run.parents[2],
        *(
            (f"runs/{run.name}/{file.relative_to(run).as_posix()}", file.read_bytes())
            for file in files
            if file.relative_to(run).as_posix() in {NAME, *result_files(run)}
        ),
    )


def resealed(change: Change) -> Change:
    return lambda run: (change(run), reseal(run))


def wrong_sum(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write("\n")


UNSOUND: dict[str, tuple[Change, str]] = {
    "a value": (resealed(in_result("value", 99.0)), "value: 99.0, recomputed"),
    "a sum": (wrong_sum, "metrics.jsonl sha256"),
    "another key": (lambda run: run.rename(run.with_name("0" * 16)), "folder: '0000000000000000'"),
    "no result": (gone(RESULT), "result.parquet: no such file"),
    "no spec": (gone("spec.json"), "spec.json: not a run's spec"),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_what_does_not_hold_is_refused_and_nothing_is_taken(
    run: Path, verify_all: VerifyAll, tmp_path: Path, what: str
) -> None:
    change, words = UNSOUND[what]
    change(run)
    (changed,) = run.parent.iterdir()
    other = tmp_path / "other"
    with pytest.raises(DataError, match=r"nothing of it was taken") as error:
        merge(repacked(changed), other, verify_all)
    assert words in str(error.value)
    assert kept(other) == {}


def test_a_card_that_changed_here_does_not_keep_a_run_out(
    run: Path, bench: Bench, own_cards: Path, tmp_path: Path
) -> None:
    card = own_cards / "methods/shared-adapter.toml"
    card.write_text(re.sub(r"trials = \d+", "trials = 77", card.read_text()))
    verifier = Verifier()
    merged = merge(packed(run), tmp_path / "other", lambda runs: [*map(verifier.verify, runs)])
    verified = merged[run.name]
    assert verified and all(fault.is_since for fault in verified.findings.faults)


@pytest.mark.slow
def test_what_a_killed_import_left_goes_with_one_of_another_day(
    run: Path, verify_all: VerifyAll, tmp_path: Path
) -> None:
    file, other = packed(run), tmp_path / "other"
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from vlbench.verify.archive import merge\n"
        "kill = lambda runs: os.kill(os.getpid(), signal.SIGKILL)\n"
        "merge(Path(sys.argv[1]), Path(sys.argv[2]), kill)"
    )
    subprocess.run([sys.executable, "-c", program, file, other], check=False)
    (left,) = other.iterdir()
    assert left.name.startswith(".import.")
    os.utime(left, (0, 0))
    assert all(merge(file, other, verify_all).values())
    assert [path.name for path in other.iterdir()] == ["runs"]
