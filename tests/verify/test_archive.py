"""Export and import: archives from anywhere are refused or taken whole, nothing is overwritten."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.mini.builders import digests
from tests.runs.builders import Bench, do
from tests.verify.builders import edit, reseal
from tests.verify.conftest import Verify
from vlbench.errors import DataError, UsageError
from vlbench.runs.sums import NAME, WEIGHTS
from vlbench.verify import archive
from vlbench.verify.archive import machine_paths, merge, pack, unpack
from vlbench.verify.verify import Verified, Verifier

KEY = "0123456789abcdef"
GOOD = f"runs/{KEY}/spec.json"
NAMES = {
    "an absolute path": f"/runs/{KEY}/spec.json",
    "a way up": f"runs/{KEY}/../../../spec.json",
    "a way up from predictions": f"runs/{KEY}/predictions/../spec.json",
    "a drive": f"C:/runs/{KEY}/spec.json",
    "a backslash": f"runs\\{KEY}\\spec.json",
    "another folder": f"other/{KEY}/spec.json",
    "a key that is none": "runs/latest/spec.json",
    "a key of another length": f"runs/{KEY}0/spec.json",
    "a file that no run has": f"runs/{KEY}/setup.py",
    "a pickle": f"runs/{KEY}/checkpoint.pkl",
    "a checkpoint": f"runs/{KEY}/checkpoint/step-000000001-0123456789abcdef.pt",
    "a lock": f"runs/{KEY}/lock",
    "a hidden file": f"runs/{KEY}/predictions/.vqav2.parquet",
    "a folder of predictions within": f"runs/{KEY}/predictions/a/b.parquet",
    "a line break": f"runs/{KEY}/predictions/a\nb.parquet",
    "nothing": "",
}
Pack = Callable[[Path, dict[str, bytes]], Path]


def make_zip(place: Path, files: dict[str, bytes]) -> Path:
    file = place / "runs.zip"
    with zipfile.ZipFile(file, "w") as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name), content)
    return file


def make_tar(place: Path, files: dict[str, bytes]) -> Path:
    file = place / "runs.tar.gz"
    with tarfile.open(file, "w:gz") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return file


both = pytest.mark.parametrize("pack", [make_zip, make_tar], ids=["zip", "tar"])


def refused(file: Path, place: Path, words: str) -> None:
    """The archive is refused in these words; nothing is written outside the folder."""
    before = sorted(place.rglob("*"))
    with pytest.raises(DataError, match=words) as error:
        unpack(file, place / "new")
    assert str(file) in str(error.value)
    left = [path for path in sorted(place.rglob("*")) if (place / "new") not in path.parents]
    assert [path for path in left if path != place / "new"] == before


@both
def test_files_of_runs_are_unpacked(pack: Pack, tmp_path: Path) -> None:
    files = {
        GOOD: b"{}",
        f"runs/{KEY}/predictions/easy-vqa.parquet": b"PAR1",
        f"runs/{KEY[::-1]}/SHA256SUMS": b"",
    }
    runs = unpack(pack(tmp_path, files), tmp_path / "new")
    assert [run.name for run in runs] == [KEY, KEY[::-1]]
    assert {
        path.relative_to(tmp_path / "new").as_posix(): path.read_bytes()
        for path in (tmp_path / "new").rglob("*")
        if path.is_file()
    } == files


@both
@pytest.mark.parametrize("what", NAMES)
def test_a_name_that_no_file_of_a_run_has_is_refused(pack: Pack, what: str, tmp_path: Path) -> None:
    file = pack(tmp_path, {GOOD: b"{}", NAMES[what]: b"x"})
    refused(file, tmp_path, "is not a file of a run|is no plain (file|name)")


TYPES = {
    "a symbolic link": tarfile.SYMTYPE,
    "a hard link": tarfile.LNKTYPE,
    "a character device": tarfile.CHRTYPE,
    "a block device": tarfile.BLKTYPE,
    "a pipe": tarfile.FIFOTYPE,
    "a folder": tarfile.DIRTYPE,
    "a sparse file": tarfile.GNUTYPE_SPARSE,
    "a contiguous file": tarfile.CONTTYPE,
}


@pytest.mark.parametrize("what", TYPES)
def test_a_member_of_a_tar_that_is_no_plain_file_is_refused(what: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.tar.gz"
    with tarfile.open(file, "w:gz", format=tarfile.GNU_FORMAT) as made:
        info = tarfile.TarInfo(GOOD)
        info.type, info.linkname = TYPES[what], "/etc/passwd"
        made.addfile(info)
    refused(file, tmp_path, "is no plain file")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR])
def test_a_member_of_a_zip_that_is_no_plain_file_is_refused(mode: int, tmp_path: Path) -> None:
    file = tmp_path / "runs.zip"
    with zipfile.ZipFile(file, "w") as made:
        info = zipfile.ZipInfo(GOOD)
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        made.writestr(info, "/etc/passwd")
    refused(file, tmp_path, "is no plain file")


@both
def test_a_file_that_is_there_twice_is_refused(pack: Pack, tmp_path: Path) -> None:
    with pytest.warns(UserWarning) if pack is make_zip else io.StringIO():
        file = tmp_path / "runs"
        if pack is make_zip:
            with zipfile.ZipFile(file, "w") as made:
                for _ in range(2):
                    made.writestr(GOOD, b"{}")
        else:
            with tarfile.open(file, "w:gz") as tar:
                for _ in range(2):
                    tar.addfile(tarfile.TarInfo(GOOD))
    refused(file, tmp_path, "is there twice")


@both
def test_names_that_some_file_systems_hold_for_one_are_refused(pack: Pack, tmp_path: Path) -> None:
    start = f"runs/{KEY}/predictions"
    file = pack(tmp_path, {f"{start}/A.parquet": b"1", f"{start}/a.parquet": b"2"})
    refused(file, tmp_path, "is there twice")


@both
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 1 << 10)
    file = tmp_path / "runs"
    content = bytes(1 << 20)
    if pack is make_zip:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr(GOOD, content)
    else:
        file = pack(tmp_path, {GOOD: content})
    assert file.stat().st_size < 4096
    refused(file, tmp_path, "unpacks to more than 50 times its size")
    assert not list((tmp_path / "new").rglob("*.json"))


@both
def test_a_file_that_is_too_large_is_refused(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 10)
    refused(pack(tmp_path, {GOOD: bytes(11)}), tmp_path, "has 11 bytes, 10 at the most")


@both
def test_too_many_files_are_refused(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    files = {f"runs/{KEY}/predictions/t{n}.parquet": b"" for n in range(4)}
    refused(pack(tmp_path, files), tmp_path, "more than 3 files")


def test_a_header_of_a_tar_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo(GOOD)
    info.pax_headers = {"comment": "x" * (1 << 22)}
    file = tmp_path / "runs.tar.gz"
    with tarfile.open(file, "w:gz", format=tarfile.PAX_FORMAT) as made:
        made.addfile(info)
    refused(file, tmp_path, "headers of its files are too long")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    file = make_zip(tmp_path, {GOOD: b"{}"})
    content = bytearray(file.read_bytes())
    content[6] |= 1  # the flag in the file's own header
    content[content.index(b"PK\1\2") + 8] |= 1  # and in the directory
    file.write_bytes(content)
    refused(file, tmp_path, "is encrypted")


def test_a_zip_whose_sizes_lie_is_refused(tmp_path: Path) -> None:
    file = make_zip(tmp_path, {GOOD: b"{} and more"})
    content = bytearray(file.read_bytes())
    start = content.index(b"PK\1\2")
    content[start + 24 : start + 28] = (5).to_bytes(4, "little")
    file.write_bytes(content)
    refused(file, tmp_path, "not a whole archive|has not the")


@both
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_an_archive_that_is_cut_is_refused(pack: Pack, part: float, tmp_path: Path) -> None:
    file = pack(tmp_path, {GOOD: bytes(range(256)) * 40})
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    refused(file, tmp_path, "not a whole archive|holds no runs|has not the")


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"hello", gzip.compress(b"hello", mtime=0), b"PK\3\4junk"]
)
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "runs.zip"
    file.write_bytes(content)
    refused(file, tmp_path, "not a .zip or .tar.gz|not a whole archive|holds no runs")


def test_an_archive_without_runs_is_refused(tmp_path: Path) -> None:
    refused(make_zip(tmp_path, {}), tmp_path, "holds no runs")


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    refused(tmp_path / "none.zip", tmp_path, "No such file")


@both
def test_an_archive_with_any_byte_changed_is_whole_or_refused(pack: Pack, tmp_path: Path) -> None:
    files = {GOOD: b"{}", f"runs/{KEY}/predictions/vqav2.parquet": bytes(range(64))}
    file = pack(tmp_path, files)
    content = file.read_bytes()
    random = Random(0)
    for number in range(300):
        changed = bytearray(content)
        for _ in range(random.choice((1, 1, 4))):
            changed[random.randrange(len(changed))] = random.randrange(256)
        file.write_bytes(changed)
        with suppress(DataError):
            unpack(file, tmp_path / f"new{number}")
        outside = [path for path in tmp_path.iterdir() if not path.name.startswith("new")]
        assert outside == [file]


VerifyAll = Callable[[Sequence[Path]], Sequence[Verified]]
kinds = pytest.mark.parametrize("name", ["runs.zip", "runs.tar.gz"])


@pytest.fixture
def verify_all(verify: Verify) -> VerifyAll:
    return lambda runs: [verify(run) for run in runs]


def packed(run: Path, name: str = "runs.zip", weights: bool = False, logs: bool = False) -> Path:
    out = run.parents[2] / name
    out.unlink(missing_ok=True)
    pack([run], out, weights, logs)
    return out


def kept(results: Path) -> dict[str, str]:
    return digests(results) if results.exists() else {}


@kinds
def test_what_is_packed_comes_out_as_it_was_and_holds(
    run: Path, verify: Verify, verify_all: VerifyAll, name: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (merged,) = merge(packed(run, name), other, verify_all)
    assert (merged.key, merged.outcome) == (run.name, "added")
    copy = other / "runs" / run.name
    own = {file: digest for file, digest in digests(run).items() if file in digests(copy)}
    assert digests(copy) == own
    assert set(own) == {
        *("SHA256SUMS", "metrics.jsonl", "result.parquet", "spec.json"),
        *("predictions/nlvr2.parquet", "predictions/vqav2.parquet"),
    }
    assert verify(copy).findings.faults == []
    assert sorted(path.name for path in other.iterdir()) == ["runs"]


@kinds
def test_the_same_runs_are_the_same_bytes(run: Path, name: str, tmp_path: Path) -> None:
    first = packed(run, name).read_bytes()
    for file in run.rglob("*"):
        os.utime(file, (1, 1))
    (run / "spec.json").chmod(0o600)
    assert packed(run, name).read_bytes() == first


def test_weights_and_logs_are_packed_on_request_only(
    run: Path, verify_all: VerifyAll, tmp_path: Path
) -> None:
    with zipfile.ZipFile(packed(run)) as plain, zipfile.ZipFile(packed(run, weights=True)) as more:
        added = set(more.namelist()) - set(plain.namelist())
    assert added == {f"runs/{run.name}/{WEIGHTS}"}
    with zipfile.ZipFile(packed(run, logs=True)) as more:
        added = {name.rpartition("/")[2] for name in set(more.namelist()) - set(plain.namelist())}
    assert added == {"status.json", "attempts.jsonl", "log.txt"}
    merge(packed(run, weights=True), tmp_path / "other", verify_all)
    assert (tmp_path / "other/runs" / run.name / WEIGHTS).read_bytes() == (
        run / WEIGHTS
    ).read_bytes()


def test_the_places_that_a_spec_names_are_known(run: Path, bench: Bench) -> None:
    assert machine_paths(run) == [str(bench.root), str(bench.backbone)]


def test_no_times_owners_or_modes_are_packed(run: Path) -> None:
    with tarfile.open(packed(run, "runs.tar.gz")) as archive:
        for info in archive:
            assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)


def test_what_does_not_fit_its_sums_is_not_packed(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"not as SHA256SUMS says: metrics\.jsonl"):
        packed(run)
    assert not (run.parents[2] / "runs.zip").exists()


def test_a_run_without_sums_or_weights_is_told(run: Path) -> None:
    (run / WEIGHTS).unlink()
    packed(run)
    with pytest.raises(DataError, match=r"no adapter\.safetensors"):
        packed(run, weights=True)
    (run / NAME).unlink()
    with pytest.raises(DataError, match="vlbench results seal"):
        packed(run)


@pytest.mark.parametrize("name", ["runs.rar", "runs", "runs.tar"])
def test_an_archive_has_a_known_suffix(run: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"should end in .zip or .tar.gz"):
        packed(run, name)


def test_an_archive_overwrites_nothing(run: Path, tmp_path: Path) -> None:
    out = packed(run)
    before = out.read_bytes()
    with pytest.raises(UsageError, match="nothing is overwritten"):
        pack([run], out, False, False)
    assert out.read_bytes() == before


def test_a_run_that_is_there_stays_as_it_is(
    run: Path, verify_all: VerifyAll, tmp_path: Path
) -> None:
    results = run.parents[1]
    before = kept(results)
    (merged,) = merge(packed(run), results, verify_all)
    assert merged.outcome == "already there"
    assert kept(results) == before


def test_a_run_that_is_there_with_other_files_is_refused_by_name(
    run: Path, bench: Bench, verify_all: VerifyAll, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    new = do(bench.spec(seeds=(1,)), other).path
    do(bench.spec(), other)  # the same run, done again: other times
    archive = tmp_path / "both.zip"
    both = shutil.copytree(new, run.parent / new.name)
    pack([run, both], archive, False, False)
    shutil.rmtree(new)
    before = kept(other)
    with pytest.raises(UsageError, match=rf"{run.name}: .* other files \(result.parquet\)"):
        merge(archive, other, verify_all)
    assert kept(other) == before


def test_a_run_that_is_there_and_not_done_is_left_alone(
    run: Path, verify_all: VerifyAll, tmp_path: Path
) -> None:
    archive = packed(run)
    (run / "result.parquet").unlink()
    before = kept(run.parents[1])
    with pytest.raises(UsageError, match="is there and is not done"):
        merge(archive, run.parents[1], verify_all)
    assert kept(run.parents[1]) == before


def repacked(run: Path) -> Path:
    """An archive of what `results export` would refuse."""
    out = run.parents[2] / "bad.zip"
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(run.rglob("*")):
            if file.is_file() and file.name not in ("lock", "holder.json"):
                archive.write(file, f"runs/{run.name}/{file.relative_to(run).as_posix()}")
    return out


def wrong_value(run: Path) -> None:
    edit(run / "result.parquet", lambda rows: rows[0].update(value=99.0))
    reseal(run)


def wrong_sum(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write("\n")


def added_file(run: Path) -> None:
    shutil.copy(run / "predictions/nlvr2.parquet", run / "predictions/gqa.parquet")
    reseal(run)


def extended(run: Path) -> None:
    file = run / "predictions/nlvr2.parquet"
    table = pq.read_table(file)
    column = pa.ExtensionArray.from_storage(pa.json_(), table.column("references").combine_chunks())
    pq.write_table(table.set_column(5, "references", column), file)
    reseal(run)


UNSOUND = {
    "a value that is not the predictions'": (wrong_value, "value: 99.0, recomputed"),
    "a file that is not as its sums say": (wrong_sum, "metrics.jsonl sha256"),
    "predictions of no task": (added_file, "predictions/gqa.parquet"),
    "a column of an extension type": (extended, "column 'references' is extension<arrow.json"),
    "no sums": (lambda run: (run / NAME).unlink(), "has no SHA256SUMS"),
    "no result": (lambda run: (run / "result.parquet").unlink(), "has no result.parquet"),
    "no spec": (lambda run: (run / "spec.json").unlink(), "has no spec.json"),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_what_does_not_hold_is_refused_and_nothing_is_taken(
    run: Path, verify_all: VerifyAll, tmp_path: Path, what: str
) -> None:
    change, words = UNSOUND[what]
    change(run)
    other = tmp_path / "other"
    with pytest.raises(DataError, match=r"nothing of it was taken") as error:
        merge(repacked(run), other, verify_all)
    assert words in str(error.value)
    assert kept(other) == {}


def test_a_run_under_another_runs_key_is_refused(
    run: Path, verify_all: VerifyAll, tmp_path: Path
) -> None:
    renamed = run.rename(run.with_name("0" * 16))
    with pytest.raises(DataError, match=r"spec.json folder: '0000000000000000'"):
        merge(repacked(renamed), tmp_path / "other", verify_all)


def test_an_import_that_is_killed_leaves_nothing_under_a_final_name(
    run: Path, bench: Bench, tmp_path: Path
) -> None:
    other = tmp_path / "other"

    def die(runs: Sequence[Path]) -> Sequence[Verified]:
        assert all(folder.name.startswith(".") for folder in other.iterdir())
        assert not list(other.glob("runs/*"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(packed(run), other, die)
    assert kept(other) == {}


def test_where_one_run_cannot_have_its_name_the_others_lose_theirs(
    run: Path, bench: Bench, verify_all: VerifyAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = do(bench.spec(seeds=(1,)), run.parents[1]).path
    archive = tmp_path / "both.zip"
    pack([run, second], archive, False, False)
    original = Path.rename
    last = max(run.name, second.name)

    def full(self: Path, target: Path) -> Path:
        if self.name == last:
            raise OSError(28, "No space left on device", str(target))
        return original(self, target)

    other = tmp_path / "other"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(UsageError, match="No space left on device: nothing of"):
            merge(archive, other, verify_all)
    assert kept(other) == {}
    assert {each.outcome for each in merge(archive, other, verify_all)} == {"added"}


def test_a_card_that_changed_here_does_not_keep_a_run_out(
    run: Path, bench: Bench, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("methods", "tasks"):
        shutil.copytree(project / kind, tmp_path / kind)
    card = tmp_path / "methods/shared-adapter.toml"
    card.write_text(card.read_text().replace("reduction = 8", "reduction = 2"))
    monkeypatch.setattr("vlbench.cards.load.card_folder", lambda kind: tmp_path / kind)
    verifier = Verifier()
    other = tmp_path / "other"
    (merged,) = merge(packed(run), other, lambda runs: [verifier.verify(each) for each in runs])
    assert merged.outcome == "added"
    assert merged.verified and merged.verified.findings.faults[0].is_since


def test_shown_faults_are_few(run: Path, verify_all: VerifyAll, tmp_path: Path) -> None:
    edit(run / "result.parquet", lambda rows: [row.update(n_examples=1, seed=7) for row in rows])
    reseal(run)
    with pytest.raises(DataError) as error:
        merge(repacked(run), tmp_path / "other", verify_all)
    assert len(str(error.value).splitlines()) == archive.SHOWN + 2
    assert str(error.value).splitlines()[-1].strip().startswith("and ")


def test_what_a_killed_import_left_goes_with_the_next_one(
    run: Path, verify_all: VerifyAll, tmp_path: Path
) -> None:
    archive, other = packed(run), tmp_path / "other"
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from vlbench.verify.archive import merge\n"
        "kill = lambda runs: os.kill(os.getpid(), signal.SIGKILL)\n"
        "merge(Path(sys.argv[1]), Path(sys.argv[2]), kill)"
    )
    subprocess.run([sys.executable, "-c", program, archive, other], check=False)
    (left,) = other.iterdir()
    assert left.name.startswith(".import.")
    assert [each.outcome for each in merge(archive, other, verify_all)] == ["added"]
    assert [file.name for file in other.iterdir()] == ["runs"]
