"""A set of reference captions made ready for scoring: its tokens, and its n-grams for BLEU, CIDEr.

Tokens and counts are kept in the cache folder, what is built of them in this process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.errors import DataError
from vlbench.metrics.bleu import Bleu
from vlbench.metrics.cider import CiderD
from vlbench.metrics.ngrams import NgramCounts, count_references
from vlbench.metrics.ptb import DROPPED, JAR, tokenize
from vlbench.metrics.reference_cache import Arrays, remembered

VERSION = 1
"""Of what `_prepare` makes: a change of it makes all cached files useless."""
KEPT = 4
"""Sets of references in this process: the captions of a suite's val and test."""
NAMES = ("tokens", *NgramCounts._fields)


@dataclass(frozen=True, slots=True)
class References:
    """The references of one set of images, and what scores candidates against them."""

    tokens: dict[str, list[str]]
    """Image -> the tokens of each of its references, single spaces between."""
    row_of: dict[str, int]
    """N-gram -> its row."""
    bleu: Bleu
    cider: CiderD


_recent: dict[str, References] = {}
"""What was used last, by content, for the evaluations of one training."""


def prepare(references: Mapping[str, Sequence[str]]) -> References:
    """The references made ready, image by image in the given order; Java runs once per set."""
    texts = list(references.values())
    key = _key(texts)
    found = _recent.pop(key, None)
    if found is None or list(found.tokens) != list(references):
        found = _ready(list(references), texts, remembered(key, NAMES, lambda: _prepare(texts)))
    _recent[key] = found
    while len(_recent) > KEPT:
        del _recent[next(iter(_recent))]
    return found


def _ready(images: list[str], texts: list[Sequence[str]], arrays: Arrays) -> References:
    lines = iter(_lines(arrays["tokens"]))
    tokens = {image: [next(lines) for _ in own] for image, own in zip(images, texts, strict=True)}
    ngrams = _lines(arrays["ngrams"])
    counts = NgramCounts(ngrams, *(arrays[name] for name in NgramCounts._fields[1:]))
    row_of = {ngram: row for row, ngram in enumerate(ngrams)}
    sizes = [len(captions) for captions in texts]
    return References(tokens, row_of, Bleu(counts, sizes), CiderD(counts, sizes))


def _key(texts: list[Sequence[str]]) -> str:
    content = json.dumps([VERSION, tokenizer(), [list(captions) for captions in texts]])
    return hashlib.sha256(content.encode()).hexdigest()


@lru_cache(maxsize=1)
def tokenizer() -> str:
    """What tokens depend on besides the captions: the hash of the jar and the dropped ones."""
    digest = hashlib.sha256(JAR.read_bytes())
    digest.update(json.dumps(sorted(DROPPED)).encode())
    return digest.hexdigest()


def _prepare(texts: list[Sequence[str]]) -> Arrays:
    lines = tokenize(text for captions in texts for text in captions)
    tokens = iter(lines)
    counts = count_references([[next(tokens) for _ in captions] for captions in texts])
    if not counts.ngrams:
        raise DataError("No reference caption holds a word.")
    arrays: dict[str, Any] = counts._asdict()
    return {**arrays, "tokens": _bytes(lines), "ngrams": _bytes(counts.ngrams)}


def _bytes(lines: Iterable[str]) -> NDArray[np.uint8]:
    """Lines as one array of UTF-8; no token holds a line break."""
    return np.frombuffer("\n".join(lines).encode(), dtype=np.uint8)


def _lines(array: NDArray[Any]) -> list[str]:
    return array.tobytes().decode().split("\n")
