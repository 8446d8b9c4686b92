"""One run from its spec to its result: train, then score the test splits with the last weights."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from vlbench.data.prepare import PreparedTask
from vlbench.data.submissions import load_format
from vlbench.errors import DataError, RunFailed
from vlbench.files import read_object, write_atomically
from vlbench.runs.callbacks import Callbacks
from vlbench.runs.folder import RunFolder
from vlbench.runs.ranks import joined
from vlbench.runs.result import (
    Rows,
    code_version,
    device_name,
    majority_scored,
    peak_memory_bytes,
    score,
    values,
    versions,
    write_adapter,
    write_predictions,
)
from vlbench.runs.run import Run
from vlbench.runs.spec import RunSpec
from vlbench.runs.stopping import Stop
from vlbench.runs.watch import Progress
from vlbench.techniques.adapt import AdaptedModel, frozen_checksum, load_trained_state


def execute(
    spec: RunSpec,
    folder: RunFolder,
    attempt: int,
    progress: Progress,
    stop: Stop,
    where: str = "",
    processes: int = 1,
) -> None:
    """Do the run, in so many processes."""
    with joined(folder.path, processes, spec.device):
        train_and_test(Run(spec, folder, attempt, progress, stop, where))


def train_and_test(run: Run) -> None:
    """Do the run in this process; each stage goes on from what an earlier attempt left."""
    run.prepare()
    with run.scorers:
        before = frozen_checksum(run.model)
        callbacks = Callbacks(run)
        if not callbacks.resume():
            run.trainer.start(run.progress.say)
            run.load_init()  # what a file holds counts more than an initialisation
        with run.stop.deferred():
            run.trainer.train(callbacks)
        if frozen_checksum(run.model) != before:
            raise RunFailed("A tensor that should be frozen changed while training.")
        run.trainer.check_trained()
        if run.ranks.is_main:
            write_adapter(run.folder.adapter, run.model, run.spec)
        test(run, callbacks.peak_memory_bytes)
        if run.ranks.is_main:
            run.folder.checkpoints.remove()


def test(run: Run, peak_bytes: int) -> None:
    """Answer and score every test split; the result is written last."""
    trainer, device = run.trainer, device_name(run.accelerator.device)
    rows = Rows(
        run.spec,
        run.attempt,
        run.model,
        adapter_bytes=run.folder.adapter.stat().st_size if run.ranks.is_main else 0,
        train_seconds=trainer.seconds,
        examples_per_second=trainer.examples / trainer.seconds,
        device=f"{run.ranks.count} x {device}" if run.ranks.count > 1 else device,
        code_version=code_version(),
        versions=versions(),
    )
    run.start_scorers()
    for task in run.tasks:
        given, seconds = _answered(run, task)
        if run.ranks.is_main:
            _score(run, task, given, seconds, rows)
        if task.submission:
            _submit(run, task)
    if run.ranks.is_main:
        peak = max(peak_bytes, peak_memory_bytes(run.accelerator.device))
        rows.write(run.folder.result, peak_memory_bytes=peak)


def _answered(run: Run, task: PreparedTask) -> tuple[dict[str, str], float]:
    """Example id -> answer, and the seconds that took; answers of an earlier attempt are used."""
    name, steps = task.card.name, run.trainer.total_steps
    file = run.folder.answers / f"{name}.json"
    run.progress.say(f"testing {name} on {len(task.test):,} examples")
    run.tell("testing", step=steps, total=steps)
    kept: dict[str, Any] = run.ranks.from_main(_kept(run, task, file) if run.ranks.is_main else {})
    if kept:
        run.progress.say(f"{name}: answered in an earlier attempt")
        return kept["answers"], kept["seconds"]
    started = time.perf_counter()
    given = run.answers(task, task.test)
    seconds = time.perf_counter() - started
    if run.ranks.is_main:
        table = {"answers": given, "seconds": seconds}
        write_atomically(file, json.dumps(table, ensure_ascii=False))
    return given, seconds


def _kept(run: Run, task: PreparedTask, file: Path) -> dict[str, Any]:
    """The answers of an earlier attempt, where there are any that can be used."""
    if not file.is_file():
        return {}
    try:
        kept = read_object(file)
        if {example.id for example in task.test} <= set(kept["answers"]):
            return {**kept, "seconds": float(kept["seconds"])}
        reason = "examples are missing"
    except (DataError, KeyError, TypeError, ValueError) as error:
        reason = str(error)
    run.progress.say(f"{file}: cannot be used, answering again: {reason}")
    return {}


def _score(run: Run, task: PreparedTask, given: dict[str, str], seconds: float, rows: Rows) -> None:
    card, started = task.card, time.perf_counter()
    scored = score(card, task.test, given)
    seconds += time.perf_counter() - started
    for name in scored.undefined.keys() & scored.metrics.keys():
        run.progress.say(f"{card.name}.{name}: {scored.undefined[name]}")
    majority = majority_scored(card, task.train, task.test)
    write_predictions(run.folder.predictions / f"{card.name}.parquet", task.test, given, scored)
    rows.add(
        card.name, card.main_metric, "test", seconds, values(card, task.test, scored, majority)
    )


def _submit(run: Run, task: PreparedTask) -> None:
    """Answer the examples without public labels, as a file for the dataset's own server."""
    name, count = task.card.name, len(task.submission)
    run.progress.say(f"answering {count:,} examples of {name} for its server")
    given = run.answers(task, task.submission)
    if not run.ranks.is_main:
        return
    submission = load_format(task.card.submission)(task.submission, given)
    file = run.folder.submissions / f"{name}_test_predictions{submission.suffix}"
    write_atomically(file, submission.text)
    if submission.unreadable:
        run.progress.say(f"{name}: {submission.unreadable:,} of {count:,} answers were no choice")
    run.progress.say(f"{name}: {file}")


def load_adapter(model: AdaptedModel, file: Path) -> None:
    """Load saved tensors into a model adapted by the same card."""
    load_trained_state(model, load_file(file), str(file))
