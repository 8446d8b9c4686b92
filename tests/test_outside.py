"""`module:name`: where it is looked for, and what becomes of modules that do harm."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from vlbench.errors import UsageError
from vlbench.outside import load

pytestmark = pytest.mark.usefixtures("_forgotten")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, **modules: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def test_the_card_s_folder_counts_before_the_current_one_and_both_after_python_s_own(
    here: Path, tmp_path: Path
) -> None:
    write(here, outside_one="X = 'here'", outside_two="X = 'here'", colorsys="X = 'here'")
    card = write(tmp_path / "card", outside_one="X = 'card'", colorsys="X = 'card'")
    assert load("outside_one:X", folder=card) == "card"
    assert load("outside_two:X", folder=card) == "here"
    with pytest.raises(UsageError, match="module 'colorsys' has no 'X'"):
        load("colorsys:X", folder=card)


def test_outside_modules_import_their_neighbours_also_later(here: Path) -> None:
    write(
        here / "outside_pack",
        __init__="",
        mine="import outside_near\ndef later():\n    from outside_far import X\n    return X\n",
    )
    write(here, outside_near="", outside_far="from outside_last import X", outside_last="X = 3")
    assert load("outside_pack.mine:later")() == 3


def test_nothing_else_is_imported_from_their_folder(here: Path) -> None:
    """A library that is not installed, say, which we or another library would use."""
    write(
        here,
        outside_user="from optional_asker import ask as X",
        optional_trap="raise AssertionError",
    )
    asker = write(here.parent / "library", optional_asker="def ask():\n    import optional_trap\n")
    sys.path.append(str(asker))
    try:
        ask = load("outside_user:X")
        with pytest.raises(ModuleNotFoundError):
            ask()
        with pytest.raises(ModuleNotFoundError):
            import_module("optional_trap")
        assert find_spec("optional_trap") is None
    finally:
        sys.path.remove(str(asker))
    assert str(here) not in sys.path and "" not in sys.path


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.exit(0)",
        "raise SystemExit",
        "quit()",
        "def __getattr__(name):\n    exit(0)",
    ],
)
def test_a_module_that_ends_the_process_is_named(here: Path, text: str) -> None:
    write(here, outside_quitter=text)
    with pytest.raises(UsageError, match="importing 'outside_quitter' failed: SystemExit"):
        load("outside_quitter:X")


def test_what_is_no_module_s_name_is_refused(here: Path) -> None:
    for name in (":X", ".x:X", "outside none:X", "outside_none.y:X"):
        with pytest.raises(UsageError, match=f"'{name}'"):
            load(name)
