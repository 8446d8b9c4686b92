"""Batches: prompts, truncation, sampled answers, features."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tools.pretrain.tokenizer import train_tokenizer
from vlbench.backbones.weights import bart_tokenizer
from vlbench.cards.schema import Splits, TaskCard, TrainSettings
from vlbench.data.batches import (
    WINDOW,
    Batch,
    TaskData,
    by_group,
    by_length,
    prefetched,
    prefetched_for,
    sample_answer,
)
from vlbench.data.example import Example
from vlbench.data.stores.own import FeatureStore, write_store
from vlbench.errors import DataError
from vlbench.training.train import loss

SPLITS = Splits(train=("train",), val=("val",), test=("test",))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    train_tokenizer(["vqa: what colour is the big square ? red blue green yes no"], file)
    return bart_tokenizer(file)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    images = [f"image{n}" for n in range(12)]
    features = np.arange(1, 73, dtype=np.float32).reshape(12, 2, 3)
    return write_store(tmp_path_factory.mktemp("store") / "features", [(images, features)])


def example(n: int, text: str = "what colour ?", images: int = 1, **targets: float) -> Example:
    names = tuple(f"image{n * images + i}" for i in range(images))
    return Example(str(n), text, names, targets or {"red": 1.0}, {}, "")


@pytest.fixture
def data(tokenizer: Any, store: FeatureStore) -> Any:
    def make(
        examples: list[Example], positions: int | None = None, card: Any = None, **settings: Any
    ) -> TaskData:
        fields = {"title": "T", "reader": "vqav2", "metric": "vqa", "prompt": "vqa: "}
        task = TaskCard(name="t", splits={"mini": SPLITS}, **{**fields, **(card or {})})
        return TaskData(task, examples, store, tokenizer, TrainSettings(**settings), positions)

    return make


def decoded(task: TaskData, ids: torch.Tensor) -> str:
    kept = [i for i in ids.tolist() if i >= 0]
    return task.tokenizer.decode(kept, skip_special_tokens=False).replace("<pad>", "").strip()


@pytest.mark.parametrize(
    ("position", "prompts", "expected"),
    [
        ("front", True, "vqa: what colour ?"),
        ("end", True, "what colour ? vqa: "),
        ("front", False, "what colour ?"),
        ("end", False, "what colour ?"),
    ],
)
def test_the_prompt_stands_where_the_card_says(
    data: Any, position: str, prompts: bool, expected: str
) -> None:
    task = data([example(0)], card={"prompt_position": position}, task_prompts=prompts)
    assert task.text(task.examples[0]) == expected


def test_texts_are_cut_with_their_end_token_kept(data: Any) -> None:
    task = data([example(0, "red " * 30)], card={"max_input_tokens": 6})
    (batch,) = task.longest_first(8)
    assert batch.input_ids.shape == (1, 6)
    assert batch.input_ids[0, 0] == task.tokenizer.bos_token_id
    assert batch.input_ids[0, -1] == task.tokenizer.eos_token_id


def spoken(context: str) -> Example:
    return Example("0", "what colour ?", ("image0",), {"red": 1.0}, context=context)


@pytest.mark.parametrize("truncate", ["end", "subtitles"])
def test_what_fits_is_not_cut(data: Any, truncate: str) -> None:
    task = data([spoken("red blue")], truncate=truncate, card={"prompt_position": "end"})
    assert task.text(task.examples[0]) == "red blue what colour ? vqa: "


@pytest.mark.parametrize("words", range(0, 40))
def test_subtitles_go_first_and_the_question_and_prompt_stay(data: Any, words: int) -> None:
    card = {"prompt_position": "end", "max_input_tokens": 24}
    long = data([spoken("red blue " * 20)], truncate="subtitles", card=card)
    task = data([spoken(" ".join(["red blue"] * words))], truncate="subtitles", card=card)
    text = task.text(task.examples[0])
    assert text.endswith("what colour ? vqa: ")
    ids = task.batch(task.examples, None).input_ids
    assert decoded(task, ids[0]).endswith("what colour ? vqa: </s>")
    full = data([spoken(" ".join(["red blue"] * words))], card={**card, "max_input_tokens": 999})
    needed = full.batch(full.examples, None).input_ids.shape[1]
    assert ids.shape[1] == min(needed, long.batch(long.examples, None).input_ids.shape[1]) <= 24


def test_as_the_authors_had_it_the_end_goes_with_question_and_prompt(data: Any) -> None:
    card = {"prompt_position": "end", "max_input_tokens": 24}
    task = data([spoken("red blue " * 20)], card=card)
    ids = task.batch(task.examples, None).input_ids
    assert ids.shape == (1, 24)
    assert "colour" not in decoded(task, ids[0])


def test_a_question_longer_than_the_limit_loses_all_subtitles_and_then_its_end(data: Any) -> None:
    card = {"prompt_position": "end", "max_input_tokens": 6}
    task = data([spoken("red blue")], truncate="subtitles", card=card)
    assert task.text(task.examples[0]) == "what colour ? vqa: "
    assert task.batch(task.examples, None).input_ids.shape == (1, 6)


def test_targets_are_cut_by_their_own_limit(data: Any) -> None:
    task = data([example(0)], card={"max_target_tokens": 4, "max_input_tokens": None})
    batch = task.batch(task.examples, [("red blue green yes", 1.0)])
    assert batch.target_ids.shape == (1, 4)
    assert batch.target_ids[0, -1] == task.tokenizer.eos_token_id


@pytest.mark.parametrize(("longest", "expected"), [(None, 8), (100, 8), (5, 5)])
def test_no_text_is_longer_than_the_backbone_has_positions(
    data: Any, longest: int | None, expected: int
) -> None:
    task = data([example(0, "red " * 30)], positions=8, card={"max_input_tokens": longest})
    assert task.batch(task.examples, None).input_ids.shape == (1, expected)


def test_padding_of_targets_is_ignored_and_the_target_is_the_answer(data: Any) -> None:
    task = data([example(0), example(1)])
    batch = task.batch(task.examples, [("red", 0.3), ("red blue", 1.0)])
    assert decoded(task, batch.target_ids[0]) == "<s> red</s>"
    assert (batch.target_ids[0] == -100).sum() == (batch.target_ids[1] != -100).sum() - (
        batch.target_ids[0] != -100
    ).sum()
    torch.testing.assert_close(batch.scores, torch.tensor([0.3, 1.0]))


def test_features_are_those_of_each_examples_images_in_order(
    data: Any, store: FeatureStore
) -> None:
    task = data([example(0, images=2), example(1, images=2)], card={"images_per_example": 2})
    features = task.batch(task.examples, None).features
    assert features.shape == (2, 2, 2, 3)
    assert features.dtype == torch.float16
    expected = store.get(["image2", "image3"])
    np.testing.assert_array_equal(features[1].numpy(), expected.astype(np.float32))


def test_a_blind_model_sees_zeros(data: Any) -> None:
    task = data([example(0)], blind=True)
    features = task.batch(task.examples, None).features
    assert features.shape == (1, 1, 2, 3)
    assert not features.any()


def test_an_epoch_has_every_example_once_in_an_order_of_its_own(data: Any) -> None:
    task = data([example(n) for n in range(10)], batch_size=4)
    epochs = [list(task.epoch(np.random.default_rng(seed))) for seed in (0, 0, 1)]
    orders = [[each for batch in epoch for each in batch.ids] for epoch in epochs]
    assert sorted(orders[0], key=int) == [str(n) for n in range(10)]
    assert orders[0] == orders[1] != orders[2]
    assert list(map(int, orders[2])) == np.random.default_rng(1).permutation(10).tolist()
    assert [len(batch.ids) for batch in epochs[0]] == [4, 4, 2]
    assert task.batches == 3


def many_answers(n: int) -> Example:
    return example(n, **({"red": 0.3, "blue": 1.0, "green": 0.6} if n % 3 else {}))


@pytest.mark.parametrize("skip", [0, 1, 2, 3, 4])
def test_an_epoch_goes_on_behind_the_batches_it_skips(data: Any, skip: int) -> None:
    task = data([many_answers(n) for n in range(11)], batch_size=3)
    whole = list(task.epoch(np.random.default_rng(0)))
    rest = list(task.epoch(np.random.default_rng(0), skip))
    assert len(rest) == 4 - skip
    for batch, expected in zip(rest, whole[skip:], strict=True):
        assert_same(batch, expected)


def assert_same(batch: Batch, expected: Batch) -> None:
    assert batch.ids == expected.ids
    for name in ("input_ids", "features", "target_ids", "scores"):
        assert torch.equal(getattr(batch, name), getattr(expected, name)), name


def test_no_features_are_read_of_batches_that_are_skipped(data: Any) -> None:
    task = data([many_answers(n) for n in range(11)], batch_size=3)
    read: list[list[str]] = []
    store = task.store
    task.store = SimpleNamespace(get=lambda images: read.append(images) or store.get(images))
    (last,) = task.epoch(np.random.default_rng(0), 3)
    assert read == [[f"image{name}" for name in last.ids]]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shares_of_an_epoch_are_its_batches_dealt_out(data: Any, count: int) -> None:
    task = data([many_answers(n) for n in range(10)], batch_size=3)
    whole = list(task.epoch(np.random.default_rng(0)))
    for rank in range(count):
        share = slice(rank, None, count)
        dealt = list(task.epoch(np.random.default_rng(0), 0, share))
        assert [batch.ids for batch in dealt] == [batch.ids[share] for batch in whole]
        for batch, expected in zip(dealt, whole, strict=True):
            assert torch.equal(batch.scores, expected.scores[share])
            assert len(batch.features) == len(batch.target_ids) == len(batch.ids)


def test_evaluation_shares_whole_batches(data: Any) -> None:
    task = data([example(n) for n in range(5)])
    shares = [[batch.ids for batch in task.longest_first(2, slice(r, None, 2))] for r in range(2)]
    assert shares == [[("0", "1"), ("4",)], [("2", "3")]]


def test_evaluation_takes_the_longest_texts_first_and_else_keeps_the_order(data: Any) -> None:
    texts = ["red", "red blue", "red", "red blue green", "blue red"]
    task = data([example(n, text) for n, text in enumerate(texts)])
    assert [batch.ids for batch in task.longest_first(3)] == [("3", "1", "4"), ("0", "2")]


def test_the_cards_sixtieths_scale_the_batch(data: Any) -> None:
    assert data([example(0)], card={"batch_sixtieths": 20}, batch_size=60).batch_size == 20


def test_answers_are_sampled_in_proportion_to_their_scores() -> None:
    random = np.random.default_rng(0)
    targets = {"red": 0.9, "blue": 0.3, "never": 0.0}
    drawn = Counter(sample_answer(targets, random) for _ in range(4000))
    assert set(drawn) == {("red", 0.9), ("blue", 0.3)}
    assert drawn["red", 0.9] / 4000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("targets", [{}, {"red": 0.0}])
def test_an_example_without_a_good_answer_weighs_nothing(
    data: Any, targets: dict[str, float]
) -> None:
    none = sample_answer(targets, np.random.default_rng(0))
    assert none == ("", 0.0)
    task = data([example(0), example(1)])
    batch = task.batch(task.examples, [("red", 1.0), none])
    alone = task.batch(task.examples[:1], [("red", 1.0)])
    logits = torch.randn(2, batch.target_ids.shape[1], len(task.tokenizer))
    both = loss(logits, batch.target_ids, batch.scores, "score-weighted")
    one = loss(
        logits[:1, : alone.target_ids.shape[1]], alone.target_ids, alone.scores, "score-weighted"
    )
    torch.testing.assert_close(both, one / 2)


def test_a_batch_moves_with_all_its_tensors(data: Any) -> None:
    task = data([example(0)])
    there = task.batch(task.examples, None).to(torch.device("meta"))
    assert {there.input_ids.device.type, there.features.device.type} == {"meta"}
    assert there.ids == ("0",)


def captions(count: int = 11, each: int = 3) -> list[Example]:
    """Several of one picture, not side by side."""
    return [
        Example(str(n), "", (f"image{n % (count // each)}",), {f"red {n}": 1.0}, {}, "")
        for n in range(count)
    ]


def test_captions_of_a_picture_come_together_where_the_card_says_so(data: Any) -> None:
    task = data(captions(), order="pictures", batch_size=480, card={"batch_sixtieths": 1})
    ids = [name for batch in task.epoch(np.random.default_rng(0)) for name in batch.ids]
    pictures = [int(name) % 3 for name in ids]
    assert sorted(ids, key=int) == [str(n) for n in range(11)]
    assert sum(a != b for a, b in pairwise(pictures)) == 2


def test_like_lengths_come_together_where_the_card_says_so(data: Any) -> None:
    examples = [example(n % 12, "red " * (1 + n % 5)) for n in range(40)]
    waste = {}
    for order in ("random", "lengths"):
        task = data(examples, order=order, batch_size=480, card={"batch_sixtieths": 1})
        waste[order] = sum(
            int((batch.input_ids == task.tokenizer.pad_token_id).sum())
            for batch in task.epoch(np.random.default_rng(0))
        )
    assert waste["lengths"] == 0 < waste["random"]


def test_examples_with_one_input_share_its_row(data: Any) -> None:
    examples = captions()
    apart = data(examples).batch(examples, [(f"red {n}", 1.0) for n in range(11)])
    shared = data(examples, share_encoder=True).batch(
        examples, [(f"red {n}", 1.0) for n in range(11)]
    )
    assert shared.inputs is not None and shared.features.shape[0] == 3
    for name in ("input_ids", "features"):
        torch.testing.assert_close(getattr(shared, name)[shared.inputs], getattr(apart, name))
    torch.testing.assert_close(shared.target_ids, apart.target_ids)
    assert shared.ids == apart.ids and apart.inputs is None


def test_a_part_of_a_batch_has_the_inputs_of_its_examples(data: Any) -> None:
    examples = captions()
    answers = [(f"red {n}", 1.0) for n in range(11)]
    whole = data(examples, share_encoder=True).batch(examples, answers)
    part = whole.part(slice(1, 3))
    assert part.inputs is not None and whole.inputs is not None
    assert (part.ids, len(part.features)) == (("1", "2"), 2)
    torch.testing.assert_close(part.features[part.inputs], whole.features[whole.inputs[1:3]])


COUNTS = [0, 1, 7, 8, 8 * WINDOW, 8 * WINDOW + 3, 1000]


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("count", COUNTS)
def test_every_example_comes_once_in_any_order(count: int) -> None:
    lengths = random().integers(1, 100, count)
    keys = random().integers(0, 1 + count // 5, count).tolist()
    for order in (by_length(lengths, 8, random()), by_group(keys, random())):
        assert sorted(order.tolist()) == list(range(count))
        assert order.dtype == np.int64


def test_batches_of_like_lengths_hardly_need_padding_and_come_in_any_order() -> None:
    lengths = random(1).integers(1, 100, 1003)
    order = by_length(lengths, 10, random())
    batches = [lengths[order[start : start + 10]] for start in range(0, 1003, 10)]
    wasted = sum(int((batch.max() - batch).sum()) for batch in batches)
    by_any = lengths[random().permutation(1003)]
    wasted_by_any = sum(
        int((by_any[start : start + 10].max() - by_any[start : start + 10]).sum())
        for start in range(0, 1003, 10)
    )
    assert wasted < wasted_by_any / 10
    means = [float(batch.mean()) for batch in batches[:WINDOW]]
    assert means != sorted(means)
    assert len(batches[-1]) == 3


def test_groups_stay_together_in_their_own_order() -> None:
    keys = ["a", "b", "a", "c", "b", "a"]
    order = by_group(keys, random(2)).tolist()
    at = order.index(0)
    assert order[at : at + 3] == [0, 2, 5]
    assert order.index(4) == order.index(1) + 1
    assert {tuple(by_group(keys, random(seed))) for seed in range(20)} != {tuple(order)}


@pytest.mark.parametrize("seed", [0, 1])
def test_one_seed_gives_one_order(seed: int) -> None:
    lengths = random(9).integers(1, 100, 333)
    np.testing.assert_array_equal(
        by_length(lengths, 8, random(seed)), by_length(lengths, 8, random(seed))
    )
    np.testing.assert_array_equal(
        by_group(lengths.tolist(), random(seed)), by_group(lengths.tolist(), random(seed))
    )


def makers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "vlbench batches" in thread.name]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_order_and_number_stay(count: int) -> None:
    assert list(prefetched(iter(range(count)))) == list(range(count))
    assert not makers()


def test_batches_for_a_gpu_are_pinned_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a machine without one can tell: each tensor is asked once, in the thread."""
    whole = torch.arange(6).reshape(3, 2)
    batch = Batch("vqav2", ("a", "b", "c"), whole, whole.half(), whole, whole[:, 0].float())
    asked: list[str] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        asked.append(threading.current_thread().name)
        return tensor + 1

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    assert list(prefetched_for(torch.device("cpu"), iter([batch]))) == [batch]
    assert not asked
    (found,) = prefetched_for(torch.device("cuda"), iter([batch]))
    assert asked == ["vlbench batches_0"] * 4  # there are no shared inputs
    assert found.ids == batch.ids and found.inputs is None
    assert torch.equal(found.features, batch.features + 1)


def test_no_more_are_made_than_may_wait() -> None:
    made: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    each = prefetched(batches(), ahead=2)
    assert next(each) == 0
    time.sleep(0.3)
    assert len(made) <= 4  # the first, two that wait, one in hand
    each.close()  # type: ignore[attr-defined]
    assert not makers()


def test_an_error_comes_at_its_place() -> None:
    def batches() -> Iterator[int]:
        yield 1
        raise DataError("picture 7: damaged")

    each = prefetched(batches())
    assert next(each) == 1
    with pytest.raises(DataError, match="picture 7"):
        next(each)
    assert not makers()


def test_who_stops_early_leaves_no_thread() -> None:
    with pytest.raises(KeyboardInterrupt):
        for _ in prefetched(iter(range(1000))):
            raise KeyboardInterrupt
    time.sleep(0.3)
    assert not makers()


def test_the_next_batch_is_made_meanwhile() -> None:
    second = threading.Event()

    def batches() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    for number in prefetched(batches()):
        if number == 1:
            assert second.wait(timeout=20)
