"""Any bytes in a file that vlbench reads end in an answer or in a few lines, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing import Trial, fault, kinds, make_results, trials
from tests.runs.builders import Bench

COUNTS = {"show": 40, "plan": 20, "score": 50, "results": 20}
"""How many are tried here; `make fuzz` tries more."""


@pytest.fixture(scope="module")
def results(_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLBENCH_CACHE", str(_bench.root.parent / "cache"))
        return make_results(_bench, tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", COUNTS)
def test_any_bytes_end_in_an_answer_or_a_few_lines(kind: str, bench: Bench, results: Path) -> None:
    def judge(trial: Trial) -> None:
        assert fault(trial) == ""

    trials(kinds(bench, results)[kind], COUNTS[kind], False, judge)
