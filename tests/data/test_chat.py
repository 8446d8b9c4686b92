"""Questions about picture files as rows of a chat backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.backbones.families import load, picture
from vlbench.backbones.base import IGNORED
from vlbench.cards.load import load_task
from vlbench.cards.schema import TrainSettings
from vlbench.data.chat import ChatData
from vlbench.data.example import Example
from vlbench.data.pictures import Pictures
from vlbench.errors import DataError, UsageError

EXAMPLES = [
    Example("1", "what is it ?", ("a",), {"yes": 1.0}),
    Example("2", "is there a circle left of the square ?", ("b",), {"no": 0.5}),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    folder = tmp_path_factory.mktemp("pictures")
    paths = {name: folder / f"{name}.png" for name in ("a", "b")}
    for seed, path in enumerate(paths.values()):
        picture(seed).save(path)
    return Pictures(paths, frames=3)


def data(files: Pictures, task: str = "vqav2", **changes: Any) -> ChatData:
    talk = load("llava").conversation
    of_card = {key: changes.pop(key) for key in [*changes] if key.startswith("max_")}
    card = load_task(task).model_copy(update=of_card)
    return ChatData(card, EXAMPLES, talk.tokenizer, TrainSettings(**changes), files, talk)


def test_a_batch_holds_questions_pictures_and_sampled_answers(files: Pictures) -> None:
    talk = load("llava").conversation
    batch = data(files).batch(EXAMPLES, [("yes", 1.0), ("no", 0.5)])
    assert (batch.task, batch.ids, batch.scores.tolist()) == ("vqav2", ("1", "2"), [1.0, 0.5])
    answers = [ids[ids != IGNORED].tolist() for ids in batch.target_ids]
    assert answers == [[*talk.answer("yes")], [*talk.answer("no")]]
    asks = "what is it ?\nAnswer the question using a single word or phrase."
    assert asks in talk.tokenizer.decode(batch.tensors["input_ids"][0])
    assert batch.tensors["attention_mask"][0, 0] == 1  # padded behind
    asked = data(files).batch(EXAMPLES, None)
    assert asked.target_ids.shape == (2, 0) and asked.tensors["attention_mask"][0, 0] == 0
    assert len(data(files).batch([], []).ids) == 0

    shown, blind = batch.tensors["pixel_values"], data(files, blind=True).batch(EXAMPLES, None)
    assert shown.any() and not blind.tensors["pixel_values"].any()
    assert batch.not_finite() == []
    batch.rows[1].pixels["pixel_values"][0, 0, 0, 0] = float("nan")
    assert batch.not_finite() == ["2"]


def test_texts_and_answers_are_cut_but_no_template_or_picture(
    files: Pictures,
) -> None:
    whole, short = data(files), data(files, max_input_tokens=3, max_target_tokens=2)
    talk = whole.conversation
    answers = [("yes no yes no", 1.0)] * 2
    rows = short.batch(EXAMPLES, answers).rows
    question = talk.prompt(whole.text(EXAMPLES[1]), 1)
    kept = talk.tokenizer.decode(rows[1].tokens["input_ids"])
    assert "circle" not in kept and "Answer the question using" in kept
    assert kept.startswith("<bos>User:") and kept.endswith("Assistant:")
    assert len(talk.tokenizer(kept)["input_ids"]) < len(talk.tokenizer(question)["input_ids"]) + 16
    assert rows[1].pixels["pixel_values"].shape[0] == 1
    first, *_, end = talk.answer("yes no yes no")
    assert rows[0].answer == (first, end)


def test_what_it_cannot_read_is_refused(files: Pictures) -> None:
    with pytest.raises(UsageError, match=r"train\.share_encoder"):
        data(files, share_encoder=True)
    with pytest.raises(DataError, match="example 1 has 1 pictures"):
        data(files, "nlvr2").batch(EXAMPLES, None)
    ids = data(files, "nlvr2").first_tokens()
    assert len(set(ids)) == 2
    talk = load("llava").conversation
    assert ids == [talk.answer(choice)[0] for choice in load_task("nlvr2").choices]
    alike = data(files, "nlvr2")
    alike.card = alike.card.model_copy(update={"choices": ("yes", "yes no")})
    with pytest.raises(UsageError, match="do not differ in their first token"):
        alike.first_tokens()


def test_of_a_clip_some_frames_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    for number in range(1, 11):
        (tmp_path / "clip").mkdir(exist_ok=True)
        picture(number, width=8 * number).save(tmp_path / "clip" / f"{number}.png")
    shown = Pictures({"clip": tmp_path / "clip"}, frames=3)
    assert [frame.width // 8 for frame in shown.open("clip")] == [2, 6, 9]
    before = shown.fingerprint(["clip"])
    picture(0).save(tmp_path / "clip" / "1.png")  # which is not read
    assert shown.fingerprint(["clip"]) == before
    picture(0).save(tmp_path / "clip" / "2.png")
    assert shown.fingerprint(["clip"]) != before
    assert len(Pictures({"clip": tmp_path / "clip"}, frames=30).open("clip")) == 10


def test_an_epoch_has_every_example_once(files: Pictures) -> None:
    import numpy as np

    batches = [*data(files, batch_size=1).epoch(np.random.default_rng(0))]
    assert sorted(batch.ids for batch in batches) == [("1",), ("2",)]
    assert all(torch.is_tensor(batch.to(torch.device("cpu")).labels) for batch in batches)
    assert isinstance(batches[0].part(slice(0, 1)).ids, tuple)
