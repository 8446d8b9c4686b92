"""Score files in the official formats: results of any program against the official annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.errors import DataError, UsageError, VlbenchError, nearest
from vlbench.files import check_out, write_out
from vlbench.metrics import Group, Scored, load_metric, percent, records

KARPATHY_SPLIT = "test"
"""What is scored with --karpathy where no split is named."""
PER_EXAMPLE = "--per-example"
SUFFIXES = (".jsonl", ".json", ".parquet")


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


@dataclass(frozen=True, slots=True)
class FileScore:
    """A file of predictions by the task's official metric; percent, unrounded."""

    metrics: dict[str, float | None]
    """None where the files do not allow it; `notes` says why."""
    scores: dict[str, dict[str, float]]
    """Metric -> id -> score, x 100 as well; only metrics that one example has."""
    notes: dict[str, str] = field(default_factory=dict)
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of scored examples."""
        return len(next(iter(self.scores.values())))

    def as_json(self, task: str, variant: str | None, per_example: Path | None) -> dict[str, Any]:
        """The object of `vlbench score --json`."""
        return {
            "schema": "vlbench.score/1",
            "task": task,
            "variant": variant,
            "metrics": self.metrics,
            "notes": self.notes,
            "n": self.n,
            "groups": {
                kind: {name: group._asdict() for name, group in members.items()}
                for kind, members in self.groups.items()
            },
            "per_example": None if per_example is None else str(per_example),
        }


class Task(NamedTuple):
    """How the files of a task are scored."""

    score: Callable[[Files], FileScore]
    variants: tuple[str, ...] = ()
    """The first one is the default."""
    takes: tuple[str, ...] = ()
    """Files and options besides predictions and annotations."""


def score_files(task: str, files: Files) -> tuple[FileScore, str | None]:
    """The official metric of `task`, and the variant of it that was taken."""
    if task not in TASKS:
        raise UsageError(f"Unknown task '{task}'. {nearest(task, TASKS)}")
    known = TASKS[task]
    for name in ("questions", "choices", "karpathy", "split"):
        if getattr(files, name) is not None and name not in known.takes:
            takers = " and ".join(other for other in TASKS if name in TASKS[other].takes)
            raise UsageError(f"--{name} is for {takers}; {task} has none.")
    if files.variant is None:
        files = replace(files, variant=known.variants[0] if known.variants else None)
    elif not known.variants:
        takers = " and ".join(other for other in TASKS if TASKS[other].variants)
        raise UsageError(f"--variant is for {takers}; {task} has one official version.")
    elif files.variant not in known.variants:
        valid = nearest(files.variant, known.variants)
        raise UsageError(f"{task} has no variant '{files.variant}'. {valid}")
    if files.karpathy is not None and files.split is None:
        files = replace(files, split=KARPATHY_SPLIT)
    return known.score(files), files.variant


def check_per_example(path: Path, files: Files) -> None:
    """Refuse a name without a known suffix, one of the files to read, and what is no file."""
    if path.suffix not in SUFFIXES:
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


def _vqav2(files: Files) -> FileScore:
    from vlbench.metrics.vqa import VERSIONS, score

    path = files.annotations
    gold = records.read_vqa(path)
    if files.questions is not None:
        records.check_questions(files.questions, gold, path)
    gold = _in_split(
        files,
        gold,
        lambda qid: str(records.value_at(gold[qid], "image_id", int, f"{path}: question {qid}")),
    )
    answers = records.read_results(files.predictions, gold, ("question_id", "answer"), int)
    return _report(score(gold, answers, files.variant or VERSIONS[0]))


GQA_NEEDS = {
    "binary": "there is no such question",
    "open": "there is no such question",
    "consistency": "needs all questions (--questions) and predictions for all that are entailed",
    "validity": "needs --choices",
    "plausibility": "needs --choices",
    "distribution": "needs groups.global in the questions",
}


def _gqa(files: Files) -> FileScore:
    from vlbench.metrics.gqa import METRICS, evaluate, scored_questions

    questions = records.read_gqa(files.annotations)
    others = {} if files.questions is None else records.read_gqa(files.questions)
    choices = None if files.choices is None else records.read_gqa_choices(files.choices)
    answers = records.read_results(
        files.predictions,
        scored_questions(questions),
        ("questionId", "prediction"),
        str,
        known={*questions, *others},
        hint="Predictions for unbalanced questions need --questions, the file of all questions.",
    )
    scored = evaluate(questions, answers, choices, others)
    missing = {name: GQA_NEEDS[name] for name in METRICS if name not in scored.metrics}
    metrics = dict.fromkeys(METRICS, 0.0) | scored.metrics
    return _report(replace(scored, metrics=metrics, undefined=missing | scored.undefined))


def _labels(files: Files, metric: str) -> FileScore:
    gold = records.read_labels(files.annotations)
    labels = records.read_verdicts(files.predictions, gold, files.variant == "balanced")
    return _report(load_metric(metric)(gold, labels))


def _value_answers(files: Files, options: int) -> FileScore:
    gold = records.read_answer_indices(files.annotations, options)
    answers = records.read_choices(files.predictions, gold, options)
    scores = {qid: float(answers[qid] == gold[qid]["answer"]) for qid in gold}
    return _report(Scored({"accuracy": percent(scores.values())}, scores))


def _coco(files: Files) -> FileScore:
    from vlbench.metrics import captions, java

    java.require_java()
    if files.split and not files.karpathy and records.is_karpathy(files.annotations):
        gold = records.read_karpathy(files.annotations, files.split)
    else:
        gold = _in_split(files, records.read_captions(files.annotations), str)
    texts = records.read_results(files.predictions, gold, ("image_id", "caption"), int)
    scored = _captions(gold, texts)
    try:
        spice = captions.spice(_references(gold), texts)
    except VlbenchError as error:
        value, scores, notes = None, scored.scores, scored.notes | {"spice": str(error)}
    else:
        value, notes = percent(spice.values()), scored.notes
        scores = scored.scores | _x100({"spice": spice})
    return FileScore(scored.metrics | {"spice": value}, scores, notes)


def _in_split(
    files: Files, gold: records.Records, image_of: Callable[[str], str]
) -> records.Records:
    """The records about images of a Karpathy split, if one is wanted."""
    if files.split is None:
        return gold
    if files.karpathy is None:
        raise UsageError(
            f"--split {files.split}: needs --karpathy, the file dataset_coco.json, which says what "
            "images are in it."
        )
    images = records.read_karpathy(files.karpathy, files.split)
    kept = {example: record for example, record in gold.items() if image_of(example) in images}
    if not kept:
        raise DataError(
            f"{files.annotations}: about no image of the split '{files.split}' of {files.karpathy}."
        )
    return kept


def _value_captions(files: Files) -> FileScore:
    from vlbench.metrics import captions, java

    java.require_java()
    gold = records.read_clip_captions(files.annotations)
    texts = records.read_clips(files.predictions, gold)
    return _captions(captions.ascii_captions(gold), captions.ascii_texts(texts))


def _captions(gold: records.Records, texts: Mapping[str, str]) -> FileScore:
    from vlbench.metrics.captions import evaluate

    scores = evaluate(_references(gold), texts)
    metrics = {name: 100 * value for name, value in scores.overall.items()}
    return _report(Scored(metrics, {}, undefined=scores.undefined), scores.per_image)


def _references(gold: records.Records) -> dict[str, list[str]]:
    return {image: record["captions"] for image, record in gold.items()}


def _x100(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {example: 100 * value for example, value in values.items()}
        for name, values in scores.items()
    }


def _report(
    scored: Scored, per_example: Mapping[str, Mapping[str, float]] | None = None
) -> FileScore:
    """The score of files: what cannot be computed is None, with the reason in a note."""
    notes, scores = scored.undefined, per_example or {"accuracy": scored.per_example}
    return FileScore(
        {name: None if name in notes else value for name, value in scored.metrics.items()},
        _x100({name: values for name, values in scores.items() if name not in notes}),
        notes,
        scored.groups,
    )


TASKS = {
    "vqav2": Task(_vqav2, ("official-2016", "official-2021"), ("questions", "karpathy", "split")),
    "gqa": Task(_gqa, takes=("questions", "choices")),
    "nlvr2": Task(partial(_labels, metric="nlvr2"), ("all", "balanced")),
    "coco": Task(_coco, takes=("karpathy", "split")),
    "tvqa": Task(partial(_value_answers, options=5)),
    "how2qa": Task(partial(_value_answers, options=4)),
    "tvc": Task(_value_captions),
    "yc2c": Task(_value_captions),
    "nlvr": Task(partial(_labels, metric="accuracy")),
}
