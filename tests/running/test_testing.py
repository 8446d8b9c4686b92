from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlbench.cards.task import load_task
from vlbench.data.example import Example
from vlbench.metrics.scored import Scored
from vlbench.running import execute


def test_a_run_says_which_of_its_metrics_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    rows: list[Any] = []
    scored = Scored({"cider": 0.0}, {"5": 0.0}, undefined={"cider": "needs two images"})
    monkeypatch.setattr(execute, "score", lambda *_: scored)
    run: Any = SimpleNamespace(
        progress=SimpleNamespace(say=said.append), folder=SimpleNamespace(predictions=tmp_path)
    )
    example = Example("5", "", ("p",), {"a dog": 1.0}, {"captions": ["a dog"]})
    task: Any = SimpleNamespace(card=load_task("coco"), train=[], test=[example])
    stub: Any = SimpleNamespace(add=lambda *values: rows.extend(values[-1]))
    execute._score(run, task, {"5": "a cat"}, 1.0, stub)
    assert said == ["coco.cider: needs two images"]
    assert [row.value for row in rows] == [0.0]  # stored as the official code has it
