"""Files in VQAv2's official format and of its official size, with invented contents.

443,757 and 214,354 questions with ten answers each, and the Karpathy split of 123,287 images with
616,767 captions; the Karpathy parts have as many questions as the real ones. The same bytes each
time. Run as a script, it writes them below a data root:

    python benchmarks/full_size_vqav2.py ROOT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

IMAGES = {"train": 82_783, "restval": 30_504, "val": 5_000, "test": 5_000}
QUESTIONS = {"train": 443_757, "restval": 161_345, "val": 26_729, "test": 26_280}
"""Karpathy part -> how many; all but train are of val2014."""
FIVE_AND_ONE = 332
"""Images with a sixth caption."""
RARE_ANSWERS = 120_000
Encode = Callable[[Any], str]
encode: Encode = json.JSONEncoder(separators=(",", ":")).encode
OPENINGS = ("what color is the", "is there a", "how many", "where is the", "what kind of", "is the")
MIDDLES = ("man", "dog", "red bus", "woman in the blue shirt", "cat", "sign", "giraffe", "plate")
ENDINGS = ("holding", "next to the bench", "on the left", "in this photo", "wearing", "looking at")
SYLLABLES = ("ba", "cor", "den", "fi", "gra", "hol", "ki", "lam", "mer", "no", "pas", "ri", "sto")


def words(count: int) -> list[str]:
    """That many different invented words, the shorter ones first."""
    base, found = len(SYLLABLES), []
    for number in range(count):
        text, rest = "", number + base
        while rest:
            text, rest = SYLLABLES[rest % base] + text, rest // base
        found.append(text)
    return found


class Words:
    """Questions, answers and captions drawn from a vocabulary whose words are unequally common."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.words = words(RARE_ANSWERS)

    def common(self, count: int) -> list[str]:
        """Words, of which a few are frequent and most are rare."""
        places = (self.random.pareto(0.6, count) * 20).astype(np.int64) % len(self.words)
        return [self.words[place] for place in places]

    def questions(self, count: int) -> list[tuple[str, str]]:
        """(kind of question, its text)."""
        picks = self.random.integers(0, [len(OPENINGS), len(MIDDLES), len(ENDINGS)], (count, 3))
        return [
            (OPENINGS[a], f"{OPENINGS[a]} {MIDDLES[b]} {ENDINGS[c]} {word}?".capitalize())
            for (a, b, c), word in zip(picks.tolist(), self.common(count), strict=True)
        ]

    def answers(self, count: int) -> Iterator[list[str]]:
        """Ten answers each: mostly the same one, some others."""
        first, others = self.common(count), self.common(count * 3)
        shares = self.random.choice(4, size=(count, 10), p=[0.6, 0.2, 0.12, 0.08]).tolist()
        sure = (self.random.random(count) < 0.4).tolist()
        for place, share in enumerate(shares):
            offered = [first[place], *others[place * 3 : place * 3 + 3]]
            if sure[place]:
                offered = ["yes", "no", "yes", offered[3]]
            yield [offered[each] for each in share]


def write_full_size(root: Path) -> None:
    """All files below the data root, the largest piece by piece."""
    vocabulary = Words(seed=2017)
    parts = ("train2014", ["train"]), ("val2014", ["restval", "val", "test"])
    ids = _image_ids()
    for name, held in parts:
        pairs = [pair for part in held for pair in _spread(ids[part], QUESTIONS[part])]
        _write_pair(root / "vqa", name, pairs, vocabulary)
    _write_karpathy(root / "COCO" / "dataset_coco.json", ids, vocabulary)


def _image_ids() -> dict[str, list[int]]:
    """Karpathy part -> the numbers of its images, spread as COCO's are."""
    drawn = np.random.default_rng(2014).permutation(581_929)[: sum(IMAGES.values())].tolist()
    found, start = {}, 0
    for part, count in IMAGES.items():
        found[part] = drawn[start : start + count]
        start += count
    return found


def _spread(images: list[int], questions: int) -> Iterator[tuple[int, int]]:
    """(image, question): so many questions, as evenly over the images as can be."""
    each, more = divmod(questions, len(images))
    for place, image in enumerate(images):
        for number in range(each + (place < more)):
            yield image, image * 1000 + number


def _write_pair(folder: Path, name: str, pairs: list[tuple[int, int]], source: Words) -> None:
    """The questions and the annotations of one official part."""
    drawn = source.questions(len(pairs))
    about = {"info": {"version": "2.0"}, "license": {}, "data_subtype": name}
    asked = (
        {"image_id": image, "question": text, "question_id": question}
        for (image, question), (_, text) in zip(pairs, drawn, strict=True)
    )
    _write_list(folder / f"v2_OpenEnded_mscoco_{name}_questions.json", about, "questions", asked)
    annotated = (
        _annotation(image, question, kind, answers)
        for (image, question), (kind, _), answers in zip(
            pairs, drawn, source.answers(len(pairs)), strict=True
        )
    )
    _write_list(folder / f"v2_mscoco_{name}_annotations.json", about, "annotations", annotated)


def _annotation(image: int, question: int, kind: str, answers: list[str]) -> dict[str, Any]:
    return {
        "question_type": kind,
        "multiple_choice_answer": answers[0],
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": number}
            for number, answer in enumerate(answers, 1)
        ],
        "image_id": image,
        "answer_type": "yes/no" if answers[0] in ("yes", "no") else "other",
        "question_id": question,
    }


def _write_karpathy(path: Path, ids: dict[str, list[int]], source: Words) -> None:
    """Every image with its part and captions, as words too."""

    def images() -> Iterator[dict[str, Any]]:
        number = sentence = 0
        for part, held in ids.items():
            half = "train2014" if part == "train" else "val2014"
            for image in held:
                count = 6 if number < FIVE_AND_ONE else 5
                drawn = source.common(10 * count)
                captions = [drawn[start : start + 10] for start in range(0, len(drawn), 10)]
                sentids = list(range(sentence, sentence + count))
                yield {
                    "filepath": half,
                    "sentids": sentids,
                    "filename": f"COCO_{half}_{image:012d}.jpg",
                    "imgid": number,
                    "split": part,
                    "sentences": [
                        {
                            "tokens": tokens,
                            "raw": f"A {' '.join(tokens)}.",
                            "imgid": number,
                            "sentid": sentid,
                        }
                        for sentid, tokens in zip(sentids, captions, strict=True)
                    ],
                    "cocoid": image,
                }
                number, sentence = number + 1, sentence + count

    _write_list(path, {"dataset": "coco"}, "images", images())


def _write_list(path: Path, about: dict[str, Any], key: str, records: Iterable[Any]) -> None:
    """A JSON object with a long list, record by record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{encode(about)[:-1]},{encode(key)}:[")
        for number, record in enumerate(records):
            file.write(f"{',' if number else ''}{encode(record)}")
        file.write("]}")


if __name__ == "__main__":
    write_full_size(Path(sys.argv[1]))
