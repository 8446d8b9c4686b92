"""Clips of the mini world: one to five shots after another, each of one thing, with subtitles.

A frame is a 64 x 64 picture of the thing somewhere on the grid; there is one every 1.5 seconds, as
in the features of VALUE. Some people of the world talk meanwhile. Questions ask about a moment of a
clip (TVQA, How2QA); captions describe a moment (TVC), or tell all of its steps (YC2C).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from vlbench.data.mini.world import (
    COLORS,
    GRID,
    NEAR,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    article,
    part_of,
)

SECONDS_PER_FRAME = 1.5
PEOPLE = ("Ann", "Lou", "Ray", "Al", "Theo")
NUMBERS = ("one", "two", "three", "four", "five")


@dataclass(frozen=True, slots=True)
class Shot:
    """One thing, and the frames that show it; where it is changes from frame to frame."""

    thing: Thing
    first: int  # its first frame, counted from 0
    frames: int

    @property
    def start(self) -> float:
        """Seconds from the clip's beginning."""
        return self.first * SECONDS_PER_FRAME

    @property
    def end(self) -> float:
        """Seconds from the clip's beginning."""
        return (self.first + self.frames) * SECONDS_PER_FRAME


@dataclass(frozen=True, slots=True)
class Line:
    """Somebody says what they think of a shot's thing, while it is shown."""

    speaker: str
    shot: Shot

    @property
    def text(self) -> str:
        """As subtitle files have it, from " Speaker : " on."""
        return f" {self.speaker} : I like the {self.shot.thing.shape}."


@dataclass(frozen=True, slots=True)
class Clip:
    """Shots in their order, what is said, and the seed of how it is drawn."""

    shots: tuple[Shot, ...]
    lines: tuple[Line, ...]
    look: int

    @property
    def things(self) -> list[Thing]:
        """What is shown, in its order."""
        return [shot.thing for shot in self.shots]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.shots[-1].end

    @property
    def part(self) -> str:
        """The one part this clip belongs to, by what it shows in which order."""
        return part_of(repr([(t.color, t.shape, t.size) for t in self.things]))

    def frames(self) -> Iterator[Scene]:
        """A scene per frame; the thing drifts a cell at a time and looks the same all along."""
        random = Random(self.look)
        for shot in self.shots:
            row, column, look = shot.thing.row, shot.thing.column, random.getrandbits(32)
            for _ in range(shot.frames):
                yield Scene((replace(shot.thing, row=row, column=column),), look)
                row = min(GRID - 1, max(0, row + random.choice((-1, 0, 1))))
                column = min(GRID - 1, max(0, column + random.choice((-1, 0, 1))))


@dataclass(frozen=True, slots=True)
class Style:
    """What clips of one source are like."""

    shots: tuple[int, ...]  # how many shots a clip may have
    pace: tuple[int, ...]  # how many frames its shots may have; all of a clip have as many


def clips(part: str, random: Random, style: Style) -> Iterator[Clip]:
    """Endless clips of one part, none twice; colours and shapes of a clip differ."""
    seen: set[tuple[Thing, ...]] = set()
    while True:
        clip = _draw(random.choice(style.shots), random.choice(style.pace), random)
        if clip.part == part and tuple(clip.things) not in seen:
            seen.add(tuple(clip.things))
            yield clip


def _draw(count: int, pace: int, random: Random) -> Clip:
    colors, shapes = random.sample(COLORS, count), random.sample(SHAPES, count)
    shots = []
    for number, (color, shape) in enumerate(zip(colors, shapes, strict=True)):
        row, column = random.randrange(GRID), random.randrange(GRID)
        thing = Thing(row, column, color, shape, random.choice(SIZES))
        shots.append(Shot(thing, number * pace, pace))
    speakers = random.sample(PEOPLE, 2)
    spoken_at = sorted(random.sample(range(count), min(count, random.choice((1, 2)))))
    lines = [Line(who, shots[at]) for who, at in zip(speakers, spoken_at, strict=False)]
    return Clip(tuple(shots), tuple(lines), random.getrandbits(32))


@dataclass(frozen=True, slots=True)
class ClipQuestion:
    """A question about a moment of a clip; the choices are in the order that they are shown."""

    family: str
    text: str
    choices: tuple[str, ...]
    right: int
    start: float  # seconds
    end: float


Offer = tuple[str, str, Sequence[str], Shot | None]
"""Question, answer, other choices from the likeliest on, the shot it is about (None: the clip)."""
Family = Callable[[Clip, Random], "Offer | None"]


def what_color(clip: Clip, random: Random) -> Offer:
    """The colour of a shape; its neighbours and the clip's colours are among the choices."""
    shot = random.choice(clip.shots)
    text = random.choice(("What color is the {}?", "Which color does the {} have?"))
    near = random.sample(NEAR[shot.thing.color], 2)
    others = [*near, *_others(clip, "color", COLORS, random)]
    return text.format(shot.thing.shape), shot.thing.color, others, shot


def what_shape(clip: Clip, random: Random) -> Offer:
    """The shape that has a colour."""
    shot = random.choice(clip.shots)
    text = random.choice(("What shape is {}?", "Which shape is the {} one?"))
    others = _others(clip, "shape", SHAPES, random)
    return text.format(shot.thing.color), shot.thing.shape, others, shot


def what_next(clip: Clip, random: Random) -> Offer | None:
    """The shape that comes right after another one."""
    if len(clip.shots) == 1:
        return None
    at = random.randrange(len(clip.shots) - 1)
    shape, after = clip.shots[at].thing.shape, clip.shots[at + 1]
    others = [other for other in _others(clip, "shape", SHAPES, random) if other != shape]
    return f"What is next, right after the {shape}?", after.thing.shape, [*others, shape], after


def who_likes(clip: Clip, random: Random) -> Offer:
    """The one who says so in the subtitles of a thing that is named by its shape or colour."""
    line = random.choice(clip.lines)
    thing = line.shot.thing
    name = random.choice((thing.shape, f"{thing.color} one"))
    speakers = [other.speaker for other in clip.lines]
    silent = [person for person in PEOPLE if person not in speakers]
    others = [*speakers, *random.sample(silent, len(silent))]
    return f"Who likes the {name}?", line.speaker, others, line.shot


def how_many(clip: Clip, random: Random) -> Offer:
    """The number of things that are shown one after another."""
    answer = NUMBERS[len(clip.shots) - 1]
    others = [number for number in NUMBERS if number != answer]
    random.shuffle(others)
    return "How many shapes are there in all?", answer, others, None


def _others(clip: Clip, aspect: str, values: Sequence[str], random: Random) -> list[str]:
    """Wrong answers: what else the clip shows first, then what it does not."""
    present = [getattr(thing, aspect) for thing in clip.things]
    absent = [value for value in values if value not in present]
    random.shuffle(present)
    random.shuffle(absent)
    return [*present, *absent]


TVQA_FAMILIES: tuple[Family, ...] = (what_color, what_shape, what_next, who_likes)
HOW2QA_FAMILIES: tuple[Family, ...] = (what_color, what_shape, how_many)


def ask(
    clip: Clip, families: Sequence[Family], count: int, choices: int, random: Random
) -> list[ClipQuestion]:
    """`count` different questions about a clip, the families in turn from a random start."""
    questions: dict[str, ClipQuestion] = {}
    start = random.randrange(len(families))
    for turn in range(4 * count):
        family = families[(start + turn) % len(families)]
        offer = family(clip, random)
        if len(questions) == count or offer is None or offer[0] in questions:
            continue
        text, answer, others, shot = offer
        wrong = [other for other in dict.fromkeys(others) if other != answer][: choices - 1]
        listed = tuple(sorted([answer, *wrong]))
        moment = (shot.start, shot.end) if shot else (0.0, clip.duration)
        name = family.__name__.replace("_", " ")
        questions[text] = ClipQuestion(name, text, listed, listed.index(answer), *moment)
    return list(questions.values())


def describe(clip: Clip, shot: Shot, count: int, random: Random) -> list[str]:
    """`count` different descriptions of a moment of a clip, as people give them."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = random.choice(DESCRIPTIONS)(clip, clip.shots.index(shot), random)
        if text is not None:
            texts[text[0].upper() + text[1:] + "."] = None
    return list(texts)


NAMED = ((1, 1, 1), (0, 1, 1), (0, 1, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1))
"""Whether size, colour and shape are told."""


def _described(thing: Thing, random: Random) -> str:
    """As exactly as people are: `a red star`, `a small star`, `a red thing`."""
    size, color, shape = random.choice(NAMED)
    noun = thing.shape if shape else random.choice(("thing", "object", "shape"))
    return article(f"{thing.size} " * size + f"{thing.color} " * color + noun)


def _shown(clip: Clip, at: int, random: Random) -> str | None:
    name = _described(clip.things[at], random)
    wordings = ("{}", "there is {}", "you can see {}", "{} appears", "{} is on the screen")
    return random.choice(wordings).format(name)


def _in_order(clip: Clip, at: int, random: Random) -> str | None:
    place = "last" if at == len(clip.shots) - 1 else ("first", "second", "third")[at]
    wordings = ("the {} thing is {}",) * 3 + ("as the {} thing comes {}",)
    return random.choice(wordings).format(place, _described(clip.things[at], random))


def _before(clip: Clip, at: int, random: Random) -> str | None:
    if at == 0:
        return None
    names = [_described(clip.things[n], random) for n in (at, at - 1)]
    return random.choice(("{} follows {}", "{} comes after {}")).format(*names)


def _after(clip: Clip, at: int, random: Random) -> str | None:
    if at == len(clip.shots) - 1:
        return None
    names = [_described(clip.things[n], random) for n in (at, at + 1)]
    return random.choice(("{} , and then {}", "{} comes before {}")).format(*names)


DESCRIPTIONS = (_shown, _in_order, _before, _after)
"""`The first thing is ...` is the most frequent form, so that a model's choice is not luck."""
VERBS = ("take", "take", "get", "pick up")
LINKS = (" then ", " then ", " and ", " , next ")


def steps(clip: Clip, random: Random) -> str:
    """All that a clip shows in its order, lower case, no full stop: `take a red star then ...`."""
    link = random.choice(LINKS)
    return link.join(f"{random.choice(VERBS)} {_described(t, random)}" for t in clip.things)
