"""How the official VQA evaluation normalises an answer (GT-Vision-Lab/VQA, vqaEval.py).

Its quirks change scores, so they are kept: the look-behind of the period rule is a typo that always
holds, only the first 32 periods go, one digit-comma-digit makes every mark vanish where others
leave a space, and four capitalised contractions (Im, Ive, Id've, I'dve) never match, as words are
lower-cased before.
"""

from __future__ import annotations

import re
from functools import lru_cache

PUNCTUATION = tuple(';/[]"{}()=+\\_-><@`,?!')
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
ARTICLES = frozenset({"a", "an", "the"})

_CONTRACTED = """
    'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't
    hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am
    might've mightn't mightn't've must've mustn't needn't not've o'clock oughtn't shan't
    she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll that's there'd
    there'd've there're there's they'd they'd've they'll they're they've wasn't we'd've we've
    weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll
    who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've
    y'all'll you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[:at] + word[at + 1 :]: word
    for word in _CONTRACTED.split()
    for at, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
"""A word that lacks one apostrophe -> the word; the last entry is the official table's own slip."""

_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS_REMOVED = 32  # `re.UNICODE`, passed where a count belongs


def strip_lines(text: str) -> str:
    """One line without surrounding space."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=1 << 16)
def strip_punctuation(text: str) -> str:
    """Each mark becomes a space, or nothing if it touches one anywhere; periods go.

    A period before a digit stays.
    """
    out = text
    glued = _COMMA_IN_NUMBER.search(text) is not None
    for mark in PUNCTUATION:
        if mark in text:
            touches_space = mark + " " in text or " " + mark in text
            out = out.replace(mark, "" if glued or touches_space else " ")
    return _PERIOD.sub("", out, count=_PERIODS_REMOVED)


@lru_cache(maxsize=1 << 16)
def unify_words(text: str) -> str:
    """Lower case, number words as digits, no articles, contractions with their apostrophe."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def normalise(text: str) -> str:
    """Punctuation, then words: what a prediction goes through before it is compared."""
    return unify_words(strip_punctuation(text))
