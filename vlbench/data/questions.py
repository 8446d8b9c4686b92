"""Questions that a user asks of a trained model: pictures and texts, or JSON Lines of them.

They become examples whose image ids are paths; `annotation` holds what an answer repeats of the
question, and the answers whose probability is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example, Faults, RecordFault, excerpt, field
from vlbench.data.images import clip_folders, open_clip, open_image, picture_files
from vlbench.data.readers.base import read_lines, require_new
from vlbench.errors import DataError, MissingError, UsageError


def read_questions(file: Path, card: TaskCard) -> list[Example]:
    """The questions of a JSON Lines file: image or images, text, and more that docs/cli.md lists.

    Pictures are looked for beside the file. Every faulty line is named, before anything is asked.
    """
    faults, pictures, seen = Faults(), PictureCheck(card), set[str]()
    examples: list[Example] = []
    for line, record in read_lines(file, faults):
        with faults.of(file, line):
            example = _example(record, int(line.rpartition(" ")[2]), file.parent, card)
            require_new(example.id, seen, f"id {example.id}")
            for image in example.images:
                pictures.check(image)
            examples.append(example)
    faults.refuse()
    if not examples:
        raise DataError(f'{file}: no questions in it. A line is {{"image": "a.png", "text": "?"}}')
    return examples


def typed_questions(
    images: Sequence[Path], texts: Sequence[str], candidates: Sequence[str], card: TaskCard
) -> list[Example]:
    """Each text asked of each picture, clip or group of pictures, as the command line names them.

    A folder is all pictures, or clips, below it.
    """
    for option, names, refusal in (
        ("--text", texts, _text_refusal(card, bool("".join(texts).strip()))),
        ("--candidate", candidates, _candidates_refusal(card, candidates)),
    ):
        if refusal:
            raise UsageError(f"{' '.join([option, *names[:1]])}: {refusal}.")
    paths = [path for image in images for path in _below(image, card)]
    size, faults, pictures = card.images_per_example, Faults(), PictureCheck(card)
    if len(paths) % size:
        raise UsageError(
            f"--image: task '{card.name}' is about {size} pictures at a time, {len(paths)} given."
        )
    for path in paths:
        with faults.of(Path("--image"), ""):
            pictures.check(str(path))
    faults.refuse()
    groups = [tuple(map(str, paths[at : at + size])) for at in range(0, len(paths), size)]
    pairs = [(group, text) for group in groups for text in (texts or [""])]
    return [
        _question(number, group, group, text, "", candidates)
        for number, (group, text) in enumerate(pairs, 1)
    ]


class PictureCheck:
    """The pictures or clips of questions, each opened once to see whether it can be read."""

    def __init__(self, card: TaskCard) -> None:
        self._is_video = card.visual == "video"
        self._faults: dict[str, str] = {}

    def check(self, image: str) -> None:
        """Raise RecordFault where the picture or clip is missing, cut or damaged."""
        if image not in self._faults:
            self._faults[image] = self._fault(Path(image))
        if fault := self._faults[image]:
            raise RecordFault(fault)

    def _fault(self, path: Path) -> str:
        if not path.exists():
            return f"{path}: no such {'clip: a folder of frames' if self._is_video else 'picture'}"
        try:
            if self._is_video:
                open_clip(path)
            else:
                open_image(path)
        except DataError as error:
            return str(error)
        return ""


def _below(image: Path, card: TaskCard) -> list[Path]:
    """The pictures or clips that a path of the command line stands for."""
    image = image.expanduser()
    if not image.is_dir():
        return [image]
    paths = clip_folders(image) if card.visual == "video" else picture_files(image)
    if not paths:
        what = "folder of frames" if card.visual == "video" else "picture"
        raise MissingError(f"--image {image}: no {what} below it.")
    return paths


def _example(record: Any, number: int, folder: Path, card: TaskCard) -> Example:
    """The question of a line; RecordFault says what it lacks."""
    names = _images(record)
    if len(names) != card.images_per_example:
        raise RecordFault(
            f"{len(names)} pictures, and task '{card.name}' is about {card.images_per_example}"
        )
    text, context = (field(record, k, str) if k in record else "" for k in ("text", "context"))
    candidates = field(record, "candidates", list) if "candidates" in record else []
    for word in (text, context, *candidates):
        _require_text(word)
    refusal = _text_refusal(card, bool((text + context).strip()))
    if refusal := refusal or _candidates_refusal(card, candidates):
        raise RecordFault(refusal)
    identifier = record.get("id", number)
    if not isinstance(identifier, str | int):
        raise RecordFault("'id' should be a string or a whole number")
    paths = [str(folder / Path(name).expanduser()) for name in names]
    return _question(identifier, names, paths, text, context, candidates)


def _question(
    identifier: str | int,
    names: Sequence[str],
    paths: Sequence[str],
    text: str,
    context: str,
    candidates: Sequence[str],
) -> Example:
    record = {"id": identifier, "images": list(names), "text": text, "candidates": list(candidates)}
    return Example(str(identifier), text, tuple(paths), {}, record, context=context)


def _images(record: Any) -> list[str]:
    if isinstance(record, dict) and "images" in record:
        names = field(record, "images", list)
        if "image" in record:
            raise RecordFault("'image' and 'images': leave one out")
    else:
        names = [field(record, "image", str)]
    for name in names:
        _require_text(name)
        if not name or "\0" in name:
            raise RecordFault(f"'image' should be the path of a picture, found {excerpt(name)}")
    return names


def _require_text(value: Any) -> None:
    try:
        value.encode()
    except (AttributeError, UnicodeEncodeError):  # JSON can spell what is no text
        raise RecordFault("images, text, context and candidates should be strings") from None


def _text_refusal(card: TaskCard, is_given: bool) -> str:
    """Why a question needs a text, or has one too many; empty where it is as its task wants it."""
    if "{text}" in card.question and not is_given:
        return f"task '{card.name}' answers a text about the picture, and there is none: give one"
    if card.question and "{text}" not in card.question and is_given:
        return f"task '{card.name}' takes no text, only pictures: leave it out"
    return ""


def _candidates_refusal(card: TaskCard, candidates: Sequence[str]) -> str:
    if card.choices and candidates:
        return f"task '{card.name}' has candidates of its own: {', '.join(card.choices)}"
    return ""
