"""Which run the user means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running.test_spec import METHOD, SPEC
from tests.running.test_watch import made
from vlbench.errors import NothingToReport, UsageError
from vlbench.running.folder import MOST, find_run

OTHER = SPEC.model_copy(update={"method": METHOD.model_copy(update={"name": "other"})})
SECOND = SPEC.model_copy(update={"seed": 1, "settings": ("train.epochs=3",)})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for spec in (SPEC, OTHER, SECOND):
        made(tmp_path, spec)
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
        made(tmp_path, SPEC.model_copy(update={"seed": seed}))
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
