"""Method cards: one row of the leaderboard each (`methods/*.toml`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from vlbench.backbones import BACKBONES
from vlbench.cards.card import Card, read_card
from vlbench.cards.checking import Checked, refuse
from vlbench.cards.files import (
    find_card,
    is_path,
    own_cards,
    read_table,
    refuse_twice,
    split_names,
)
from vlbench.cards.task import known_suites
from vlbench.cards.technique import technique_faults
from vlbench.cards.train import TrainSettings
from vlbench.errors import nearest

Sharing = Literal["task", "all", "up", "down"]


def _pattern(text: str) -> str:
    backbone, _, suite = text.partition("/")
    if not backbone or not suite or "/" in suite:
        raise ValueError('Should be "backbone/suite", with * for any')
    if backbone not in ("*", *BACKBONES):
        raise ValueError(f"Unknown backbone '{backbone}'. {nearest(backbone, BACKBONES)}")
    known = known_suites()
    for part in suite.split("+"):
        if part not in known and not is_path(part):
            raise ValueError(
                f"Unknown suite or task '{part}'. {nearest(part, known)} "
                f"A task of your own is written {part}.toml"
            )
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class TuningFacts(Checked):
    """How values were chosen."""

    searched: tuple[str, ...] = ()
    """What was tried, a line each: `train.learning_rate: 1e-3, 3e-3`."""
    trials: int = Field(default=0, ge=0)
    """Number of trials; the same for every method that is compared."""
    selected_on: str = ""
    """Data and metric that decided."""


class Tuning(TuningFacts):
    """How the card's values for an embedded backbone were chosen."""

    before: tuple[TuningFacts, ...] = ()
    """What the card said before it was corrected: runs made until then keep saying it."""


class Override(Checked):
    """What a card changes for one backbone and suite."""

    sharing: Sharing = "all"
    """In place of the card's sharing."""
    params: dict[str, Any] = {}
    """In place of single parameters."""
    train: TrainSettings = TrainSettings()
    """In place of single training settings."""


class MethodCard(Card):
    """A method: technique + sharing + hyper-parameters."""

    title: str
    """Name of the method as tables print it."""
    technique: str
    """Code that adapts the backbone: a name in the table TECHNIQUES, "module:Class", or several
    joined by "+", each with its own table in [params]."""
    sharing: Sharing = "all"
    """Whose weights a task uses: its own (task), one set (all), own downs (up), own ups (down)."""
    aliases: tuple[str, ...] = ()
    """Other names for the method, such as the paper's."""
    source: str = ""
    """Where the method and its values come from."""
    suites: tuple[str, ...] = ()
    """Suites the method is for; empty: any."""
    deviations: tuple[str, ...] = ()
    """Where the card departs from its source, a line each."""
    tuning: Tuning = Tuning()
    """How values that are not the source's were chosen."""
    params: dict[str, Any] = {}
    """The technique's own parameters."""
    train: TrainSettings = TrainSettings()
    """How the method is trained."""
    when: dict[Pattern, Override] = {}
    """Overrides by "backbone/suite", with * for any; the most general is applied first."""


def load_method(name: str, *, check_params: bool = False) -> MethodCard:
    """The method card of that name, alias or path; `check_params` imports its technique."""
    file = find_card("methods", name)
    table = read_table(file)
    card, faults = read_card(MethodCard, file, table)
    if check_params:
        told = {fault.at for fault in faults}
        faults += [each for each in technique_faults(table, file.folder) if each.at not in told]
    if card is None or faults:
        raise refuse(file.shown, faults)
    return card


def find_methods(selection: str | Iterable[str], *, check_params: bool = False) -> list[MethodCard]:
    """The method cards of a comma list, or of several."""
    cards = [load_method(name, check_params=check_params) for name in split_names(selection)]
    refuse_twice([card.name for card in cards])
    return cards


def all_methods() -> list[MethodCard]:
    """Every method card of our own."""
    return [load_method(name) for name in own_cards("methods")]
