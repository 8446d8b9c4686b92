"""Accuracy of labels, NLVR2's scores, and the table of metrics."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vlbench.errors import DataError, UsageError
from vlbench.metrics import METRICS, load_metric
from vlbench.metrics.labels import accuracy
from vlbench.metrics.labels import nlvr2 as score

LABELS = {"dev-1-0-0": "True", "dev-1-1-0": "False", "dev-1-0-1": "True", "dev-11-0-0": "False"}
ANNOTATIONS = {name: {"identifier": name, "label": label} for name, label in LABELS.items()}


def test_a_sentence_is_consistent_if_all_its_pairs_are_right() -> None:
    predictions = {"dev-1-0-0": "true", "dev-1-1-0": "TRUE", "dev-1-0-1": "True"}
    scored = score(ANNOTATIONS, {**predictions, "dev-11-0-0": "false", "other": "True"})
    assert scored.metrics == pytest.approx({"accuracy": 75, "consistency": 200 / 3})
    assert list(scored.per_example.values()) == [1, 0, 1, 1]
    gold = {"1572-0": {"label": "true"}, "9-3": {"label": "false"}}
    plain = accuracy(gold, {"1572-0": "True", "9-3": "maybe"})
    assert plain.metrics == {"accuracy": 50}


def test_a_missing_prediction_is_an_error_and_no_silent_success() -> None:
    with pytest.raises(DataError, match="for 2 of 4 examples: dev-1-1-0, dev-11-0-0"):
        score(ANNOTATIONS, {"dev-1-0-0": "True", "dev-1-0-1": "True"})


def test_a_faulty_record_is_named() -> None:
    with pytest.raises(DataError, match="Example 5: should be split-set-pair"):
        score({"5": {"identifier": "5", "label": "True"}}, {"5": "True"})
    with pytest.raises(DataError, match="Example 5: 'label' should be text, found 1"):
        score({"5": {"identifier": "a-b-c-d", "label": 1}}, {"5": "True"})


def test_every_metric_of_the_table_loads_and_validation_leaves_meteor_out() -> None:
    from vlbench.metrics import captions, vqa

    assert all(callable(load_metric(name)) for name in METRICS)
    assert load_metric("captions") is captions.score
    assert load_metric("captions", validation=True) is captions.score_without_meteor
    assert load_metric("vlbench.metrics.vqa:score", validation=True) is vqa.score


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vqaa", "Unknown metric 'vqaa'. Did you mean 'vqa'"),
        ("no_such_module:score", "no_such_module"),
        ("vlbench.metrics.vqa:scor", "scor"),
        ("vlbench.metrics.vqa:VERSIONS", "not a function"),
        (":score", "Empty module name"),
    ],
)
def test_an_unknown_metric_is_a_usage_error(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_metric(name)


def test_the_table_and_the_score_command_import_nothing_heavy() -> None:
    code = (
        "import sys, vlbench.metrics, vlbench.cli.data\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'pandas', 'numpy', 'pycocoevalcap'}\n"
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
