"""What is true of a chat backbone, on a tiny model of every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.backbones.families import BY_NAME, EACH, asked, batch_of, fresh, load, picture, rows_of
from vlbench.backbones.base import IGNORED, SUBLAYERS
from vlbench.backbones.chat import Chat
from vlbench.training.train import loss

NEAR = 1e-5
LENGTH = 3
"""Virtual tokens."""


@pytest.fixture(scope="module", params=EACH)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


class Prompts(nn.Module):
    """Vectors (LENGTH, C) as prompt tuning would learn them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.vectors = nn.Parameter(torch.randn(LENGTH, width, generator=generator))

    def forward(self) -> Tensor:
        return self.vectors


def alone(backbone: Chat) -> Tensor:
    """Label logits of rows that no other row pads."""
    return torch.cat(
        [backbone.label_logits(batch_of(backbone, [row])) for row in rows_of(backbone)]
    )


@torch.no_grad()
def test_the_loss_is_the_library_s_own_and_padding_changes_nothing(family: str) -> None:
    backbone = load(family)
    batch = batch_of(backbone, rows_of(backbone))
    logits = backbone.label_logits(batch)
    library = backbone.language(**batch.tensors, labels=batch.labels).loss
    own = loss(logits, batch.target_ids, batch.scores, "per-token")
    torch.testing.assert_close(own, library, atol=NEAR, rtol=NEAR)
    torch.testing.assert_close(alone(backbone), logits, atol=NEAR, rtol=NEAR)
    whole = backbone(batch)
    assert whole.shape[:2] == batch.target_ids.shape
    is_target = batch.target_ids != IGNORED
    assert torch.equal(whole[is_target], logits)
    assert torch.equal(batch.labels[batch.labels != IGNORED], batch.target_ids[is_target])


@torch.no_grad()
def test_no_answer_token_sees_a_later_one_and_all_see_the_picture(family: str) -> None:
    backbone = load(family)
    first, _ = rows_of(backbone)
    *start, _ = first.answer or ()
    other = backbone.conversation.row("what is it ?", [picture(7)], first.answer)
    rows = [first, first._replace(answer=(*start, start[0])), other]
    one, changed, seen = (backbone.label_logits(batch_of(backbone, [row])) for row in rows)
    assert torch.equal(one, changed)  # what is predicted is not read
    longer = backbone.label_logits(batch_of(backbone, [first._replace(answer=(*start, 9, 9))]))
    torch.testing.assert_close(longer[: len(start)], one[: len(start)], atol=NEAR, rtol=NEAR)
    assert (one - seen).abs().max() > 1e-4


@torch.no_grad()
def test_answers_and_choices_are_those_of_a_row_alone(family: str) -> None:
    backbone = load(family)
    rows = asked(rows_of(backbone))
    batch = batch_of(backbone, rows)
    ends = set(backbone.language.generation_config.eos_token_id)
    for beams in (1, 2):
        answers = backbone.generate(batch, beams, max_length=6)
        assert all(1 <= len(answer) <= 5 for answer in answers)
        for row, answer in zip(rows, answers, strict=True):
            (single,) = backbone.generate(batch_of(backbone, [row]), beams, max_length=6)
            assert single == answer[: len(single)] and (len(single) == 5 or single[-1] in ends)
    learnt = batch_of(backbone, rows_of(backbone))
    ids = list(range(20))
    expected = backbone(learnt)[:, 0, ids]
    torch.testing.assert_close(backbone.choice_logits(batch, ids), expected, atol=NEAR, rtol=NEAR)


def test_an_answer_is_spelt_as_the_template_spells_it(family: str) -> None:
    talk = load(family).conversation
    ids = talk.answer("yes")
    assert talk.tokenizer.convert_ids_to_tokens(ids[-1]) == BY_NAME[family].end
    (row,) = [talk.row("what ?", [picture(0)])]
    written = talk.tokenizer.decode([*row.tokens["input_ids"].tolist(), *ids])
    spelt = talk.prompt("what ?", 1).endswith(":")
    assert written.endswith(f"{' ' * spelt}yes{BY_NAME[family].end}")
    bos = int(row.tokens["input_ids"].eq(talk.tokenizer.bos_token_id).sum())
    assert bos == (BY_NAME[family].adds_bos or not talk.template)
    assert talk.answer("")[-1] == ids[-1]


def test_prompts_are_read_alike_in_any_batch_and_learn(family: str) -> None:
    backbone = fresh(family)
    prompts = Prompts(backbone.width)
    backbone.put_in_front(prompts, LENGTH)
    batch = batch_of(backbone, rows_of(backbone))
    logits = backbone.label_logits(batch)
    torch.testing.assert_close(alone(backbone), logits, atol=NEAR, rtol=NEAR)
    assert (logits - load(family).label_logits(batch)).abs().max() > 1e-4
    tensors, labels = backbone._prompted(batch.tensors, batch.labels)
    added = tensors["input_ids"] >= len(backbone.token_embedding)
    assert added.sum(dim=1).tolist() == [LENGTH] * 2
    assert tensors["attention_mask"][added].all() and labels[added].eq(IGNORED).all()
    logits.sum().backward()
    gradient = prompts.vectors.grad
    assert gradient is not None and gradient.abs().sum(dim=1).gt(0).all()


def test_checkpointing_computes_the_same_gradients_and_leaves_the_tower_alone(family: str) -> None:
    gradients = []
    for is_checkpointed in (False, True):
        backbone = fresh(family).requires_grad_(False).train()
        backbone.set_dropout(0.0)
        trained = [site.module for site in backbone.sites() if site.kind == "query"]
        for module in trained:
            module.requires_grad_(True)
        if is_checkpointed:
            backbone.checkpoint_activations()
        states: list[Any] = []
        backbone.parts.tower.register_forward_hook(
            lambda _, inputs, output, to=states: to.append(output)
        )
        for site in backbone.sites():
            if site.kind in SUBLAYERS:
                site.on_passage(lambda entered, output: output + 0 * entered)
        passes = count_passes(backbone.layers("decoder")[0].self_attn)
        backbone.label_logits(batch_of(backbone, rows_of(backbone))).sum().backward()
        assert len(passes) == 1 + is_checkpointed
        assert states and not any(tensor.requires_grad for tensor in tensors_in(states))
        gradients.append([module.weight.grad for module in trained])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def count_passes(module: nn.Module) -> list[int]:
    passes: list[int] = []
    module.register_forward_pre_hook(lambda *_: passes.append(1))
    return passes


def tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    is_nested = isinstance(value, dict | list | tuple)
    return [tensor for part in values for tensor in tensors_in(part)] if is_nested else []


def test_a_part_of_a_batch_is_the_batch_of_that_part(family: str) -> None:
    backbone = load(family)
    rows = rows_of(backbone)
    batch = batch_of(backbone, rows)
    for number, row in enumerate(rows):
        part, single = batch.part(slice(number, number + 1)), batch_of(backbone, [row])
        assert part.ids == (str(number),) and part.tensors.keys() == single.tensors.keys()
        assert all(torch.equal(part.tensors[name], single.tensors[name]) for name in part.tensors)
        width = single.target_ids.shape[1]
        assert torch.equal(part.target_ids[:, :width], single.target_ids)
        assert part.target_ids[:, width:].eq(IGNORED).all()
