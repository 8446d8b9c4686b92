"""What the words alone give away: a table from questions to their most frequent answers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from fractions import Fraction

import pytest

from tests.data.mini.oracle import COLOR, SHAPE, SIZE
from vlbench.data.example import Example

ANSWERS = {  # family -> answers that it balances
    "what color": 10, "what is the": 5, "how many": 4, "is there": 2,
    "query color": 10, "query shape": 5, "choose color": 10, "choose size": 2, "choose side": 4,
    "verify color": 2, "verify shape": 2, "verify relation": 2,
    "same color": 2, "same shape": 2, "same size": 2, "logical and": 2, "logical or": 2,
}  # fmt: skip


def answer(example: Example) -> str:
    record = example.annotation
    told = record.get("multiple_choice_answer", record.get("answer", record.get("label")))
    return str(told)


def form(example: Example) -> str:
    """Which attributes the words name: those that the official files tell, else by the words."""
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
        for each in (key(example), example.family):
            tables[each][answer(example)] += 1
    marks: dict[str, list[bool]] = defaultdict(list)
    for example in edition.examples[task, "test"]:
        table = tables.get(key(example)) or tables[example.family]
        marks[example.family].append(table.most_common(1)[0][0] == answer(example))
    return {family: (sum(each), len(each)) for family, each in marks.items()}


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
def test_family_and_form_of_a_question_do_not_tell_its_answer(edition, task) -> None:
    for family, (right, n) in lookup(edition, task, lambda e: (e.family, form(e))).items():
        chance = 1 / ANSWERS.get(family, 2)
        three_deviations = 3 * (chance * (1 - chance) / n) ** 0.5
        slack = (
            0.07 if family == "how many" else three_deviations
        )  # few scenes hold three of a kind
        assert right / n <= chance + slack, family


@pytest.mark.parametrize(("task", "told"), [("vqav2", 27), ("gqa", 42), ("nlvr2", 50)])
def test_the_wording_tells_no_more_than_the_documents_say(edition, project, task, told) -> None:
    """What `blind` could know is near this; the rest has to be seen."""
    found = lookup(edition, task, wording).values()
    share = 100 * sum(right for right, _ in found) / sum(n for _, n in found)
    assert abs(share - told) < 2
    text = (
        (project / "docs" / "mini-edition.md")
        .read_text("utf-8")
        .partition("What the words alone tell")
    )
    assert re.search(rf"{told} % of [^%]*`{task}`", text[2])
