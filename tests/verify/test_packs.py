"""Whatever is changed in a packed run is found: by the packs' sums, and by the run's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.builders import Bench
from tests.verify.builders import Rows, edit, other_answer
from tests.verify.conftest import Verify
from vlbench.runs.folder import RunFolder, stored_runs
from vlbench.runs.packed import TABLES
from vlbench.runs.packing import pack
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import NAME, WEIGHTS, hash_of, sums_text
from vlbench.verify.today import OTHER_WRITER
from vlbench.verify.verify import Verified, verify_packs

Change = Callable[[Path], object]
"""What is done to the folder of a suite."""


@pytest.fixture(scope="module")
def _packed(finished: tuple[RunSpec, RunFolder], tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("packed")
    run = Path(shutil.copytree(finished[1].path, results / "runs" / finished[0].key))
    (run / WEIGHTS).unlink()
    pack(results)
    return results


@pytest.fixture
def packed(_packed: Path, bench: Bench, tmp_path: Path) -> Path:
    """A results folder whose one run is packed, to be changed."""
    return Path(shutil.copytree(_packed, tmp_path / "results"))


def rows_of(table: str, change: Callable[[Rows], object]) -> Change:
    return lambda suite: edit(suite / f"{table}.parquet", change)


def cell(table: str, column: str, value: object, row: int = 0) -> Change:
    """Put something into a column of a row: a value, or what a function makes of the old one."""

    def change(rows: Rows) -> None:
        rows[row][column] = value(rows[row][column]) if callable(value) else value

    return rows_of(table, change)


def swap(rows: Rows) -> None:
    rows[0], rows[1] = rows[1], rows[0]


def text(file: str, value: Callable[[str], str]) -> Change:
    """Change the text of one of the run's other files."""

    def change(rows: Rows) -> None:
        (row,) = (row for row in rows if row["file"] == file)
        row["text"] = value(row["text"])

    return rows_of("files", change)


def without(file: str) -> Change:
    return rows_of("files", lambda rows: rows.remove(next(r for r in rows if r["file"] == file)))


TAMPERINGS: dict[str, Change] = {
    "a value": cell("rows", "value", lambda v: v + 0.01),
    "a majority": cell("rows", "majority", 1.0),
    "n_examples": cell("rows", "n_examples", 25),
    "the time in a row": cell("rows", "train_seconds", 7.0),
    "the device": rows_of("rows", lambda rows: [row.update(device="cpu: 486") for row in rows]),
    "parameters": cell("rows", "trainable_parameters", 1000),
    "the seed": rows_of("rows", lambda rows: [row.update(seed=7) for row in rows]),
    "a fingerprint": cell("rows", "data_fingerprint", "0" * 64),
    "a row gone": rows_of("rows", lambda rows: rows.pop()),
    "a row twice": rows_of("rows", lambda rows: rows.append(rows[0])),
    "a prediction": cell("predictions", "prediction", other_answer),
    "a score": cell("predictions", "score", lambda v: 1 - v),
    "references": cell("predictions", "references", '"Maybe"'),
    "a question": cell("predictions", "text", "What else?"),
    "a family": cell("predictions", "family", "other"),
    "an example's id": cell("predictions", "id", "99-0-0"),
    "a picture": cell("predictions", "images", ["1"]),
    "a prediction gone": rows_of("predictions", lambda rows: rows.pop(0)),
    "predictions in another order": rows_of("predictions", swap),
    "another task's name": cell("predictions", "task", "gqa"),
    "no predictions": rows_of("predictions", lambda rows: rows.clear()),
    "a loss": cell("curves", "loss", 0.1),
    "a learning rate": cell("curves", "learning_rate", 0.1),
    "a validation": cell("curves", "value", lambda v: v + 1, row=-1),
    "a point gone": rows_of("curves", lambda rows: rows.pop(0)),
    "a prompt in the spec": text(
        "spec.json", lambda t: t.replace('"prompt": "', '"prompt": "now ')
    ),
    "a path in the spec": text("spec.json", lambda t: t.replace('"root": "', '"root": "/other')),
    "no spec": without("spec.json"),
    "a run's sum": text(NAME, lambda t: t[:-76] + t[-76:].replace(t[-76:-68], "01234567")),
    "no sums of the run": without(NAME),
    "rows of no run": rows_of("curves", lambda rows: rows.append(rows[-1] | {"key": "other"})),
}
ONLY_OF_THE_PACK: dict[str, Change] = {
    "the record of attempts": text("attempts.jsonl", lambda t: t.replace("done", "lost")),
    "a table cut": lambda suite: (suite / "curves.parquet").write_bytes(b"PAR1"),
    "a table gone": lambda suite: (suite / "files.parquet").unlink(),
    "a file more": lambda suite: (suite / "more.parquet").write_bytes(b""),
    "no sums": lambda suite: (suite.parent / NAME).unlink(),
    "a sum gone": lambda suite: (suite.parent / NAME).write_text(
        "".join((suite.parent / NAME).read_text().splitlines(keepends=True)[1:])
    ),
}
"""Changes that the run's own sums do not show."""


def change(results: Path, tampering: Change, is_fitted: bool = False) -> None:
    """Tamper with the one suite, and make the packs' sums fit it."""
    (suite,) = (results / "packed").glob("*/")
    tampering(suite)
    if is_fitted:
        files = {f"{suite.name}/{table}.parquet": suite / f"{table}.parquet" for table in TABLES}
        sums = {name: hash_of(file) for name, file in files.items()}
        (suite.parent / NAME).write_text(sums_text(sums))


def of_packs(results: Path) -> Verified:
    verified = verify_packs(results)
    assert verified is not None
    return verified


def test_a_packed_run_that_nothing_touched_holds(packed: Path, verify: Verify) -> None:
    (run,) = stored_runs(packed)
    verified = verify(run)
    assert verified.findings.faults == [] and verified.findings.checked > 300
    assert of_packs(packed).findings.checked == len(TABLES)
    assert of_packs(packed).findings.faults == []


@pytest.mark.parametrize("name", [*TAMPERINGS, *ONLY_OF_THE_PACK])
def test_every_change_is_found_by_the_sums_of_the_packs(packed: Path, name: str) -> None:
    change(packed, (TAMPERINGS | ONLY_OF_THE_PACK)[name])
    assert of_packs(packed).findings.faults


@pytest.mark.parametrize("name", TAMPERINGS)
def test_where_the_sums_of_the_packs_are_made_to_fit_the_run_shows_the_change(
    packed: Path, verify: Verify, name: str
) -> None:
    change(packed, TAMPERINGS[name], is_fitted=True)
    runs = [verify(run) for run in stored_runs(packed)]
    assert any(verified.findings.faults for verified in (*runs, of_packs(packed)))


def test_runs_packed_by_another_pyarrow_are_verified_but_for_their_sums(
    packed: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(packed, cell("predictions", "prediction", other_answer), is_fitted=True)
    monkeypatch.setattr("vlbench.runs.packed.WRITER", "parquet-cpp-arrow version 99.0.0")
    (run,) = stored_runs(packed)
    findings = verify(run).findings
    assert findings.unchecked[OTHER_WRITER] == 1
    assert {fault.column for fault in findings.faults} >= {"score"}
