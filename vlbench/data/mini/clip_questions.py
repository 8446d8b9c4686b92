"""Questions of the mini TVQA and How2QA: a moment of a clip, and choices of which one is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from vlbench.data.mini.clips import COLORS, PEOPLE, Clip, Shot
from vlbench.data.mini.world import SHAPES


@dataclass(frozen=True, slots=True)
class ClipQuestion:
    """A question about a moment of a clip; the choices are in the order that they are shown."""

    family: str
    text: str
    choices: tuple[str, ...]
    right: int
    start: float
    end: float

    @property
    def moment(self) -> str:
        """As the official files have it: `1.5-6.0`, seconds."""
        return f"{self.start:g}-{self.end:g}"


Offer = tuple[str, str, Sequence[str], Shot | None]
"""Question, answer, other choices from the likeliest on, the shot it is about (None: the clip)."""
Family = Callable[[Clip, Random], "Offer | None"]


def what_color(clip: Clip, random: Random) -> Offer:
    """The colour of a shape; the other colours of the clip are among the choices."""
    shot = random.choice(clip.shots)
    text = random.choice(("What color is the {}?", "Which color does the {} have?"))
    text = text.format(shot.thing.shape)
    return text, shot.thing.color, _others(clip, "color", COLORS, random), shot


def what_shape(clip: Clip, random: Random) -> Offer:
    """The shape that has a colour."""
    shot = random.choice(clip.shots)
    text = random.choice(("What shape is {}?", "Which shape is the {} one?"))
    text = text.format(shot.thing.color)
    return text, shot.thing.shape, _others(clip, "shape", SHAPES, random), shot


def what_next(clip: Clip, random: Random) -> Offer | None:
    """The shape that comes right after another one."""
    if len(clip.shots) == 1:
        return None
    at = random.randrange(len(clip.shots) - 1)
    shot, after = clip.shots[at], clip.shots[at + 1]
    text = f"What is next, right after the {shot.thing.shape}?"
    others = [o for o in _others(clip, "shape", SHAPES, random) if o != shot.thing.shape]
    return text, after.thing.shape, [*others, shot.thing.shape], after


def who_likes(clip: Clip, random: Random) -> Offer:
    """The one who says so in the subtitles; whoever else speaks is among the choices."""
    line = random.choice(clip.lines)
    said = [other.speaker for other in clip.lines]
    silent = random.sample(
        [person for person in PEOPLE if person not in said], len(PEOPLE) - len(said)
    )
    return f"Who likes the {line.shot.thing.shape}?", line.speaker, [*said, *silent], line.shot


def how_many(clip: Clip, random: Random) -> Offer:
    """The number of things that are shown one after another."""
    words = ("one", "two", "three", "four", "five")
    answer = words[len(clip.shots) - 1]
    others = [word for word in words if word != answer]
    random.shuffle(others)
    return "How many shapes are there in all?", answer, others, None


def _others(clip: Clip, aspect: str, values: Sequence[str], random: Random) -> list[str]:
    """Wrong answers: what else the clip shows first, then what it does not."""
    shown = [getattr(thing, aspect) for thing in clip.things]
    absent = [value for value in values if value not in shown]
    random.shuffle(shown)
    random.shuffle(absent)
    return [*shown, *absent]


TVQA_FAMILIES: tuple[Family, ...] = (what_color, what_shape, what_next, who_likes)
HOW2QA_FAMILIES: tuple[Family, ...] = (what_color, what_shape, how_many)


def ask(
    clip: Clip, families: Sequence[Family], count: int, choices: int, random: Random
) -> list[ClipQuestion]:
    """`count` different questions about a clip, the families in turn from a random start."""
    asked: dict[str, ClipQuestion] = {}
    start = random.randrange(len(families))
    for turn in range(4 * count):
        family = families[(start + turn) % len(families)]
        offer = family(clip, random)
        if len(asked) < count and offer is not None and offer[0] not in asked:
            asked[offer[0]] = _question(family.__name__, clip, offer, choices, random)
    return list(asked.values())


def _question(family: str, clip: Clip, offer: Offer, choices: int, random: Random) -> ClipQuestion:
    text, answer, others, shot = offer
    wrong = [other for other in dict.fromkeys(others) if other != answer][: choices - 1]
    listed = sorted([answer, *wrong])
    start, end = (shot.start, shot.end) if shot else (0.0, clip.duration)
    return ClipQuestion(
        family.replace("_", " "), text, tuple(listed), listed.index(answer), start, end
    )
