"""Resolving a card: the order of overrides, `--set`, and what the hash covers."""

from __future__ import annotations

import pytest

from vlbench.cards import card_hash, load_method, load_task, resolve_method
from vlbench.cards.schema import MethodCard, Override, TrainSettings
from vlbench.errors import UsageError


def epochs_of(*patterns: str) -> int:
    card = MethodCard(
        name="mine",
        title="Mine",
        technique="full",
        when={
            pattern: Override(train=TrainSettings(epochs=1 + index))
            for index, pattern in enumerate(patterns)
        },
    )
    return resolve_method(card, "mini-bart", "image-text").train.epochs


def test_the_more_special_override_wins_whatever_the_order_in_the_card() -> None:
    assert epochs_of("mini-bart/image-text", "mini-bart/*", "*/image-text", "*/*") == 1
    assert epochs_of("*/*", "*/image-text", "mini-bart/*") == 3
    assert epochs_of("*/image-text", "*/*") == 1
    assert epochs_of("clip-bart/*", "*/nlvr") == 20


def test_an_override_changes_only_what_it_names() -> None:
    card = load_method("shared-adapter")
    resolved = resolve_method(card, "clip-t5", "image-text")
    assert resolved.params == {"reduction": 4}
    assert (resolved.train.learning_rate, resolved.train.batch_size) == (3e-4, 300)
    assert (resolved.train.norms, resolved.train.task_prompts) == (False, True)


def test_settings_are_applied_last_and_typed() -> None:
    sets = ["params.reduction=4", "train.learning_rate=5e-4", "sharing=down", "train.norms=false"]
    resolved = resolve_method(load_method("half-shared-adapter"), "clip-bart", "vqav2", sets)
    assert resolved.params == {"reduction": 4}
    assert resolved.sharing == "down"
    assert resolved.train.learning_rate == 5e-4
    assert resolved.train.norms is False


def test_a_bare_word_is_a_string() -> None:
    card = load_method("full")
    assert resolve_method(card, "mini-bart", "coco", ["title=My own"]).title == "My own"
    assert resolve_method(card, "mini-bart", "coco", ["train.precision=bf16"]).train.precision == (
        "bf16"
    )


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (
            "reduction=4",
            "--set reduction: Unknown key 'reduction'. Did you mean 'params.reduction'?",
        ),
        ("train.epoch=4", "Did you mean 'train.epochs'?"),
        ("params.rank=4", "--set params.rank: Unknown key"),
        ("params.reduction=abc", '--set params.reduction: Should be a valid integer, found "abc".'),
        ("train.epochs=1.5", "--set train.epochs: Should be a valid integer, found 1.5."),
        ("train.norms=yes", "--set train.norms: Should be a valid boolean"),
        ("train.learning_rate=nan", "--set train.learning_rate: Should be"),
        ("sharing=each", "--set sharing: Adapter cannot share 'each'."),
        ("technique=lore", "--set technique: Unknown technique 'lore'."),
        ("params", "Should be key=value"),
        ("train=3", "Unknown key 'train'"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_key(setting: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_method(load_method("adapter"), "mini-bart", "image-text", [setting])
    assert text in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_hash_changes_with_what_can_change_a_result_and_with_nothing_else() -> None:
    card = resolve_method(load_method("adapter"), "mini-bart", "image-text")
    again = resolve_method(load_method("multiple-adapters"), "mini-bart", "image-text")
    other = resolve_method(load_method("adapter"), "mini-bart", "image-text", ["train.epochs=9"])
    renamed = card.model_copy(update={"title": "Another title", "source": "somewhere"})
    task = load_task("coco")
    assert card_hash(card, task) == card_hash(again, task) == card_hash(renamed, task)
    assert card_hash(card, task) != card_hash(other, task)
    assert card_hash(card, task) != card_hash(card, load_task("gqa"))


def test_a_card_for_another_suite_is_refused() -> None:
    card = MethodCard(name="mine", title="Mine", technique="full", suites=("video-text",))
    with pytest.raises(UsageError, match="'mine' is for video-text, not for image-text"):
        resolve_method(card, "mini-bart", "image-text")
    assert resolve_method(card, "mini-bart", "video-text").technique == "full"
    assert card_hash(card) == card_hash(card.model_copy(update={"suites": ()}))
