"""References as people read them, samples and worst errors, and what a spec says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.leaderboard.site.site_builders import example, predict
from vlbench.errors import DataError
from vlbench.leaderboard.examples import Scores
from vlbench.leaderboard.site.run_files import (
    Difficulty,
    as_text,
    choose,
    command,
    differing,
    leaves,
    read_references,
    read_spec,
    spread,
    worst_errors,
)


def scores(*values: float) -> Scores:
    return Scores(np.array([f"e{n}" for n in range(len(values))]), np.array(values))


ANNOTATED = [{"answer": "no", "answer_confidence": "yes"}] * 3 + [{"answer": "yes"}]


@pytest.mark.parametrize(
    ("text", "references"),
    [
        (json.dumps(ANNOTATED), [("no", 3), ("yes", 1)]),
        ('"red"', [("red", 1)]),
        ('["a dog", "a cat"]', [("a dog", 1), ("a cat", 1)]),
        ("", []),
        *((text, [(text, 1)]) for text in ("no JSON", "[1, 2]", '{"label": 1}', "[[]]")),
    ],
)
def test_references_are_read_and_counted_and_anything_else_stays_as_it_is(text, references) -> None:
    assert read_references(text) == references


def test_samples_are_spread_and_the_same_for_every_run() -> None:
    assert spread(scores(*[0.0] * 9), 3) == spread(scores(*[1.0] * 9), 3) == ["e1", "e4", "e7"]
    assert spread(scores(0.5), 3) == ["e0"]
    assert spread(scores(), 3) == []


def test_the_worst_error_is_the_lowest_score_that_others_find_easy() -> None:
    mine = scores(0.0, 1.0, 0.0, 0.5)
    known = Difficulty(mine.ids, np.array([0.1, 0.0, 0.9, 1.0]), [])
    assert worst_errors(mine, known, 3) == ["e2", "e0", "e3"]


def test_full_marks_are_no_error() -> None:
    assert worst_errors(scores(1.0, 1.0), None, 3) == []


def test_a_caption_above_one_is_an_error_only_where_others_do_better() -> None:
    mine = scores(3.0, 2.0)
    assert worst_errors(mine, Difficulty(mine.ids, np.array([2.5, 4.0]), []), 3) == ["e1"]


def test_chosen_predictions_are_read_with_score_in_percent(tmp_path: Path) -> None:
    predict(tmp_path, "gqa", [example(n, score=0.25 * n) for n in (3, 1, 2, 0)])
    samples, worst = choose(tmp_path / "predictions" / "gqa.parquet", None)
    assert [sample.id for sample in samples] == ["e0", "e2", "e3"]
    assert [(error.id, error.score) for error in worst] == [("e1", 25.0)]


def test_a_file_of_predictions_that_is_missing_or_broken_is_an_error(
    tmp_path: Path,
) -> None:
    file = tmp_path / "gqa.parquet"
    with pytest.raises(DataError, match="No such file"):
        choose(file, None)
    file.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"gqa\.parquet: Not a readable Parquet file"):
        choose(file, None)


SPEC = {
    "method": {"name": "lora"},
    "suite": "image-text",
    "backbone": "mini-bart",
    "edition": "mini",
    "seed": 2,
}


def test_the_command_makes_the_same_run() -> None:
    assert command(SPEC) == (
        "vlbench run --method lora --tasks image-text --backbone mini-bart --edition mini --seeds 2"
    )


def test_the_command_has_settings_limit_encoder_and_start_and_is_quoted() -> None:
    spec = SPEC | {
        "settings": ["train.epochs=1", "params.x='a b'; rm -rf /"],
        "limit": 64,
        "encoder": "clip-rn50",
        "init": "old one.safetensors",
        "root": "/home/me/data",
    }
    words = command(spec)
    assert "--limit 64 --encoder clip-rn50 --init 'old one.safetensors' --root DIR" in words
    assert "--set train.epochs=1 --set 'params.x=" in words
    assert "/home/me" not in words


@pytest.mark.parametrize("spec", [{}, {"method": "lora"}, {"method": ["lora"], "suite": "x"}])
def test_a_spec_that_does_not_tell_makes_no_command(spec) -> None:
    assert command(spec) == ""


def test_a_table_is_its_leaves_by_dotted_name() -> None:
    assert leaves({"a": {"b": 1e-3, "c": True}, "d": [], "e": ["x", 2]}) == [
        *(("a.b", "0.001"), ("a.c", "yes")),
        *(("d", "—"), ("e", "x, 2")),
    ]
    assert leaves("text") == leaves(None) == []


def test_a_long_value_is_cut() -> None:
    assert len(as_text("x" * 5000)) == 400


def test_specs_differ_in_what_one_of_them_has_otherwise() -> None:
    assert differing([SPEC, SPEC | {"seed": 1}, SPEC | {"limit": 3}]) == ["seed", "limit"]


def test_a_run_without_a_spec_has_an_empty_one_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    assert read_spec(tmp_path, "key") == {}
    file = tmp_path / "runs" / "key" / "spec.json"
    file.parent.mkdir(parents=True)
    for broken in ("{", "[]", "\udcff"):
        file.write_bytes(broken.encode("utf-8", "surrogateescape"))
        with pytest.raises(DataError, match=r"spec\.json: not a run's spec"):
            read_spec(tmp_path, "key")
