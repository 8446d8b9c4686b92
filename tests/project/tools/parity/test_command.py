"""`python -m tools.parity`: a line for each file, and its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.project.tools.parity.conftest import Copy
from tools.parity.__main__ import main
from tools.parity.checks import check_folder, list_goldens


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["parity", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *words: run(monkeypatch, capsys, *words)


def test_there_is_a_line_for_each_file_and_a_summary(copy: Copy, parity: Any) -> None:
    copy.take("t5__full", "t5__single_adapter", "optim__t5__single_adapter")
    (copy.folder / "vqa_metric.json").write_text("{}")
    code, out, err = parity(str(copy.folder))
    head, *lines, summary = out.splitlines()
    assert head.split()[0] == "file"
    assert [line.split()[0] for line in lines] == [
        "optim__t5__single_adapter",
        "t5__full",
        "t5__single_adapter",
    ]
    assert len({len(line) for line in lines}) == 1
    assert (code, summary) == (0, "3 files: 3 ok")
    assert err == "vqa_metric.json: not of this command\n"


def test_json_has_every_error_and_fault(copy: Copy, parity: Any) -> None:
    def spoil(facts: Any, tensors: Any) -> None:
        tensors["weights/shared.weight"][:] = float("nan")

    copy.edit("t5__single_adapter", spoil)
    code, out, _ = parity(str(copy.folder), "--json")
    document = json.loads(out)
    (item,) = document["items"]
    assert (code, document["schema"]) == (1, "vlbench.parity/1")
    assert item["file"] == "t5__single_adapter"
    assert (item["verdict"], item["technique"]) == ("FAILED", "adapter")
    assert item["errors"]["logits"] is None  # not a number has no place in JSON
    assert len(item["faults"]) > 3


SHARED = Path(__file__).resolve().parents[5] / "shared" / "golden" / "methods"
NAMES = list_goldens(SHARED).names if SHARED.is_dir() else []


@pytest.mark.parametrize("name", NAMES)
def test_our_model_is_the_authors(golden_folder: Path, name: str) -> None:
    (outcome,) = check_folder(golden_folder, [name])
    assert outcome.faults == []
    assert outcome.errors or name == "multitask_order"
