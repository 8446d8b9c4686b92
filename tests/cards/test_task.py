"""Task cards and suites."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlbench.cards import find_tasks, load_task
from vlbench.cards.load import all_tasks, card_folder
from vlbench.data.readers import load_reader
from vlbench.errors import CardError, UsageError
from vlbench.metrics import METRICS

Write = Callable[..., str]


def names(selection: str | list[str]) -> tuple[str, list[str]]:
    suite, cards = find_tasks(selection)
    return suite, [card.name for card in cards]


def test_the_authors_batches_follow_from_the_cards() -> None:
    _, cards = find_tasks("image-text")
    assert [card.batch_size(500) for card in cards] == [500, 833, 166, 416]
    assert [card.batch_size(300) for card in cards] == [300, 500, 100, 250]
    assert load_task("nlvr2").batch_size(1) == 1


def test_the_mini_edition_never_scores_what_it_trained_or_chose_on() -> None:
    for card in all_tasks():
        if "mini" in card.editions:
            splits = card.splits["mini"]
            assert len({*splits.train, *splits.val, *splits.test}) == 3


def test_every_task_names_a_reader_its_splits_and_a_metric_there_are(tmp_path: Path) -> None:
    for card in all_tasks():
        reader = load_reader(card.reader, tmp_path)
        for splits in card.splits.values():
            named = {*splits.train, *splits.val, *splits.test, *splits.submission}
            assert named <= set(reader.splits)
        assert card.metric in METRICS


def test_a_selection_is_a_suite_a_task_or_a_list() -> None:
    assert names("image-text") == ("image-text", ["vqav2", "gqa", "nlvr2", "coco"])
    assert names("vqa") == ("vqav2", ["vqav2"])
    assert names("vqa,coco") == ("vqav2+coco", ["vqav2", "coco"])
    assert names("vqav2+coco") == ("vqav2+coco", ["vqav2", "coco"])
    assert names(["vqav2", "coco"]) == ("vqav2+coco", ["vqav2", "coco"])
    assert names("image-text,nlvr")[1] == ["vqav2", "gqa", "nlvr2", "coco", "nlvr"]
    assert names("coco,gqa,vqav2,nlvr2") == names("image-text")


@pytest.mark.parametrize("selection", ["vqav2,tvqa", "image-text,video-text", "vqav2+coco+tvqa"])
def test_pictures_and_clips_are_not_mixed(selection: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_tasks(selection)
    told = "Task 'vqav2' reads image features and 'tvqa' video features: one run reads one kind."
    assert str(caught.value) == told


def test_the_order_of_a_list_makes_no_other_selection(write: Write) -> None:
    assert names("nlvr2,vqav2") == names("vqav2+nlvr2") == ("vqav2+nlvr2", ["vqav2", "nlvr2"])
    text = (card_folder("tasks") / "gqa.toml").read_text(encoding="utf-8")
    mine, other = write(text, "b-mine.toml"), write(text, "a-other.toml")
    expected = ["vqav2", "gqa", "nlvr2", "coco", "a-other", "b-mine"]
    assert names(f"{mine},image-text,{other}")[1] == expected
    assert names(f"{other},coco,{mine},nlvr2,gqa,vqav2")[1] == expected


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        ("vqav3", "Unknown task or suite 'vqav3'. Did you mean 'vqav2'?"),
        ("image-txt", "Did you mean 'image-text'?"),
        ("vqav2,vqa", "Named twice: vqav2."),
        (" , ", "the list is empty"),
    ],
)
def test_a_wrong_selection_is_refused(selection: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_tasks(selection)
    assert text in str(caught.value)


def test_all_faults_of_a_task_card_come_in_one_message(write: Write) -> None:
    path = write(
        'title = "Mine"\nreader = "vqav2"\nbeams = 0\nchoices = "yes"\n'
        '[splits.mini]\ntrain = ["a"]\nval = []\ntets = ["c"]\n',
        "mine.toml",
    )
    with pytest.raises(CardError) as caught:
        find_tasks(path)
    lines = str(caught.value).splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == [
        "beams",
        "choices",
        "metric",
        "splits.mini.test",
        "splits.mini.tets",
        "splits.mini.val",
    ]
    assert any("Did you mean 'test'?" in line for line in lines)


def test_a_task_without_an_edition_is_refused(write: Write) -> None:
    path = write('title = "M"\nreader = "r"\nmetric = "m"\nsplits = {}\n', "mine.toml")
    with pytest.raises(CardError, match="no edition"):
        find_tasks(path)
