"""Task cards: one dataset each (`tasks/*.toml`), and the suites that train several in one model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Literal, Self

from pydantic import Field, model_validator

from vlbench.backbones import Visual
from vlbench.cards.card import Card, read_card
from vlbench.cards.checking import Checked, Fault, check, refuse
from vlbench.cards.files import (
    CardFile,
    card_folder,
    find_card,
    is_path,
    own_cards,
    read_table,
    refuse_twice,
    split_names,
)
from vlbench.errors import UsageError

Edition = Literal["mini", "full"]


class Splits(Checked):
    """Which of the reader's own splits play which part."""

    train: tuple[str, ...] = Field(min_length=1)
    """Trained on."""
    val: tuple[str, ...] = Field(min_length=1)
    """Looked at after each epoch; choices are made on it."""
    test: tuple[str, ...] = Field(min_length=1)
    """Scored once, at the end."""
    submission: tuple[str, ...] = ()
    """Splits whose labels are not public: answered at the end, for the dataset's own server."""


class TaskCard(Card):
    """A task: a dataset with its reader, text, target and official metric."""

    title: str
    """Name of the task as tables print it."""
    reader: str
    """Code that reads the official files: a name in the table READERS, or "module:Class"."""
    metric: str
    """The official metric: a name in the table METRICS, or "module:function"."""
    main_metric: str = "accuracy"
    """The metric's value that enters the average of a suite."""
    splits: dict[Edition, Splits]
    """The reader's splits by edition; an edition that is not here does not exist for the task."""
    aliases: tuple[str, ...] = ()
    """Other names for the task."""
    source: str = ""
    """The paper that describes the data."""
    published: str = ""
    """Where the official files are published, an address."""
    sizes: dict[str, int] = {}
    """The reader's split -> examples to evaluate on that the official files hold."""
    deviations: tuple[str, ...] = ()
    """What the authors of VL-Adapter do that is not what it seems, kept or left, a line each."""
    prompt: str = ""
    """Words that tell the model the task, where the method trains with task prompts."""
    prompt_position: Literal["front", "end"] = "front"
    """Whether the prompt stands before or after the text."""
    max_input_tokens: int | None = Field(default=None, ge=1)
    """The text is cut to this many tokens, special ones included."""
    max_target_tokens: int | None = Field(default=None, ge=1)
    """The target is cut to this many tokens, special ones included."""
    batch_sixtieths: int = Field(default=60, ge=1)
    """Examples in a batch, in sixtieths of the method's batch size."""
    loss: Literal["score-weighted", "per-example", "per-token"] = "per-example"
    """What the cross entropy of the target tokens is averaged over."""
    visual: Visual = "image"
    """What its features are of: pictures or the frames of a clip; a backbone reads each at its
    own width."""
    images_per_example: int = Field(default=1, ge=1)
    """Pictures that belong to one text."""
    beams: int = Field(default=1, ge=1)
    """Beams of the search for an answer; 1 is greedy."""
    max_length: int = Field(default=20, ge=2)
    """Longest generated answer in tokens, the decoder's start token included."""
    choices: tuple[str, ...] = ()
    """All answers there are: the first tokens are compared instead of generating."""
    submission: str = ""
    """The format of submission files: a name in the table FORMATS, or "module:function"."""

    @model_validator(mode="after")
    def _has_an_edition(self) -> Self:
        if not self.splits:
            raise ValueError("no edition: [splits.mini] or [splits.full] is needed")
        if not self.submission and any(each.submission for each in self.splits.values()):
            raise ValueError("splits to submit need the format of the file: submission = ...")
        return self

    @property
    def editions(self) -> tuple[Edition, ...]:
        """The editions that the task can be read from."""
        return tuple(self.splits)

    def batch_size(self, base: int) -> int:
        """Examples in a batch of this task, for a method's batch size."""
        return max(1, base * self.batch_sixtieths // 60)


class Suite(Checked):
    """Tasks that are trained together in one model (`tasks/suites.toml`)."""

    name: str
    """The key in suites.toml."""
    title: str
    """Name of the suite as tables print it."""
    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of its task cards, in the order that mixes their batches."""


def load_task(name: str) -> TaskCard:
    """The task card of that name, alias or path."""
    return _read(find_card("tasks", name))


def all_tasks() -> list[TaskCard]:
    """Every task card of our own."""
    return [_read(file) for file in own_cards("tasks").values()]


def load_suites() -> dict[str, Suite]:
    """Every suite by name."""
    file = CardFile("suites", card_folder("tasks") / "suites.toml", "tasks/suites.toml")
    suites: dict[str, Suite] = {}
    faults: list[Fault] = []
    for name, table in read_table(file).items():
        suite, found = check(Suite, {**table, "name": name}, (name,))
        faults += found
        if suite is not None:
            suites[name] = suite
    if faults:
        raise refuse(file.shown, faults)
    return suites


@cache
def known_suites() -> frozenset[str]:
    """What an override of a method card may be for: any, a suite or a task of our own."""
    return frozenset({"*", *load_suites(), *own_cards("tasks")})


def find_tasks(selection: str | Iterable[str]) -> tuple[str, list[TaskCard]]:
    """The name and the tasks of a suite, a task (a suite of one), or a comma list of both.

    A list that is a known suite has that suite's name, any other the tasks' names joined by "+".
    """
    suites = load_suites()
    names: list[str] = []
    for part in split_names(selection):
        for name in [part] if is_path(part) else part.split("+"):
            names += suites[name].tasks if name in suites else [name]
    cards = [_read(find_card("tasks", name, suites)) for name in names]
    found = tuple(card.name for card in cards)
    refuse_twice(list(found))
    for card in cards:
        if card.visual != cards[0].visual:
            raise UsageError(
                f"Task '{cards[0].name}' reads {cards[0].visual} features and '{card.name}' "
                f"{card.visual} features: one run reads one kind."
            )
    name, order = ordered(found)
    return name, sorted(cards, key=lambda card: order.index(card.name))


def ordered(names: Collection[str]) -> tuple[str, Sequence[str]]:
    """The name and the order of tasks that are trained together, in whatever order they are named.

    Of a suite its own; else the order in which suites name them, then the alphabet's.
    """
    suites = load_suites().values()
    same = [suite for suite in suites if set(suite.tasks) == set(names)]
    if same:
        suite = next((suite for suite in same if suite.tasks == tuple(names)), same[0])
        return suite.name, suite.tasks
    of_suites = [task for suite in suites for task in suite.tasks if task in names]
    order = list(dict.fromkeys([*of_suites, *sorted(names)]))
    return "+".join(order), order


def _read(file: CardFile) -> TaskCard:
    card, faults = read_card(TaskCard, file, read_table(file))
    if card is None or faults:
        raise refuse(file.shown, faults)
    return card
