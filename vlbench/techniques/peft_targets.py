"""Which modules a peft configuration means: words that fit every backbone, or names of modules.

Words: the projections of every attention (`query`, `key`, `value`, `output`), the linear layers of
every feed-forward (`feed_forward_in`, `feed_forward_out`) and the pretrained `norms`. Anything else
is peft's to match: the end of a module's path in a list, a regular expression as a string.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from vlbench.backbones.sites import PROJECTIONS, Site
from vlbench.errors import UsageError, nearest

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone

TARGETS = ("target_modules", "exclude_modules", "feedforward_modules", "modules_to_save")
"""Fields that name modules."""


def words(backbone: Backbone) -> dict[str, list[str]]:
    """Each word's modules, by their paths in the language model."""
    paths = {module: path for path, module in backbone.language.named_modules()}
    sites = backbone.sites()
    projections = {site.module for site in sites if site.kind in PROJECTIONS}
    found: dict[str, list[str]] = {"norms": [paths[norm] for norm in backbone.norms()]}
    for site in sites:
        for word, module in _named(site, projections):
            found.setdefault(word, []).append(paths[module])
    return found


def _named(site: Site, projections: set[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    linears = [m for m in (site.entry, *site.module.modules()) if isinstance(m, nn.Linear)]
    if site.kind in PROJECTIONS:
        yield site.kind, site.module
    elif site.kind == "feed_forward":
        *into, out = linears
        yield from (("feed_forward_in", module) for module in into)
        yield "feed_forward_out", out
    else:
        yield from (("output", module) for module in linears if module not in projections)


def translate(backbone: Backbone, field: str, value: Any) -> Any:
    """A field's value with words replaced by paths; a name that fits no module is refused."""
    known = words(backbone)
    if isinstance(value, str):
        return known.get(value, value)
    paths = [path for path, _ in backbone.language.named_modules()]
    found: list[str] = []
    for name in value:
        if name not in known and not any(f".{path}".endswith(f".{name}") for path in paths):
            ends = {path.rpartition(".")[2] for path in paths}
            is_name = {end for end in ends if end and not end.isdigit()}
            raise UsageError(
                f"params.{field}: No module is called '{name}'. {nearest(name, {*known, *is_name})}"
            )
        found += known.get(name, [name])
    return found
