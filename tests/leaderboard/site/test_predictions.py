"""References as people read them, samples and worst errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.leaderboard.site.site_builders import example, predict
from vlbench.errors import DataError
from vlbench.leaderboard.examples import Scores
from vlbench.leaderboard.site.difficulty import Difficulty
from vlbench.leaderboard.site.predictions import Predictions, read_references
from vlbench.leaderboard.site.samples import choose, spread, worst_errors


def scores(*values: float) -> Scores:
    return Scores(np.array([f"e{n}" for n in range(len(values))]), np.array(values))


def test_annotators_answers_are_counted() -> None:
    answers = [{"answer": "no", "answer_confidence": "yes"}] * 3 + [{"answer": "yes"}]
    assert read_references(json.dumps(answers)) == [("no", 3), ("yes", 1)]


def test_a_text_and_a_list_of_texts_are_themselves() -> None:
    assert read_references('"red"') == [("red", 1)]
    assert read_references('["a dog", "a cat"]') == [("a dog", 1), ("a cat", 1)]


@pytest.mark.parametrize("text", ["no JSON", "[1, 2]", '{"label": 1}', "[[]]"])
def test_anything_else_stays_as_it_is(text: str) -> None:
    assert read_references(text) == [(text, 1)]


def test_nothing_is_no_reference() -> None:
    assert read_references("") == []


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
    chosen = choose(tmp_path / "predictions" / "gqa.parquet", None)
    assert chosen is not None
    assert [each.id for each in chosen.samples] == ["e0", "e2", "e3"]
    assert [(each.id, each.score) for each in chosen.worst] == [("e1", 25.0)]


def test_without_predictions_nothing_is_chosen_and_a_broken_file_is_an_error(
    tmp_path: Path,
) -> None:
    file = tmp_path / "gqa.parquet"
    assert choose(file, None) is None
    file.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"gqa\.parquet: Not a readable Parquet file"):
        Predictions(file)
