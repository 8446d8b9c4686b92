"""Score files in the official formats: results of any program against the official annotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.errors import DataError, UsageError, VlbenchError, nearest
from vlbench.metrics import gold_files, load_metric
from vlbench.metrics.answers import read_choices, read_clips, read_results, read_verdicts
from vlbench.metrics.scored import Group, Scored, percent

KARPATHY_SPLIT = "test"
"""What is scored with --karpathy where no split is named."""
PARTS = ("karpathy", "split")


class Files(NamedTuple):
    """What there is to score; all but the first two are for some tasks only."""

    predictions: Path
    annotations: Path
    questions: Path | None = None
    choices: Path | None = None
    variant: str | None = None
    karpathy: Path | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class FileScore:
    """What a task's official metric says about a file of predictions; percent, unrounded."""

    metrics: dict[str, float | None]
    """None where the files do not allow it; `notes` says why."""
    scores: dict[str, dict[str, float]]
    """Metric -> id -> score, x 100 as well; only metrics that one example has."""
    notes: dict[str, str] = field(default_factory=dict)
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many examples were scored."""
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
    """Which files there can be besides predictions and annotations."""


def score_files(task: str, files: Files) -> tuple[FileScore, str | None]:
    """The official metric of `task`, and the variant of it that was taken."""
    if task not in TASKS:
        raise UsageError(f"Unknown task '{task}'. {nearest(task, TASKS)}")
    known = TASKS[task]
    for name in ("questions", "choices", "karpathy", "split"):
        if getattr(files, name) is not None and name not in known.takes:
            takers = " and ".join(each for each in TASKS if name in TASKS[each].takes)
            raise UsageError(f"--{name} is for {takers}; {task} has none.")
    if files.variant is None:
        files = files._replace(variant=known.variants[0] if known.variants else None)
    elif not known.variants:
        takers = " and ".join(each for each in TASKS if TASKS[each].variants)
        raise UsageError(f"--variant is for {takers}; {task} has one official version.")
    elif files.variant not in known.variants:
        valid = nearest(files.variant, known.variants)
        raise UsageError(f"{task} has no variant '{files.variant}'. {valid}")
    if files.karpathy is not None and files.split is None:
        files = files._replace(split=KARPATHY_SPLIT)
    return known.score(files), files.variant


def _vqav2(files: Files) -> FileScore:
    from vlbench.metrics.vqa import VERSIONS, score

    gold = gold_files.read_vqa(files.annotations)
    if files.questions is not None:
        gold_files.check_questions(files.questions, gold, files.annotations)
    gold = _in_split(
        files, gold, lambda each: gold_files.image_of(gold[each], each, files.annotations)
    )
    answers = read_results(files.predictions, "question_id", int, "answer").checked(gold)
    return _report(score(gold, answers, files.variant or VERSIONS[0]))


def _gqa(files: Files) -> FileScore:
    from vlbench.metrics.gqa import METRICS, evaluate, scored_questions

    questions = gold_files.read_gqa(files.annotations)
    others = {} if files.questions is None else gold_files.read_gqa(files.questions)
    choices = None if files.choices is None else gold_files.read_gqa_choices(files.choices)
    answers = read_results(files.predictions, "questionId", str, "prediction").checked(
        scored_questions(questions),
        known={*questions, *others},
        hint="Predictions for unbalanced questions need --questions, the file of all questions.",
    )
    scored = evaluate(questions, answers, choices, others)
    missing = {name: GQA_NEEDS[name] for name in METRICS if name not in scored.metrics}
    metrics = dict.fromkeys(METRICS, 0.0) | scored.metrics
    return _report(replace(scored, metrics=metrics, undefined=missing | scored.undefined))


GQA_NEEDS = {
    "binary": "there is no such question",
    "open": "there is no such question",
    "consistency": "needs all questions (--questions) and predictions for all that are entailed",
    "validity": "needs --choices",
    "plausibility": "needs --choices",
    "distribution": "needs groups.global in the questions",
}


def _nlvr2(files: Files) -> FileScore:
    return _by_label("nlvr2", files)


def _nlvr(files: Files) -> FileScore:
    return _by_label("accuracy", files)


def _by_label(metric: str, files: Files) -> FileScore:
    gold = gold_files.read_labels(files.annotations)
    is_part = files.variant == "balanced"
    labels = read_verdicts(files.predictions).checked(gold, ignore_extra=is_part)
    return _report(load_metric(metric)(gold, labels))


def _value_answers(files: Files, options: int) -> FileScore:
    gold = gold_files.read_answer_indices(files.annotations, options)
    found = read_choices(files.predictions, options).checked(gold)
    scores = {each: float(found[each] == gold[each]["answer"]) for each in gold}
    return _report(Scored({"accuracy": percent(scores.values())}, scores))


def _coco(files: Files) -> FileScore:
    from vlbench.metrics.java import require_java
    from vlbench.metrics.spice import score

    require_java()
    gold = _coco_gold(files)
    found = read_results(files.predictions, "image_id", int, "caption").checked(gold)
    scored = _captions(gold, found)
    try:
        spice = score(_references(gold), found)
    except VlbenchError as error:
        return replace(
            scored,
            metrics=scored.metrics | {"spice": None},
            notes=scored.notes | {"spice": str(error)},
        )
    scores = scored.scores | _x100({"spice": spice})
    return replace(
        scored, metrics=scored.metrics | {"spice": percent(spice.values())}, scores=scores
    )


def _coco_gold(files: Files) -> gold_files.Records:
    """The captions of all images, or of a split of Karpathy's, which either file tells."""
    if files.split and not files.karpathy and gold_files.is_karpathy(files.annotations):
        return gold_files.read_karpathy(files.annotations, files.split)
    return _in_split(files, gold_files.read_captions(files.annotations), str)


def _in_split(
    files: Files, gold: gold_files.Records, image_of: Callable[[str], str]
) -> gold_files.Records:
    """The records about images of a Karpathy split, if one is wanted."""
    if files.split is None:
        return gold
    if files.karpathy is None:
        raise UsageError(
            f"--split {files.split}: needs --karpathy, the file dataset_coco.json, which says what "
            "images are in it."
        )
    images = gold_files.read_karpathy(files.karpathy, files.split)
    kept = {each: record for each, record in gold.items() if image_of(each) in images}
    if not kept:
        raise DataError(
            f"{files.annotations}: about no image of the split '{files.split}' of {files.karpathy}."
        )
    return kept


def _value_captions(files: Files) -> FileScore:
    from vlbench.metrics.java import require_java
    from vlbench.metrics.value_captions import ascii_captions, to_ascii

    require_java()
    gold = gold_files.read_clip_captions(files.annotations)
    found = read_clips(files.predictions).checked(gold)
    return _captions(ascii_captions(gold), {each: to_ascii(text) for each, text in found.items()})


def _captions(gold: gold_files.Records, found: Mapping[str, str]) -> FileScore:
    from vlbench.metrics.captions import evaluate

    scores = evaluate(_references(gold), found)
    metrics = {name: 100 * value for name, value in scores.overall.items()}
    return _report(Scored(metrics, {}, undefined=scores.undefined), scores.per_image)


def _references(gold: gold_files.Records) -> dict[str, list[str]]:
    return {each: record["captions"] for each, record in gold.items()}


def _x100(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {each: 100 * value for each, value in values.items()}
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
    "vqav2": Task(_vqav2, ("official-2016", "official-2021"), ("questions", *PARTS)),
    "gqa": Task(_gqa, takes=("questions", "choices")),
    "nlvr2": Task(_nlvr2, ("all", "balanced")),
    "coco": Task(_coco, takes=PARTS),
    "tvqa": Task(partial(_value_answers, options=5)),
    "how2qa": Task(partial(_value_answers, options=4)),
    "tvc": Task(_value_captions),
    "yc2c": Task(_value_captions),
    "nlvr": Task(_nlvr),
}
