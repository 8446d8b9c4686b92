"""Score the test splits with the last weights; answers are kept before they are scored."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.data.prepare import PreparedTask
from vlbench.data.submissions import load_format
from vlbench.errors import DataError
from vlbench.files import read_object, write_atomically
from vlbench.running.provenance import code_version, device_name, peak_memory_bytes, versions
from vlbench.running.record import Rows, write_predictions
from vlbench.running.scoring import majority_scored, score, values

if TYPE_CHECKING:
    from vlbench.running.execute import Run


def test(run: Run, peak_bytes: int) -> None:
    """Answer and score every test split; the result is written last."""
    rows = _rows(run)
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


def _rows(run: Run) -> Rows:
    trainer, device = run.trainer, device_name(run.accelerator.device)
    return Rows(
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


def _answered(run: Run, task: PreparedTask) -> tuple[dict[str, str], float]:
    """Example id -> answer, and the seconds that took; what an earlier attempt gave is used."""
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
    started = time.perf_counter()
    scored = score(task.card, task.test, given)
    seconds += time.perf_counter() - started
    for name in scored.undefined.keys() & scored.metrics.keys():
        run.progress.say(f"{task.card.name}.{name}: {scored.undefined[name]}")
    floor = majority_scored(task.card, task.train, task.test)
    file = run.folder.predictions / f"{task.card.name}.parquet"
    write_predictions(file, task.test, given, scored)
    found = values(task.card, task.test, scored, floor)
    rows.add(task.card.name, task.card.main_metric, "test", seconds, found)


def _submit(run: Run, task: PreparedTask) -> None:
    """Answer what is not labelled in public, as a file for the dataset's own server."""
    name, count = task.card.name, len(task.submission)
    run.progress.say(f"answering {count:,} examples of {name} for its server")
    given = run.answers(task, task.submission)
    if not run.ranks.is_main:
        return
    made = load_format(task.card.submission)(task.submission, given)
    file = run.folder.submissions / f"{name}_test_predictions{made.suffix}"
    write_atomically(file, made.text)
    if made.unreadable:
        run.progress.say(f"{name}: {made.unreadable:,} of {count:,} answers were no choice")
    run.progress.say(f"{name}: {file}")
