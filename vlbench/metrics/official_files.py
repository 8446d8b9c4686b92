"""Score files in the official formats: results of any program against the official annotations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.errors import DataError, UsageError, nearest
from vlbench.metrics import load_metric
from vlbench.metrics.records import (
    Record,
    read_json,
    read_json_lines,
    read_pairs,
    records,
    value_at,
)
from vlbench.metrics.scored import Group, Predictions, Scored

Records = dict[str, Record]


class FileScore(NamedTuple):
    """What a task's official metric says about a file of predictions; percent, unrounded."""

    task: str
    metrics: dict[str, float | None]
    """Null where the files do not allow it; `notes` says why."""
    notes: dict[str, str]
    n_examples: int
    groups: dict[str, dict[str, Group]]
    settings: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """The object of `vlbench score --json`."""
        groups = {
            kind: {name: group._asdict() for name, group in members.items()}
            for kind, members in self.groups.items()
        }
        return {"schema": "vlbench.score/1", **self._asdict(), "groups": groups}


def score_files(
    task: str,
    predictions: Path,
    annotations: Path,
    choices: Path | None = None,
    version: str | None = None,
) -> FileScore:
    """The official metric of `task`; `choices` is for GQA and `version` for VQA only."""
    if task not in SCORERS:
        raise UsageError(f"Unknown task '{task}'. {nearest(task, SCORERS)}")
    if choices is not None and task != "gqa":
        raise UsageError(f"--choices is for gqa; {task} has none.")
    if version is not None and task != "vqav2":
        raise UsageError(f"--version is for vqav2; {task} has one official version.")
    return SCORERS[task](predictions, annotations, choices, version)


def _vqav2(
    predictions: Path, annotations: Path, choices: Path | None, version: str | None
) -> FileScore:
    from vlbench.metrics.vqa import VERSIONS, score

    version = version or VERSIONS[0]
    if version not in VERSIONS:
        raise UsageError(f"Unknown version '{version}'. {nearest(version, VERSIONS)}")
    gold = _vqa_annotations(annotations)
    answers = _results(predictions, "question_id", int, "answer")
    scored = _scored(predictions, lambda: score(gold, answers, version))
    return _report("vqav2", scored, settings={"version": version})


def _vqa_annotations(path: Path) -> Records:
    gold = {}
    file = read_json(path, dict)
    for where, record in records(value_at(file, "annotations", list, str(path)), str(path)):
        question = value_at(record, "question_id", int, where)
        where = f"{where} (question {question})"
        answers = value_at(record, "answers", list, where)
        if not answers:
            raise DataError(f"{where}: there are no answers.")
        for place, answer in records(answers, f"{where}: answers"):
            value_at(answer, "answer", str, place)
        gold[str(question)] = record
    return gold


def _gqa(
    predictions: Path, annotations: Path, choices: Path | None, version: str | None
) -> FileScore:
    from vlbench.metrics.gqa import METRICS, evaluate

    questions = read_json(annotations, dict)
    for each, question in _objects(questions, annotations):
        value_at(question, "answer", str, each)
    answers = _results(predictions, "questionId", str, "prediction")
    allowed = None if choices is None else dict(read_json(choices, dict))
    if allowed is not None:
        for where, record in _objects(allowed, choices):
            value_at(record, "valid", list, where)
            value_at(record, "plausible", list, where)
    scored = _scored(predictions, lambda: evaluate(questions, answers, allowed))
    notes = {
        "consistency": "needs the file of all questions and predictions for all that are entailed",
        "validity": "needs --choices",
        "plausibility": "needs --choices",
        "distribution": "needs groups.global in the questions",
        "binary": "there is no such question",
        "open": "there is no such question",
    }
    return _report("gqa", scored, METRICS, notes)


def _objects(file: Record, path: Path | None) -> list[tuple[str, Record]]:
    """The objects of a file that is a mapping from question id to object."""
    return [(f"{path}: question {each}", value_at(file, each, dict, str(path))) for each in file]


def _nlvr2(
    predictions: Path, annotations: Path, choices: Path | None, version: str | None
) -> FileScore:
    return _by_label("nlvr2", "nlvr2", predictions, annotations)


def _nlvr(
    predictions: Path, annotations: Path, choices: Path | None, version: str | None
) -> FileScore:
    return _by_label("nlvr", "accuracy", predictions, annotations)


def _by_label(task: str, metric: str, predictions: Path, annotations: Path) -> FileScore:
    score, gold, labels = load_metric(metric), _labels(annotations), dict(read_pairs(predictions))
    return _report(task, _scored(predictions, lambda: score(gold, labels)))


def _labels(path: Path) -> Records:
    gold = {}
    for where, record in read_json_lines(path):
        value_at(record, "label", str, where)
        gold[value_at(record, "identifier", str, where)] = record
    return gold


def _coco(
    predictions: Path, annotations: Path, choices: Path | None, version: str | None
) -> FileScore:
    from vlbench.metrics.java import require_java

    require_java()
    from vlbench.metrics.captions import score

    gold = _captions(annotations)
    captions = _results(predictions, "image_id", int, "caption", duplicates=False)
    return _report("coco", _scored(predictions, lambda: score(gold, captions)))


def _captions(path: Path) -> Records:
    file = read_json(path, dict)
    gold: Records = {}
    if "images" in file:
        images = records(value_at(file, "images", list, str(path)), f"{path}: images")
        gold = {str(value_at(image, "id", int, where)): {"captions": []} for where, image in images}
    for where, record in records(value_at(file, "annotations", list, str(path)), str(path)):
        image = str(value_at(record, "image_id", int, where))
        caption = value_at(record, "caption", str, where)
        gold.setdefault(image, {"captions": []})["captions"].append(caption)
    for image, found in gold.items():
        if not found["captions"]:
            raise DataError(f"{path}: image {image} has no captions.")
    return gold


def _results(
    path: Path, id_key: str, id_kind: type, text_key: str, duplicates: bool = True
) -> Predictions:
    """The official list of results by id; of duplicates the last one counts, if any are allowed."""
    texts: dict[str, str] = {}
    for where, record in records(read_json(path, list), str(path)):
        each = str(value_at(record, id_key, id_kind, where))
        if each in texts and not duplicates:
            raise DataError(f"{where}: a second result for {id_key} {each}.")
        texts[each] = value_at(record, text_key, str, where)
    return texts


def _scored(predictions: Path, score: Callable[[], Scored]) -> Scored:
    """The score; a fault that only the comparison shows (a missing id) names the file too."""
    try:
        return score()
    except DataError as error:
        raise DataError(f"{predictions}: {error}") from error


def _report(
    task: str,
    scored: Scored,
    names: tuple[str, ...] = (),
    notes: dict[str, str] | None = None,
    settings: dict[str, str] | None = None,
) -> FileScore:
    metrics = {name: scored.metrics.get(name) for name in names or scored.metrics}
    reasons = {name: (notes or {})[name] for name, value in metrics.items() if value is None}
    n_examples = len(scored.per_example)
    return FileScore(task, metrics, reasons, n_examples, scored.groups, settings or {})


SCORERS: dict[str, Callable[[Path, Path, Path | None, str | None], FileScore]] = {
    "vqav2": _vqav2,
    "gqa": _gqa,
    "nlvr2": _nlvr2,
    "coco": _coco,
    "nlvr": _nlvr,
}
