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
from vlbench.data.readers import base, coco, load_reader, video, vqav2
from vlbench.errors import DataError, MissingError, UsageError, VlbenchError, nearest
from vlbench.files import check_out, write_out
from vlbench.metrics import Scored, gqa, listed, load_metric, percent

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
    for option in ("questions", "choices", "karpathy", "split", "variant"):
        takers = [name for name in TASKS if option in TASKS[name].takes]
        if getattr(files, option) is not None and task not in takers:
            raise UsageError(f"--{option} is for {' and '.join(takers)}; {task} has none.")
    for path in asdict(files).values():
        if isinstance(path, Path) and path.is_char_device():  # such as /dev/zero, without an end
            raise MissingError(f"{path}: is a device, not a file.")
    metrics = TASKS[task].metrics
    variant = files.variant or next(iter(metrics))
    if variant not in metrics:
        raise UsageError(f"{task} has no variant '{variant}'. {nearest(variant, metrics)}")
    if task == "coco" and coco.is_karpathy(files.annotations):
        files = replace(files, karpathy=files.annotations)
        if files.split is None:
            raise UsageError(f"{files.annotations}: has several splits; choose one with --split.")
    gold = _in_split(files, _read_annotations(task, files.annotations))
    if task == "gqa":
        scored = _gqa(files, gold)
    else:
        if files.questions is not None:
            _check_questions(files.questions, files.annotations, gold)
        known = None if variant == "balanced" else ()
        answers = _read_answers(files.predictions, TASKS[task].answers, gold, known)
        scored = load_metric(metrics[variant])(gold, answers)
        scored = _with_spice(scored, gold, answers) if task == "coco" else scored
    scores = {
        metric: {example: 100 * value for example, value in values.items()}
        for metric, values in (scored.per_metric or {"accuracy": scored.per_example}).items()
        if metric not in scored.undefined
    }
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
    return document, scores


def _read_annotations(task: str, path: Path) -> Records:
    """The records of a file by id, one or more."""
    read = load_reader(task, path.parent).read_annotations
    gold: Records = {}
    for example, record in base.read_all(read, path):
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


def _check_questions(path: Path, annotations: Path, gold: Records) -> None:
    """Raise a DataError unless VQA's question file asks what the annotations answer."""
    ids = {example.id for example in base.read_all(vqav2.read_questions, path)}
    if differing := sorted(ids ^ gold.keys(), key=int):
        raise DataError(
            f"{path}: not the questions of {annotations}: {len(differing)} ids are in one of the "
            f"two only: {listed(differing)}."
        )


GQA_NEEDS = {
    "binary": "there is no such question",
    "open": "there is no such question",
    "consistency": "needs all questions (--questions) and predictions for all that are entailed",
    "validity": "needs --choices",
    "plausibility": "needs --choices",
    "distribution": "needs groups.global in the questions",
}


def _gqa(files: Files, gold: Records) -> Scored:
    others = {} if files.questions is None else _read_annotations("gqa", files.questions)
    choices = None if files.choices is None else dict(base.read_all(_choices, files.choices))
    answers = _read_answers(
        files.predictions,
        TASKS["gqa"].answers,
        gqa.scored_questions(gold),
        {*gold, *others},
        "Predictions for unbalanced questions need --questions, the file of all questions.",
    )
    scored = gqa.evaluate(gold, answers, choices, others)
    missing = {name: why for name, why in GQA_NEEDS.items() if name not in scored.metrics}
    metrics = dict.fromkeys(gqa.METRICS, 0.0) | scored.metrics  # in the official order
    return replace(scored, metrics=metrics, undefined=missing | scored.undefined)


def _choices(path: Path, faults: Faults) -> Iterator[tuple[str, base.Record]]:
    for question, record in base.read_table(path, "question id"):
        with faults.of(path, f"question {question}"):
            yield question, {key: field(record, key, list) for key in ("valid", "plausible")}


def _with_spice(scored: Scored, gold: Records, answers: Mapping[str, str]) -> Scored:
    from vlbench.metrics import java

    references = {image: record["captions"] for image, record in gold.items()}
    try:
        spice = java.spice(references, answers)
    except VlbenchError as error:
        return replace(scored, undefined={**scored.undefined, "spice": str(error)})
    metrics = {**scored.metrics, "spice": percent(spice.values())}
    return replace(scored, metrics=metrics, per_metric={**scored.per_metric, "spice": spice})


def _read_answers(
    path: Path,
    read: Callable[[Path, Faults], Answers],
    required: Collection[str],
    known: Collection[str] | None = (),
    hint: str = "",
) -> dict[str, str]:
    """One answer for each of the `required` ids, or a UsageError with all faults.

    Ids in `known` are allowed beside them, with None any other; `hint` ends a message about others.
    """
    try:
        pairs = base.read_all(read, path)
    except DataError as error:
        raise UsageError(str(error)) from None
    answers = dict(pairs)
    counts = Counter(example for example, _ in pairs)
    repeated = [example for example, count in counts.items() if count > 1]
    missing = [example for example in required if example not in answers]
    allowed = {*answers} if known is None else {*required, *known}
    extra = [example for example in answers if example not in allowed]
    parts = [
        f"{len(ids)} {words}: {listed(ids)}"
        for ids, words in (
            (missing, f"of {len(required)} examples without a prediction"),
            (extra, "predictions for unknown examples"),
            (repeated, "examples predicted more than once"),
        )
        if ids
    ]
    if not any(answer.strip() for answer in answers.values()):
        empty = f"all {len(answers)} predictions are empty"
        parts.insert(0, empty if answers else "the file holds no predictions")
    if parts:
        raise UsageError(f"{path}: {'. '.join(parts)}.{f' {hint}' if extra and hint else ''}")
    return answers


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
_gqa_answers = partial(_json_list, id_key="questionId", id_kind=str, key="prediction")
_coco = partial(_json_list, id_key="image_id", id_kind=int, key="caption")
VQA_METRICS = {"official-2016": "vqa", "official-2021": "vqa-2021"}
NLVR2_METRICS = {"all": "nlvr2", "balanced": "nlvr2"}
TASKS = {
    "vqav2": Task(_vqa, VQA_METRICS, ("questions", "karpathy", "split", "variant")),
    "gqa": Task(_gqa_answers, {"": "gqa"}, ("questions", "choices")),
    "nlvr2": Task(_verdicts, NLVR2_METRICS, ("variant",)),
    "coco": Task(_coco, {"": "captions"}, ("karpathy", "split")),
    "tvqa": Task(partial(_indices, choices=5), {"": "accuracy"}),
    "how2qa": Task(partial(_indices, choices=4), {"": "accuracy"}),
    "tvc": Task(_clips, {"": "value-captions"}),
    "yc2c": Task(_clips, {"": "value-captions"}),
    "nlvr": Task(_verdicts, {"": "accuracy"}),
}


def check_per_example(path: Path, files: Files) -> None:
    """Refuse a name without a known suffix, one of the files to read, and what is no file."""
    if path.suffix not in (".jsonl", ".json", ".parquet"):
        raise UsageError(
            f"{path}: cannot tell the format. JSON Lines: .jsonl or .json; Parquet: .parquet."
        )
    inputs = [file for file in asdict(files).values() if isinstance(file, Path)]
    if any(file.resolve() == path.resolve() for file in inputs):
        raise UsageError(f"{path}: would be overwritten; {PER_EXAMPLE} needs a file of its own.")
    check_out(path, PER_EXAMPLE)


def write_per_example(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write `scores` (metric -> id -> score) as rows of `id` and one column per metric."""
    rows: list[dict[str, Any]] = [
        {"id": example} | {name: values[example] for name, values in scores.items()}
        for example in next(iter(scores.values()))
    ]
    if path.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        table = pa.Table.from_pylist(rows)
        write_out(path, lambda file: parquet.write_table(table, file), PER_EXAMPLE)
    else:
        write_out(path, "".join(f"{json.dumps(row)}\n" for row in rows), PER_EXAMPLE)
