from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import typer
from typer.testing import CliRunner

from vlbench.cli.score import score
from vlbench.errors import MissingError

Write = Callable[[str, object], Path]
GOLD = {"5": {"question": "Which one?", "answer": "dog", "types": {"structural": "query"}}}
RESULTS = [{"questionId": "5", "prediction": "dog"}]

app = typer.Typer()
app.command()(score)


def run(*words: str) -> tuple[str, str]:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    return done.stdout, done.stderr


def test_the_table_has_a_line_per_metric_and_says_what_is_missing(write: Write) -> None:
    gold, results = str(write("gold", GOLD)), str(write("results", RESULTS))
    stdout, stderr = run("gqa", "--predictions", results, "--annotations", gold)
    lines = [line.split() for line in stdout.splitlines()]
    assert lines[:2] == [["metric", "gqa"], ["accuracy", "100.00"]]
    assert ["validity", "-", "(needs", "--choices)"] in lines
    assert stderr == "1 examples\n"


def test_json_is_one_object_and_nothing_else(write: Write) -> None:
    gold, results = str(write("gold", GOLD)), str(write("results", RESULTS))
    stdout, _ = run("gqa", "--predictions", results, "--annotations", gold, "--json")
    found = json.loads(stdout)
    assert found["schema"] == "vlbench.score/1"
    assert found["metrics"]["accuracy"] == 100.0
    assert found["metrics"]["validity"] is None


def test_a_missing_file_is_left_to_the_one_place_that_tells_errors(write: Write) -> None:
    gold = str(write("gold", GOLD))
    done = CliRunner().invoke(app, ["gqa", "--predictions", "absent", "--annotations", gold])
    assert isinstance(done.exception, MissingError)
