"""Imports go downwards, and modules import each other in no circle."""

from __future__ import annotations

import graphlib

import pytest

LAYERS = (
    {"__main__"},
    {"cli"},
    {"doctor", "sweep", "verify"},
    {"leaderboard"},
    {"runs", "worker"},
    {"training", "checkpoints", "metrics"},
    {"techniques", "encoders"},
    {"data"},
    {"backbones"},
    {"cards"},
    {"lock", "process"},
    {"files"},
    {"config"},
    {"outside", "parquet", "tensors", "text", "toml"},
    {"errors"},
)
"""Parts of the package: each imports those below it."""


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
    upwards = [
        (module, imported)
        for module, others in imports.items()
        for imported in others
        if part(module) and part(imported) and part(module) != part(imported)
        if ranks[part(module)] > ranks[part(imported)]
    ]
    assert upwards == []


def test_modules_import_each_other_in_no_circle(imports: dict[str, set[str]]) -> None:
    graphlib.TopologicalSorter(imports).prepare()  # names a circle


def test_the_leaderboard_is_read_without_torch(imports: dict[str, set[str]]) -> None:
    heavy = {"training", "checkpoints", "worker", "encoders"}
    reading = {module for module in imports if part(module) == "leaderboard"}
    assert not [name for module in reading for name in imports[module] if part(name) in heavy]
