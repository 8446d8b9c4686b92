"""Answers as text, generated or chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.toys import in_threads, new_ranks
from tools.pretrain.tokenizer import train_tokenizer
from vlbench.backbones.weights import bart_tokenizer
from vlbench.cards.schema import Splits, TaskCard, TrainSettings
from vlbench.data.batches import Batch, FeatureData
from vlbench.data.example import Example
from vlbench.errors import RunFailed
from vlbench.training.predict import answers
from vlbench.training.train import MicroBatches

SPLITS = Splits(train=("train",), val=("val",), test=("test",))
EXAMPLES = [Example(str(n), "text", (f"image{n}",), {}, {}, "") for n in range(5)]


class Model(nn.Module):
    """Answers with what it was given; notes what it is asked."""

    def __init__(self, logits: list[list[float]] | None = None, rows: Any = None) -> None:
        super().__init__()
        self.logits = logits
        self.rows = rows
        self.told: list[str] = []
        self.sizes: list[int] = []

    @contextmanager
    def answering(self, task: str) -> Iterator[None]:
        self.told.append(f"answering {task}")
        yield
        self.told.append("done")

    def choice_logits(self, batch: Batch, first_tokens: list[int]) -> torch.Tensor:
        assert len(set(first_tokens)) == 2
        assert self.logits is not None
        return torch.tensor([self.logits[int(each)] for each in batch.ids])

    def generate(self, batch: Batch, beams: int, max_length: int) -> list[list[int]]:
        self.told.append("generate")
        self.sizes.append(len(batch.ids))
        return [self.rows for _ in batch.ids]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file: Path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    train_tokenizer(["true false red square"], file)
    return bart_tokenizer(file)


@pytest.fixture
def task(tokenizer: Any) -> Any:
    def make(**card: Any) -> FeatureData:
        store: Any = SimpleNamespace(get=lambda images: np.zeros((len(images), 2, 3), np.float16))
        fields = {"title": "T", "reader": "nlvr2", "metric": "nlvr2", **card}
        made = TaskCard(name="t", splits={"mini": SPLITS}, **fields)
        return FeatureData(made, EXAMPLES, tokenizer, TrainSettings(), store)

    return make


CPU = torch.device("cpu")


def test_the_choice_with_the_larger_logit_is_the_answer_and_a_tie_is_the_first(task: Any) -> None:
    model: Any = Model([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [-1.0, -1.0], [0.0, 0.1]])
    found = answers(model, task(choices=("false", "true")), CPU)
    assert list(found.values()) == ["true", "false", "false", "false", "true"]
    assert list(found) == ["0", "1", "2", "3", "4"]


def test_generated_tokens_become_text_without_special_ones(task: Any, tokenizer: Any) -> None:
    model: Any = Model(rows=[2, *tokenizer("red square")["input_ids"], 1, 1])
    assert set(answers(model, task(), CPU).values()) == {"red square"}


class Small(Model):
    """Has memory for two examples."""

    def generate(self, batch: Batch, beams: int, max_length: int) -> list[list[int]]:
        found = super().generate(batch, beams, max_length)
        if len(batch.ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found


def test_where_memory_ends_fewer_are_answered_at_once(task: Any) -> None:
    said: list[str] = []
    parts = MicroBatches("auto", said.append)
    small: Any = Small(rows=[2])
    found = answers(small, task(), CPU, micro_batches=parts)
    assert found == answers(Model(rows=[2]), task(), CPU)  # type: ignore[arg-type]
    assert small.sizes == [5, 2, 2, 1]
    assert said == ["out of memory with 5 examples at once: going on with 2, the batch stays 5"]
    answers(small, task(), CPU, micro_batches=parts)
    assert small.sizes[4:] == [2, 2, 1]


def test_ranks_share_the_batches_and_all_get_every_answer_in_order(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureData, "answered_at_once", 2)
    models: list[Any] = [Model(rows=[2]) for _ in range(2)]
    alone: Any = Model(rows=[2])
    expected = answers(alone, task(), CPU)
    found = in_threads(
        [
            partial(answers, model, task(), CPU, ranks)
            for model, ranks in zip(models, new_ranks(2), strict=True)
        ]
    )
    assert [list(each.items()) for each in found] == [list(expected.items())] * 2
    assert alone.sizes == [2, 2, 1]
    assert [model.sizes for model in models] == [[2, 1], [2]]


def test_an_example_that_is_answered_twice_is_refused(task: Any) -> None:
    twice = task()
    twice.examples = [*EXAMPLES, EXAMPLES[0]]
    with pytest.raises(RunFailed, match="t: 5 different ids of 6 examples are answered"):
        answers(Model(rows=[2]), twice, CPU)  # type: ignore[arg-type]
