"""The house: what starting up imports and costs, and what the project's files promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HEAVY = {
    *("torch", "transformers", "accelerate", "peft", "numpy", "scipy", "pandas", "pyarrow"),
    *("matplotlib", "submitit", "safetensors", "h5py", "PIL", "pycocoevalcap", "huggingface_hub"),
}
LIGHT = [["--help"], ["list", "methods"], ["list", "backbones"], ["show", "compacter"]]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_starting_up_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import json, sys\n"
        "from vlbench.cli.app import main\n"
        f"sys.argv = ['vlbench', *{words}]\n"
        "try:\n    main()\n"
        "finally:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    allowed = {"huggingface_hub"} if words[-1] == "backbones" else set()  # its cache is looked at
    assert not (HEAVY - allowed) & set(json.loads(result.stderr.splitlines()[-1]))


def test_every_command_has_help() -> None:
    from typer.main import get_command

    from vlbench.cli.app import app

    root = get_command(app)
    pending = [("vlbench", root)]
    while pending:
        name, command = pending.pop()
        assert command.help, f"{name} has no help"
        for parameter in command.params:
            is_told = getattr(parameter, "help", None)
            assert is_told, f"{name}: {parameter.name} has no help"
        subcommands = getattr(command, "commands", {})
        pending += [(f"{name} {key}", each) for key, each in subcommands.items()]


def test_the_runtime_needs_no_torchvision(project: Path) -> None:
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = settings["dependencies"] + settings["optional-dependencies"]["dev"]
    pinned = (project / "constraints.txt").read_text(encoding="utf-8").split()
    names = {re.split(r"[<>=!~\[]", each)[0] for each in needed + pinned}
    assert not names & {"torchvision", "timm", "open_clip_torch"}


def test_every_dependency_is_pinned_for_the_tests(project: Path) -> None:
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = settings["dependencies"] + settings["optional-dependencies"]["dev"]
    pins = re.findall(r"^([\w.-]+)==", (project / "constraints.txt").read_text("utf-8"), re.M)
    assert {re.split(r"[<>=]", each)[0] for each in needed} <= set(pins)
