"""Scores of short answers that need not be equal: ANLS of documents, token F1 of SQuAD.

Every annotation holds `answers`, of which the nearest counts.

- ANLS (Biten et al., ICCV 2019; DocVQA's script): 1 - edit distance / length of the longer text, 0
  below 0.5. Case and runs of spaces do not count in the distance; the length is of the texts as
  they are, as in the official script.
- Token F1 (Rajpurkar et al., 2016; SQuAD 1.1's script): words in common, without case, punctuation
  and articles.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

from vlbench.errors import DataError
from vlbench.metrics import Annotations, Predictions, Scored, check_ids, percent

THRESHOLD = 0.5
_DROPPED = str.maketrans("", "", string.punctuation)


def anls(annotations: Annotations, predictions: Predictions) -> Scored:
    """Average normalised Levenshtein similarity in percent."""
    return _nearest("anls", similarity, annotations, predictions)


def token_f1(annotations: Annotations, predictions: Predictions) -> Scored:
    """F1 of the words that prediction and answer share, in percent."""
    return _nearest("f1", shared_words, annotations, predictions)


def _nearest(
    name: str,
    compare: Callable[[str, str], float],
    annotations: Annotations,
    predictions: Predictions,
) -> Scored:
    scores = {}
    for example in check_ids(annotations, predictions, extra_allowed=True):
        answers = annotations[example].get("answers")
        if not (isinstance(answers, list) and answers and all(type(a) is str for a in answers)):
            what = f"'answers' should be a list of texts, found {answers!r}"
            raise DataError(f"Example {example}: {what}.")
        scores[example] = max(compare(answer, predictions[example]) for answer in answers)
    return Scored({name: percent(scores.values())}, scores)


def similarity(answer: str, prediction: str) -> float:
    """ANLS of one answer, 0 or 0.5 to 1."""
    longest = max(len(answer.upper()), len(prediction.upper()))
    plain = (" ".join(text.lower().split()) for text in (answer, prediction))
    score = 1 - edit_distance(*plain) / longest if longest else 1.0
    return score if score >= THRESHOLD else 0.0


def edit_distance(first: str, second: str) -> int:
    """Fewest characters to insert, delete or replace (Levenshtein, 1966)."""
    row = list(range(len(second) + 1))
    for number, letter in enumerate(first, 1):
        above, row = row, [number]
        for at, other in enumerate(second):
            row.append(min(above[at] + (letter != other), above[at + 1] + 1, row[at] + 1))
    return row[-1]


def shared_words(answer: str, prediction: str) -> float:
    """F1 of one answer's words, each as often as it occurs in both."""
    expected, given = (
        re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_DROPPED)).split()
        for text in (answer, prediction)
    )
    common = (Counter(expected) & Counter(given)).total()
    return 2 * common / (len(expected) + len(given)) if common else 0.0
