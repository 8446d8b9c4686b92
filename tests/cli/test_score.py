"""`vlbench score`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet
from typer.testing import Result

from tests.cli.command import assert_refused, document, vlbench

ANSWERS = [{"answer": "dog", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
VQA = {"annotations": [{"question_id": n, "answers": ANSWERS} for n in (5, 6)]}
GQA = {"5": {"question": "Which one?", "answer": "dog", "types": {"structural": "query"}}}
VQA_RESULTS = [{"question_id": 5, "answer": "dog"}, {"question_id": 6, "answer": "cat"}]
GQA_RESULTS = [{"questionId": "5", "prediction": "dog"}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with right files of two tasks."""
    monkeypatch.chdir(tmp_path)
    write("vqa.json", VQA)
    write("vqa-results.json", VQA_RESULTS)
    write("gqa.json", GQA)
    write("gqa-results.json", GQA_RESULTS)
    return tmp_path


def write(name: str, content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    Path(name).write_text(text, encoding="utf-8")
    return name


def score(task: str, predictions: str, annotations: str, *words: str) -> Result:
    files = ("--predictions", predictions, "--annotations", annotations)
    return vlbench("score", task, *files, *words)


@pytest.mark.usefixtures("folder")
def test_the_table_has_a_line_per_metric_and_says_what_is_missing() -> None:
    result = score("gqa", "gqa-results.json", "gqa.json")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[:2] == [["metric", "gqa"], ["accuracy", "100.00"]]
    assert ["validity", "-", "(needs", "--choices)"] in lines
    assert result.stderr == "1 examples\n"
    assert result.exit_code == 0


@pytest.mark.usefixtures("folder")
def test_the_table_names_the_variant() -> None:
    result = score("vqav2", "vqa-results.json", "vqa.json", "--variant", "official-2021")
    assert result.stdout.splitlines()[0].split() == ["metric", "vqav2", "official-2021"]


@pytest.mark.usefixtures("folder")
def test_json_is_one_object_and_nothing_else() -> None:
    result = score("gqa", "gqa-results.json", "gqa.json", "--json")
    found = document(result, "score")
    assert list(found) == [
        *("schema", "task", "variant", "metrics", "notes", "n", "groups", "per_example"),
    ]
    assert (found["task"], found["variant"], found["n"]) == ("gqa", None, 1)
    assert found["metrics"]["accuracy"] == 100.0
    assert found["metrics"]["validity"] is None


@pytest.mark.usefixtures("folder")
def test_the_scores_of_single_examples_are_written_where_asked() -> None:
    words = ("--per-example", "scores.jsonl", "--json")
    found = document(score("vqav2", "vqa-results.json", "vqa.json", *words))
    assert found["per_example"] == "scores.jsonl"
    rows = [json.loads(line) for line in Path("scores.jsonl").read_text().splitlines()]
    assert rows == [{"id": "5", "accuracy": 100}, {"id": "6", "accuracy": 0}]
    score("vqav2", "vqa-results.json", "vqa.json", "--per-example", "scores.parquet")
    assert parquet.read_table("scores.parquet").to_pylist() == rows


@pytest.mark.parametrize("name", ["scores.csv", "vqa-results.json"])
def test_a_file_of_another_format_or_of_the_input_is_refused(folder: Path, name: str) -> None:
    before = sorted(path.read_bytes() for path in folder.iterdir())
    result = score("vqav2", "vqa-results.json", "vqa.json", "--per-example", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"vlbench: {name}: ")
    assert sorted(path.read_bytes() for path in folder.iterdir()) == before


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("results", "message"),
    [
        (VQA_RESULTS[:1], "results: 1 of 2 examples without a prediction: 6."),
        ([*VQA_RESULTS, {"question_id": 7, "answer": ""}], "for unknown examples: 7."),
        ([*VQA_RESULTS, VQA_RESULTS[0]], "results: 1 examples predicted more than once: 5."),
        ([VQA_RESULTS[0], {"question_id": 6, "answer": 1}], "record 2 (6): 'answer' should be"),
        ([], "the file holds no predictions. 2 of 2 examples without a prediction: 5, 6."),
        ("", "the file holds no predictions. 2 of 2 examples without a prediction: 5, 6."),
        ("[", "results: not JSON: "),
    ],
)
def test_faulty_predictions_exit_2_with_one_message_and_no_score(
    results: object, message: str
) -> None:
    result = score("vqav2", write("results", results), "vqa.json", "--json")
    assert_refused(result, 2, message)
    assert result.stderr.startswith("vlbench: results: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("folder")
def test_no_file_of_single_examples_is_written_without_a_score() -> None:
    results = write("results", VQA_RESULTS[:1])
    score("vqav2", results, "vqa.json", "--per-example", "scores.json")
    assert not Path("scores.json").exists()


@pytest.mark.usefixtures("folder")
def test_missing_files_and_faulty_annotations_exit_3() -> None:
    absent = score("vqav2", "absent", "vqa.json")
    assert (absent.exit_code, absent.stdout) == (3, "")
    assert absent.stderr == "vlbench: absent: No such file or directory.\n"
    faulty = score("vqav2", "vqa-results.json", write("gold", {"annotations": []}))
    assert (faulty.exit_code, faulty.stdout) == (3, "")
    assert "gold: there is nothing to score" in faulty.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("vqa2", (), "Unknown task 'vqa2'. Did you mean 'vqav2'?"),
        ("gqa", ("--variant", "balanced"), "--variant is for vqav2 and nlvr2"),
        ("vqav2", ("--variant", "2021"), "vqav2 has no variant '2021'."),
        ("nlvr2", ("--questions", "gqa.json"), "--questions is for vqav2 and gqa"),
        ("coco", ("--choices", "gqa.json"), "--choices is for gqa"),
    ],
)
def test_words_that_do_not_fit_the_task_exit_2(
    task: str, words: tuple[str, ...], message: str
) -> None:
    result = score(task, "vqa-results.json", "vqa.json", *words)
    assert_refused(result, 2, message)
