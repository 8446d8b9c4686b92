"""`vlbench export`: a trained model for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import UsageError

Format = StrEnum("Format", "MERGED PEFT")


def export(
    run: str = opt.argument(..., "The begin of a key, or words such as 'lora seed 0'."),
    out: Path = opt.option(..., "A new folder."),
    format: Format = opt.option(
        Format.MERGED, "merged: a transformers folder. peft: an adapter, of LoRA alone."
    ),
    task: str | None = opt.option(None, "Whose weights, where each task has its own."),
    outside_code: bool = opt.OUTSIDE_CODE,
    results: Path = opt.RESULTS,
) -> None:
    """Write a trained model for transformers or peft."""
    from vlbench.runs import export as exporting
    from vlbench.runs.folder import find_run
    from vlbench.runs.spec import RunSpec
    from vlbench.verify.inputs import outside_names, refusal

    folder = find_run(results, run)
    if not folder.adapter.is_file():
        raise UsageError(f"{folder.path}: no {folder.adapter.name}: the run has not trained yet.")
    spec = RunSpec.read(folder.spec_file)
    if (code := outside_names(spec)) and not outside_code:
        raise UsageError(f"{folder.path}: what is to be exported {refusal(code)}.")
    exporting.export(spec, folder.adapter, format.value, task, out)
    cli.note(f"Written: {out}")
