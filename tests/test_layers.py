"""Imports go downwards, and modules import each other in no circle."""

from __future__ import annotations

import pytest

LAYERS = (
    {"__main__"},
    {"cli"},
    {"doctor", "verify"},
    {"leaderboard"},
    {"runs", "worker"},
    {"training", "checkpoints", "metrics"},
    {"techniques", "encoders"},
    {"data"},
    {"cards"},
    {"backbones"},
    {"lock", "process"},
    {"files"},
    {"config"},
    {"outside", "parquet", "tensors", "text"},
    {"errors"},
)
"""Parts of the package: each imports those below it."""
UPWARDS = {
    ("vlbench.config", "vlbench.cards"),  # a file's [set] is checked as a card is
}
"""Imports against the order, each by its module and the module or package it needs."""


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Module -> the modules of vlbench that it imports, in functions too, for types alone not."""
    import grimp

    graph = grimp.build_graph("vlbench", exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def part(module: str) -> str:
    """`techniques` of `vlbench.techniques.lora`."""
    return module.split(".")[1] if "." in module else ""


def test_imports_go_downwards(imports: dict[str, set[str]]) -> None:
    ranks = {name: rank for rank, names in enumerate(LAYERS) for name in names}
    upwards = {
        (module, imported)
        for module, others in imports.items()
        for imported in others
        if part(module) and part(imported) and part(module) != part(imported)
        if ranks[part(module)] > ranks[part(imported)]
    }
    known = {
        (a, b) for a, b in upwards for module, to in UPWARDS if a == module and b.startswith(to)
    }
    assert upwards == known
    assert {module for module, _ in UPWARDS} == {module for module, _ in known}


def test_modules_import_each_other_in_no_circle(imports: dict[str, set[str]]) -> None:
    circles = []
    left = dict(imports)
    while left:  # take away what imports nothing that is left, until only circles are
        ends = [module for module, others in left.items() if not others & left.keys()]
        if not ends:
            break
        for module in ends:
            del left[module]
    for module in left:
        reached, pending = set(), set(left[module]) & left.keys()
        while pending:
            reached.add(one := pending.pop())
            pending |= (left[one] & left.keys()) - reached
        if module in reached:
            circles.append(module)
    assert circles == []


def test_the_leaderboard_is_read_without_torch(imports: dict[str, set[str]]) -> None:
    heavy = {"training", "checkpoints", "worker", "encoders"}
    reading = [module for module in imports if part(module) == "leaderboard"]
    assert not [
        (module, imported)
        for module in reading
        for imported in imports[module]
        if part(imported) in heavy
    ]
