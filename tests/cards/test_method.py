"""Method cards: those that ship, and every way a card of one's own can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlbench.backbones import BACKBONES
from vlbench.cards import MethodCard, find_methods, load_method, resolve_method
from vlbench.cards.files import known_names, own_cards
from vlbench.cards.load import all_methods
from vlbench.errors import CardError, UsageError

Write = Callable[..., str]


def message(name: str, check_params: bool = False) -> str:
    with pytest.raises(CardError) as caught:
        load_method(name, check_params=check_params)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("name", own_cards("methods"))
def test_every_card_passes_its_check_and_resolves_for_every_backbone(name: str) -> None:
    card = load_method(name, check_params=True)
    for backbone in (*BACKBONES, "clip-t5"):
        resolved = resolve_method(card, backbone, "image-text")
        assert not resolved.when
        again = MethodCard.model_validate_json(resolved.model_dump_json(), strict=True)
        assert again.model_dump() == resolved.model_dump()


def test_no_two_cards_claim_one_name() -> None:
    names = [name for card in all_methods() for name in (card.name, *card.aliases)]
    assert sorted(names) == sorted(known_names("methods"))


def test_every_card_gives_mini_bart_the_same_length_of_training() -> None:
    trains = [resolve_method(card, "mini-bart", "image-text").train for card in all_methods()]
    assert len({(train.epochs, train.batch_size, train.task_prompts) for train in trains}) == 1


def test_an_alias_is_the_card() -> None:
    assert load_method("single-adapter") == load_method("shared-adapter")


def test_an_unknown_method_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"Unknown method 'compactor'\. Did you mean 'compacter'"):
        load_method("compactor")


def test_a_comma_list_and_repeats_name_several_methods() -> None:
    assert [card.name for card in find_methods(["frozen,full", "adapter"])] == [
        "frozen",
        "full",
        "adapter",
    ]


def test_a_method_named_twice_is_refused_by_alias_too() -> None:
    with pytest.raises(UsageError, match="Named twice: adapter"):
        find_methods("adapter,multiple-adapters")


def test_the_defaults_are_the_documented_recipe(write: Write) -> None:
    card = load_method(write('title = "Mine"\ntechnique = "full"\n'), check_params=True)
    assert (card.name, card.sharing, card.train.epochs, card.train.batch_size) == (
        "mine",
        "all",
        20,
        500,
    )


def test_a_misspelt_parameter_gets_the_nearest_name(write: Write) -> None:
    path = write('title = "Mine"\ntechnique = "adapter"\n[params]\nreductoin = 4\n')
    assert message(path, check_params=True) == (
        "methods/mine.toml: params.reductoin: Unknown parameter 'reductoin'. "
        "Did you mean 'reduction'? Known: reduction."
    )


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
        ),
        check_params=True,
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
    assert text.count("methods/mine.toml: ") == len(starts)


def test_broken_toml_names_file_and_line(write: Write) -> None:
    assert "methods/mine.toml: not valid TOML" in message(write('title = "Mine\n'))
    assert "line 1" in message(write('title = "Mine\n'))


def test_a_missing_file_is_named(write: Write) -> None:
    assert message("./none.toml") == "./none.toml: no such file"


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
    path = write(f'title = "Mine"\ntechnique = "{technique}"\n', "elsewhere/mine.toml")
    text = message(path, check_params=True)
    assert text.startswith("elsewhere/mine.toml: technique: ")
    assert fault in text


def test_an_outside_technique_lies_beside_its_card(write: Write) -> None:
    write(OUTSIDE, "elsewhere/beside_card.py")
    path = write(
        'title = "Mine"\ntechnique = "beside_card:Mine"\n[params]\nsteps = 2\n',
        "elsewhere/mine.toml",
    )
    card = load_method(path, check_params=True)
    assert resolve_method(card, "mini-bart", "image-text").params == {"steps": 2, "fast": False}
    assert card.folder == Path("elsewhere")


def test_a_sharing_the_technique_does_not_know_is_refused(write: Write) -> None:
    path = write('title = "Mine"\ntechnique = "full"\nsharing = "task"\n')
    assert "sharing: Full cannot share 'task'. Known: all." in message(path, check_params=True)


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


def test_an_override_for_an_unknown_backbone_is_told(write: Write) -> None:
    path = write('title = "M"\ntechnique = "full"\n[when."clip-brat/*"]\ntrain.epochs = 1\n')
    assert "Unknown backbone 'clip-brat'. Did you mean 'clip-bart'" in message(path)


@pytest.mark.parametrize("suite", ["image-txt", "vqav3", "vqav2+gqq", "image-text+"])
def test_an_override_for_an_unknown_suite_is_told(write: Write, suite: str) -> None:
    path = write(f'title = "M"\ntechnique = "full"\n[when."*/{suite}"]\ntrain.epochs = 1\n')
    assert "Unknown suite or task" in message(path)


@pytest.mark.parametrize("suite", ["gqa+mine.toml", "mine.toml+gqa"])
def test_an_override_for_a_task_of_your_own_is_written_as_its_file(
    write: Write, suite: str
) -> None:
    path = write(f'title = "M"\ntechnique = "full"\n[when."*/{suite}"]\ntrain.epochs = 1\n')
    card = load_method(path)
    assert resolve_method(card, "mini-bart", "gqa+mine").train.epochs == 1
    assert resolve_method(card, "mini-bart", "gqa").train.epochs == 20
