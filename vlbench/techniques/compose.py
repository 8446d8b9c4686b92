"""Several techniques on one backbone: `technique = "adapter+prompt"`, `[params.adapter]`, ...

They share with the tasks alike, and no two may change the same site. VL-Adapter's analysis adds
prompts to adapters this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import combinations, tee
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import ValidationError, create_model
from torch import Tensor, nn

from vlbench.cards.checking import Checked
from vlbench.errors import UsageError
from vlbench.techniques import JOINED_BY
from vlbench.techniques.base import BatchLoss, Technique

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone


class Composition(Technique):
    """Techniques side by side, attached in the order they are named."""

    kinds: ClassVar[Mapping[str, type[Technique]]]

    def __init__(self, params: Checked, sharing: str, tasks: Sequence[str]) -> None:
        super().__init__(params, sharing, tasks)
        self.parts = nn.ModuleDict(
            {name: kind(getattr(params, name), sharing, tasks) for name, kind in self.kinds.items()}
        )

    def check(self, backbone: Backbone) -> None:
        for part in self._parts():
            part.check(backbone)
        claims = {name: part.claims(backbone) for name, part in self._named()}
        for (one, first), (other, second) in combinations(claims.items(), 2):
            both = sorted(first & second)
            if both:
                raise UsageError(
                    f"'{one}' and '{other}' cannot be composed: both change {both[0]}"
                    + (f" and {len(both) - 1} more sites." if len(both) > 1 else ".")
                )

    def reduced_width(self, backbone: Backbone) -> int | None:
        """Of the part that has one: two of them would change the same sites."""
        widths = (part.reduced_width(backbone) for part in self._parts())
        return next((width for width in widths if width is not None), None)

    def claims(self, backbone: Backbone) -> set[str]:
        return {site for part in self._parts() for site in part.claims(backbone)}

    def attach(self, backbone: Backbone) -> None:
        for part in self._parts():
            part.attach(backbone)

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        return [t for part in self._parts() for t in part.trained(backbone, norms)]

    def undecayed(self) -> list[nn.Parameter]:
        return [p for part in self._parts() for p in part.undecayed()]

    def start(self, backbone: Backbone, batches: Iterable[BatchLoss]) -> None:
        """Each on the same batches, of which no more are read than some part asks for."""
        parts = self._parts()
        for part, same in zip(parts, tee(batches, len(parts)), strict=True):
            part.start(backbone, same)

    @contextmanager
    def folded(self, task: str) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self._parts():
                stack.enter_context(part.folded(task))
            yield

    def penalty(self) -> Tensor | None:
        penalties = [p for part in self._parts() if (p := part.penalty()) is not None]
        return sum(penalties[1:], penalties[0]) if penalties else None

    def stepped(self, number: int, total: int) -> None:
        for part in self._parts():
            part.stepped(number, total)

    def training_state(self) -> dict[str, Any]:
        return {name: part.training_state() for name, part in self._named()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        for name, part in self._named():
            part.load_training_state(state.get(name, {}))

    def _parts(self) -> list[Technique]:
        return [part for _, part in self._named()]

    def _named(self) -> list[tuple[str, Technique]]:
        return cast(list[tuple[str, Technique]], list(self.parts.items()))


def compose(kinds: Mapping[str, type[Technique]]) -> type[Technique]:
    """The composition of these techniques; its parameters are a table for each.

    UsageError where one of them stands alone.
    """
    for name, kind in kinds.items():
        if not kind.composes:
            other = next(kind for kind in kinds if kind != name)
            raise UsageError(
                f"'{name}' and '{other}' cannot be composed: "
                f"{name} takes the place of the whole forward pass."
            )
    fields: dict[str, Any] = {name: (kind.Params, _defaults(kind)) for name, kind in kinds.items()}
    params = create_model("CompositionParams", __base__=Checked, **fields)
    sharings = frozenset.intersection(*(kind.sharings for kind in kinds.values()))
    title = JOINED_BY.join(kinds)
    members = {
        "Params": params,
        "sharings": sharings,
        "kinds": kinds,
        "starts_as_identity": all(kind.starts_as_identity for kind in kinds.values()),
        "only_once": "; ".join(kind.only_once for kind in kinds.values() if kind.only_once),
    }
    return type(title, (Composition,), members)


def _defaults(kind: type[Technique]) -> Any:
    try:
        return kind.Params()
    except ValidationError:
        return ...  # it has parameters that must be given
