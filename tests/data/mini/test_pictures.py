"""The world of the pictures, and what is said about them in the edition of seed 0."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from fractions import Fraction
from itertools import islice, pairwise
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.mini.oracle import (
    COLOR,
    GQA,
    SHAPE,
    SIZE,
    STATEMENTS,
    VQA,
    describes,
    read,
)
from vlbench.data.example import Example
from vlbench.data.mini.pictures import (
    ANSWER_TYPES,
    GQA_TYPES,
)
from vlbench.data.mini.world import GRID, PARTS, SHARES, SIDE, Scene, Thing, draw, scenes


def test_scenes_of_a_part_are_all_different_and_belong_to_it_however_they_are_drawn() -> None:
    assert sum(SHARES) == 100 and len(SHARES) == len(PARTS)
    for part in PARTS:
        drawn = list(islice(scenes(part, Random(1)), 200))
        assert {scene.part for scene in drawn} == {part}
        assert {Scene(scene.things, scene.look + 1).part for scene in drawn} == {part}
        assert len({scene.things for scene in drawn}) == 200
        for scene in drawn:  # one to five things in reading order, one to a cell
            cells = [(thing.row, thing.column) for thing in scene.things]
            assert 1 <= len(cells) <= 5 and cells == sorted(set(cells))
            assert all(0 <= number < GRID for cell in cells for number in cell)


def test_no_scene_is_in_two_splits_of_any_task_nor_in_pretraining(edition) -> None:
    by_part = defaultdict(set)
    for (_, part), examples in edition.examples.items():
        by_part[part] |= {s.things for e in examples for s in edition.scenes_of(e)}
    by_part["pretraining"] = {s.things for s in islice(scenes("pretraining", Random(0)), 5000)}
    assert len(set().union(*by_part.values())) == sum(map(len, by_part.values()))


LOOKS = {  # the colours as a person would name them, not copied from the drawing code
    "red": (215, 40, 40), "orange": (250, 130, 30), "yellow": (245, 205, 45),
    "green": (45, 150, 60), "cyan": (60, 195, 205), "blue": (45, 85, 200),
    "purple": (125, 60, 165), "pink": (240, 130, 180), "brown": (125, 80, 45),
    "gray": (120, 120, 125),
}  # fmt: skip


def cells(scene: Scene) -> dict[tuple[int, int], NDArray[np.int64]]:
    """(row, column) -> the (n, 3) pixels there that are not paper, the least mixed first."""
    pixels = np.asarray(draw(scene)).astype(int)
    paper = np.median(pixels.reshape(-1, 3), axis=0)
    cells = {}
    for row in range(4):
        for column in range(4):
            block = pixels[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].reshape(-1, 3)
            distance = np.abs(block - paper).sum(axis=1)
            painted = block[np.argsort(-distance)][: (distance > 60).sum()]
            if len(painted) > 12:  # a large thing may reach a little over its cell's edge
                cells[row, column] = painted
    return cells


def test_the_picture_shows_each_thing_in_its_cell_and_colour() -> None:
    for scene in islice(scenes("pretraining", Random(4)), 60):
        painted = cells(scene)
        assert set(painted) == {(thing.row, thing.column) for thing in scene.things}
        for thing in scene.things:
            color = np.median(painted[thing.row, thing.column][:12], axis=0)
            distances = {name: np.abs(look - color).sum() for name, look in LOOKS.items()}
            assert min(distances, key=distances.__getitem__) == thing.color


def test_size_and_look_show_in_the_picture() -> None:
    for shape in ("circle", "square", "triangle", "star", "cross"):
        small, large = (
            len(cells(Scene((Thing(1, 1, "blue", shape, size),), 7))[1, 1])
            for size in ("small", "large")
        )
        assert large > 2 * small
    scene = next(scenes("train", Random(5)))
    again = Scene(scene.things, scene.look + 1)
    assert draw(scene).size == (SIDE, SIDE) and draw(scene).mode == "RGB"
    assert draw(scene).tobytes() == draw(scene).tobytes() != draw(again).tobytes()


def test_every_vqa_question_has_the_answer_that_its_words_have_in_its_picture(edition) -> None:
    families, agreeing = Counter(), []
    for example in edition.all("vqav2"):
        [scene] = edition.scenes_of(example)
        family, answer = read(VQA, example.text, scene)
        assert family == example.family
        assert example.targets[answer] == max(example.targets.values()), example.text
        families[family] += 1
        records = example.annotation["answers"]
        assert [record["answer_id"] for record in records] == [*range(1, 11)]
        answers = [record["answer"] for record in records]
        agreeing.append(answers.count(example.annotation["multiple_choice_answer"]))
    assert families.keys() == ANSWER_TYPES.keys() and min(families.values()) > 1000
    assert min(agreeing) < 6 < 8.5 < sum(agreeing) / len(agreeing) < 9.5  # mostly rightly


def test_every_gqa_question_has_the_answer_that_its_words_have_in_its_picture(edition) -> None:
    families = Counter()
    for example in edition.all("gqa"):
        [scene] = edition.scenes_of(example)
        reading = read(GQA, example.text, scene)
        assert reading == (example.family, example.annotation["answer"]), example.text
        families[reading.family] += 1
    assert families.keys() == GQA_TYPES.keys() and min(families.values()) > 100


def test_entailed_questions_ask_for_what_an_open_answer_already_says(edition) -> None:
    linked = 0
    for part in ("train", "val", "test"):
        examples = {example.id: example for example in edition.examples["gqa", part]}
        for example in examples.values():
            for other in (examples[name] for name in example.annotation["entailed"]):
                assert other.images == example.images
                assert other.family == f"verify {example.family.removeprefix('query ')}"
                holds = other.text.rstrip("?").split()[-1] == example.annotation["answer"]
                assert other.annotation["answer"] == ("yes" if holds else "no")
                linked += 1
    assert linked > 50


@pytest.mark.parametrize("task", ["vqav2", "gqa"])
def test_questions_about_a_picture_are_all_different(edition, task) -> None:
    texts = [(example.images, example.text) for example in edition.all(task)]
    assert len(set(texts)) == len(texts)


def test_every_label_is_what_the_sentence_says_of_its_two_pictures(edition) -> None:
    for example in edition.all("nlvr2"):
        left, right = edition.scenes_of(example)
        assert left.things != right.things
        expected = "true" if read(STATEMENTS, example.text, (left, right)) else "false"
        assert example.targets == {expected: 1.0}, example.text
        assert example.annotation["label"] == expected.capitalize()
    texts = {example.text for example in edition.all("nlvr2")}
    for pattern, _ in STATEMENTS:
        assert any(re.fullmatch(pattern, text) for text in texts), pattern


def test_the_two_sentences_of_a_set_hold_in_all_four_combinations(edition) -> None:
    labels, combined = defaultdict(list), defaultdict(dict)
    for example in edition.all("nlvr2"):
        group, pair, sentence = example.id.rsplit("-", 2)
        labels[group, sentence, example.text].append(example.annotation["label"])
        combined[group].setdefault(pair, []).append(example.annotation["label"])
    assert {tuple(sorted(four)) for four in labels.values()} == {("False", "False", "True", "True")}
    assert {len(set(map(tuple, pairs.values()))) for pairs in combined.values()} == {4}


def test_every_picture_has_five_captions_that_are_true_of_it_and_are_sentences(edition) -> None:
    for example in edition.all("coco"):
        [scene] = edition.scenes_of(example)
        captions = example.annotation["captions"]
        assert len(captions) == 5
        for caption in captions:
            assert describes(caption, scene), (caption, scene.things)
            assert re.fullmatch(r"[A-Z][a-z, ]+\.?", caption)
            assert not re.search(r"\ba [aeiou]", caption, re.IGNORECASE)


def test_the_oracle_of_captions_sees_what_is_false(edition) -> None:
    false = 0
    examples = edition.examples["coco", "val"]
    for example, other in pairwise(examples):
        [scene] = edition.scenes_of(other)
        false += sum(not describes(caption, scene) for caption in example.annotation["captions"])
    assert false > 0.9 * 5 * (len(examples) - 1)


# What the words alone give away: a table from questions to their most frequent answers.

ANSWERS = {  # family -> answers that it balances
    "what color": 10, "what is the": 5, "how many": 4, "is there": 2,
    "query color": 10, "query shape": 5, "choose color": 10, "choose size": 2, "choose side": 4,
    "verify color": 2, "verify shape": 2, "verify relation": 2,
    "same color": 2, "same shape": 2, "same size": 2, "logical and": 2, "logical or": 2,
}  # fmt: skip


def answer(example: Example) -> str:
    record = example.annotation
    return str(record.get("multiple_choice_answer", record.get("answer", record.get("label"))))


def form(example: Example) -> str:
    """Which attributes the words name: those that the official files say, else by the words."""
    if "groups" in example.annotation:
        return str(example.annotation["groups"]["local"])
    kinds = {"size": SIZE, "color": COLOR, "shape": rf"(?:{SHAPE})(?:s|es)?"}
    return "+".join(
        kind for kind, words in kinds.items() if re.search(rf"\b(?:{words})\b", example.text)
    )


def wording(example: Example) -> str:
    """The sentence with its colours, sizes and shapes blanked."""
    text = re.sub(rf"\b({SHAPE})(s|es)?\b", "SHAPE", example.text)
    return re.sub(rf"\b({SIZE})\b", "SIZE", re.sub(rf"\b({COLOR})\b", "COLOR", text))


def lookup(edition, task: str, key: Callable[[Example], Hashable]) -> dict[str, tuple[int, int]]:
    """Family -> (right, all) on test, answering what was most frequent in training for the key."""
    tables: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for example in edition.examples[task, "train"]:
        for group in (key(example), example.family):
            tables[group][answer(example)] += 1
    marks: dict[str, list[bool]] = defaultdict(list)
    for example in edition.examples[task, "test"]:
        table = tables.get(key(example)) or tables[example.family]
        marks[example.family].append(table.most_common(1)[0][0] == answer(example))
    return {family: (sum(rights), len(rights)) for family, rights in marks.items()}


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("task", ["vqav2", "gqa"])
def test_no_answer_of_a_family_is_much_more_frequent_than_the_others(edition, task, part) -> None:
    given = defaultdict(Counter)
    for example in edition.examples[task, part]:
        given[example.family][answer(example)] += 1
    for family, answers in given.items():
        share = Fraction(max(answers.values()), answers.total())
        chance = 1 / ANSWERS[family]
        three_deviations = 3 * (chance * (1 - chance) / answers.total()) ** 0.5
        slack = 0.05 if part == "train" else max(0.09, three_deviations)  # few questions
        assert share <= chance + slack, (family, answers)


@pytest.mark.parametrize("task", ["vqav2", "gqa", "nlvr2"])
def test_family_and_form_of_a_question_do_not_give_its_answer_away(edition, task) -> None:
    for family, (right, n) in lookup(edition, task, lambda e: (e.family, form(e))).items():
        chance = 1 / ANSWERS.get(family, 2)
        three_deviations = 3 * (chance * (1 - chance) / n) ** 0.5
        # few scenes hold three of a kind
        slack = 0.07 if family == "how many" else three_deviations
        assert right / n <= chance + slack, family


@pytest.mark.parametrize(("task", "percent"), [("vqav2", 27), ("gqa", 42), ("nlvr2", 50)])
def test_the_wording_gives_away_no_more_than_the_documents_say(
    edition, project, task, percent
) -> None:
    """What `blind` could know is near this; the rest has to be seen."""
    marks = lookup(edition, task, wording).values()
    assert abs(100 * sum(right for right, _ in marks) / sum(n for _, n in marks) - percent) < 2
    text = (project / "docs" / "mini-edition.md").read_text("utf-8")
    words_alone = text.partition("What the words alone tell")[2]
    assert re.search(rf"{percent} % of [^%]*`{task}`", words_alone)
