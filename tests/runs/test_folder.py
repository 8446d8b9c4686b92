"""A run's folder: who holds it, how far it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.test_spec import METHOD, SPEC
from tests.runs.test_watch import folder_of
from vlbench.errors import DataError, NothingToReport, RunFailed, UsageError
from vlbench.runs.folder import MOST, RunFolder, find_run, list_runs


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.of(tmp_path, SPEC)
    folder.create(SPEC)
    return folder


def test_it_is_named_by_the_key(folder: RunFolder, tmp_path: Path) -> None:
    assert folder.path == tmp_path / "runs" / SPEC.key


def test_moved_data_are_found_where_they_are_now(folder: RunFolder) -> None:
    folder.create(SPEC.model_copy(update={"root": "elsewhere"}))
    assert json.loads(folder.spec_file.read_text())["root"] == "elsewhere"


def test_a_spec_edited_by_hand_is_not_written_over(folder: RunFolder) -> None:
    edited = folder.spec_file.read_text().replace('"seed": 0', '"seed": 1')
    folder.spec_file.write_text(edited)
    with pytest.raises(DataError, match="the spec was changed"):
        folder.create(SPEC)
    assert folder.spec_file.read_text() == edited


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(RunFailed, match=r"results/runs/.* cannot be written"):
        RunFolder.of(tmp_path / "results", SPEC).create(SPEC)


def test_its_state_follows_what_happens(folder: RunFolder) -> None:
    assert folder.state == "planned"
    with folder.lock.acquire():
        folder.write_status("running", 1, step=3)
        assert folder.state == "running"
    assert folder.state == "stopped"
    folder.write_status("failed", 1, error="Loss is nan")
    assert folder.state == "failed"
    folder.result.touch()
    assert folder.state == "done"


def test_a_submitted_run_is_queued_until_its_attempt_begins(folder: RunFolder) -> None:
    folder.note_attempt(1, "began")
    folder.write_status("failed", 1)
    folder.job_file.write_text(json.dumps({"launcher": "slurm", "job": "7_0", "attempts": 1}))
    assert folder.state == "queued"
    folder.note_attempt(2, "began")
    assert folder.state == "failed"


def test_progress_is_told_at_most_once_a_second(folder: RunFolder) -> None:
    folder.tell_status(1, step=1)
    folder.tell_status(1, step=2)
    assert folder.status()["step"] == 1
    folder._told_at -= 1
    folder.tell_status(1, step=3)
    assert folder.status()["step"] == 3


def test_a_torn_line_spoils_no_other(folder: RunFolder) -> None:
    folder.note_attempt(1, "began")
    with folder.attempts_file.open("a") as file:
        file.write('{"attempt": 1, "ev')
    assert folder.is_attempt_open
    folder.note_attempt(2, "began")
    assert folder.attempts() == 2
    assert folder.is_attempt_open
    lines = folder.attempts_file.read_text().splitlines()
    assert json.loads(lines[2])["attempt"] == 2


def test_attempts_are_counted_from_their_beginnings(folder: RunFolder) -> None:
    for attempt, event in [(1, "began"), (1, "failed"), (2, "began")]:
        folder.note_attempt(attempt, event)
    assert folder.attempts() == 2


def test_runs_are_listed_with_their_state(folder: RunFolder, tmp_path: Path) -> None:
    other = SPEC.model_copy(update={"seed": 1, "limit": 9})
    RunFolder.of(tmp_path, other).create(other)
    items, faults = list_runs(tmp_path)
    assert not faults
    assert [(item["key"], item["scope"], item["status"]) for item in items] == [
        (SPEC.key, "complete", "planned"),
        (other.key, "smoke", "planned"),
    ]


def test_an_unreadable_spec_does_not_hide_the_other_runs(folder: RunFolder, tmp_path: Path) -> None:
    broken = tmp_path / "runs" / "broken" / "spec.json"
    broken.parent.mkdir()
    broken.write_text("{")
    items, (fault,) = list_runs(tmp_path)
    assert [item["key"] for item in items] == [SPEC.key]
    assert str(broken) in str(fault)


def test_a_folder_without_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(NothingToReport, match="no runs here"):
        list_runs(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content", ["[1]", "7", "", "[" * 100_000, '{"status": ' * 100_000, '{"a": "\\ud800"}']
)
@pytest.mark.parametrize("name", ["status.json", "job.json", "holder.json", "attempts.jsonl"])
def test_a_small_file_that_cannot_be_read_is_named_and_the_run_is_listed(
    folder: RunFolder, tmp_path: Path, name: str, content: str
) -> None:
    (folder.path / name).write_text(content)
    items, faults = list_runs(tmp_path)
    assert [item["status"] for item in items] == ["planned"]
    expected = [] if (name, content) == ("attempts.jsonl", "") else [str(folder.path / name)]
    assert [str(fault).partition(": ")[0] for fault in faults] == expected


@pytest.mark.parametrize("name", ["status.json", "job.json", "holder.json", "attempts.jsonl"])
def test_a_folder_or_a_link_to_nowhere_in_the_place_of_a_file_is_named(
    folder: RunFolder, tmp_path: Path, name: str
) -> None:
    for make in (Path.mkdir, lambda file: file.symlink_to("nowhere")):
        make(folder.path / name)
        items, (fault,) = list_runs(tmp_path)
        assert [item["status"] for item in items] == ["planned"]
        assert str(fault).startswith(f"{folder.path / name}: ")
        (folder.path / name).rename(tmp_path / f"{name}.{make}".replace("/", ""))


@pytest.mark.skipif(shutil.which("setpriv") is None or os.getuid() != 0, reason="needs root")
def test_a_run_folder_of_somebody_else_is_named_as_left_out(
    folder: RunFolder, tmp_path: Path
) -> None:
    other = RunFolder.of(tmp_path, SPEC.model_copy(update={"seed": 1}))
    other.create(SPEC.model_copy(update={"seed": 1}))
    os.chown(other.path, 65534, 65534)
    other.path.chmod(0o700)
    program = (
        "import sys; from pathlib import Path; from vlbench.runs.folder import list_runs\n"
        "items, faults = list_runs(Path(sys.argv[1])); print(len(items), *faults)"
    )
    powers = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
    command = [*powers, sys.executable, "-c", program, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"1 {other.path}: cannot be read: Permission denied.")


def test_a_link_to_nowhere_among_the_runs_is_named(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "runs" / "gone").symlink_to("nowhere")
    (tmp_path / "runs" / "README").write_text("a file is no run")
    items, (fault,) = list_runs(tmp_path)
    assert len(items) == 1
    assert "runs/gone: cannot be read: No such file or directory" in str(fault)


OTHER = SPEC.model_copy(update={"method": METHOD.model_copy(update={"name": "other"})})
SECOND = SPEC.model_copy(update={"seed": 1, "settings": ("train.epochs=3",)})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for spec in (SPEC, OTHER, SECOND):
        folder_of(tmp_path, spec)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SPEC.key, SPEC.key),
        (SPEC.key[:6], SPEC.key),
        ("other", OTHER.key),
        ("mine seed 1", SECOND.key),
        ("1", SECOND.key),
        ("train.epochs=3", SECOND.key),
        ("mine, train.epochs=3, gqa, mini-bart, seed 1", SECOND.key),
    ],
)
def test_a_run_is_named_by_its_key_or_by_words(results: Path, text: str, key: str) -> None:
    assert find_run(results, text).path.name == key


@pytest.mark.parametrize("text", ["mine", "gqa", "seed"])
def test_what_names_several_is_refused_with_their_keys(results: Path, text: str) -> None:
    with pytest.raises(UsageError, match=f"'{text}' names [23] runs:") as raised:
        find_run(results, text)
    assert f"  {SPEC.key}  mine, gqa, mini-bart, seed 0" in str(raised.value)


@pytest.mark.parametrize("text", ["nothing", "mine seed 7", "", " "])
def test_what_names_none_is_refused(results: Path, text: str) -> None:
    with pytest.raises(UsageError, match=f"No run '{text}' in .*vlbench list runs --results"):
        find_run(results, text)


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    for seed in range(MOST + 5):
        folder_of(tmp_path, SPEC.model_copy(update={"seed": seed}))
    with pytest.raises(UsageError, match="and 5 more"):
        find_run(tmp_path, "mine")


def test_an_unreadable_spec_is_named_by_its_key_alone(results: Path) -> None:
    broken = results / "runs" / "feedbeef"
    broken.mkdir()
    (broken / "spec.json").write_text("")
    assert find_run(results, "feed").path == broken
    assert find_run(results, "other").path.name == OTHER.key


def test_a_folder_without_runs_has_nothing_to_name(tmp_path: Path) -> None:
    with pytest.raises(NothingToReport, match="no runs here"):
        find_run(tmp_path, "mine")
