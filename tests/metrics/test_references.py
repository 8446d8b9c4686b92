from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from vlbench.errors import DataError
from vlbench.metrics import captions

REFERENCES = {"1": ["A red cup.", "a cup"], "2": ["Two dogs run."]}
CANDIDATES = {"1": "a red cup", "2": "a dog runs"}


class Tokenizer:
    """In place of Java: splits at spaces, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Iterable[str]) -> list[str]:
        self.asked.append(list(texts))
        return [text.lower().rstrip(".") for text in self.asked[-1]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "references"


@pytest.fixture
def tokenizer(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Tokenizer:
    stub = Tokenizer()
    monkeypatch.setattr(captions, "tokenize", stub)
    monkeypatch.setattr(captions, "_recent", {})
    return stub


def forget() -> None:
    """What another process would know."""
    captions._recent.clear()


def evaluate() -> captions.CaptionScores:
    return captions.evaluate(REFERENCES, CANDIDATES, meteor=False)


def test_references_are_tokenized_once_and_predictions_each_time(tokenizer: Tokenizer) -> None:
    first = evaluate()
    assert len(tokenizer.asked) == 2
    assert evaluate() == first
    forget()
    assert evaluate() == first
    assert tokenizer.asked[2:] == [list(CANDIDATES.values())] * 2


@pytest.mark.parametrize(
    "other",
    [
        {"1": ["A red cup.", "a cup"], "2": ["Two dogs ran."]},
        {"1": ["A red cup."], "2": ["a cup", "Two dogs run."]},  # the same texts, other images
        {"2": ["Two dogs run."], "1": ["A red cup.", "a cup"]},  # tokens follow the given order
    ],
)
def test_other_references_are_made_anew(tokenizer: Tokenizer, other: dict[str, list[str]]) -> None:
    captions.prepare(REFERENCES)
    found = captions.prepare(other)
    assert len(tokenizer.asked) == 2
    assert list(found.tokens) == list(other)


def test_the_same_texts_of_images_with_other_names_are_known(tokenizer: Tokenizer) -> None:
    captions.prepare(REFERENCES)
    renamed = {f"clip-{image}": texts for image, texts in REFERENCES.items()}
    assert list(captions.prepare(renamed).tokens) == ["clip-1", "clip-2"]
    assert len(tokenizer.asked) == 1


@pytest.mark.parametrize("fault", ["cut", "bit", "empty", "other"])
def test_a_damaged_file_is_made_again(tokenizer: Tokenizer, cache: Path, fault: str) -> None:
    first = evaluate()
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    at = whole.index(b"a red cup")
    damaged = {
        "cut": whole[: len(whole) // 2],
        "bit": whole[:at] + b"b" + whole[at + 1 :],
        "empty": b"",
        "other": b'{"tokens": []}',
    }[fault]
    path.write_bytes(damaged)
    forget()
    assert evaluate() == first
    assert path.read_bytes() == whole
    assert len(tokenizer.asked) == 4


def test_scores_need_no_cache_folder(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate()
    forget()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "file" / "cache"))
    assert evaluate() == first


def test_what_was_used_last_is_kept(
    tokenizer: Tokenizer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captions, "KEPT_FILES", 2)
    sets = [{"1": [f"cup {number}"]} for number in range(3)]
    for number, texts in enumerate(sets[:2]):
        captions.prepare(texts)
        for path in cache.iterdir():
            os.utime(path, (number, number))
    forget()
    captions.prepare(sets[0])  # read, so younger now than the second
    captions.prepare(sets[2])
    assert len(list(cache.iterdir())) == 2
    forget()
    captions.prepare(sets[0])
    assert len(tokenizer.asked) == 3


def test_a_process_remembers_a_few_sets(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captions, "KEPT_SETS", 2)
    sets = [{"1": [f"cup {number}"]} for number in range(4)]
    for texts in sets:
        captions.prepare(texts)
    assert len(captions._recent) == 2
    assert captions.prepare(sets[3]) is captions.prepare(sets[3])


def test_references_without_a_word_are_refused_and_not_kept(
    tokenizer: Tokenizer, cache: Path
) -> None:
    with pytest.raises(DataError, match="No reference caption holds a word"):
        captions.prepare({"1": ["", "."]})
    assert not cache.exists()
