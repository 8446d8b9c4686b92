"""`vlbench score`, `import-checkpoint`, `pretrain` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from vlbench.cli.options import (
    MOST,
    BackbonePath,
    Edition,
    Json,
    OutsideCode,
    Results,
    Settings,
    merged_settings,
    refuse_outside_code,
)
from vlbench.cli.output import note, print_document, print_json, print_table
from vlbench.errors import MissingError, UsageError, nearest
from vlbench.files import check_out, writing

PRETRAINED = ("mini-bart", "mini-bart-clips")


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
    """Score predictions with a task's official metric.

    In percent; metrics of captions x 100.
    """
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
    scores, taken = score_files(task, files)
    if per_example is not None:
        write_per_example(per_example, scores.scores)
    if json:
        print_document(scores.as_json(task, taken, per_example))
        return
    rows = [
        (name, f"-  ({scores.notes[name]})" if value is None else f"{value:.2f}")
        for name, value in scores.metrics.items()
    ]
    print_table(rows, ("metric", f"{task} {taken or ''}".rstrip()))
    part = f" of the split '{split or KARPATHY_SPLIT}'" if karpathy or split else ""
    note(f"{scores.n} examples{part}")


def import_checkpoint(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A state dict: .safetensors, .pth, .pt or .bin.")],
    method: Annotated[str, typer.Option(help="The method it was trained with.")],
    backbone: Annotated[str, typer.Option(help="The backbone it was trained on.")],
    tasks: Annotated[
        str, typer.Option(help="The suite or tasks it was trained for.")
    ] = "image-text",
    backbone_path: Annotated[
        Path | None, typer.Option(help="Folder with the backbone, where it has other sizes.")
    ] = None,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; FILE.METHOD.safetensors if left out.")
    ] = None,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Convert a checkpoint of the authors for `run --init`.

    Of VL-Adapter, Ladder-Side-Tuning or VL-PET. Every tensor of the model must be there, and no
    other: else nothing is written.
    """
    from vlbench.backbones import backbone_row, build_backbone
    from vlbench.cards import find_tasks, load_method
    from vlbench.checkpoints.authors import authors_names, spelt
    from vlbench.checkpoints.weights import match, read_state, write_weights
    from vlbench.data.fingerprint import file_hash
    from vlbench.techniques import resolve_method, technique_faults
    from vlbench.techniques.adapt import adapt
    from vlbench.tensors import unique_state

    refuse_outside_code(context)
    changes = list(merged_settings(settings))
    backbone_row(backbone)  # an unknown name comes before a card's overrides for it
    suite, cards = find_tasks(tasks)
    card = resolve_method(load_method(method, technique_faults), backbone, suite, changes)
    target = out or Path(f"{file.stem}.{card.name}.safetensors")
    if target.suffix != ".safetensors":
        raise UsageError(f"--out {target}: should end in .safetensors.")
    if target.resolve() == file.resolve():
        raise UsageError(f"--out {target}: is the checkpoint itself.")
    check_out(target)
    names = [task.name for task in cards]
    weights = backbone_path.expanduser().resolve() if backbone_path else None
    built = build_backbone(backbone, weights, meta=True, visual=cards[0].visual)
    model = adapt(built, card, names)
    matched = match(unique_state(model), authors_names(model, spelt(names)), read_state(file))
    numbers = sum(tensor.numel() for tensor in matched.tensors.values())
    item: dict[str, Any] = {
        "file": str(file),
        "method": card.name,
        "backbone": backbone,
        "suite": suite,
        "taken": len(matched.taken),
        "numbers": numbers,
        "repeated": len(matched.repeated),
        "missing": matched.missing,
        "left_over": matched.left_over,
        "faults": matched.faults,
        "out": None if matched.complaints() else str(target),
    }
    if json:
        print_document({"schema": "vlbench.import/1", **item})
    else:
        rows = [
            ["taken", f"{item['taken']:,}", f"{item['numbers']:,}"],
            ["further names of the same tensors", f"{item['repeated']:,}", ""],
            ["missing", f"{len(item['missing']):,}", ""],
            ["left over", f"{len(item['left_over']):,}", ""],
            ["otherwise not fitting", f"{len(item['faults']):,}", ""],
        ]
        print_table(rows, ("", "tensors", "numbers"), numbers=("tensors", "numbers"))
    matched.require_all(str(file))
    belongs_to = {
        "method": card.model_dump(mode="json"),
        "backbone": backbone,
        "suite": suite,
        "source_sha256": file_hash(file),
    }
    write_weights(target, matched.tensors, belongs_to)
    note(f"Wrote {target}. Start a run from it: vlbench run --init {quote(str(target))} ...")


def pretrain(
    backbone: Annotated[
        str, typer.Argument(help="mini-bart, or mini-bart-clips: the same, gone on with clips.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the weights; the backbone's name if left out.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, help="Training steps; the shipped weights' if left out."),
    ] = None,
) -> None:
    """Make the embedded backbone's weights again.

    Prints their recipe with what the model can do.
    """
    if backbone not in PRETRAINED:
        raise UsageError(f"Cannot pretrain '{backbone}'. {nearest(backbone, PRETRAINED)}")
    try:
        from tools.pretrain import recipe
    except ModuleNotFoundError as error:
        if error.name not in ("tools", "tools.pretrain"):
            raise
        raise MissingError(
            "Pretraining needs the repository, as it is no part of the installed package: "
            "clone it and run `pip install -e .` in it."
        ) from error
    folder = out or Path(backbone)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if backbone == "mini-bart":
        card = recipe.pretrain_mini_bart(folder, steps or recipe.STEPS, note)
    else:
        card = recipe.pretrain_on_clips(folder, steps or recipe.CLIP_STEPS, note)
    tasks = "image-text" if backbone == "mini-bart" else "video-text"
    path = quote(str(folder))
    note(f"Use it with: vlbench run --backbone mini-bart --backbone-path {path} --tasks {tasks}")
    print_document(card)


def doctor(
    root: Annotated[Path | None, typer.Option(help="Where runs look for data.")] = None,
    edition: Edition = None,
    backbone: Annotated[
        str, typer.Option(help="Look for this backbone's weights, and for features it reads.")
    ] = "mini-bart",
    backbone_path: BackbonePath = None,
    results: Results = Path("results"),
    launcher: Annotated[str, typer.Option(help="local, or slurm: then Slurm is needed.")] = "local",
    json: Json = False,
) -> None:
    """Look for everything that a run needs; name remedies.

    Exit code 3 when something is missing that the default run needs.
    """
    from vlbench.doctor import examine

    findings = examine(root, edition, results, launcher, backbone, backbone_path)
    if json:
        print_json("doctor", [finding._asdict() for finding in findings])
    else:
        rows = [
            [
                finding.what,
                "yes" if finding.is_there else "NO" if finding.is_needed else "no",
                finding.remedy or finding.found,
            ]
            for finding in findings
        ]
        print_table(rows, ("what", "there", ""))
    missing = [finding.what for finding in findings if finding.is_needed and not finding.is_there]
    if missing:
        raise MissingError(f"Missing: {', '.join(missing)}. The remedy stands beside each.")
