"""Callbacks of training: curve, checkpoints, validation, status."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.errors import is_out_of_memory
from vlbench.files import append_line, flush, parse_object, require_writable, write_atomically
from vlbench.runs.result import peak_memory_bytes, score
from vlbench.training.train import Step

if TYPE_CHECKING:
    from vlbench.runs.execute import Run

CURVE_STEPS = 10
"""The training curve has a point in every so many steps, and the last."""
CHECKPOINT_SECONDS = 120.0
"""VLBENCH_CHECKPOINT_SECONDS sets another number, 0: every step; each epoch ends with one."""
CHECKPOINT_SHARE = 20
"""Between checkpoints at least so many times what the last one took: they cost 5 % at most."""
SCORERS_SECONDS = 20.0
"""The scorers start so long before the last training step: METEOR reads its tables for a while."""
SHOWN = ("total", "epoch", "loss", "examples_per_second", "seconds_left")
"""What `status.json` tells of a step."""


class Callbacks:
    """The trainer's callbacks; they write into the run's folder."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.peak_memory_bytes = 0
        given = os.environ.get("VLBENCH_CHECKPOINT_SECONDS")
        self._every = float(given or CHECKPOINT_SECONDS)
        self._due = time.monotonic() + self._every
        self._saved = -1
        """The step of the newest checkpoint."""

    def resume(self) -> bool:
        """Load the newest checkpoint that is whole, where there is one."""
        run, say, checkpoints = self.run, self.run.progress.say, self.run.folder.checkpoints
        newest = checkpoints.newest(say) if run.ranks.is_main else None
        if run.ranks.from_main(newest is not None):
            newest = newest or checkpoints.newest(say)
            assert newest is not None
            state, file = newest
            try:
                run.trainer.load_state_dict(state, str(file))
                self.peak_memory_bytes = state["peak_memory_bytes"]
            except Exception as error:  # it may be of another version, or of anything
                if run.ranks.is_main and not is_out_of_memory(error):
                    checkpoints.set_aside(file, error, say)
                raise
            self._saved, total = run.trainer.steps_done, run.trainer.total_steps
            say(f"going on from the checkpoint after step {self._saved:,} of {total:,}")
        if run.ranks.is_main:
            self._truncate()
        return self._saved >= 0

    def _truncate(self) -> None:
        run = self.run
        if run.trainer.steps_done < run.trainer.total_steps and run.folder.answers.exists():
            require_writable(run.folder.answers)
            shutil.rmtree(run.folder.answers)
        kept = read_curve(run.folder.curve, run.trainer.steps_done, run.trainer.epochs_done)
        write_atomically(run.folder.curve, "".join(json.dumps(line) + "\n" for line in kept))

    def on_step(self, step: Step) -> None:
        """Log the step and its point of the curve; save a checkpoint when due or told to stop."""
        run = self.run
        if not run.ranks.is_main:
            return
        run.progress.step(step)
        if step.seconds_left < SCORERS_SECONDS:
            run.start_scorers()
        if step.number % CURVE_STEPS == 0 or step.number == step.total:
            line = {"step": step.number, "epoch": step.epoch, "task": step.task}
            line |= {"loss": step.loss, "learning_rate": step.learning_rate}
            append_line(run.folder.curve, line)
        details = {name: getattr(step, name) for name in SHOWN}
        run.write_progress("training", step=step.number, **details)
        if run.stop.reason or time.monotonic() >= self._due:
            self._save()
            run.stop.check()

    def on_epoch(self, epoch: int) -> None:
        """Save a checkpoint, then validate and log it, unless an earlier attempt has.

        A trial of a search is not: it is scored on the validation split in the end.
        """
        run = self.run
        if run.ranks.from_main(run.ranks.is_main and _is_validated(run.folder.curve, epoch)):
            return
        if run.ranks.is_main:
            self._save()
            run.stop.check()
        if run.spec.is_trial:
            return
        scores: dict[str, float] = {}
        for task in run.tasks:
            steps, total = run.trainer.steps_done, run.trainer.total_steps
            run.write_progress("validating", step=steps, total=total)
            given = run.answers(task, task.val)
            if run.ranks.is_main:
                main = task.card.main_metric
                scored = score(task.card, task.val, given, validation=True)
                scores[f"{task.card.name}.{main}"] = scored.metrics[main]
                run.stop.check()
        if run.ranks.is_main:
            text = "  ".join(f"{name} {value:.2f}" for name, value in scores.items())
            average = sum(scores.values()) / len(scores)
            run.progress.say(f"epoch {epoch} validation  {text}  average {average:.2f}")
            append_line(run.folder.curve, {"epoch": epoch, "validation": scores})

    def _save(self) -> None:
        run, started = self.run, time.monotonic()
        if self._saved == run.trainer.steps_done:
            return
        used = peak_memory_bytes(run.accelerator.device)
        self.peak_memory_bytes = max(self.peak_memory_bytes, used)
        state = {**run.trainer.state_dict(), "peak_memory_bytes": self.peak_memory_bytes}
        if run.folder.curve.exists():
            flush(run.folder.curve)  # no point before a checkpoint is made again
        run.folder.checkpoints.save(run.trainer.steps_done, state)
        self._saved = run.trainer.steps_done
        wait = max(self._every, CHECKPOINT_SHARE * (time.monotonic() - started))
        self._due = time.monotonic() + wait if self._every else 0.0


def read_curve(file: Path, steps: int, epochs: int) -> list[dict[str, Any]]:
    """The training curve as it was after so many steps and epochs."""
    if not steps or not file.is_file():
        return []
    lines = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, KeyError, TypeError):  # torn by a full disk or a power cut
            line = parse_object(text)
            if line["epoch"] <= epochs if "validation" in line else line["step"] <= steps:
                lines.append(line)
    return lines


def _is_validated(file: Path, epoch: int) -> bool:
    lines = read_curve(file, 1, epoch)
    return any(line["epoch"] == epoch and "validation" in line for line in lines)
