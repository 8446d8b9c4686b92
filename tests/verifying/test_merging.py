"""From one results folder into another: all runs of an archive or none, and nothing overwritten."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.mini.builders import digests
from tests.running.builders import Bench, do
from tests.verifying.builders import edit, reseal
from tests.verifying.conftest import Verify
from vlbench.errors import DataError, UsageError
from vlbench.running.sums import NAME, WEIGHTS
from vlbench.verifying import archive
from vlbench.verifying.archive import machine_paths, merge, pack
from vlbench.verifying.verify import Verified, Verifier

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
    monkeypatch.setattr("vlbench.cards.files.card_folder", lambda kind: tmp_path / kind)
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
        "from vlbench.verifying.archive import merge\n"
        "kill = lambda runs: os.kill(os.getpid(), signal.SIGKILL)\n"
        "merge(Path(sys.argv[1]), Path(sys.argv[2]), kill)"
    )
    subprocess.run([sys.executable, "-c", program, archive, other], check=False)
    (left,) = other.iterdir()
    assert left.name.startswith(".import.")
    assert [each.outcome for each in merge(archive, other, verify_all)] == ["added"]
    assert [file.name for file in other.iterdir()] == ["runs"]
