"""`vlbench predict`: what is typed, what is printed and written, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import assert_refused, items, option, suggested, vlbench
from tests.runs.builders import Bench

ASKED = ("--task", "vqav2", "--text", "is there a red circle?")


@pytest.fixture
def pictures(bench: Bench) -> list[Path]:
    return sorted((bench.root / "COCO" / "images").rglob("*.png"))[:2]


def test_an_answer_is_printed_as_table_and_json_and_written_as_json_lines(
    trained: Path, pictures: list[Path], tmp_path: Path
) -> None:
    images = [word for picture in pictures for word in ("--image", str(picture))]
    words = ["predict", "shared-adapter", *images, *ASKED, "--results", str(trained)]
    table = vlbench(*words, "--candidate", "yes", "--device", "cpu")
    assert table.exit_code == 0, table.output
    assert len(table.stdout.splitlines()) == 3 and "yes 0." in table.stdout
    assert "2 answers of shared-adapter" in table.stderr and "a second" in table.stderr
    file = tmp_path / "questions.jsonl"
    lines = [{"id": f"q{n}", "image": str(p), "text": ASKED[3]} for n, p in enumerate(pictures)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "answers.jsonl"
    out.write_text("an older one")
    words = ["predict", "shared-adapter", "--task", "vqav2", "--questions", str(file)]
    result = vlbench(*words, "--out", str(out), "--results", str(trained), "--json")
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert written == items(result, "predict")
    assert [line["id"] for line in written] == ["q0", "q1"]
    assert {*written[0]} == {"id", "images", "text", "answer", "candidates"}
    assert str(out) in result.stderr


def test_what_does_not_fit_is_refused_in_a_sentence(
    trained: Path, pictures: list[Path], tmp_path: Path
) -> None:
    image, file = ("--image", str(pictures[0])), tmp_path / "q.jsonl"
    file.write_text('{"image": "nope.png", "text": "a"}\n')
    asked = ("--questions", str(file))
    one = ("--task", "vqav2")
    for code, text, words in (
        (2, "--image or --questions: name pictures", ()),
        (2, "--image or --questions: leave one out", (*image, *asked)),
        (2, "line by line: leave out", (*asked, "--text", "a")),
        (2, "is the file of the questions", (*asked, "--out", str(file))),
        (2, "the run has vqav2, nlvr2: say which", image),
        (2, "--task gqa: the run has vqav2, nlvr2", (*image, "--task", "gqa")),
        (2, "answers a text about the picture, and there is none", (*image, *one)),
        (2, "--device 99: ", (*image, *ASKED, "--device", "99")),
        (2, "Cannot be written", (*image, *ASKED, "--out", str(tmp_path))),
        (3, "line 1: ", (*asked, *one)),
        (3, "nope.png: no such picture", ("--image", str(tmp_path / "nope.png"), *ASKED)),
    ):
        result = vlbench("predict", "shared-adapter", *words, "--results", str(trained))
        assert_refused(result, code, text)
    unknown = vlbench("predict", "nobody", *image, "--results", str(trained))
    assert_refused(unknown, 2, "No run 'nobody'", "vlbench list runs")


def test_an_exported_adapter_answers_as_its_run_does(
    trained: Path, pictures: list[Path], tmp_path: Path
) -> None:
    """Of a method that no other library knows."""
    out, stored = tmp_path / "my adapter", ("--results", str(trained))
    words = ("export", "shared-adapter", "--format", "adapter", "--out", str(out))
    refused = vlbench(*words, *stored, "--task", "vqav2")
    assert_refused(refused, 2, "--task vqav2: an adapter holds the weights for all tasks")
    assert [path.name for path in tmp_path.iterdir()] == ["trained"]
    done = vlbench(*words, *stored)
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "adapter.safetensors",
        "spec.json",
    }
    told = "vlbench predict './my adapter' --task vqav2 --image a.png"
    assert told in (out / "README.md").read_text()
    image = ("--image", str(pictures[0]), *ASKED, "--json")
    elsewhere = vlbench("predict", str(out), *image, "--results", str(tmp_path))
    assert items(elsewhere, "predict") == items(
        vlbench("predict", "shared-adapter", *image, *stored), "predict"
    )


def test_stored_results_without_weights_say_how_to_train_them(
    project: Path, pictures: list[Path]
) -> None:
    words = ("--image", str(pictures[0]), *ASKED, "--results", str(project / "results" / "mini"))
    result = vlbench("predict", "compacter", *words)
    assert_refused(result, 3, "stored without the weights", "vlbench run --method compacter")
    (line,) = suggested(result.stderr)
    assert option(line, "--seeds") == "0" and option(line, "--tasks") == "vqav2,gqa,nlvr2,coco"
