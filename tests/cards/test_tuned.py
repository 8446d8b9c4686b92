"""What a search found stands in the card, and all else of it as before."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from vlbench.cards.load import load_method, own_cards
from vlbench.cards.schema import CardFile
from vlbench.cards.tuned import Searched, searched_around, write_tuned, written
from vlbench.errors import CardError

RATES = [1e-3, 3e-4, 3e-3, 1e-2, 3e-2]
FOUND = Searched("mini-bart/image-text", 1e-2, 3e-3, RATES, 7, "normalised validation score")
CLIPS = FOUND._replace(pattern="mini-bart/video-text", rate=2.5e-4)


def card(folder: Path, text: str) -> CardFile:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return CardFile("mine", path, str(path), is_outside=True)


@pytest.mark.parametrize(
    ("rate", "text"), [(3e-3, "3e-3"), (1.0, "1e0"), (2.5e-4, "2.5e-4"), (1e-2, "1e-2")]
)
def test_rates_are_spelt_as_in_cards(rate: float, text: str) -> None:
    assert written(rate) == text and float(text) == rate


@pytest.mark.parametrize("name", [*own_cards("methods")])
def test_every_card_of_ours_can_be_written_and_keeps_what_it_says(
    tmp_path: Path, name: str
) -> None:
    text = own_cards("methods")[name].path.read_text(encoding="utf-8")
    file = card(tmp_path, text)
    assert write_tuned(file, FOUND) and write_tuned(file, CLIPS)
    assert not write_tuned(file, CLIPS)
    before, after = tomllib.loads(text), tomllib.loads(file.path.read_text(encoding="utf-8"))
    tuning = after.pop("tuning")
    assert tuning["searched"] == [FOUND.line, CLIPS.line] and tuning["trials"] == 7
    before.pop("tuning", {})
    for found in (FOUND, CLIPS):
        assert after["when"][found.pattern]["train"].pop("learning_rate") == found.rate
        (before.get("when", {}).get(found.pattern, {}).get("train", {})).pop("learning_rate", None)
        for table in (before, after):  # what only held the rate is gone
            override = table.setdefault("when", {}).setdefault(found.pattern, {})
            override.setdefault("train", {})
    assert after == before
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in comments if line not in file.path.read_text()] == []


def test_the_written_card_is_read_and_holds_for_its_suite_alone(tmp_path: Path) -> None:
    text = own_cards("methods")["lora"].path.read_text(encoding="utf-8")
    file = card(tmp_path, text)
    write_tuned(file, FOUND)
    loaded = load_method(str(file.path))
    assert loaded.when["mini-bart/image-text"].train.learning_rate == 1e-2
    assert loaded.when["mini-bart/*"].train.learning_rate == 3e-3
    around, tried = "train.learning_rate around 3e-3", "3e-4, 1e-3, 3e-3, 1e-2, 3e-2"
    assert FOUND.line == f"mini-bart/image-text: {around}: {tried}"
    assert searched_around("mini-bart/image-text", loaded.tuning.searched) == 3e-3
    assert searched_around("mini-bart/video-text", loaded.tuning.searched) is None


def test_a_card_that_cannot_be_edited_is_left_as_it_is(tmp_path: Path) -> None:
    when = '{ "mini-bart/image-text" = { params = {} } }'
    text = f'title = "A"\ntechnique = "adapter"\nwhen = {when}\n'
    file = card(tmp_path, text)
    with pytest.raises(CardError, match=r"write by hand: .*learning_rate = 1e-2"):
        write_tuned(file, FOUND)
    assert file.path.read_text() == text
