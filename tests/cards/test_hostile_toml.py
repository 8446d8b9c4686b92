"""TOML that is valid and means nothing: refused in a line, whatever its depth and length."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlbench.cards import load_method
from vlbench.cli.app import app
from vlbench.errors import UsageError
from vlbench.techniques import resolve_method
from vlbench.toml import LARGEST, MOST_BYTES

DEEP, LARGE = "nested more than 32 levels deep", f"a whole number is larger than {LARGEST:,}"
HOSTILE = {
    "lists": ("a = " + "[" * 30_000 + "]" * 30_000, DEEP),
    "lists that Python still reads": ("a = " + "[" * 150 + "]" * 150, DEEP),
    "inline tables": ("a = " + "{b = " * 10_000 + "1" + "}" * 10_000, DEEP),
    "a header of many keys": (f"[{'.'.join('a' * 20_000)}]", DEEP),
    "a dotted key": (f"{'.'.join('a' * 30_000)} = 1", DEEP),
    "a dotted key in quotes": (f"""{".".join(['"a b"'] * 10_000)} = 1""", DEEP),
    "digits": (f"a = {'9' * 5_000}", LARGE),
    "hexadecimal digits": (f"a = 0x{'f' * 5_000}", LARGE),
    "digits that Python reads": (f"[train]\nepochs = {'9' * 400}", LARGE),
    "no end": ("a = '" + "a" * MOST_BYTES + "'", f"more than {MOST_BYTES:,} bytes"),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("file", ["card.toml", "vlbench.toml"])
def test_what_no_card_means_is_refused_in_a_line(
    kind: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, reason = HOSTILE[kind]
    Path(file).write_text(text)
    monkeypatch.delenv("VLBENCH_CONFIG")
    began = time.monotonic()
    words = ["show", "./card.toml"] if file == "card.toml" else ["list", "methods"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert reason in result.stderr and file in result.stderr
    assert result.stderr.count("\n") == 1
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("words", [("--method", "./card.toml"), ("--tasks", "./card.toml")])
def test_many_faults_are_told_in_ten_lines(words: tuple[str, str]) -> None:
    Path("card.toml").write_text("\n".join(f"k{n} = 1" for n in range(5_000)))
    others = {"--method": "frozen", "--tasks": "vqav2"} | dict([words])
    result = CliRunner().invoke(app, ["plan", *(word for pair in others.items() for word in pair)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 10
    assert result.stderr.rstrip().endswith("more.")
    assert "And 4,9" in result.stderr


@pytest.mark.parametrize(
    ("value", "reason"),
    [("[" * 50_000, DEEP), ("9" * 5_000, LARGE), ("9" * 400, LARGE), ("4000000", "1000000")],
)
def test_a_setting_is_held_to_the_same(value: str, reason: str) -> None:
    with pytest.raises(UsageError, match=r"--set train\.epochs: ") as caught:
        resolve_method(load_method("full"), "mini-bart", "vqav2", [f"train.epochs={value}"])
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 200


def test_an_endless_file_is_not_read_to_its_end() -> None:
    Path("card.toml").symlink_to("/dev/zero")
    result = CliRunner().invoke(app, ["show", "./card.toml"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
