"""Slurm's commands for tests without Slurm: they note what they are asked, and answer as told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

PROGRAM = """#!{python}
import os, sys
from pathlib import Path
home, name = Path({home!r}), Path(sys.argv[0]).name
with (home / "asked").open("a") as file:
    file.write(" ".join([name, *sys.argv[1:]]) + "\\n")
if name == "sbatch":
    (home / "script").write_text(Path(sys.argv[-1]).read_text())
    (home / "environment").write_text("\\n".join(sorted(os.environ)))
refusal = home / (name + ".refusal")
if refusal.exists():
    sys.exit(refusal.read_text())
answer = home / (name + ".answer")
print(answer.read_text() if answer.exists() else "")
"""


class FakeSlurm:
    """What the commands were asked, and what they are to answer."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.patch = patch
        self.results = home / "results"
        self.answer("sbatch", "Submitted batch job 7")

    def answer(self, command: str, text: str) -> None:
        (self.home / f"{command}.answer").write_text(text)

    def refuse(self, command: str, text: str) -> None:
        (self.home / f"{command}.refusal").write_text(text)

    def asked(self, command: str) -> list[str]:
        """The words each time, without the command's name."""
        file = self.home / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.partition(" ")[2] for line in lines if line.split(" ")[0] == command]

    @property
    def script(self) -> str:
        return (self.home / "script").read_text()

    @property
    def environment(self) -> set[str]:
        """The names of variables that sbatch saw."""
        return set((self.home / "environment").read_text().splitlines())


def fake_slurm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Put them before everything else on PATH."""
    commands = folder / "commands"
    commands.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
        file = commands / name
        file.write_text(PROGRAM.format(python=sys.executable + " -S", home=str(folder)))
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return FakeSlurm(folder, monkeypatch)
