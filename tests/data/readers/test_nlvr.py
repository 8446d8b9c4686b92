from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vlbench.data.images import open_image
from vlbench.data.readers.nlvr import NLVR, NLVR2
from vlbench.errors import DataError, MissingError
from vlbench.metrics.labels import nlvr2 as score


def test_training_takes_every_order_of_the_boxes_and_validation_the_first(nlvr) -> None:
    reader = NLVR(nlvr.folder)
    train, val = reader.read("train"), reader.read("val")
    assert [example.id for example in train[:3]] == ["1-0-0", "1-0-3", "1-1-0"]
    assert {example.id.partition("-")[0] for example in train} == {"1", "8"}  # one sentence
    assert [example.id for example in val] == ["3-0", "3-1"]
    assert val[0].images == ("dev-3-0-0",)
    assert val[0].targets == {"false": 1.0}


def test_a_sentence_without_any_picture_is_named(nlvr) -> None:
    for order in (0, 3):
        (nlvr / f"nlvr/dev/images/2/dev-3-0-{order}.png").unlink()
    with pytest.raises(DataError, match=r"line 3: no picture .*dev-3-0-0.png"):
        NLVR(nlvr.folder).read("val")


@pytest.fixture(scope="module")
def corpus(shared_folder) -> NLVR:
    return NLVR(shared_folder / "data")


def test_the_real_corpus_is_split_about_four_to_one_without_a_shared_sentence(corpus) -> None:
    train, val, test = (corpus.read(split) for split in corpus.splits)
    assert (len(train), len(val), len(test)) == (2 * 804, 185, 990)
    texts = [{example.text.lower().strip(" .") for example in part} for part in (train, val)]
    assert not texts[0] & texts[1]
    assert sum("true" in example.targets for example in test) == 556


def test_pictures_are_named_by_the_pair_left_first(nlvr2) -> None:
    first, second = NLVR2(nlvr2.folder).read("train")
    assert first.id == "train-4100-0-0"
    assert first.images == second.images == ("train-4100-0-img0", "train-4100-0-img1")
    assert first.targets == {"true": 1.0}
    assert first.annotation["label"] == "True"


def test_training_pictures_lie_in_the_directory_of_the_record_or_flat(nlvr2) -> None:
    folder, name = nlvr2 / "nlvr2/images/train", "train-4100-0-img1.png"
    assert NLVR2(nlvr2.folder).image_path("train-4100-0-img1") == folder / "38" / name
    (folder / "38" / name).rename(folder / name)
    assert NLVR2(nlvr2.folder).image_path("train-4100-0-img1") == folder / name
    with pytest.raises(MissingError, match="images/test1/test1-0-0-img0"):
        NLVR2(nlvr2.folder).image_path("test1-0-0-img0")


def test_a_folder_of_pictures_is_listed_once(nlvr2, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, way: listed.append(path) or glob(path, way))
    reader = NLVR2(nlvr2.folder)
    for side in (0, 1):
        reader.image_path(f"dev-812-1-img{side}")
    assert listed == [nlvr2 / "nlvr2/images/dev"]


def test_a_picture_named_png_may_hold_a_jpeg(nlvr2) -> None:
    path = nlvr2 / "nlvr2/images/dev/dev-812-1-img0.png"
    Image.new("CMYK", (8, 6)).save(path, "JPEG")
    opened = open_image(NLVR2(nlvr2.folder).image_path("dev-812-1-img0"))
    assert (opened.mode, opened.size) == ("RGB", (8, 6))


def test_pairs_are_told_apart_by_identifier_and_not_by_sentence(nlvr2) -> None:
    record = {"sentence": "Two dogs.", "label": "True"}
    ids = ["test2-1-0-0", "test2-1-1-0", "test2-2-0-0"]
    nlvr2.lines("nlvr2/test2.json", [{**record, "identifier": each} for each in ids])
    examples = NLVR2(nlvr2.folder).read("test2")
    assert [example.id for example in examples] == ids
    scored = score(
        {example.id: example.annotation for example in examples},
        dict(zip(ids, ["true", "false", "true"], strict=True)),
    )
    assert scored.metrics["consistency"] == 50.0


def test_faulty_lines_are_named(nlvr2) -> None:
    path = nlvr2 / "nlvr2/dev.json"
    good = path.read_text()
    path.write_text(
        good
        + good
        + "\n{\n"
        + good.replace("dev-812-1-0", "dev-812")
        + good.replace("dev-812-1-0", "dev-812-1-1").replace("False", "Maybe")
    )
    with pytest.raises(DataError) as caught:
        NLVR2(nlvr2.folder).read("dev")
    message = str(caught.value).splitlines()
    assert message[0] == f"{path}: line 2: dev-812-1-0 is there twice"
    assert message[1].startswith(f"{path}: line 4: not valid JSON")
    assert message[2] == f"{path}: line 5: dev-812: should be split-set-pair-sentence"
    assert message[3] == f"{path}: line 6: 'label' should be true or false, found \"Maybe\""


def test_the_real_annotations_have_the_published_counts(shared_folder) -> None:
    data = shared_folder / "data" / "nlvr2"
    reader = NLVR2(data.parent)
    dev, test = reader.read("dev"), reader.read("test1")
    assert (len(dev), len(test)) == (6982, 6967)
    assert sum(example.targets == {"true": 1.0} for example in dev) == 3551
    for examples, groups in ((dev, 2018), (test, 1995)):
        parts = [example.id.split("-") for example in examples]
        assert len({(each[1], each[3]) for each in parts}) == groups


# The authors' lists, where official files are absent


@pytest.fixture
def nlvr_lists(nlvr2):
    (nlvr2 / "nlvr2/dev.json").unlink()
    record = {"img0": "dev-812-1-img0", "img1": "dev-812-1-img1", "sent": "Two mugs."}
    records = [
        {**record, "identifier": f"dev-812-1-{n}", "label": n, "uid": f"nlvr2_valid_{n}"}
        for n in range(2)
    ]
    nlvr2.write("nlvr/valid.json", records)
    return nlvr2


def test_nlvr2_from_the_authors_lists_is_scored_as_the_official_files_are(nlvr_lists) -> None:
    examples = NLVR2(nlvr_lists.folder).read("dev")
    assert [example.targets for example in examples] == [{"false": 1.0}, {"true": 1.0}]
    assert examples[0].images == ("dev-812-1-img0", "dev-812-1-img1")
    annotations = {example.id: example.annotation for example in examples}
    scored = score(annotations, {"dev-812-1-0": "false", "dev-812-1-1": "false"})
    assert scored.metrics == {"accuracy": 50.0, "consistency": 50.0}
