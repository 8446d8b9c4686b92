"""How long COCO's caption scores take, the first time and again on the same references.

`python benchmarks/caption_scoring.py [--images 5000] [--references 5] [--without-meteor]` generates
captions of about ten words from a Zipf-like vocabulary, as many as COCO's Karpathy test split has,
and scores new predictions twice in one process. The table is in seconds;
`again` is what an evaluation costs while training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from measure import record

from vlbench.metrics import captions

WORDS = 9000
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
COMMON_TO_IMAGE = 0.5
"""How much of a caption is drawn from the few words that its image is about."""


def make_vocabulary(random: np.random.Generator) -> list[str]:
    """Different words of two to four syllables."""
    words: dict[str, None] = {}
    while len(words) < WORDS:
        letters = [random.choice(list(CONSONANTS)) + random.choice(list(VOWELS)) for _ in range(4)]
        words["".join(letters[: random.integers(2, 5)])] = None
    return list(words)


def make_captions(
    images: int, each: int, random: np.random.Generator
) -> tuple[dict[str, list[str]], list[dict[str, str]]]:
    """References of each image, and two sets of predictions."""
    vocabulary = make_vocabulary(random)
    chances = 1 / np.arange(1, WORDS + 1)
    chances /= chances.sum()

    def write(topic: Sequence[int]) -> str:
        length = int(np.clip(random.normal(10, 2), 5, 25))
        free = random.choice(WORDS, size=length, p=chances)
        chosen = np.where(
            random.random(length) < COMMON_TO_IMAGE, random.choice(topic, length), free
        )
        return " ".join(vocabulary[word] for word in chosen).capitalize() + "."

    references: dict[str, list[str]] = {}
    predictions: list[dict[str, str]] = [{}, {}]
    for image in map(str, range(images)):
        topic = random.choice(WORDS, size=6, p=chances)
        references[image] = [write(topic) for _ in range(each)]
        for predicted in predictions:
            predicted[image] = write(topic)
    return references, predictions


def main() -> None:
    """Print the seconds of the first and the second scoring, and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--without-meteor", action="store_true")
    options = parser.parse_args()
    references, predictions = make_captions(
        options.images, options.references, np.random.default_rng(0)
    )
    print(f"{options.images} x {options.references} captions")
    print(f"{'metrics':<16}{'first s':>9}{'again s':>9}{'ratio':>7}")
    for meteor in (False,) if options.without_meteor else (False, True):
        captions.prepare.cache_clear()
        seconds = []
        for predicted in predictions:
            start = time.perf_counter()
            captions.evaluate(references, predicted, meteor)
            seconds.append(time.perf_counter() - start)
        first, again = seconds
        name = "with METEOR" if meteor else "without METEOR"
        print(f"{name:<16}{first:>9.2f}{again:>9.2f}{first / again:>7.1f}")
        record("caption_scoring", metrics=name, images=options.images, first=first, again=again)


if __name__ == "__main__":
    main()
