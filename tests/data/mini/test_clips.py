from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import pytest

from vlbench.data.mini.clips import (
    COLORS,
    HOW2QA_FAMILIES,
    SECONDS_PER_FRAME,
    TVQA_FAMILIES,
    Clip,
    ClipQuestion,
    Family,
    ask,
    clips,
    describe,
    steps,
)
from vlbench.data.mini.world import GRID, SHAPES
from vlbench.data.mini.write import STYLES


@pytest.fixture(scope="module", params=STYLES)
def some(request: pytest.FixtureRequest) -> list[Clip]:
    return list(islice(clips("train", Random(1), STYLES[request.param]), 200))


def test_parts_never_share_what_clips_show() -> None:
    style = STYLES["tv"]
    shown = [
        {repr([(t.color, t.shape, t.size) for t in clip.things]) for clip in islice(drawn, 150)}
        for drawn in (clips(part, Random(2), style) for part in ("train", "val", "test"))
    ]
    assert not shown[0] & shown[1] and not shown[0] & shown[2] and not shown[1] & shown[2]


def test_shots_follow_each_other_and_no_two_look_alike(some: list[Clip]) -> None:
    for clip in some:
        assert [shot.first for shot in clip.shots[1:]] == [
            shot.first + shot.frames for shot in clip.shots[:-1]
        ]
        assert len({t.color for t in clip.things}) == len({t.shape for t in clip.things})
        assert len({t.color for t in clip.things}) == len(clip.shots)


def test_a_frame_shows_the_thing_of_its_shot_on_the_grid(some: list[Clip]) -> None:
    for clip in some[:50]:
        frames = list(clip.frames())
        assert len(frames) * SECONDS_PER_FRAME == clip.duration
        for shot in clip.shots:
            for frame in frames[shot.first : shot.first + shot.frames]:
                [thing] = frame.things
                wanted = shot.thing
                assert (thing.color, thing.shape, thing.size) == (
                    wanted.color, wanted.shape, wanted.size
                )  # fmt: skip
                assert thing.row in range(GRID) and thing.column in range(GRID)


def test_people_speak_in_the_order_of_the_shots_each_once(some: list[Clip]) -> None:
    for clip in some:
        starts = [line.shot.start for line in clip.lines]
        assert starts == sorted(starts)
        assert len({line.speaker for line in clip.lines}) == len(clip.lines)


def truth(clip: Clip, question: ClipQuestion) -> str:
    """The answer from the words of the question alone, without the generator's own knowledge."""
    words = question.text.lower().replace("?", "").replace(",", "").split()
    named = [shot for shot in clip.shots if {shot.thing.shape, shot.thing.color} & set(words)]
    if "many" in words:
        return ("one", "two", "three", "four", "five")[len(clip.shots) - 1]
    if "likes" in words:
        return next(line.speaker for line in clip.lines if line.shot is named[0])
    if "next" in words:
        return clip.shots[clip.shots.index(named[0]) + 1].thing.shape
    return named[0].thing.color if "color" in words else named[0].thing.shape


@pytest.mark.parametrize(
    ("source", "families", "choices"), [("tv", TVQA_FAMILIES, 5), ("how2", HOW2QA_FAMILIES, 4)]
)
def test_questions_have_one_right_choice(
    source: str, families: tuple[Family, ...], choices: int
) -> None:
    random, seen = Random(3), Counter()
    for clip in islice(clips("train", random, STYLES[source]), 150):
        asked = ask(clip, families, 5, choices, random)
        assert len({question.text for question in asked}) == len(asked)
        for question in asked:
            seen[question.family] += 1
            assert len(set(question.choices)) == choices
            assert list(question.choices) == sorted(question.choices)
            assert question.choices[question.right] == truth(clip, question)
            assert 0 <= question.start < question.end <= clip.duration
    assert len(seen) == len(families)


def test_no_choice_is_right_much_more_often_than_another() -> None:
    random = Random(4)
    right = Counter(
        question.right
        for clip in islice(clips("train", random, STYLES["tv"]), 400)
        for question in ask(clip, TVQA_FAMILIES, 5, 5, random)
    )
    assert max(right.values()) / right.total() < 0.25


def test_descriptions_of_a_moment_differ_and_name_what_it_shows(some: list[Clip]) -> None:
    for clip in some[:40]:
        for shot in clip.shots:
            written = describe(shot, 4, Random(5))
            assert len(set(written)) == 4
            for text in written:
                assert shot.thing.color in text.lower() and shot.thing.shape in text
                assert text[0].isupper() and text.endswith(".")


def test_steps_name_everything_in_its_order_in_lower_case(some: list[Clip]) -> None:
    for clip in some[:40]:
        text = steps(clip)
        assert text == text.lower() and not text.endswith(".")
        words = [word for word in text.split() if word in (*COLORS, *SHAPES)]
        assert words == [word for thing in clip.things for word in (thing.color, thing.shape)]
