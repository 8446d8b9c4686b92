"""Read official annotation files, id -> what the metric needs; a fault is told with its record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vlbench.data.faults import Faults, RecordFault
from vlbench.data.readers.coco import read_pictures
from vlbench.data.readers.gqa import check_scored
from vlbench.data.readers.json_text import read_list
from vlbench.data.readers.vqav2 import TYPES
from vlbench.errors import DataError, MissingError, UsageError, nearest
from vlbench.metrics.answers import descriptions, option, verdict
from vlbench.metrics.records import (
    Record,
    of_kind,
    parse,
    read_json,
    read_json_lines,
    read_text,
    records,
    value_at,
)
from vlbench.metrics.scored import listed

Records = dict[str, Record]
KARPATHY_SPLITS = ("train", "val", "test")
LABELS = ("False", "True")
"""What the authors' files of NLVR2 write as 0 and 1."""


def read_vqa(path: Path) -> Records:
    """VQA's annotations: ten answers a question."""
    return _by_id(_vqa(path), path)


def _vqa(path: Path) -> Iterator[tuple[str, Record]]:
    file = read_json(path, dict)
    for where, record in records(_annotations(file, path, "--karpathy"), str(path)):
        question = value_at(record, "question_id", int, where)
        where = f"{where} (question {question})"
        answers = value_at(record, "answers", list, where)
        if not answers:
            raise DataError(f"{where}: there are no answers.")
        for place, answer in records(answers, f"{where}: answers"):
            value_at(answer, "answer", str, place)
        for key in TYPES:
            if record.get(key) is not None:
                value_at(record, key, str, where)
        yield str(question), record


def _annotations(file: Record, path: Path, option: str) -> list[Any]:
    """The list of annotations; `option` is for Karpathy's file, which has none."""
    if "images" in file and "annotations" not in file:
        raise DataError(f"{path}: 'annotations' is missing; for dataset_coco.json see {option}.")
    return value_at(file, "annotations", list, str(path))


def check_questions(path: Path, gold: Records, annotations: Path) -> None:
    """Raise a DataError unless VQA's question file asks what the annotations answer."""
    found = value_at(read_json(path, dict), "questions", list, str(path))
    asked = {
        str(value_at(record, "question_id", int, where))
        for where, record in records(found, str(path))
    }
    differing = sorted(asked ^ gold.keys(), key=int)
    if differing:
        raise DataError(
            f"{path}: not the questions of {annotations}: {len(differing)} ids are in one of the "
            f"two only: {listed(differing)}."
        )


def read_gqa(path: Path) -> Records:
    """GQA's questions by id, or the list of questions and labels that VL-Adapter made of them."""
    found = parse(read_text(path), str(path))
    if isinstance(found, list):
        return _by_id(_labelled_questions(found, path), path)
    file: Records = of_kind(found, dict, f"{path}: the file")
    for where, question in _objects(file, path):
        value_at(question, "answer", str, where)
        try:
            check_scored(question)
        except RecordFault as fault:
            raise DataError(f"{where}: {fault}.") from None
    return _by_id(file.items(), path)


def _labelled_questions(file: list[Any], path: Path) -> Iterator[tuple[str, Record]]:
    for where, record in records(file, str(path)):
        label = value_at(record, "label", dict, where)
        if not label:
            raise DataError(f"{where}: there is no label.")
        answer = max(label, key=label.__getitem__)
        yield value_at(record, "question_id", str, where), {"answer": answer}


def read_gqa_choices(path: Path) -> Records:
    """GQA's valid and plausible answers by question."""
    file = read_json(path, dict)
    for where, record in _objects(file, path):
        value_at(record, "valid", list, where)
        value_at(record, "plausible", list, where)
    return file


def read_labels(path: Path) -> Records:
    """NLVR's and NLVR2's JSON Lines of identifier and label, or VL-Adapter's list of the same."""
    return _by_id(_labels(path), path)


def _labels(path: Path) -> Iterator[tuple[str, Record]]:
    is_list = read_text(path).lstrip().startswith("[")
    for where, record in (
        records(read_json(path, list), str(path)) if is_list else read_json_lines(path)
    ):
        identifier = value_at(record, "identifier", str, where)
        if is_list and record.get("label") in (0, 1):
            record["label"] = LABELS[int(record["label"])]
        label = verdict(value_at(record, "label", str, where), f"{where}: 'label'")
        yield identifier, {"identifier": identifier, "label": label}


def read_captions(path: Path) -> Records:
    """COCO's captions: `captions` by image, in the order of the images."""
    file = read_json(path, dict)
    captions = _annotations(file, path, "--split")
    gold: Records = {}
    if "images" in file:
        images = records(value_at(file, "images", list, str(path)), f"{path}: images")
        gold = {str(value_at(image, "id", int, where)): {"captions": []} for where, image in images}
    for where, record in records(captions, str(path)):
        image = str(value_at(record, "image_id", int, where))
        caption = value_at(record, "caption", str, where)
        gold.setdefault(image, {"captions": []})["captions"].append(caption)
    for image, found in gold.items():
        if not found["captions"]:
            raise DataError(f"{path}: image {image} has no captions.")
    return _by_id(gold.items(), path)


def is_karpathy(path: Path) -> bool:
    """Whether it is a Karpathy file, `dataset_coco.json`, by its first image."""
    try:
        first = next(read_list(path, "images"), None)
    except (OSError, DataError):  # told by who reads it
        return False
    return isinstance(first, dict) and "sentences" in first


def read_karpathy(path: Path, split: str) -> Records:
    """`captions` by image of a split of a Karpathy file; restval is a part of train."""
    if split not in KARPATHY_SPLITS:
        raise UsageError(f"--split {split}: {nearest(split, KARPATHY_SPLITS)}")
    faults = Faults()
    try:
        pictures = [each for each in read_pictures(path, faults) if each.split == split]
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror or error}.") from error
    faults.refuse()
    return {
        str(picture.cocoid): {"captions": [caption for _, caption in picture.captions]}
        for picture in pictures
    }


def image_of(annotation: Record, question: str, path: Path) -> str:
    """The image that a question of VQA is about."""
    return str(value_at(annotation, "image_id", int, f"{path}: question {question}"))


def read_clip_captions(path: Path) -> Records:
    """VALUE's JSON Lines: `captions` by clip, from its `descs`."""
    clips = (
        (str(value_at(record, "clip_id", int, where)), {"captions": descriptions(record, where)})
        for where, record in read_json_lines(path)
    )
    return _by_id(clips, path)


def read_answer_indices(path: Path, options: int) -> Records:
    """VALUE's `answer` index by question: a release file, or TVQA's solution file."""
    found = _solution(path) or _release(path)
    indices = (
        (question, option(index, options, f"{where} (question {question}): the answer"))
        for where, question, index in found
    )
    return _by_id(((question, {"answer": index}) for question, index in indices), path)


def _release(path: Path) -> Iterator[tuple[str, str, int]]:
    for where, record in read_json_lines(path):
        kind = str if isinstance(record.get("qid"), str) else int
        question = value_at(record, "qid", kind, where)
        yield where, str(question), value_at(record, "answer_idx", int, where)


def _solution(path: Path) -> list[tuple[str, str, int]]:
    """The indices of a solution file, show by show; none if the file is none."""
    try:
        file = read_json(path, dict)
    except DataError:  # JSON Lines, as far as is known here
        return []
    if "solution" not in file:
        return []
    return [
        (f"{path}: {show}", each, value_at(answers, each, int, f"{path}: {show}"))
        for show, answers in value_at(file, "solution", dict, str(path)).items()
        for each in of_kind(answers, dict, f"{path}: {show}")
    ]


def _objects(file: Record, path: Path) -> list[tuple[str, Record]]:
    """The objects of a file that is a mapping from question id to object."""
    return [(f"{path}: question {each}", value_at(file, each, dict, str(path))) for each in file]


def _by_id(pairs: Iterable[tuple[str, Record]], path: Path) -> Records:
    """The records by id; each id must be there once, and one at least."""
    found: Records = {}
    repeated: dict[str, None] = {}
    for each, record in pairs:
        if each in found:
            repeated[each] = None
        found[each] = record
    if repeated:
        raise DataError(
            f"{path}: {len(repeated)} ids occur more than once: {listed(list(repeated))}."
        )
    if not found:
        raise DataError(f"{path}: there is nothing to score: the file holds no annotation.")
    return found
