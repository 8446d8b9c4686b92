"""What mini-bart is taught before any task about clips: order, moments, talk, and to pick.

As with pictures (lessons.py) no task uses the wordings. Picking
one of several numbered things is taught too: whoever tunes BART on multiple-choice questions finds
a model that has seen lists before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tools.pretrain.lessons import NUMBERS, Lesson, drawn, repair
from vlbench.data.mini.clips import (
    HOW2QA_FAMILIES,
    PEOPLE,
    TVQA_FAMILIES,
    Clip,
    Shot,
    describe,
    steps,
)
from vlbench.data.mini.world import COLORS, NEAR, SHAPES, SIZES

VALUES = {"color": COLORS, "shape": SHAPES, "size": SIZES}
WORDS = {"color": "paint", "shape": "form", "size": "extent"}
Teacher = Callable[[Clip, Random], "Lesson | None"]


def _full(shot: Shot) -> str:
    return f"{shot.thing.size} {shot.thing.color} {shot.thing.shape}"


def _moment(shot: Shot) -> str:
    return f"{shot.start:g} to {shot.end:g}"


def _known(shot: Shot, random: Random, without: str = "") -> tuple[str, str]:
    """An attribute that names the shot within its clip, and its value."""
    aspect = random.choice([name for name in ("color", "shape") if name != without])
    value = getattr(shot.thing, aspect)
    return aspect, value if aspect == "shape" else f"{value} item"


def recite(clip: Clip, random: Random) -> Lesson:
    """Everything that is shown, in its order."""
    text = random.choice(("recite the clip", "go through the clip"))
    return Lesson("recite", text, " ; ".join(_full(shot) for shot in clip.shots))


def look_up(clip: Clip, random: Random) -> Lesson:
    """One attribute of a named thing."""
    shot = random.choice(clip.shots)
    aspect = random.choice(("color", "shape", "size"))
    _, name = _known(shot, random, without=aspect)
    text = random.choice((f"{name} : its {WORDS[aspect]}", f"report {WORDS[aspect]} for {name}"))
    return Lesson(f"look_up {aspect}", text, f"{WORDS[aspect]} {getattr(shot.thing, aspect)}")


def follow(clip: Clip, random: Random) -> Lesson | None:
    """What comes right after, or right before, a named thing."""
    if len(clip.shots) < 2:
        return None
    at = random.randrange(len(clip.shots) - 1)
    pair = clip.shots[at : at + 2]
    forward = random.random() < 0.5
    named, asked = pair if forward else pair[::-1]
    _, name = _known(named, random)
    way = "following" if forward else "leading to"
    return Lesson("follow", f"item {way} {name}", _full(asked))


def during(clip: Clip, random: Random) -> Lesson:
    """What is shown in a stretch of time."""
    shot = random.choice(clip.shots)
    text = random.choice(
        (f"from {_moment(shot)} , which item", f"note the item of ( {_moment(shot)} )")
    )
    return Lesson("during", text, _full(shot))


def tally(clip: Clip, random: Random) -> Lesson:
    """How many things are shown."""
    return Lesson("tally", "tally the clip", NUMBERS[len(clip.shots)])


def talk(clip: Clip, random: Random) -> Lesson:
    """Who is fond of what."""
    spoken, line = _spoken(clip, random)
    return Lesson("talk", f"{spoken} . whose is the {line[1]}", f"that of {line[0]}")


def _spoken(clip: Clip, random: Random) -> tuple[str, tuple[str, str]]:
    """What is said of shapes, and one who speaks with a name of the thing."""
    said, line = random.choice(("has", "got")), random.choice(clip.lines)
    text = " . ".join(f"{x.speaker.lower()} : {said} {x.shot.thing.shape}" for x in clip.lines)
    _, name = _known(line.shot, random)
    return text, (line.speaker.lower(), name)


def pick_value(clip: Clip, random: Random) -> Lesson:
    """The number of the right value in a list."""
    shot = random.choice(clip.shots)
    aspect = random.choice(("color", "shape"))
    _, name = _known(shot, random, without=aspect)
    value = getattr(shot.thing, aspect)
    lesson = _pick("value", f"{WORDS[aspect]} of {name}", value, VALUES[aspect], random)
    return _laid_out(lesson, clip, random)


def pick_following(clip: Clip, random: Random) -> Lesson | None:
    """The number of the form that follows."""
    if len(clip.shots) < 2:
        return None
    at = random.randrange(len(clip.shots) - 1)
    _, name = _known(clip.shots[at], random)
    following = clip.shots[at + 1].thing.shape
    lesson = _pick("following", f"form following {name}", following, SHAPES, random)
    return _laid_out(lesson, clip, random)


def pick_tally(clip: Clip, random: Random) -> Lesson:
    """The number of the right number word."""
    lesson = _pick("tally", "tally", NUMBERS[len(clip.shots)], NUMBERS[1:6], random)
    return _laid_out(lesson, clip, random)


def pick_person(clip: Clip, random: Random) -> Lesson:
    """The number of whoever said it."""
    spoken, (who, what) = _spoken(clip, random)
    people = [person.lower() for person in PEOPLE]
    lesson = _pick("person", f"whose is the {what}", who, people, random)
    return _laid_out(lesson, clip, random, spoken)


def pick_word(clip: Clip, random: Random) -> Lesson:
    """The number of a word that the text itself gives."""
    values = random.choice((COLORS, SHAPES))
    word = random.choice(values)
    return _pick("word", f"look for {word}", word, values, random)


def _pick(skill: str, asked: str, right: str, values: Sequence[str], random: Random) -> Lesson:
    """A list of two to five of the values, the right one among them, each with letter and number.

    The letter is never `a`, which is left to the tasks.
    """
    number = random.choice((1, 2, 3, 4, 4))
    near = random.sample(
        NEAR.get(right, ()), min(number, 2) * (right in NEAR and random.random() < 0.5)
    )
    wrong = [value for value in values if value not in (right, *near)]
    listed = [right, *near, *random.sample(wrong, number - len(near))]
    if random.random() < 0.5:
        random.shuffle(listed)
    else:
        listed.sort()
    letter = random.choice("bcd")
    items = " ".join(f"{letter}{number}: {value}." for number, value in enumerate(listed))
    return Lesson(f"pick {skill}", f"{asked}? {items}", f"{letter}{listed.index(right)}")


def _laid_out(lesson: Lesson, clip: Clip, random: Random, spoken: str = "") -> Lesson:
    """Every other list laid out as the readers of clips lay out a text."""
    if random.random() < 0.5:
        return Lesson(
            lesson.skill, f"{spoken} . {lesson.text}" if spoken else lesson.text, lesson.reply
        )
    asked, _, items = lesson.text.partition("? ")
    shot = random.choice(clip.shots)
    said = spoken or _spoken(clip, random)[0]
    text = f"[Subs] {said} [Q] {asked}? [TS] ({shot.start:g}-{shot.end:g}) [Choices] {items}"
    return Lesson(lesson.skill, text, lesson.reply)


def read(clip: Clip, random: Random) -> Lesson:
    """The tasks' sentences as text to repair, never with an answer."""
    offers = [family(clip, random) for family in (*TVQA_FAMILIES, *HOW2QA_FAMILIES)]
    questions = [offer[0] for offer in offers if offer is not None]
    told = [*describe(clip, random.choice(clip.shots), 1, random), steps(clip, random)]
    said = [line.text.strip() for line in clip.lines]
    return repair(random.choice((random.choice(questions), random.choice(told + said))), random)


TEACHERS: tuple[tuple[Teacher, int], ...] = (
    (recite, 2), (look_up, 3), (follow, 2), (during, 3), (tally, 1), (talk, 2), (read, 3),
    (pick_word, 10), (pick_value, 16), (pick_following, 6), (pick_tally, 4), (pick_person, 7),
)  # fmt: skip
"""Each skill with its weight in the mix."""


def clip_lesson(clip: Clip, random: Random) -> Lesson:
    """One lesson about a clip."""
    return drawn(clip, random, TEACHERS)
