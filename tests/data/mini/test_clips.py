from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from random import Random

import pytest

from vlbench.data.mini.clips import (
    COLORS,
    HOW2QA_FAMILIES,
    NUMBERS,
    TVQA_FAMILIES,
    Clip,
    ClipQuestion,
    Family,
    ask,
    clips,
    describe,
    steps,
)
from vlbench.data.mini.world import SHAPES
from vlbench.data.mini.write import STYLES


@pytest.fixture(scope="module", params=STYLES)
def drawn(request: pytest.FixtureRequest) -> list[Clip]:
    return list(islice(clips("train", Random(1), STYLES[request.param]), 200))


def test_shots_follow_each_other_no_two_look_alike_and_people_speak_in_their_order(
    drawn: list[Clip],
) -> None:
    for clip in drawn:
        assert all(after.first == shot.first + shot.frames for shot, after in pairwise(clip.shots))
        colors, shapes = {t.color for t in clip.things}, {t.shape for t in clip.things}
        assert len(colors) == len(shapes) == len(clip.shots)
        starts = [line.shot.start for line in clip.lines]
        assert starts == sorted(starts)
        assert len({line.speaker for line in clip.lines}) == len(clip.lines)


def truth(clip: Clip, question: ClipQuestion) -> str:
    """The answer from the words of the question alone, without the generator's own knowledge."""
    words = question.text.lower().replace("?", "").replace(",", "").split()
    named = [shot for shot in clip.shots if {shot.thing.shape, shot.thing.color} & set(words)]
    if "many" in words:
        return NUMBERS[len(clip.shots) - 1]
    if "likes" in words:
        return next(line.speaker for line in clip.lines if line.shot is named[0])
    if "next" in words:
        return clip.shots[clip.shots.index(named[0]) + 1].thing.shape
    return named[0].thing.color if "color" in words else named[0].thing.shape


@pytest.mark.parametrize(
    ("source", "families", "choices"), [("tv", TVQA_FAMILIES, 5), ("how2", HOW2QA_FAMILIES, 4)]
)
def test_questions_have_one_right_choice_and_none_is_right_much_more_often(
    source: str, families: tuple[Family, ...], choices: int
) -> None:
    random, seen, right = Random(3), Counter(), Counter()
    for clip in islice(clips("train", random, STYLES[source]), 400):
        questions = ask(clip, families, 5, choices, random)
        assert len({question.text for question in questions}) == len(questions)
        for question in questions:
            seen[question.family] += 1
            right[question.right] += 1
            assert list(question.choices) == sorted(set(question.choices))
            assert len(question.choices) == choices
            assert question.choices[question.right] == truth(clip, question)
            assert 0 <= question.start < question.end <= clip.duration
    assert len(seen) == len(families)
    if source == "tv":
        assert max(right.values()) / right.total() < 0.25


def test_descriptions_and_steps_name_what_is_shown(drawn: list[Clip]) -> None:
    for clip in drawn[:40]:
        for shot in clip.shots:
            texts = describe(shot, 4, Random(5))
            assert len(set(texts)) == 4
            for text in texts:
                assert shot.thing.color in text.lower() and shot.thing.shape in text
                assert text[0].isupper() and text.endswith(".")
        text = steps(clip)
        assert text == text.lower() and not text.endswith(".")
        words = [word for word in text.split() if word in (*COLORS, *SHAPES)]
        assert words == [word for thing in clip.things for word in (thing.color, thing.shape)]
