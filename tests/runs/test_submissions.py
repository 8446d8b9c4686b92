"""A run on clips, and the files it leaves for the servers that keep the test labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.mini.builders import TINY_VIDEO
from tests.runs.builders import Bench, do, predictions, rows
from vlbench.data.mini.write import write_video
from vlbench.errors import MissingError, UsageError
from vlbench.runs.spec import RunSpec

HIDDEN = {
    "tvqa/tvqa_test_release.jsonl": ("tvqa/tvqa_held_out.jsonl", "answer_idx"),
    "yc2c/yc2c_test_release.jsonl": ("yc2c/yc2c_held_out_release.jsonl", "descs"),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips laid out as the full edition, with two test files that lack their labels."""
    root = tmp_path_factory.mktemp("videos")
    write_video(root, 0, TINY_VIDEO)
    for hidden, (labelled, key) in HIDDEN.items():
        lines = [
            json.dumps({name: value for name, value in json.loads(line).items() if name != key})
            for line in (root / "video/ann" / labelled).read_text().splitlines()
        ]
        (root / "video/ann" / hidden).write_text("\n".join(lines) + "\n")
    return root


def plan(bench: Bench, root: Path, **more: object) -> RunSpec:
    asked = {"tasks": "video-text", "root": root, "edition": "full", **more}
    settings = ("train.epochs=1", "train.batch_size=30")
    return bench.spec(settings=settings, **asked)


def test_a_complete_run_answers_the_test_splits_whose_files_are_there(
    bench: Bench, videos: Path, tmp_path: Path
) -> None:
    folder = do(plan(bench, videos, tasks="tvqa,how2qa"), tmp_path)
    names = sorted(file.name for file in folder.submissions.iterdir())
    assert names == ["tvqa_test_predictions.json"]
    answers = json.loads((folder.submissions / names[0]).read_text())
    asked = (videos / "video/ann/tvqa/tvqa_test_release.jsonl").read_text().splitlines()
    assert set(answers) == {str(json.loads(line)["qid"]) for line in asked}
    assert set(answers.values()) <= set(range(5))
    assert "tvqa: 10 of 10 answers were no choice" in folder.log.read_text()
    assert set(predictions(folder)) == {"tvqa", "how2qa"}
    assert {row["metric"] for row in rows(folder) if row["main"]} == {
        "tvqa.accuracy", "how2qa.accuracy"
    }  # fmt: skip


def test_what_a_plan_of_clips_reads_and_refuses(bench: Bench, videos: Path, tmp_path: Path) -> None:
    key = plan(bench, videos, tasks="tvqa").key
    with pytest.raises(UsageError, match="one run reads one kind"):
        plan(bench, videos, tasks="vqav2,tvqa")
    clip = next((videos / "video/frames/yc2").iterdir())
    hidden = videos / "video/ann/tvqa/tvqa_test_release.jsonl"
    moved = {path: path.rename(tmp_path / path.name) for path in (hidden, clip)}
    try:
        assert plan(bench, videos, tasks="tvqa").key == key  # what is only answered is not in it
        with pytest.raises(MissingError, match=f"{clip.name}: no such clip"):
            plan(bench, videos, tasks="yc2c")
    finally:
        for path, file in moved.items():
            file.rename(path)
