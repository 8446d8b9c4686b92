from __future__ import annotations

import subprocess
import sys

import pytest

from vlbench.errors import UsageError
from vlbench.metrics import METRICS, captions, load_metric, vqa


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_the_table_loads(name: str) -> None:
    assert callable(load_metric(name))


def test_validation_uses_the_cheaper_version_where_there_is_one() -> None:
    assert load_metric("captions") is captions.score
    assert load_metric("captions", validation=True) is captions.score_without_meteor
    assert load_metric("vqa", validation=True) is vqa.score


def test_both_versions_of_vqa_can_be_named() -> None:
    answers = [{"answer": "two", "answer_id": number} for number in range(10)]
    annotations, predictions = {"1": {"answers": answers}}, {"1": "two"}
    assert load_metric("vqa")(annotations, predictions).metrics == {"accuracy": 0}
    assert load_metric("vqa-2021")(annotations, predictions).metrics == {"accuracy": 100}


def test_a_metric_from_outside_loads_by_module_and_function() -> None:
    assert load_metric("vlbench.metrics.vqa:score") is vqa.score


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
    heavy = "torch transformers accelerate pandas numpy pycocoevalcap"
    code = (
        "import sys, vlbench.metrics, vlbench.cli.data; "
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
