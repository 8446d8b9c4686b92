"""`vlbench score TASK`: the official metric of a file of predictions, from any program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.output import note, print_document, print_table


def score(
    task: Annotated[
        str, typer.Argument(help="vqav2, gqa, nlvr2, coco, tvqa, how2qa, tvc, yc2c or nlvr.")
    ],
    predictions: Annotated[
        Path,
        typer.Option(
            help="Results in the task's official format: a JSON list of question_id, answer "
            "(vqav2), questionId, prediction (gqa) or image_id, caption (coco); CSV of "
            "identifier,prediction (nlvr2, nlvr); a JSON object of qid and index (tvqa, how2qa); "
            "JSON Lines of clip_id, descs (tvc, yc2c)."
        ),
    ],
    annotations: Annotated[
        Path,
        typer.Option(
            help="The official annotation file; gqa: the questions; VALUE's tasks: the release "
            "file, or TVQA's solution file."
        ),
    ],
    questions: Annotated[
        Path | None,
        typer.Option(
            help="vqav2: the official question file, to check the annotations against; gqa: the "
            "file of all questions, for consistency, where --annotations is the balanced one."
        ),
    ] = None,
    choices: Annotated[
        Path | None,
        typer.Option(help="gqa: the official choices file, for validity and plausibility."),
    ] = None,
    karpathy: Annotated[
        Path | None,
        typer.Option(
            help="vqav2, coco: Karpathy's dataset_coco.json; only its --split is scored. For coco "
            "it can be --annotations itself."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Of the Karpathy file: train, val, or test, the default of --karpathy."),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="vqav2: official-2016 (default, as published) or official-2021; nlvr2: all "
            "(default) or balanced (predictions for other examples are ignored)."
        ),
    ] = None,
    per_example: Annotated[
        Path | None,
        typer.Option(help="Write each example's score here, by suffix: .jsonl, .json, .parquet."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object, unrounded, with scores per group.")
    ] = False,
) -> None:
    """Score a file of predictions with the task's official metric, in percent (captions x 100)."""
    from vlbench.metrics.official import (
        KARPATHY_SPLIT,
        Files,
        check_per_example,
        score_files,
        write_per_example,
    )

    files = Files(predictions, annotations, questions, choices, variant, karpathy, split)
    if per_example is not None:
        check_per_example(per_example, files)
    found, taken = score_files(task, files)
    if per_example is not None:
        write_per_example(per_example, found.scores)
    if json:
        print_document(found.as_json(task, taken, per_example))
        return
    rows = [
        (name, f"-  ({found.notes[name]})" if value is None else f"{value:.2f}")
        for name, value in found.metrics.items()
    ]
    print_table(rows, ("metric", f"{task} {taken or ''}".rstrip()))
    part = f" of the split '{split or KARPATHY_SPLIT}'" if karpathy or split else ""
    note(f"{found.n} examples{part}")
