"""Read official annotation files and files of predictions, id -> what a metric needs.

A fault of an annotation names its file and record; all faults of a file of predictions come in one
message that names the ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

from vlbench.data.faults import Faults, RecordFault
from vlbench.data.readers.coco import read_pictures
from vlbench.data.readers.gqa import check_scored
from vlbench.data.readers.json_text import read_list
from vlbench.data.readers.vqav2 import TYPES
from vlbench.errors import DataError, MissingError, UsageError, nearest
from vlbench.files import open_data
from vlbench.metrics import listed

T = TypeVar("T")
Record = dict[str, Any]
Records = dict[str, Record]
Item = tuple[str, Any]
"""The words that name a record in a message, and the record."""
KINDS: dict[type, str] = {str: "text", int: "a whole number", list: "a list", dict: "an object"}
KARPATHY_SPLITS = ("train", "val", "test")
LABELS = ("False", "True")
"""What the authors' files of NLVR2 write as 0 and 1."""


# Any file


def read_text(path: Path) -> str:
    """The whole file, which must be UTF-8."""
    try:
        if path.is_char_device():  # such as /dev/zero, which has no end
            raise MissingError(f"{path}: is a device, not a file.")
        with open_data(path) as data, TextIOWrapper(data, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror or error}.") from error


def parse(text: str, where: object, pairs: Callable[[list[Item]], Any] | None = None) -> Any:
    """The JSON value; `pairs` makes an object from its keys and values, repeated ones included."""
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}") from error


def read_json(path: Path, kind: type[T]) -> T:
    """The file's one JSON value, a list or an object as `kind` says."""
    return of_kind(parse(read_text(path), path), kind, f"{path}: the file")


def of_kind(value: Any, kind: type[T], where: str) -> T:
    """The value, which must be of that kind; true and false are no numbers."""
    if not isinstance(value, kind) or isinstance(value, bool):
        text = json.dumps(value)
        text = text if len(text) <= 60 else text[:60] + "..."
        raise DataError(f"{where} should be {KINDS[kind]}, found {text}")
    return value


def value_at(record: Any, key: str, kind: type[T], where: str) -> T:
    """The record's value under `key`, which must be present and of that kind."""
    if key not in of_kind(record, dict, where):
        raise DataError(f"{where}: '{key}' is missing.")
    return of_kind(record[key], kind, f"{where}: '{key}'")


def _records(values: list[Any], where: object) -> Iterator[tuple[str, Record]]:
    for number, value in enumerate(values, 1):
        name = f"{where}: record {number}"
        yield name, of_kind(value, dict, name)


def _lines(text: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The lines that are not blank."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{prefix}line {number}", line


def _json_lines(path: Path) -> Iterator[tuple[str, Record]]:
    for where, line in _lines(read_text(path), f"{path}: "):
        yield where, of_kind(parse(line, where), dict, where)


def _option(value: Any, options: int, where: str) -> int:
    """The index of one of so many options."""
    index = of_kind(value, int, where)
    if index not in range(options):
        raise DataError(f"{where} should be 0 to {options - 1}, found {index}")
    return index


def _verdict(text: str, where: str) -> str:
    if text.lower() not in ("true", "false"):
        raise DataError(f"{where} should be true or false, found {text[:60]!r}")
    return text


def _descriptions(record: Record, where: str) -> list[str]:
    """The captions of a clip in VALUE's format, one or more."""
    descs = value_at(record, "descs", list, where)
    if not descs:
        raise DataError(f"{where}: 'descs' is empty.")
    objects = [of_kind(desc, dict, f"{where}: 'descs'") for desc in descs]
    return [value_at(desc, "desc", str, where) for desc in objects]


# Predictions: one answer for each wanted example, or a UsageError with all the faults


def read_results(
    path: Path,
    wanted: Collection[str],
    keys: tuple[str, str],
    id_kind: type,
    known: Collection[str] = (),
    hint: str = "",
) -> dict[str, str]:
    """A JSON list of objects, each with an id and a text under `keys`.

    Ids in `known` are allowed beside the wanted ones; `hint` ends the message if there are others.
    """

    def items(text: str) -> Iterator[Item]:
        values = parse(text, path) if text.strip() else []
        return (
            (f"record {number}", value)
            for number, value in enumerate(of_kind(values, list, f"{path}: the file"), 1)
        )

    return _gather(
        path,
        wanted,
        items,
        lambda record, where: str(value_at(record, keys[0], id_kind, where)),
        lambda record, where: value_at(record, keys[1], str, where),
        known,
        hint,
    )


class _Pairs(list[Item]):
    """The keys and values of a JSON object, repeated keys included."""


def read_choices(path: Path, wanted: Collection[str], options: int) -> dict[str, int]:
    """VALUE's JSON object: question id -> index of the option, of so many."""

    def items(text: str) -> Iterator[Item]:
        pairs = parse(text, path, _Pairs) if text.strip() else _Pairs()
        if not isinstance(pairs, _Pairs):
            raise DataError(f"{path}: the file should be an object of question id and index.")
        return (("question", pair) for pair in pairs)

    return _gather(
        path,
        wanted,
        items,
        lambda pair, where: str(pair[0]),
        lambda pair, where: _option(pair[1], options, f"{where}: the index"),
    )


def read_clips(path: Path, wanted: Collection[str]) -> dict[str, str]:
    """VALUE's JSON Lines: a `clip_id` and `descs`, of which the first counts."""
    return _gather(
        path,
        wanted,
        _lines,
        lambda line, where: str(value_at(parse(line, where), "clip_id", int, where)),
        lambda line, where: _descriptions(parse(line, where), where)[0],
    )


def read_verdicts(path: Path, wanted: Collection[str], ignore_extra: bool) -> dict[str, str]:
    """CSV of identifier and true or false, without a header; case, spaces and quotes are free."""

    def split(line: str, where: str) -> list[str]:
        parts = line.strip().split(",")
        if len(parts) != 2:
            raise DataError(
                f"{where} should be identifier,prediction, found {line.strip()[:60]!r}."
            )
        return [part.strip().strip("\"'").strip() for part in parts]

    return _gather(
        path,
        wanted,
        _lines,
        lambda line, where: split(line, where)[0],
        lambda line, where: _verdict(split(line, where)[1], f"{where}: the prediction"),
        known=None if ignore_extra else (),
    )


def _gather(
    path: Path,
    wanted: Collection[str],
    items_of: Callable[[str], Iterable[Item]],
    id_of: Callable[[Any, str], str],
    answer_of: Callable[[Any, str], T],
    known: Collection[str] | None = (),
    hint: str = "",
) -> dict[str, T]:
    """The answers by id; with `known` None any other id is allowed."""
    answers: dict[str, T] = {}
    repeated: dict[str, None] = {}
    faults: list[str] = []
    faulty: set[str] = set()  # ids of records with a fault: they are not missing
    try:
        items = list(items_of(read_text(path)))
    except DataError as error:
        raise UsageError(str(error)) from None
    for where, item in items:
        qid = None
        try:
            qid = id_of(item, where)
            answer = answer_of(item, f"{where} ({qid})")
        except DataError as error:
            faults.append(str(error).rstrip("."))
            faulty.update(() if qid is None else (qid,))
        else:
            if qid in answers:
                repeated[qid] = None
            answers[qid] = answer
    missing = [qid for qid in wanted if qid not in answers and qid not in faulty]
    allowed = {*answers} if known is None else {*wanted, *known}
    extra = [qid for qid in answers if qid not in allowed]
    parts = [
        f"{len(ids)} {words}{listed(ids, between)}"
        for ids, words, between in (
            (faults, "records that cannot be used: ", "; "),
            (missing, f"of {len(wanted)} examples without a prediction: ", ", "),
            (extra, "predictions for unknown examples: ", ", "),
            ([*repeated], "examples predicted more than once: ", ", "),
        )
        if ids
    ]
    if not answers and not faults:
        parts.insert(0, "the file holds no predictions")
    elif answers and all(isinstance(text, str) and not text.strip() for text in answers.values()):
        parts.append(f"all {len(answers)} predictions are empty")
    if parts:
        end = f" {hint}" if extra and hint else ""
        raise UsageError(f"{path}: {'. '.join(parts)}.{end}")
    return answers


# Annotations


def _by_id(pairs: Iterable[tuple[str, Record]], path: Path) -> Records:
    """The records by id, one or more; DataError where an id occurs twice."""
    by_id: Records = {}
    repeated: dict[str, None] = {}
    for qid, record in pairs:
        if qid in by_id:
            repeated[qid] = None
        by_id[qid] = record
    if repeated:
        raise DataError(f"{path}: {len(repeated)} ids occur more than once: {listed([*repeated])}.")
    if not by_id:
        raise DataError(f"{path}: there is nothing to score: the file holds no annotation.")
    return by_id


def _annotations(file: Record, path: Path, option: str) -> list[Any]:
    """The list of annotations; `option` is for Karpathy's file, which has none."""
    if "images" in file and "annotations" not in file:
        raise DataError(f"{path}: 'annotations' is missing; for dataset_coco.json see {option}.")
    return value_at(file, "annotations", list, str(path))


def read_vqa(path: Path) -> Records:
    """VQA's annotations: ten answers a question."""

    def questions() -> Iterator[tuple[str, Record]]:
        file = read_json(path, dict)
        for where, record in _records(_annotations(file, path, "--karpathy"), path):
            question = value_at(record, "question_id", int, where)
            where = f"{where} (question {question})"
            answers = value_at(record, "answers", list, where)
            if not answers:
                raise DataError(f"{where}: there are no answers.")
            for at, answer in _records(answers, f"{where}: answers"):
                value_at(answer, "answer", str, at)
            for key in TYPES:
                if record.get(key) is not None:
                    value_at(record, key, str, where)
            yield str(question), record

    return _by_id(questions(), path)


def check_questions(path: Path, gold: Records, annotations: Path) -> None:
    """Raise a DataError unless VQA's question file asks what the annotations answer."""
    questions = value_at(read_json(path, dict), "questions", list, str(path))
    ids = {
        str(value_at(record, "question_id", int, where))
        for where, record in _records(questions, path)
    }
    differing = sorted(ids ^ gold.keys(), key=int)
    if differing:
        raise DataError(
            f"{path}: not the questions of {annotations}: {len(differing)} ids are in one of the "
            f"two only: {listed(differing)}."
        )


def _objects(file: Record, path: Path) -> list[tuple[str, Record]]:
    """The objects of a file that is a mapping from question id to object."""
    return [(f"{path}: question {qid}", value_at(file, qid, dict, str(path))) for qid in file]


def read_gqa(path: Path) -> Records:
    """GQA's questions by id, or the list of questions and labels that VL-Adapter made of them."""
    content = parse(read_text(path), path)
    if isinstance(content, list):
        return _by_id(_labelled_questions(content, path), path)
    file: Records = of_kind(content, dict, f"{path}: the file")
    for where, question in _objects(file, path):
        value_at(question, "answer", str, where)
        try:
            check_scored(question)
        except RecordFault as fault:
            raise DataError(f"{where}: {fault}.") from None
    return _by_id(file.items(), path)


def _labelled_questions(file: list[Any], path: Path) -> Iterator[tuple[str, Record]]:
    for where, record in _records(file, path):
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

    def labels() -> Iterator[tuple[str, Record]]:
        is_list = read_text(path).lstrip().startswith("[")
        items = _records(read_json(path, list), path) if is_list else _json_lines(path)
        for where, record in items:
            identifier = value_at(record, "identifier", str, where)
            if is_list and record.get("label") in (0, 1):
                record["label"] = LABELS[int(record["label"])]
            label = _verdict(value_at(record, "label", str, where), f"{where}: 'label'")
            yield identifier, {"identifier": identifier, "label": label}

    return _by_id(labels(), path)


def read_captions(path: Path) -> Records:
    """COCO's captions: `captions` by image, in the order of the images."""
    file = read_json(path, dict)
    captions = _annotations(file, path, "--split")
    gold: Records = {}
    if "images" in file:
        images = _records(value_at(file, "images", list, str(path)), f"{path}: images")
        gold = {str(value_at(image, "id", int, where)): {"captions": []} for where, image in images}
    for where, record in _records(captions, path):
        image = str(value_at(record, "image_id", int, where))
        caption = value_at(record, "caption", str, where)
        gold.setdefault(image, {"captions": []})["captions"].append(caption)
    for image, record in gold.items():
        if not record["captions"]:
            raise DataError(f"{path}: image {image} has no captions.")
    return _by_id(gold.items(), path)


def is_karpathy(path: Path) -> bool:
    """Whether it is a Karpathy file, `dataset_coco.json`, by its first image."""
    try:
        first = next(read_list(path, "images"), None)
    except (OSError, DataError):  # whoever reads it says so
        return False
    return isinstance(first, dict) and "sentences" in first


def read_karpathy(path: Path, split: str) -> Records:
    """`captions` by image of a split of a Karpathy file; restval is a part of train."""
    if split not in KARPATHY_SPLITS:
        raise UsageError(f"--split {split}: {nearest(split, KARPATHY_SPLITS)}")
    faults = Faults()
    try:
        pictures = [picture for picture in read_pictures(path, faults) if picture.split == split]
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror or error}.") from error
    faults.refuse()
    return {
        str(picture.cocoid): {"captions": [caption for _, caption in picture.captions]}
        for picture in pictures
    }


def read_clip_captions(path: Path) -> Records:
    """VALUE's JSON Lines: `captions` by clip, from its `descs`."""
    clips = (
        (str(value_at(record, "clip_id", int, where)), {"captions": _descriptions(record, where)})
        for where, record in _json_lines(path)
    )
    return _by_id(clips, path)


def read_answer_indices(path: Path, options: int) -> Records:
    """VALUE's `answer` index by question: a release file, or TVQA's solution file."""
    indices = (
        (qid, {"answer": _option(index, options, f"{where} (question {qid}): the answer")})
        for where, qid, index in _solution(path) or _release(path)
    )
    return _by_id(indices, path)


def _release(path: Path) -> Iterator[tuple[str, str, int]]:
    for where, record in _json_lines(path):
        kind = str if isinstance(record.get("qid"), str) else int
        qid = str(value_at(record, "qid", kind, where))
        yield where, qid, value_at(record, "answer_idx", int, where)


def _solution(path: Path) -> list[tuple[str, str, int]]:
    """The indices of a solution file, show by show; none if the file is none."""
    try:
        file = read_json(path, dict)
    except DataError:  # JSON Lines, as far as is known here
        return []
    shows = value_at(file, "solution", dict, str(path)) if "solution" in file else {}
    return [
        (f"{path}: {show}", qid, value_at(answers, qid, int, f"{path}: {show}"))
        for show, answers in shows.items()
        for qid in of_kind(answers, dict, f"{path}: {show}")
    ]
