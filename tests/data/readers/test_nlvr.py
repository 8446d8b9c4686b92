from __future__ import annotations

import pytest

from vlbench.data.images import find_pictures, open_image
from vlbench.data.readers.nlvr import NLVR
from vlbench.errors import DataError


def test_training_takes_every_order_of_the_boxes_and_validation_the_first(nlvr) -> None:
    reader = NLVR(nlvr.folder)
    train, val = reader.read("train"), reader.read("val")
    assert [example.id for example in train[:3]] == ["1-0-0", "1-0-3", "1-1-0"]
    assert [example.id for example in val] == ["3-0", "3-1"]
    assert val[0].images == ("dev-3-0-0",)
    assert val[0].targets == {"false": 1.0}


def test_a_sentence_under_several_numbers_stays_in_one_split(nlvr) -> None:
    train = NLVR(nlvr.folder).read("train")
    assert {example.id.partition("-")[0] for example in train} == {"1", "8"}


def test_pictures_are_found_before_and_after_reading(nlvr) -> None:
    expected = nlvr / "nlvr/dev/images/2/dev-3-1-3.png"
    reader = NLVR(nlvr.folder)
    assert reader.image_path("dev-3-1-3") == expected
    reader.read("val")
    assert reader.image_path("dev-3-1-3") == expected


def test_a_sentence_without_any_picture_is_told(nlvr) -> None:
    for order in (0, 3):
        (nlvr / f"nlvr/dev/images/2/dev-3-0-{order}.png").unlink()
    with pytest.raises(DataError, match=r"line 3: 3-0: no picture .*dev-3-0-0.png"):
        NLVR(nlvr.folder).read("val")


def test_a_faulty_identifier_is_told(nlvr) -> None:
    path = nlvr / "nlvr/dev/dev.json"
    path.write_text(path.read_text().replace('"3-0"', '"dev-3-0"'))
    with pytest.raises(DataError, match="line 3: identifier 'dev-3-0' should be number-picture"):
        NLVR(nlvr.folder).read("train")


@pytest.fixture(scope="module")
def corpus(shared_folder) -> NLVR:
    return NLVR(shared_folder / "data")


def test_the_real_corpus_is_split_about_four_to_one_without_a_shared_sentence(corpus) -> None:
    train, val, test = (corpus.read(split) for split in corpus.splits)
    assert (len(train), len(val), len(test)) == (2 * 804, 185, 990)
    texts = [{example.text.lower().strip(" .") for example in part} for part in (train, val)]
    assert not texts[0] & texts[1]
    assert sum("true" in example.targets for example in test) == 556


def test_the_real_pictures_open(corpus) -> None:
    paths, _ = find_pictures(corpus, corpus.read("val")[:5])
    assert {open_image(path).size for path in paths.values()} == {(400, 100)}
