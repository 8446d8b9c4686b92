"""Score files in the official formats: results of any program against the official annotations.

The readers that training uses read the annotations. All faults of a file come in one message.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.data.example import Faults, RecordFault, field
from vlbench.data.readers import base, coco, load_reader, video
from vlbench.errors import DataError, UsageError, nearest
from vlbench.files import check_out, write_out
from vlbench.metrics import gqa, listed, load_metric

KARPATHY_SPLIT = "test"
"""What is scored with --karpathy where no split is named."""
PER_EXAMPLE = "--per-example"
Records = dict[str, base.Record]
Scores = dict[str, dict[str, float]]
"""Metric -> example id -> score; only metrics that one example has."""
Answers = Iterator[tuple[str, str]]
"""Pairs of id and predicted text."""


@dataclass(frozen=True)
class Files:
    """The files and options of `vlbench score`; all but the first two are for some tasks only."""

    predictions: Path
    annotations: Path
    questions: Path | None = None
    choices: Path | None = None
    variant: str | None = None
    karpathy: Path | None = None
    split: str | None = None


class Task(NamedTuple):
    """How the files of a task are scored."""

    answers: Callable[[Path, Faults], Answers]
    """Reads predictions."""
    metrics: dict[str, str]
    """Variant -> metric; the first one is the default."""
    takes: tuple[str, ...] = ()
    """Files and options besides predictions and annotations."""


def score_files(task: str, files: Files) -> tuple[dict[str, Any], Scores]:
    """The object of `vlbench score --json`, and the examples' scores, all in percent, unrounded.

    A metric that the files do not allow is None, with the reason under `notes`.
    """
    if task not in TASKS:
        raise UsageError(f"Unknown task '{task}'. {nearest(task, TASKS)}")
    read, metrics, takes = TASKS[task]
    for option in ("questions", "choices", "karpathy", "split", "variant"):
        if getattr(files, option) is not None and option not in takes:
            takers = " and ".join(name for name in TASKS if option in TASKS[name].takes)
            raise UsageError(f"--{option} is for {takers}; {task} has none.")
    variant = files.variant or next(iter(metrics))
    if variant not in metrics:
        raise UsageError(f"{task} has no variant '{variant}'. {nearest(variant, metrics)}")
    if task == "coco" and coco.is_karpathy(files.annotations):
        files = replace(files, karpathy=files.annotations)
        if files.split is None:
            raise UsageError(f"{files.annotations}: has several splits; choose one with --split.")
    gold = _in_split(files, _read_annotations(task, files.annotations))
    if task == "gqa":
        others = {} if files.questions is None else _read_annotations(task, files.questions)
        choices = None if files.choices is None else dict(base.read_all(_choices, files.choices))
        required, known = gqa.scored_questions(gold), {*gold, *others}
        hint = "; unbalanced questions need --questions, the file of all"
        answers = _read_answers(files.predictions, read, required, known, hint)
        scored = gqa.evaluate(gold, answers, choices, others)
    else:
        known = None if variant == "balanced" else {*gold}
        answers = _read_answers(files.predictions, read, gold, known)
        scored = load_metric(metrics[variant])(gold, answers)
    document = {
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
        "per_example": None,
    }
    scores = scored.per_metric or {"accuracy": scored.per_example}
    return document, {
        metric: {example: 100 * value for example, value in values.items()}
        for metric, values in scores.items()
        if metric not in scored.undefined
    }


def _read_annotations(task: str, path: Path) -> Records:
    """The records of a file by id, one or more."""
    gold: Records = {}
    for example, record in base.read_all(load_reader(task, path.parent).read_annotations, path):
        if example in gold:
            raise DataError(f"{path}: {example}: is there twice")
        gold[example] = record
    if not gold:
        raise DataError(f"{path}: there is nothing to score: the file holds no annotation.")
    return gold


def _in_split(files: Files, gold: Records) -> Records:
    """The records about images of a Karpathy split, where one is to be scored."""
    split = files.split or KARPATHY_SPLIT
    if files.karpathy is None:
        if files.split is not None:
            raise UsageError(f"--split {split}: needs --karpathy, the file dataset_coco.json.")
        return gold
    if split not in coco.KARPATHY_SPLITS:
        raise UsageError(f"--split {split}: {nearest(split, coco.KARPATHY_SPLITS)}")
    pictures = base.read_all(coco.read_karpathy, files.karpathy)
    images = {picture.cocoid for picture in pictures if picture.split == split}
    kept = {example: record for example, record in gold.items() if record["image_id"] in images}
    if not kept:
        raise DataError(
            f"{files.annotations}: about no image of the split '{split}' of {files.karpathy}."
        )
    return kept


def _read_answers(
    path: Path,
    read: Callable[[Path, Faults], Answers],
    required: Collection[str],
    known: Collection[str] | None,
    hint: str = "",
) -> dict[str, str]:
    """One answer for each of the `required` ids, or a UsageError with all faults.

    Others may be answered too where they are `known`, or where that is None.
    """
    try:
        pairs = base.read_all(read, path)
    except DataError as error:
        raise UsageError(str(error)) from None
    answers = dict(pairs)
    counts = Counter(example for example, _ in pairs)
    missing = [example for example in required if example not in answers]
    unknown = [example for example in answers if known is not None and example not in known]
    repeated = [example for example, count in counts.items() if count > 1]
    parts = []
    if not any(answer.strip() for answer in answers.values()):
        parts.append("no prediction holds any text")
    if missing:
        parts.append(
            f"{len(missing)} of {len(required)} examples without a prediction: {listed(missing)}"
        )
    if unknown:
        parts.append(f"{len(unknown)} predictions for unknown examples: {listed(unknown)}{hint}")
    if repeated:
        parts.append(f"{len(repeated)} examples predicted more than once: {listed(repeated)}")
    if parts:
        raise UsageError(f"{path}: {'. '.join(parts)}.")
    return answers


def _choices(path: Path, faults: Faults) -> Iterator[tuple[str, base.Record]]:
    """GQA's valid and plausible answers of each question."""
    for question, record in base.read_table(path, "question id"):
        with faults.of(path, f"question {question}"):
            yield question, {key: field(record, key, list) for key in ("valid", "plausible")}


def _json_list(path: Path, faults: Faults, id_key: str, id_kind: type[Any], key: str) -> Answers:
    """A JSON list of objects with an id and a text."""
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
    for where, row in base.read_rows(path, faults):
        with faults.of(path, where):
            if len(row) != 2:
                raise RecordFault(f"should be identifier,prediction, found {','.join(row)[:60]}")
            identifier, label = (part.strip(" \t\"'") for part in row)
            if label.lower() not in ("true", "false"):
                raise RecordFault(f"{identifier} should be true or false, found '{label[:60]}'")
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


def check_per_example(path: Path, files: Files) -> None:
    """Refuse, before anything is read, one of the files to read and what cannot be written."""
    inputs = [file for file in asdict(files).values() if isinstance(file, Path)]
    if path.resolve() in [file.resolve() for file in inputs]:
        raise UsageError(f"{path}: would be overwritten; {PER_EXAMPLE} needs a file of its own.")
    check_out(path, PER_EXAMPLE)


def write_per_example(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write `scores` (metric -> id -> score) as JSON Lines of `id` and one key per metric."""
    rows = (
        {"id": example} | {name: values[example] for name, values in scores.items()}
        for example in next(iter(scores.values()))
    )
    write_out(path, "".join(f"{json.dumps(row)}\n" for row in rows), PER_EXAMPLE)
