"""`vlbench score TASK`: the official metric of a file of predictions, from any program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.output import note, print_document, print_table


def score(
    task: Annotated[str, typer.Argument(help="vqav2, gqa, nlvr2, coco or nlvr.")],
    predictions: Annotated[
        Path,
        typer.Option(
            help="Results in the task's official format: a JSON list of question_id, answer "
            "(vqav2), questionId, prediction (gqa) or image_id, caption (coco); CSV of "
            "identifier,prediction (nlvr2, nlvr)."
        ),
    ],
    annotations: Annotated[Path, typer.Option(help="The official annotation (or question) file.")],
    choices: Annotated[
        Path | None,
        typer.Option(help="gqa: the official choices file, for validity and plausibility."),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="vqav2: official_2016 (default, as published) or official_2021.",
            envvar="VLBENCH_VQA_VERSION",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, unrounded, with scores per group.")
    ] = False,
) -> None:
    """Score a file of predictions with the task's official metric, in percent (CIDEr x 100)."""
    from vlbench.metrics.official_files import score_files

    found = score_files(task, predictions, annotations, choices, version)
    if as_json:
        print_document(found.as_json())
        return
    rows = [
        (name, f"-  ({found.notes[name]})" if value is None else f"{value:.2f}")
        for name, value in found.metrics.items()
    ]
    print_table(rows, ("metric", " ".join([found.task, *found.settings.values()])))
    note(f"{found.n_examples} examples")
