from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from random import Random

import pytest

from tests.data.mini.oracle import NUMBERS, all_of, the
from tools.pretrain.lessons import (
    MASK,
    Lesson,
    lesson,
    long_lesson,
    pair_lesson,
    repair,
)
from vlbench.data.mini.pictures import (
    GQA_FAMILIES,
    VQA_FAMILIES,
    Balance,
    annotators,
    ask,
    captions,
    statement,
)
from vlbench.data.mini.world import Scene, Thing, scenes

SPELLED = {number: word for word, number in NUMBERS.items()}
ASPECT = {"paint": "color", "form": "shape", "extent": "size"}
BESIDE = {
    "west": lambda one, other: one.column < other.column,
    "east": lambda one, other: one.column > other.column,
    "north": lambda one, other: one.row < other.row,
    "south": lambda one, other: one.row > other.row,
}


@pytest.fixture(scope="module")
def shown() -> list[Scene]:
    return list(islice(scenes("pretraining", Random(11)), 1500))


@pytest.fixture(scope="module")
def taught(shown) -> list[tuple[Scene, Lesson]]:
    random = Random(12)
    return [(scene, teach(scene, random)) for scene in shown for teach in (lesson, long_lesson)]


@pytest.fixture(scope="module")
def taught_of_pairs(shown) -> list[tuple[tuple[Scene, Scene], Lesson]]:
    random = Random(13)
    pairs = [(one, random.choice(shown)) for one in shown]
    return [(pair, pair_lesson(pair, random)) for pair in pairs]


def at(thing: Thing) -> str:
    return f"row {SPELLED[thing.row + 1]} column {SPELLED[thing.column + 1]}"


def named(thing: Thing) -> str:
    return f"{thing.size} {thing.color} {thing.shape}"


def claim_holds(scene: Scene, said: str) -> bool:
    if match := re.fullmatch(r"(.+) has (paint|form|extent) (\w+)", said):
        return getattr(the(scene, match[1]), ASPECT[match[2]]) == match[3]
    if match := re.fullmatch(r"(\w+) of (.+)", said):
        return len(all_of(scene, match[2])) == {**NUMBERS, "six": 6}[match[1]]
    if match := re.fullmatch(r"(some|no) (.+) on the canvas", said):
        return bool(all_of(scene, match[2])) == (match[1] == "some")
    match = re.fullmatch(r"(.+) lies (west|east|north|south) of (.+)", said)
    assert match, said
    return BESIDE[match[2]](the(scene, match[1]), the(scene, match[3]))


def agrees(scene: Scene, one: str, other: str, word: str) -> str:
    values = {getattr(the(scene, phrase), ASPECT[word]) for phrase in (one, other)}
    return "agree" if len(values) == 1 else "differ"


def in_half(scene: Scene, phrase: str, ways: str) -> str:
    thing = the(scene, phrase)
    if ways == "west or east":
        return "west" if thing.column <= 1 else "east"
    return "north" if thing.row <= 1 else "south"


def toward(scene: Scene, one: str, ways: str, other: str) -> str:
    [way] = [way for way in ways.split(" or ") if BESIDE[way](the(scene, one), the(scene, other))]
    return way


def looked_up(scene: Scene, phrase: str, word: str) -> str:
    return f"{word} {getattr(the(scene, phrase), ASPECT[word])}"


WORD = "(paint|form|extent)"
RULES: list[tuple[str, Callable[..., str]]] = [
    (
        "take inventory|note all items with their spots|go through the canvas",
        lambda scene: " ; ".join(f"{named(thing)} {at(thing)}" for thing in scene.things),
    ),
    (
        "jot down the contents|say which items got painted",
        lambda scene: " plus ".join(named(thing) for thing in scene.things),
    ),
    (rf"name the {WORD} of (.+)", lambda scene, word, name: looked_up(scene, name, word)),
    (rf"report {WORD} for (.+)", lambda scene, word, name: looked_up(scene, name, word)),
    (rf"((?!claim).+) : its {WORD}", looked_up),
    (rf"look at (.+) and give the {WORD}", looked_up),
    ("(?:locate|give the spot of) (.+)", lambda scene, name: at(the(scene, name))),
    (
        "(west or east|north or south) half for (.+)",
        lambda scene, ways, name: in_half(scene, name, ways),
    ),
    (
        "(?:tell me about )?(row .+? column .+?)(?: holds)?",
        lambda scene, place: next(named(thing) for thing in scene.things if at(thing) == place),
    ),
    (
        "(?:tally|add up all|total of) (.+)",
        lambda scene, names: SPELLED[len(all_of(scene, names))],
    ),
    (
        "(?:seek|try to spot|search for) (.+)",
        lambda scene, name: "spotted" if all_of(scene, name) else "missing",
    ),
    ("((?!claim).+) lies (west or east|north or south) of (.+)", toward),
    (
        rf"{WORD} of (.+) against (.+)",
        lambda scene, word, one, other: agrees(scene, one, other, word),
    ),
    (rf"match (.+) with (.+) by {WORD}", agrees),
    ("claim : (.+)", lambda scene, said: "right" if claim_holds(scene, said) else "wrong"),
]


def reply(text: str, scene: Scene) -> str:
    fitting = [(rule, match) for pattern, rule in RULES if (match := re.fullmatch(pattern, text))]
    assert len(fitting) == 1, f"{len(fitting)} rules fit: {text}"
    rule, match = fitting[0]
    return rule(scene, *match.groups())


def pair_claim_holds(pair: tuple[Scene, Scene], said: str) -> bool:
    def counts(phrase: str) -> tuple[int, int]:
        return len(all_of(pair[0], phrase)), len(all_of(pair[1], phrase))

    if match := re.fullmatch("canvas (one|two) has more (.+) than canvas (?:one|two)", said):
        one, two = counts(match[2])
        return one > two if match[1] == "one" else two > one
    if match := re.fullmatch("equal tally of (.+)", said):
        return len(set(counts(match[1]))) == 1
    if match := re.fullmatch("(.+?) (.+) added up", said):
        return sum(counts(match[2])) == NUMBERS[match[1]]
    match = re.fullmatch("(each canvas|canvas one|canvas two|a single canvas) has (.+)", said)
    assert match, said
    has = [count > 0 for count in counts(match[2])]
    if match[1] in ("each canvas", "a single canvas"):
        return sum(has) == (2 if match[1] == "each canvas" else 1)
    return has[match[1] == "canvas two"]


def pair_reply(text: str, pair: tuple[Scene, Scene]) -> str:
    if match := re.fullmatch("(opening canvas|closing canvas|canvas one|canvas two) , (.+)", text):
        return reply(match[2], pair[match[1] in ("closing canvas", "canvas two")])
    if match := re.fullmatch("tally (.+) on each canvas", text):
        return " then ".join(SPELLED[len(all_of(scene, match[1]))] for scene in pair)
    if match := re.fullmatch("seek (.+) on each canvas", text):
        found = tuple(bool(all_of(scene, match[1])) for scene in pair)
        words = {(True, True): "on each", (True, False): "canvas one", (False, True): "canvas two"}
        return words.get(found, "missing")
    assert text.startswith("claim : ")
    return "right" if pair_claim_holds(pair, text.removeprefix("claim : ")) else "wrong"


def test_every_lesson_is_true_of_its_picture(taught) -> None:
    for scene, each in taught:
        assert each.reply == reply(each.text, scene), each


def test_every_lesson_about_a_pair_is_true_of_it(taught_of_pairs) -> None:
    for pair, each in taught_of_pairs:
        assert each.reply == pair_reply(each.text, pair), each


def test_the_same_seed_teaches_the_same_lessons(shown) -> None:
    def lessons(seed: int) -> list[Lesson]:
        random = Random(seed)
        return [lesson(scene, random) for scene in shown[:20]]

    assert lessons(1) == lessons(1) != lessons(2)


def test_no_two_way_reply_prevails(taught, taught_of_pairs) -> None:
    replies = {(each.skill, each.reply): 0 for _, each in taught}
    for _, each in taught + taught_of_pairs:
        replies[each.skill, each.reply] = replies.get((each.skill, each.reply), 0) + 1
    for skill, words in (("claim", "right wrong"), ("seek", "spotted missing")):
        one, other = (replies[skill, word] for word in words.split())
        assert 0.35 < one / (one + other) < 0.65


def test_repair_masks_one_to_three_words_and_wants_the_whole_sentence() -> None:
    random = Random(5)
    sentence = "What color is the large star?"
    gone = Counter()
    for _ in range(200):
        asked = repair(sentence, random)
        assert asked.reply == sentence and asked.text.count(MASK) == 1
        before, after = (part.split() for part in asked.text.split(MASK))
        missing = len(sentence.split()) - len(before) - len(after)
        assert [*before, *sentence.split()[len(before) :][:missing], *after] == sentence.split()
        gone[missing] += 1
    assert gone.keys() == {1, 2, 3}


def test_no_task_sentence_is_a_lesson_and_hardly_an_answer_is_a_reply(
    shown, taught, taught_of_pairs
) -> None:
    """Shared are `right`, a side here and a verdict there, and the numbers as some spell them."""
    random = Random(6)
    balance = Balance()
    sentences, answers, variants = set(), set(), set()
    for scene in shown[:500]:
        for question in ask(scene, VQA_FAMILIES + GQA_FAMILIES, 11, balance, random):
            sentences.add(question.text.lower())
            answers.add(question.answer)
            if question.family in ("what color", "what is the", "how many", "is there"):
                variants |= set(annotators(question.answer, random))
        sentences |= {caption.lower() for caption in captions(scene, random)}
        sentences.add(statement(random)[0].lower())
    lessons = [each for _, each in taught] + [each for _, each in taught_of_pairs]
    assert not sentences & {each.text.lower() for each in lessons}
    replies = {each.reply.lower() for each in lessons}
    assert not replies & (sentences | {"true", "false"})
    assert replies & answers == {"right"}
    assert replies & variants == {"zero", "one", "two", "three"}
