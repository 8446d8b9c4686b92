"""Score files in the official formats: results of any program against the official annotations.

The readers that training uses read the annotations. All faults of a file come in one message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.data.example import Faults, RecordFault, field
from vlbench.data.readers import base, coco, load_reader, video
from vlbench.errors import DataError, UsageError, nearest
from vlbench.files import open_data
from vlbench.metrics import gqa, listed, load_metric

KARPATHY_SPLIT = "test"  # what is scored with --karpathy where no split is named
Records = dict[str, base.Record]
Answers = Iterator[tuple[str, str]]  # pairs of id and predicted text


class Task(NamedTuple):
    """How the files of a task are scored."""

    answers: Callable[[Path, Faults], Answers]  # reads predictions
    metrics: dict[str, str]  # variant -> metric; the first one is the default
    takes: tuple[str, ...] = ()  # options besides predictions and annotations


def score_files(
    task: str, predictions: Path, annotations: Path, **options: Path | str | None
) -> dict[str, Any]:
    """The object of `vlbench score --json`, all in percent, unrounded.

    Options are files (`questions`, `choices`, `karpathy`) and words (`variant`, `split`). A metric
    that the files do not allow is None, with the reason under `notes`.
    """
    if task not in TASKS:
        raise UsageError(f"Unknown task '{task}'. {nearest(task, TASKS)}")
    read, metrics, takes = TASKS[task]
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for option in sorted(given.keys() - {*takes}):
        takers = " and ".join(name for name in TASKS if option in TASKS[name].takes)
        raise UsageError(f"--{option} is for {takers}; {task} has none.")
    variant = given.get("variant", next(iter(metrics)))
    if variant not in metrics:
        raise UsageError(f"{task} has no variant '{variant}'. {nearest(variant, metrics)}")
    if task == "coco" and coco.is_karpathy(annotations):
        given["karpathy"] = annotations
        if "split" not in given:
            raise UsageError(f"{annotations}: has several splits; choose one with --split.")
    gold = _read_annotations(task, annotations)
    if "karpathy" in takes:
        gold = _in_split(gold, annotations, given.get("karpathy"), given.get("split"))
    if task == "gqa":
        others = _read_annotations(task, given["questions"]) if "questions" in given else {}
        choices = dict(base.read_all(_choices, given["choices"])) if "choices" in given else None
        required = gqa.scored_questions(gold)
        answers = _read_answers(predictions, read, required, {*gold, *others})
        scored = gqa.evaluate(gold, answers, choices, others)
    else:
        answers = _read_answers(predictions, read, gold, None if variant == "balanced" else gold)
        scored = load_metric(metrics[variant])(gold, answers)
    per_metric = scored.per_metric or {"accuracy": scored.per_example}
    return {
        "schema": "vlbench.score/1",
        "task": task,
        "variant": variant or None,
        "metrics": scored.metrics | dict.fromkeys(scored.undefined),
        "notes": scored.undefined,
        "n": len(scored.per_example),
        "groups": {
            kind: {name: group._asdict() for name, group in members.items()}
            for kind, members in scored.groups.items()
        },
        "per_example": {
            metric: {example: 100 * value for example, value in values.items()}
            for metric, values in per_metric.items()
            if metric not in scored.undefined
        },
    }


def _read_annotations(task: str, path: Path) -> Records:
    gold = dict(base.read_all(load_reader(task, path.parent).read_annotations, path))
    if not gold:
        raise DataError(f"{path}: there is nothing to score: the file holds no annotation.")
    return gold


def _in_split(gold: Records, path: Path, karpathy: Path | None, split: str | None) -> Records:
    if karpathy is None:
        if split is not None:
            raise UsageError(f"--split {split}: needs --karpathy, the file dataset_coco.json.")
        return gold
    split = split or KARPATHY_SPLIT
    pictures = base.read_all(coco.read_karpathy, karpathy)
    images = {picture.cocoid for picture in pictures if picture.split == split}
    kept = {example: record for example, record in gold.items() if record["image_id"] in images}
    if not kept:
        raise DataError(f"{path}: about no image of the split '{split}' of {karpathy}.")
    return kept


def _read_answers(
    path: Path,
    read: Callable[[Path, Faults], Answers],
    required: Collection[str],
    known: Collection[str] | None,
) -> dict[str, str]:
    """One answer for each `required` id; others too if `known`, any if None; else a UsageError."""
    try:
        pairs = base.read_all(read, path)
    except DataError as error:
        raise UsageError(str(error)) from None
    answers = dict(pairs)
    missing = [example for example in required if example not in answers]
    unknown = [example for example in answers if known is not None and example not in known]
    counts = Counter(example for example, _ in pairs)
    repeated = [example for example, count in counts.items() if count > 1]
    faults = {
        "examples without a prediction": missing,
        "predictions for unknown examples": unknown,
        "examples predicted more than once": repeated,
    }
    parts = [f"{len(ids)} {fault}: {listed(ids)}" for fault, ids in faults.items() if ids]
    if not any(answer.strip() for answer in answers.values()):
        parts.insert(0, "no prediction holds any text")
    if parts:
        raise UsageError(f"{path}: {'. '.join(parts)}.")
    return answers


def _choices(path: Path, faults: Faults) -> Iterator[tuple[str, base.Record]]:
    for question, record in base.read_table(path, "question id"):
        with faults.of(path, f"question {question}"):
            yield question, {key: field(record, key, list) for key in ("valid", "plausible")}


def _json_list(path: Path, faults: Faults, id_key: str, id_kind: type[Any], key: str) -> Answers:
    for where, record in base.read_named(path, "prediction", id_key):
        with faults.of(path, where):
            yield str(field(record, id_key, id_kind)), field(record, key, str)


def _indices(path: Path, faults: Faults, choices: int) -> Answers:
    """VALUE's JSON object: question id -> index of the choice."""
    for question, index in base.read_table(path, "question id"):
        with faults.of(path, "prediction"):
            yield question, video.choice({question: index}, question, choices)


def _clips(path: Path, faults: Faults) -> Answers:
    """VALUE's JSON Lines: a `clip_id` and `descs`, of which the first counts."""
    for where, record in base.read_lines(path, faults):
        with faults.of(path, where):
            clip = field(record, "clip_id", int)
            if not field(record, "descs", list):
                raise RecordFault("no descriptions")
            yield str(clip), field(record["descs"][0], "desc", str)


def _verdicts(path: Path, faults: Faults) -> Answers:
    """CSV of identifier and true or false, without a header; case, spaces and quotes are free."""
    with open_data(path) as file:
        for number, line in enumerate(file, 1):
            row = line.decode("utf-8-sig", errors="replace").strip()
            identifier, _, label = (part.strip(" \t\"'") for part in row.rpartition(","))
            with faults.of(path, f"line {number}"):
                if row and not (identifier and label.lower() in ("true", "false")):
                    raise RecordFault(f"should be identifier,true or identifier,false, found {row}")
                if row:
                    yield identifier, label


_vqa = partial(_json_list, id_key="question_id", id_kind=int, key="answer")
_gqa = partial(_json_list, id_key="questionId", id_kind=str, key="prediction")
_coco = partial(_json_list, id_key="image_id", id_kind=int, key="caption")
VQA_METRICS = {"official-2016": "vqa", "official-2021": "vqa-2021"}
NLVR2_METRICS = {"all": "nlvr2", "balanced": "nlvr2"}
TASKS = {
    "vqav2": Task(_vqa, VQA_METRICS, ("karpathy", "split", "variant")),
    "gqa": Task(_gqa, {"": "gqa"}, ("questions", "choices")),
    "nlvr2": Task(_verdicts, NLVR2_METRICS, ("variant",)),
    "coco": Task(_coco, {"": "captions"}, ("karpathy", "split")),
    "tvqa": Task(partial(_indices, choices=5), {"": "accuracy"}),
    "how2qa": Task(partial(_indices, choices=4), {"": "accuracy"}),
    "tvc": Task(_clips, {"": "value-captions"}),
    "yc2c": Task(_clips, {"": "value-captions"}),
    "nlvr": Task(_verdicts, {"": "accuracy"}),
}
