"""Method cards: those that ship, every way a card of one's own can be wrong, resolving one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlbench.cards import MethodCard, card_hash, find_methods, load_method, load_task
from vlbench.cards.load import own_cards
from vlbench.cards.schema import Override, TrainSettings
from vlbench.errors import CardError, UsageError
from vlbench.techniques import resolve_method, technique_faults

Write = Callable[..., str]


def message(name: str) -> str:
    with pytest.raises(CardError) as caught:
        load_method(name, technique_faults)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("name", own_cards("methods"))
def test_every_card_passes_its_check_and_resolves_for_every_backbone(name: str) -> None:
    card = load_method(name, technique_faults)
    for backbone in own_cards("backbones"):
        resolved = resolve_method(card, backbone, "image-text")
        assert not resolved.when
        again = MethodCard.model_validate_json(resolved.model_dump_json(), strict=True)
        assert again.model_dump() == resolved.model_dump()


SCRIPTS = {  # learning rate, task prompts, norms, sharing on BART: scripts/image/*.sh of VL-Adapter
    "full": (1e-4, False, True, "all"),
    "adapter": (3e-4, False, True, "task"),
    "shared-adapter": (1e-3, True, True, "all"),
    "half-shared-adapter": (3e-4, False, True, "up"),
    "compacter": (1e-3, False, True, "task"),
    "shared-compacter": (1e-3, True, True, "all"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_card_holds_the_values_of_the_authors_script(name: str) -> None:
    card = resolve_method(load_method(name), "clip-bart", "image-text")
    train = card.train
    assert (train.learning_rate, train.task_prompts, train.norms, card.sharing) == SCRIPTS[name]
    assert (train.epochs, train.batch_size, train.warmup_ratio) == (20, 500, 0.1)
    assert (train.weight_decay, train.clip_norm, train.dropout) == (0.01, 5.0, 0.1)
    if name != "full":  # on T5 norms stay frozen, as they did
        train = resolve_method(load_method(name), "clip-t5", "image-text").train
        assert (train.batch_size, train.norms) == (300, False)


def test_methods_are_named_by_lists_aliases_and_repeats() -> None:
    assert load_method("single-adapter") == load_method("shared-adapter")
    names = [card.name for card in find_methods(["frozen,full", "adapter"])]
    assert names == ["frozen", "full", "adapter"]
    with pytest.raises(UsageError, match=r"Unknown method 'compactor'\. Did you mean 'compacter'"):
        load_method("compactor")
    with pytest.raises(UsageError, match="Named twice: adapter"):
        find_methods("adapter,multiple-adapters")


def test_all_faults_of_a_card_come_in_one_message(write: Write) -> None:
    text = message(
        write(
            """
            technique = "adapter"
            sharing = "each"
            titel = "Mine"
            name = "other"
            [params]
            reduction = "8"
            [train]
            epocs = 3
            batch_size = 1.5
            [when."mini-bart"]
            train.norms = 1
            [when."mini-bart/*"]
            params.reductoin = 4
            """
        )
    )
    starts = [line.split(": ")[1] for line in text.splitlines()]
    assert sorted(starts) == sorted(
        [
            "title",
            "sharing",
            "titel",
            "name",
            "params.reduction",
            "train.epocs",
            "train.batch_size",
            "when.mini-bart",
            "when.mini-bart.train.norms",
            'when."mini-bart/*".params.reductoin',
        ]
    )
    assert 'params.reduction: Should be a valid integer, found "8".' in text
    assert "Did you mean 'epochs'?" in text
    assert "Unknown parameter 'reductoin'. Did you mean 'reduction'? Known: reduction." in text
    assert text.count("methods/mine.toml: ") == len(starts)


OUTSIDE = """
from pydantic import BaseModel
from vlbench.techniques.base import Technique

class MineParams(BaseModel, extra="forbid"):
    steps: int = 1
    fast: bool = False

class Mine(Technique):
    Params = MineParams

    def attach(self, backbone):
        pass

class Other:
    pass

number = 3
"""


@pytest.mark.parametrize(
    ("technique", "fault"),
    [
        ("adaptor", "Unknown technique 'adaptor'. Did you mean 'adapter'?"),
        ("no_such_module:X", "no module named 'no_such_module'"),
        ("beside_card:Mien", "has no 'Mien'. Did you mean 'Mine'?"),
        ("beside_card:Other", "'Other' is not a technique"),
        ("beside_card:number", "'number' is not a technique"),
        ("broken_beside_card:X", "ZeroDivisionError"),
    ],
)
def test_a_technique_that_is_not_one_is_refused(write: Write, technique: str, fault: str) -> None:
    write(OUTSIDE, "elsewhere/beside_card.py")
    write("1 / 0", "elsewhere/broken_beside_card.py")
    text = message(write(f'title = "M"\ntechnique = "{technique}"\n', "elsewhere/mine.toml"))
    assert text.startswith("elsewhere/mine.toml: technique: ")
    assert fault in text


def test_an_outside_technique_lies_beside_its_card(write: Write) -> None:
    write(OUTSIDE, "elsewhere/beside_card.py")
    path = write(
        'title = "Mine"\ntechnique = "beside_card:Mine"\n[params]\nsteps = 2\n',
        "elsewhere/mine.toml",
    )
    card = load_method(path, technique_faults)
    assert resolve_method(card, "mini-bart", "image-text").params == {"steps": 2, "fast": False}
    assert card.folder == Path("elsewhere")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ('sharing = "task"', "sharing: Full cannot share 'task'. Known: all."),
        ('[when."clip-brat/*"]', "unknown 'clip-brat'. Did you mean 'clip-bart'"),
        ('[when."*/image-txt"]', "unknown 'image-txt'. Did you mean 'image-text'"),
        ('[when."*/vqav2+gqq"]', "unknown 'gqq'"),
        ('[when."*/image-text+"]', "unknown ''"),
        ('[when."*/b/c"]', "unknown 'b/c'"),
    ],
)
def test_what_a_card_cannot_say_is_refused(write: Write, lines: str, text: str) -> None:
    assert text in message(write(f'title = "M"\ntechnique = "full"\n{lines}\n'))


@pytest.mark.parametrize("suite", ["gqa+mine.toml", "mine.toml+gqa"])
def test_an_override_for_a_task_of_your_own_is_written_as_its_file(
    write: Write, suite: str
) -> None:
    path = write(f'title = "M"\ntechnique = "full"\n[when."*/{suite}"]\ntrain.epochs = 1\n')
    card = load_method(path)
    assert resolve_method(card, "mini-bart", "gqa+mine").train.epochs == 1
    assert resolve_method(card, "mini-bart", "gqa").train.epochs == 20


def epochs_of(*patterns: str, backbone: str = "mini-bart", like: str = "") -> int:
    card = MethodCard(
        name="mine",
        title="Mine",
        technique="full",
        when={
            pattern: Override(train=TrainSettings(epochs=1 + index))
            for index, pattern in enumerate(patterns)
        },
    )
    return resolve_method(card, backbone, "image-text", (), like).train.epochs


def test_the_more_special_override_wins_whatever_the_order_in_the_card() -> None:
    assert epochs_of("mini-bart/image-text", "mini-bart/*", "*/image-text", "*/*") == 1
    assert epochs_of("*/*", "*/image-text", "mini-bart/*") == 3
    mine = {"backbone": "mine", "like": "mini-bart"}
    assert epochs_of("*/image-text", "mini-bart/*", "clip-t5/*", **mine) == 2
    assert epochs_of("mine/*", "mini-bart/image-text", **mine) == 1
    assert epochs_of("*/image-text", "*/*") == 1
    assert epochs_of("clip-bart/*", "*/nlvr") == 20


def test_settings_are_applied_last_and_typed_and_a_bare_word_is_a_string() -> None:
    sets = ["params.reduction=4", "train.learning_rate=5e-4", "sharing=down", "train.norms=false"]
    sets += ["title=My own", "train.precision=bf16"]
    resolved = resolve_method(load_method("half-shared-adapter"), "clip-bart", "vqav2", sets)
    assert resolved.params == {"reduction": 4}
    assert (resolved.title, resolved.sharing) == ("My own", "down")
    train = resolved.train
    assert (train.learning_rate, train.norms, train.precision) == (5e-4, False, "bf16")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("reduction=4", "--set reduction: Unknown key 'reduction'. Did you mean 'params.reduc"),
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
