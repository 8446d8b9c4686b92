"""NLVR (drawings) and NLVR2 (photographs): a sentence about pictures, true or false.

NLVR has one drawing of three boxes, `dev/images/{directory}/dev-{identifier}-{k}.png`, where k is
an order of the boxes: training takes every order on the disk, validation and test the first one.
Its dev set is split into train and val by the number before the identifier's dash; a sentence that
stands under several numbers goes by the smallest. NLVR2 has two photographs: an identifier is
`split-set-pair-sentence`, its pictures are `split-set-pair-img0` (left) and `-img1`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from sys import intern

from vlbench.data.example import Example, Faults, RecordFault, excerpt, field
from vlbench.data.readers import base

ORDERS = range(6)  # of three boxes
PARTS, VALIDATION = 5, 3  # held out: numbers of that remainder by PARTS, 185 of 989 examples
AUTHORS_FILES = {"train": "train.json", "dev": "valid.json", "test1": "test.json"}


class NLVR(base.Reader):
    """Statements about a drawing of three boxes."""

    splits = ("train", "val", "test")
    feature_places = ("features/{encoder}/nlvr",)
    is_indexed = False  # the orders of the boxes depend on the pictures

    def files(self, split: str) -> list[Path]:
        part = "test" if split == "test" else "dev"
        return [self.root / "nlvr" / part / f"{part}.json"]

    def examples(self, split: str, faults: Faults) -> base.Examples:
        [path] = self.files(split)
        smallest: dict[str, int] = {}
        """Sentence, without case, spaces and full stop -> the smallest of its numbers."""
        records = []
        for where, record in _read_statements(path, faults):
            with faults.of(path, where):
                number, dash, _ = record["identifier"].partition("-")
                if not (dash and number.isdecimal()):
                    raise RecordFault(
                        f"identifier '{record['identifier']}' should be number-picture"
                    )
                sentence = " ".join(record["sentence"].lower().split()).rstrip(" .")
                smallest[sentence] = min(int(number), smallest.get(sentence, int(number)))
                records.append((where, sentence, record))
        for where, sentence, record in records:
            is_held_out = smallest[sentence] % PARTS == VALIDATION
            if split == "test" or is_held_out == (split == "val"):
                with faults.of(path, where):
                    yield from self._orders(record, path.stem, split == "train")

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        return ((record["identifier"], record) for _, record in _read_statements(path, faults))

    def image_path(self, image_id: str) -> Path:
        folder = self.root / "nlvr" / image_id.partition("-")[0] / "images"
        return base.find_image(self.subfolders(folder) or [folder], image_id)

    def _orders(self, record: base.Record, part: str, is_train: bool) -> base.Examples:
        """A record's examples: one per order on the disk, of which evaluation takes the first."""
        identifier = record["identifier"]
        folder = self.root / "nlvr" / part / "images" / field(record, "directory", str)
        names = [f"{part}-{identifier}-{order}" for order in ORDERS]
        drawn = [n for n in names if any((folder / (n + s)).is_file() for s in base.SUFFIXES)]
        if not drawn:
            raise RecordFault(f"no picture {folder / names[0]}.png, nor in another order")
        for name in drawn if is_train else drawn[:1]:
            example = name.removeprefix(f"{part}-") if is_train else identifier
            yield Example(example, record["sentence"], (name,), _verdict(record), record)


class NLVR2(base.Reader):
    """Statements about a pair of photographs.

    Training pictures lie in sub-folders named by `directory`, or flat, as in some copies. Where
    `nlvr2/dev.json` is absent, the authors' `nlvr/valid.json` serves, a list with labels 0 and 1.
    """

    splits = ("train", "dev", "test1", "test2")
    feature_places = ("features/{encoder}/nlvr2", "nlvr/clip_features/data_clip_{authors}_att")

    def files(self, split: str) -> list[Path]:
        authors = self.root / "nlvr" / AUTHORS_FILES.get(split, "")
        return [base.official_or_authors(self.root / "nlvr2" / f"{split}.json", authors)]

    def examples(self, split: str, faults: Faults) -> base.Examples:
        return self._read(self.files(split)[0], faults)

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        return ((example.id, example.annotation) for example in self._read(path, faults))

    def image_path(self, image_id: str) -> Path:
        folder = self.root / "nlvr2" / "images" / image_id.partition("-")[0]
        directory = self._directories.get(image_id.rpartition("-")[0])
        below = [folder / directory] if directory else self.subfolders(folder, "[0-9]*/")
        return base.find_image([*below, folder], image_id)

    @cached_property
    def _directories(self) -> dict[str, str]:
        """Pair -> sub-folder, as the training records have it."""
        path = self.root / "nlvr2" / "train.json"
        return {
            str(record["identifier"]).rpartition("-")[0]: str(record["directory"])
            for _, record in (base.read_lines(path, Faults()) if path.is_file() else ())
            if isinstance(record, dict) and {"identifier", "directory"} <= record.keys()
        }

    def _read(self, path: Path, faults: Faults) -> base.Examples:
        for where, record in _read_statements(path, faults):
            with faults.of(path, where):
                identifier = record["identifier"]
                if identifier.count("-") != 3:
                    raise RecordFault(f"{identifier}: should be split-set-pair-sentence")
                images = tuple(f"{identifier.rpartition('-')[0]}-img{n}" for n in (0, 1))
                family = intern(str(record.get("synset", "")))
                yield Example(
                    identifier, record["sentence"], images, _verdict(record), record, family
                )


def _read_statements(path: Path, faults: Faults) -> base.Records:
    """(what messages call it, checked record) of JSON Lines, or of the authors' list."""
    seen: set[str] = set()
    is_authors = base.is_list(path)
    lines = base.read_named(path, "statement", "identifier") if is_authors else None
    for where, record in lines or base.read_lines(path, faults):
        with faults.of(path, where):
            identifier = field(record, "identifier", str)
            base.require_new(identifier, seen, identifier)
            if is_authors:
                label = {0: "False", 1: "True"}.get(field(record, "label", int), "neither 0 nor 1")
                record.update(label=label, sentence=field(record, "sent", str))
            field(record, "sentence", str)
            _verdict(record)
            yield where, record


def _verdict(record: base.Record) -> dict[str, float]:
    """The target of a record whose label is the string true or false, in whatever case."""
    label = field(record, "label", str)
    if label.lower() not in ("true", "false"):
        raise RecordFault(f"'label' should be true or false, found {excerpt(label)}")
    return {label.lower(): 1.0}
