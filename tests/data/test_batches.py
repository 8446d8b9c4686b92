"""Batches: prompts, truncation, sampled answers, features, orders, and the thread ahead."""

from __future__ import annotations

import threading
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
from vlbench.data.batches import FeatureData, by_group, by_length, prefetched, sample_answer
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
    features = np.arange(1, 73, dtype=np.float16).reshape(12, 2, 3)
    return write_store(tmp_path_factory.mktemp("store") / "features", [({"ids": images}, features)])


def example(n: int, text: str = "what colour ?", images: int = 1, **targets: float) -> Example:
    names = tuple(f"image{n * images + i}" for i in range(images))
    return Example(str(n), text, names, targets or {"red": 1.0}, {}, "")


def with_subtitles(context: str) -> Example:
    return Example("0", "what colour ?", ("image0",), {"red": 1.0}, context=context)


def captions() -> list[Example]:
    """Eleven of three pictures, not side by side."""
    return [Example(str(n), "", (f"image{n % 3}",), {f"red {n}": 1.0}, {}, "") for n in range(11)]


@pytest.fixture
def data(tokenizer: Any, store: FeatureStore) -> Any:
    def make(
        examples: list[Example], positions: int | None = None, card: Any = None, **settings: Any
    ) -> FeatureData:
        fields = {"title": "T", "reader": "vqav2", "metric": "vqa", "prompt": "vqa: "}
        task = TaskCard(name="t", splits={"mini": SPLITS}, **{**fields, **(card or {})})
        return FeatureData(
            task, examples, tokenizer, TrainSettings(**settings), store, positions=positions
        )

    return make


def decoded(task: FeatureData, ids: torch.Tensor) -> str:
    kept = [i for i in ids.tolist() if i >= 0]
    return task.tokenizer.decode(kept, skip_special_tokens=False).replace("<pad>", "").strip()


def inputs(task: FeatureData) -> torch.Tensor:
    return task.batch(task.examples, None).input_ids


def test_the_prompt_stands_where_the_card_says_and_texts_are_cut_with_their_end_token_kept(
    data: Any,
) -> None:
    for position, prompts, expected in [
        ("front", True, "vqa: what colour ?"),
        ("end", True, "what colour ? vqa: "),
        ("end", False, "what colour ?"),
    ]:
        task = data([example(0)], card={"prompt_position": position}, task_prompts=prompts)
        assert task.text(task.examples[0]) == expected
    for longest, positions, count in [(6, None, 6), (None, 8, 8), (100, 8, 8), (5, 8, 5)]:
        task = data([example(0, "red " * 30)], positions, card={"max_input_tokens": longest})
        ids = inputs(task)
        assert ids.shape == (1, count)
        assert ids[0, 0] == task.tokenizer.bos_token_id
        assert ids[0, -1] == task.tokenizer.eos_token_id


@pytest.mark.parametrize("words", [0, 3, 9, 12, 39])
def test_subtitles_go_first_and_the_question_and_prompt_stay(data: Any, words: int) -> None:
    card = {"prompt_position": "end", "max_input_tokens": 24}
    long = data([with_subtitles("red blue " * 20)], truncate="subtitles", card=card)
    subtitles = " ".join(["red blue"] * words)
    task = data([with_subtitles(subtitles)], truncate="subtitles", card=card)
    assert task.text(task.examples[0]).endswith("what colour ? vqa: ")
    ids = inputs(task)
    assert decoded(task, ids[0]).endswith("what colour ? vqa: </s>")
    full = data([with_subtitles(subtitles)], card={**card, "max_input_tokens": 999})
    assert ids.shape[1] == min(inputs(full).shape[1], inputs(long).shape[1]) <= 24


def test_as_the_authors_had_it_the_end_goes_with_question_and_prompt(data: Any) -> None:
    card = {"prompt_position": "end", "max_input_tokens": 24}
    task = data([with_subtitles("red blue " * 20)], card=card)
    ids = inputs(task)
    assert ids.shape == (1, 24)
    assert "colour" not in decoded(task, ids[0])


def test_targets_are_padded_answers_and_features_the_images_or_zeros_for_the_blind(
    data: Any, store: FeatureStore
) -> None:
    task = data([example(0), example(1)], card={"max_target_tokens": 4, "max_input_tokens": None})
    batch = task.batch(task.examples, [("red", 0.3), ("red blue green yes", 1.0)])
    assert batch.target_ids.shape == (2, 4)
    assert decoded(task, batch.target_ids[0]) == "<s> red</s>"
    assert batch.target_ids[1, -1] == task.tokenizer.eos_token_id
    assert (batch.target_ids == -100).sum(1).tolist() == [1, 0]
    torch.testing.assert_close(batch.scores, torch.tensor([0.3, 1.0]))
    examples, card = [example(0, images=2), example(1, images=2)], {"images_per_example": 2}
    features = data(examples, card=card).batch(examples, None).features
    assert features.shape == (2, 2, 2, 3) and features.dtype == torch.float16
    assert np.array_equal(features[1].numpy(), store.get(["image2", "image3"]))
    blind = data(examples, card=card, blind=True).batch(examples, None).features
    assert blind.shape == features.shape and not blind.any()
    with pytest.raises(DataError, match="4 pictures in 2 examples, its card says images_per_ex"):
        data(examples).batch(examples, None)


def test_an_epoch_has_every_example_once_in_an_order_of_its_own(data: Any) -> None:
    task = data([example(n) for n in range(10)], batch_size=4)
    epochs = [list(task.epoch(np.random.default_rng(seed))) for seed in (0, 0, 1)]
    orders = [[name for batch in epoch for name in batch.ids] for epoch in epochs]
    assert sorted(orders[0], key=int) == [str(n) for n in range(10)]
    assert orders[0] == orders[1] != orders[2]
    assert list(map(int, orders[2])) == np.random.default_rng(1).permutation(10).tolist()
    assert [len(batch.ids) for batch in epochs[0]] == [4, 4, 2]
    assert task.batches == 3
    assert data([example(0)], card={"batch_sixtieths": 20}, batch_size=60).batch_size == 20


def many_answers(n: int) -> Example:
    return example(n, **({"red": 0.3, "blue": 1.0, "green": 0.6} if n % 3 else {}))


@pytest.mark.parametrize("skip", [0, 1, 4])
def test_an_epoch_goes_on_behind_the_batches_it_skips_and_shares_deal_them_out(
    data: Any, skip: int
) -> None:
    task = data([many_answers(n) for n in range(11)], batch_size=3)
    whole = list(task.epoch(np.random.default_rng(0)))
    for rank in range(4):
        share = slice(rank, None, 4)
        shared = list(task.epoch(np.random.default_rng(0), 0, share))
        assert [batch.ids for batch in shared] == [batch.ids[share] for batch in whole]
        for batch, expected in zip(shared, whole, strict=True):
            assert torch.equal(batch.scores, expected.scores[share])
    read: list[list[str]] = []
    store = task.store
    task.store = SimpleNamespace(get=lambda images: read.append(images) or store.get(images))
    rest = list(task.epoch(np.random.default_rng(0), skip))
    for batch, expected in zip(rest, whole[skip:], strict=True):
        assert batch.ids == expected.ids
        for name in ("input_ids", "features", "target_ids", "scores"):
            assert torch.equal(getattr(batch, name), getattr(expected, name)), name
    assert read == [[f"image{name}" for name in batch.ids] for batch in rest]


def test_evaluation_takes_the_longest_texts_first_and_shares_whole_batches(data: Any) -> None:
    texts = ["red", "red blue", "red", "red blue green", "blue red"]
    task = data([example(n, text) for n, text in enumerate(texts)])
    assert [batch.ids for batch in task.longest_first(3)] == [("3", "1", "4"), ("0", "2")]
    shares = [[batch.ids for batch in task.longest_first(2, slice(r, None, 2))] for r in range(2)]
    assert shares == [[("3", "1"), ("2",)], [("4", "0")]]


def test_answers_are_sampled_in_proportion_and_an_example_without_one_weighs_nothing(
    data: Any,
) -> None:
    random = np.random.default_rng(0)
    targets = {"red": 0.9, "blue": 0.3, "never": 0.0}
    drawn = Counter(sample_answer(targets, random) for _ in range(4000))
    assert set(drawn) == {("red", 0.9), ("blue", 0.3)}
    assert drawn["red", 0.9] / 4000 == pytest.approx(0.75, abs=0.03)
    none = sample_answer({"red": 0.0}, random)
    assert none == sample_answer({}, random) == ("", 0.0)
    task = data([example(0), example(1)])
    batch = task.batch(task.examples, [("red", 1.0), none])
    alone = task.batch(task.examples[:1], [("red", 1.0)])
    logits = torch.randn(2, batch.target_ids.shape[1], len(task.tokenizer))
    both = loss(logits, batch.target_ids, batch.scores, "score-weighted")
    first = logits[:1, : alone.target_ids.shape[1]]
    torch.testing.assert_close(
        both, loss(first, alone.target_ids, alone.scores, "score-weighted") / 2
    )


def test_examples_of_one_picture_or_of_like_lengths_come_together_where_the_card_says_so(
    data: Any,
) -> None:
    card = {"batch_sixtieths": 1}
    task = data(captions(), order="pictures", batch_size=480, card=card)
    ids = [name for batch in task.epoch(np.random.default_rng(0)) for name in batch.ids]
    assert sorted(ids, key=int) == [str(n) for n in range(11)]
    assert sum(int(a) % 3 != int(b) % 3 for a, b in pairwise(ids)) == 2
    waste = {}
    for order in ("random", "lengths"):
        examples = [example(n % 12, "red " * (1 + n % 5)) for n in range(40)]
        task = data(examples, order=order, batch_size=480, card=card)
        waste[order] = sum(
            int((batch.input_ids == task.tokenizer.pad_token_id).sum())
            for batch in task.epoch(np.random.default_rng(0))
        )
    assert waste["lengths"] == 0 < waste["random"]


def test_examples_with_one_input_share_its_row_in_a_batch_and_its_parts(data: Any) -> None:
    examples, answers = captions(), [(f"red {n}", 1.0) for n in range(11)]
    apart = data(examples).batch(examples, answers)
    shared = data(examples, share_encoder=True).batch(examples, answers)
    assert apart.inputs is None and shared.inputs is not None
    assert shared.features.shape[0] == 3 and shared.ids == apart.ids
    for name in ("input_ids", "features"):
        torch.testing.assert_close(getattr(shared, name)[shared.inputs], getattr(apart, name))
    torch.testing.assert_close(shared.target_ids, apart.target_ids)
    part = shared.part(slice(1, 3))
    assert part.inputs is not None and (part.ids, len(part.features)) == (("1", "2"), 2)
    torch.testing.assert_close(part.features[part.inputs], shared.features[shared.inputs[1:3]])
    moved = part.to(torch.device("meta"))
    assert {moved.input_ids.device.type, moved.inputs.device.type} == {"meta"}


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_orders_are_those_of_the_stored_runs() -> None:
    lengths = random(9).integers(1, 100, 333)
    assert by_length(lengths, 8, random(1))[:6].tolist() == [332, 313, 251, 61, 287, 299]
    assert by_group(lengths.tolist(), random(1))[:6].tolist() == [91, 105, 190, 201, 226, 230]


def makers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "vlbench batches" in thread.name]


def test_prefetching_keeps_order_and_number_and_an_error_comes_in_its_turn() -> None:
    for count in (0, 1, 3, 50):
        assert list(prefetched(iter(range(count)))) == list(range(count))
        assert not makers()

    def batches() -> Iterator[int]:
        yield 1
        raise DataError("picture 7: damaged")

    ahead = prefetched(batches())
    assert next(ahead) == 1
    with pytest.raises(DataError, match="picture 7"):
        next(ahead)
    assert not makers()
    with pytest.raises(KeyboardInterrupt):
        for _ in prefetched(iter(range(1000))):
            raise KeyboardInterrupt
    assert not makers()
