from __future__ import annotations

import re
from itertools import pairwise

from tests.data.mini.oracle import describes


def test_every_picture_has_five_captions_that_are_true_of_it(edition) -> None:
    for example in edition.all("coco"):
        [scene] = edition.scenes_of(example)
        captions = example.annotation["captions"]
        assert len(captions) == 5
        for caption in captions:
            assert describes(caption, scene), (caption, scene.things)


def test_the_oracle_of_captions_sees_what_is_false(edition) -> None:
    false = 0
    examples = edition.examples["coco", "val"]
    for example, other in pairwise(examples):
        [scene] = edition.scenes_of(other)
        false += sum(not describes(caption, scene) for caption in example.annotation["captions"])
    assert false > 0.9 * 5 * (len(examples) - 1)


def test_captions_are_sentences(edition) -> None:
    for example in edition.all("coco"):
        for caption in example.annotation["captions"]:
            assert re.fullmatch(r"[A-Z][a-z, ]+\.?", caption)
            assert not re.search(r"\ba [aeiou]", caption, re.IGNORECASE)
