"""Several techniques on one backbone: `technique = "adapter+prompt"`, `[params.adapter]`, ...

They share with the tasks alike, and no two may change the same site. VL-Adapter's analysis adds
prompts to adapters this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import combinations, tee
from typing import Any, ClassVar

from pydantic import ValidationError, create_model
from torch import Tensor, nn

from vlbench.backbones.base import Backbone, Batch, Site
from vlbench.cards.checking import Checked, Generated
from vlbench.errors import UsageError
from vlbench.techniques.base import Technique


class Composition(Technique):
    """Techniques side by side, attached in the order they are named."""

    kinds: ClassVar[Mapping[str, type[Technique]]]

    def __init__(self, params: Checked, sharing: str, tasks: Sequence[str]) -> None:
        super().__init__(params, sharing, tasks)
        self.named = {
            name: kind(getattr(params, name), sharing, tasks) for name, kind in self.kinds.items()
        }
        self.parts = nn.ModuleDict(self.named)
        is_trained = any(part.projector for part in self.named.values())
        self.projector = True if is_trained else None
        self.merges = all(part.merges for part in self.named.values())

    def check(self, backbone: Backbone) -> None:
        for part in self.named.values():
            part.check(backbone)
        for (one, first), (other, second) in combinations(self.named.items(), 2):
            names = {site.name for site in second.claims(backbone)}
            if both := sorted(s.name for s in first.claims(backbone) if s.name in names):
                text = f"'{one}' and '{other}' cannot be composed: both change"
                raise UsageError(f"{text} {', '.join(both[:3])}.")

    def reduced_width(self, backbone: Backbone) -> int | None:
        """Of the part that has one: two of them would change the same sites."""
        widths = (part.reduced_width(backbone) for part in self.named.values())
        return next((width for width in widths if width is not None), None)

    def claims(self, backbone: Backbone) -> list[Site]:
        return [site for part in self.named.values() for site in part.claims(backbone)]

    def attach(self, backbone: Backbone) -> None:
        for part in self.named.values():
            part.attach(backbone)

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        return [t for part in self.named.values() for t in part.trained(backbone, norms)]

    def undecayed(self) -> list[nn.Parameter]:
        return [p for part in self.named.values() for p in part.undecayed()]

    def start(self, backbone: Backbone, batches: Iterable[Batch]) -> None:
        """Each on the same batches, of which no more are read than some part asks for."""
        for part, same in zip(self.named.values(), tee(batches, len(self.parts)), strict=True):
            part.start(backbone, same)

    @contextmanager
    def folded(self, task: str) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self.named.values():
                stack.enter_context(part.folded(task))
            yield

    def penalty(self) -> Tensor | None:
        penalties = [p for part in self.named.values() if (p := part.penalty()) is not None]
        return sum(penalties[1:], penalties[0]) if penalties else None

    def stepped(self, number: int, total: int) -> None:
        for part in self.named.values():
            part.stepped(number, total)

    def training_state(self) -> dict[str, Any]:
        return {name: part.training_state() for name, part in self.named.items()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        for name, part in self.named.items():
            part.load_training_state(state.get(name, {}))


def compose(title: str, kinds: Mapping[str, type[Technique]]) -> type[Technique]:
    """Return the composition of these techniques; its parameters are a table for each."""
    for name, kind in kinds.items():
        if not kind.composes:
            other = next(kind for kind in kinds if kind != name)
            raise UsageError(
                f"'{name}' and '{other}' cannot be composed: "
                f"{name} takes the place of the whole forward pass."
            )
    fields: dict[str, Any] = {name: (kind.Params, _defaults(kind)) for name, kind in kinds.items()}
    members = {
        "Params": create_model("CompositionParams", __base__=Generated, **fields),
        "sharings": frozenset.intersection(*(kind.sharings for kind in kinds.values())),
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
