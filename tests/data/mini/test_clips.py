from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from random import Random

import pytest

from vlbench.data.mini.clips import (
    COLORS,
    HOW2QA_FAMILIES,
    NUMBERS,
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
def drawn(request: pytest.FixtureRequest) -> list[Clip]:
    return list(islice(clips("train", Random(1), STYLES[request.param]), 200))


def test_parts_never_share_what_clips_show() -> None:
    by_part = [
        {repr([(t.color, t.shape, t.size) for t in clip.things]) for clip in islice(endless, 150)}
        for endless in (clips(part, Random(2), STYLES["tv"]) for part in ("train", "val", "test"))
    ]
    assert len(set().union(*by_part)) == sum(map(len, by_part))


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


def test_a_frame_shows_the_thing_of_its_shot_on_the_grid(drawn: list[Clip]) -> None:
    for clip in drawn[:50]:
        frames = list(clip.frames())
        assert len(frames) * SECONDS_PER_FRAME == clip.duration
        for shot in clip.shots:
            for frame in frames[shot.first : shot.first + shot.frames]:
                [thing] = frame.things
                of_shot = (shot.thing.color, shot.thing.shape, shot.thing.size)
                assert (thing.color, thing.shape, thing.size) == of_shot
                assert thing.row in range(GRID) and thing.column in range(GRID)


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
