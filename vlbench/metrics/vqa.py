"""VQA accuracy (Antol et al., 2015): the mean over annotators of min(1, matches among others / 3).

`official-2016` is what VL-T5, VL-Adapter and the papers of their time use: the prediction is always
normalised, the ten answers lose punctuation only, and only where they differ. `official-2021`
normalises both sides alike, but only where the answers differ. The normalisation's quirks
(GT-Vision-Lab/VQA, vqaEval.py) change scores, so they are kept: the look-behind of the period rule
always holds, only the first 32 periods go, one digit-comma-digit makes every mark vanish where
others leave a space, and four capitalised contractions (Im, Ive, Id've, I'dve) never match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from vlbench.errors import DataError
from vlbench.metrics import Annotations, Predictions, Scored, check_ids, grouped, percent

VERSIONS = ("official-2016", "official-2021")

PUNCTUATION = tuple(';/[]"{}()=+\\_-><@`,?!')
_NUMBERS = "zero one two three four five six seven eight nine ten"
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS.split())}
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


def score(
    annotations: Annotations, predictions: Predictions, version: str = "official-2016"
) -> Scored:
    """Accuracy over all questions, with groups per answer type and question type."""
    scores = {}
    for question in check_ids(annotations, predictions):
        answers = annotations[question].get("answers")
        if not answers:
            raise DataError(f"Question {question}: the annotation has no answers.")
        scores[question] = question_score(answers, predictions[question], version)
    groups = {
        kind: grouped(scores, {question: annotations[question].get(kind) for question in scores})
        for kind in ("answer_type", "question_type")
    }
    return Scored({"accuracy": percent(scores.values())}, scores, groups)


score_2021 = partial(score, version="official-2021")


def question_score(
    answers: Sequence[Mapping[str, Any]], prediction: str, version: str = "official-2016"
) -> float:
    """The score of one question, 0 to 1; the annotated answers stay as they are."""
    texts, predicted = [answer["answer"] for answer in answers], strip_lines(prediction)
    if version == "official-2016":
        predicted = normalise(predicted)
        if len(set(texts)) > 1:
            texts = [strip_punctuation(text) for text in texts]
    else:
        texts = [strip_lines(text) for text in texts]
        if len(set(texts)) > 1:
            texts, predicted = [normalise(text) for text in texts], normalise(predicted)
    records = [{**record, "answer": text} for record, text in zip(answers, texts, strict=True)]
    # "The other annotators" are those whose record differs, as in the official code: equal records
    # (same answer, confidence and answer_id) all drop out together.
    matches: list[int] = [
        sum(other["answer"] == predicted for other in records if other != record)
        for record in records
    ]
    return sum(min(1.0, count / 3) for count in matches) / len(matches)


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
