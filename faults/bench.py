"""The plan that is run: a tiny edition, a random backbone, and its undisturbed results."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from faults.losses import Loss
from faults.processes import Command
from tests.runs.builders import Bench, make_bench

METHODS = ("shared-adapter", "compacter", "full")
BATCH_SIZE = 30


class Plan:
    """Words and environment of the command, and what it ends in when nobody disturbs it."""

    def __init__(self, folder: Path, methods: Sequence[str], seeds: int, epochs: int) -> None:
        self.folder = folder
        self.methods = methods
        self.seeds = seeds
        self.epochs = epochs
        self.truth = folder / "undisturbed"
        self.pythonpath = str(Path(__file__).parents[1])
        (folder / "bench").mkdir()
        self.bench: Bench = make_bench(folder / "bench")

    @property
    def runs(self) -> int:
        """How many the plan has."""
        return len(self.methods) * self.seeds

    def words(self, results: Path) -> list[str]:
        """The command line after `vlbench`."""
        settings = {"epochs": self.epochs, "batch_size": BATCH_SIZE, "dropout": 0.1}
        return [
            *("run", "--method", ",".join(self.methods), "--tasks", "vqav2,nlvr2"),
            *("--seeds", ",".join(map(str, range(self.seeds)))),
            *("--backbone-path", str(self.bench.backbone), "--root", str(self.bench.root)),
            *(word for name in settings for word in ("--set", f"train.{name}={settings[name]}")),
            *("--devices", "cpu", "--jobs", "2", "--results", str(results)),
        ]

    def environment(self, **more: str) -> dict[str, str]:
        """Ours without any configuration of the user, and a cache of its own."""
        ours = {name: text for name, text in os.environ.items() if not name.startswith("VLBENCH_")}
        return {
            **ours,
            "PYTHONPATH": self.pythonpath,
            "VLBENCH_CACHE": str(self.folder / "cache"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "NO_COLOR": "1",
            **more,
        }

    def run_undisturbed(self) -> float:
        """Make the results that all others are compared with; returns the seconds that took."""
        command = Command(
            self.words(self.truth), self.environment(), self.folder / "undisturbed.txt"
        )
        if code := command.wait():
            raise Loss(f"the undisturbed command ends with {code}:\n{command.said}")
        return command.seconds

    @property
    def steps_per_epoch(self) -> int:
        """Of every run of the plan."""
        curve = next(self.truth.glob("runs/*/metrics.jsonl")).read_text(encoding="utf-8")
        lines = [json.loads(line) for line in curve.splitlines()]
        return max(int(line.get("step", 0)) for line in lines) // self.epochs
