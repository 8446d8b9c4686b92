"""Questions of the mini VQAv2 and GQA: families of paraphrases, kept in balance by `Balance`.

A family is a function: given a scene it offers one question with its answer, or None where the
scene has nothing to ask. `form` says which attributes the question names: answers are balanced
within each family and form, so that the words of a question give its answer away no better than
chance does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from vlbench.data.mini.referring import (
    Kind,
    unique_kind,
)
from vlbench.data.mini.world import Scene, Thing


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one scene."""

    family: str
    form: str
    text: str
    answer: str
    about: Kind | None = None
    """The kind of thing it is about, for questions that follow from it."""


Family = Callable[[Scene, Random], Question | None]


@dataclass
class Balance:
    """Chooses the question whose answer has been given least often in its family and form."""

    given: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def choose(self, offers: Iterable[Question | None]) -> Question | None:
        """The offer with the rarest answer so far, counted as given; None where there is none."""
        real = [offer for offer in offers if offer is not None]
        if not real:
            return None
        best = min(real, key=lambda q: self.given[q.family, q.form, q.answer])
        self.given[best.family, best.form, best.answer] += 1
        return best


def ask(
    scene: Scene, families: Sequence[Family], count: int, balance: Balance, random: Random
) -> list[Question]:
    """`count` different questions about a scene, families in turn from a random start."""
    asked: list[Question] = []
    start = random.randrange(len(families))
    for turn in range(4 * len(families)):
        family = families[(start + turn) % len(families)]
        chosen = balance.choose([family(scene, random) for _ in range(8)])
        if chosen is not None and chosen.text not in [other.text for other in asked]:
            asked.append(chosen)
        if len(asked) == count:
            break
    return asked


def named_thing(scene: Scene, random: Random, without: str = "") -> tuple[Thing, Kind, str] | None:
    """A thing, the kind that names it, never by the attribute `without`, and its name."""
    thing = random.choice(scene.things)
    kind = unique_kind(scene, thing, random, without)
    return None if kind is None else (thing, kind, kind.name(random.choice(("thing", "object"))))


def two_things(scene: Scene, random: Random) -> tuple[Thing, Thing, str, str] | None:
    """Two different things and their names."""
    one, other = named_thing(scene, random), named_thing(scene, random)
    if one is None or other is None or one[0] == other[0]:
        return None
    return one[0], other[0], one[2], other[2]
