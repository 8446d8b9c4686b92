"""`vlbench data`, `score`, `import-checkpoint` and `pretrain`: data, files and weights."""

from __future__ import annotations

import re
import time
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import MissingError, UsageError, nearest
from vlbench.files import check_out, writing

if TYPE_CHECKING:
    from vlbench.cards.schema import TaskCard
    from vlbench.data.check import SplitCheck

PRETRAINED = ("mini-bart", "mini-bart-clips")
Kind = StrEnum("Kind", "PICTURES FRAMES")

data = cli.subcommands("Make and check data, extract features.")


@data.command("make-mini", epilog=cli.example("data make-mini --out my-mini --seed 1"))
def make_mini(
    out: Path = opt.option(..., "A new folder for the edition."),
    seed: int = opt.option(0, "Another seed, another world.", min=0, max=opt.HIGHEST_SEED),
) -> None:
    """Write the mini edition in the official file formats."""
    from vlbench.data.mini import write

    write.make_mini(out, seed, lambda what: cli.note(f"writing {what}"))
    typer.echo(str(out))


@data.command(
    "check", epilog=cli.example("data check --tasks image-text --edition full --root data")
)
def check(
    context: typer.Context,
    tasks: str | None = opt.option(None, "Suites or tasks, comma list; else all of the edition."),
    root: Path | None = opt.ROOT,
    edition: str | None = opt.EDITION,
    backbone: str = opt.option("mini-bart", "The backbone whose features are looked for."),
    encoder: str | None = opt.option(None, "Look for features of this encoder instead."),
    features: list[Path] | None = opt.option(None, "A feature store, repeatable."),
    outside_code: bool = opt.OUTSIDE_CODE,
    json: bool = opt.JSON,
) -> None:
    """Report what a run would miss of its data.

    Every split is read, its pictures and features are looked for. Exit code 0 only when a run could
    start.
    """
    from vlbench.data.check import check_tasks
    from vlbench.runs.plan import data_root, feature_spec_for, task_edition

    opt.refuse_outside_code(context)
    checks: list[SplitCheck] = []
    stores = tuple(store.expanduser().resolve() for store in features or ())
    for cards in _by_visual(tasks, edition):
        chosen = task_edition(cards, edition)
        folder = data_root(cards, chosen, root, cli.note)
        spec = feature_spec_for(backbone, cards[0].visual, encoder or "", stores)
        checks += check_tasks(cards, chosen, folder, spec, cli.note)
    if json:
        cli.print_json("check", [check.as_json() for check in checks])
    else:
        columns = ("task", "split", "examples", "pictures", "features", "state")
        cli.print_table([_row(check) for check in checks], columns)
    _report_problems(checks)


def _by_visual(tasks: str | None, edition: str | None) -> list[list[TaskCard]]:
    """The chosen task cards, those about pictures and those about clips apart."""
    from vlbench.backbones import VISUALS
    from vlbench.cards import find_tasks
    from vlbench.cards.load import all_tasks, split_names

    if tasks is not None:
        cards = [card for name in split_names(tasks) for card in find_tasks(name)[1]]
    else:
        cards = [card for card in all_tasks() if (edition or "mini") in card.splits]
    if not cards:
        known = {name for card in all_tasks() for name in card.splits}
        raise UsageError(f"--edition {edition}: no task has it. {nearest(str(edition), known)}")
    apart = [[card for card in cards if card.visual == visual] for visual in VISUALS]
    return list(filter(None, apart))


def _row(check: SplitCheck) -> list[str]:
    """One split as a line of the table."""
    number = "-" if check.examples is None else f"{check.examples:,}"
    if check.examples is not None and check.expected not in (None, check.examples):
        number += f" (published: {check.expected:,})"
    pictures = check.pictures - check.pictures_missing
    features = check.pictures - check.features_missing
    count = len(check.problems)
    state = "ready" if not count else f"{count:,} problem{'s' * (count > 1)}"
    return [
        check.task,
        check.split,
        number,
        "-" if check.are_pictures_unread else f"{pictures:,} of {check.pictures:,}",
        "-" if check.examples is None else f"{features:,} of {check.pictures:,}",
        state if check.is_needed else f"{state} (only to submit)",
    ]


def _report_problems(checks: list[SplitCheck]) -> None:
    """Print the first problems of each split, one line a problem; raise where no run can start."""
    from vlbench.data.example import SHOWN

    texts: dict[str, str] = {}
    splits: dict[str, dict[str, list[str]]] = {}  # problem -> task -> splits that have it
    for check in checks:
        problems = {text.partition(" (published at ")[0]: text for text in check.problems[:SHOWN]}
        if len(check.problems) > SHOWN:
            more = f"... and {len(check.problems) - SHOWN:,} more"
            problems[f"{check.task} {check.split}"] = more
        for name, text in problems.items():  # tasks name other places for one file
            texts.setdefault(name, text)
            splits.setdefault(name, {}).setdefault(check.task, []).append(check.split)
    lines = []
    for name, text in texts.items():
        places = [f"{task} {', '.join(names)}" for task, names in splits[name].items()]
        lines.append(f"{'; '.join(places)}: {text}")
    if not all(check.is_ready for check in checks):
        raise MissingError("\n".join([*lines, "A run could not start with these data."]))
    for line in lines:
        cli.note(line)


@data.command(
    "extract-features",
    epilog=cli.example("data extract-features --encoder mini --images img --out own"),
)
def extract_features(
    context: typer.Context,
    encoder: str = opt.option(..., "mini, clip-rn101, clip-vit-b32, or module:name."),
    images: Path = opt.option(..., "The folder of the pictures, searched to its end."),
    out: Path = opt.option(..., "The store, a new folder."),
    weights: Path | None = opt.option(None, "Folder of the encoder's weights, if not installed."),
    kind: Kind = opt.option(Kind.PICTURES, "frames: a folder of pictures is a clip."),
    batch_size: int = opt.count(64, "Pictures encoded at once."),
    device: str = opt.option("auto", "auto, cpu, or a GPU's number."),
    outside_code: bool = opt.OUTSIDE_CODE,
    json: bool = opt.JSON,
) -> None:
    """Run a frozen encoder over pictures or clips.

    The id of a picture is its file name without the suffix, that of a clip its folder's name. Work
    in progress lies in STORE.partial; the same command goes on with it.
    """
    from vlbench.data.stores.extract import extract_store
    from vlbench.data.stores.own import partial_of
    from vlbench.encoders import load_encoder

    opt.refuse_outside_code(context)
    started = time.monotonic()
    loaded = load_encoder(encoder, weights, _torch_device(device))
    unit = "clips" if kind is Kind.FRAMES else kind.value
    try:
        with cli.counting(unit) as count:
            store = extract_store(loaded, images, out, kind.value, batch_size, count, cli.note)
    except KeyboardInterrupt:
        cli.note(f"{partial_of(out)} keeps what is done: the same command goes on with it.")
        raise
    if json:
        cli.print_document(
            {
                "schema": "vlbench.extracted/1",
                "store": str(out),
                "encoder": loaded.name,
                "encoder_hash": loaded.hash,
                "kind": kind.value,
                "count": len(store.ids),
                "tokens": loaded.tokens if kind is Kind.PICTURES else None,
                "width": store.width,
                "seconds": time.monotonic() - started,
            }
        )
    else:
        typer.echo(str(out))


def _torch_device(text: str) -> str:
    """`cpu` or `cuda:N`; `auto` is the first GPU where there is one."""
    import torch

    count = torch.cuda.device_count()
    if text == "auto":
        return "cuda:0" if count else "cpu"
    if not re.fullmatch("cpu|[0-9]{1,9}", text):
        raise UsageError(f"--device {text}: should be auto, cpu or a GPU's number.")
    if text != "cpu" and int(text) >= count:
        raise MissingError(f"--device {text}: this machine has {count} GPUs.")
    return text if text == "cpu" else f"cuda:{text}"


def score(
    task: str = opt.argument(..., "vqav2, gqa, nlvr2, coco, tvqa, how2qa, tvc, yc2c or nlvr."),
    predictions: Path = opt.option(
        ...,
        "In the task's official format: a JSON list of question_id, answer (vqav2), questionId, "
        "prediction (gqa) or image_id, caption (coco); CSV of identifier,prediction (nlvr2, nlvr); "
        "a JSON object of qid and index (tvqa, how2qa); JSON Lines of clip_id, descs (tvc, yc2c).",
    ),
    annotations: Path = opt.option(
        ..., "The official file; gqa: the questions; VALUE's tasks: the release or solution file."
    ),
    questions: Path | None = opt.option(None, "gqa: all questions, for consistency."),
    choices: Path | None = opt.option(None, "gqa: the choices, for validity, plausibility."),
    karpathy: Path | None = opt.option(
        None, "vqav2, coco: Karpathy's dataset_coco.json, of which only --split is scored."
    ),
    split: str | None = opt.option(None, "Of the Karpathy file: train, val or test (default)."),
    variant: str | None = opt.option(
        None, "vqav2: official-2016 (default) or official-2021; nlvr2: all (default) or balanced."
    ),
    json: bool = opt.flag("--json", "One JSON object, unrounded, with each group and example."),
) -> None:
    """Score predictions with a task's official metric.

    In percent; metrics of captions x 100.
    """
    from vlbench.metrics import official

    options = {"questions": questions, "choices": choices, "variant": variant}
    options |= {"karpathy": karpathy, "split": split}
    document = official.score_files(task, predictions, annotations, **options)
    if json:
        cli.print_document(document)
        return
    rows = [
        (name, f"-  ({document['notes'][name]})" if value is None else f"{value:.2f}")
        for name, value in document["metrics"].items()
    ]
    cli.print_table(rows, ("metric", f"{task} {document['variant'] or ''}".rstrip()))
    part = f" of the split '{split or official.KARPATHY_SPLIT}'" if karpathy or split else ""
    cli.note(f"{document['n']} examples{part}")


def import_checkpoint(
    context: typer.Context,
    file: Path = opt.argument(..., "A state dict: .safetensors, .pth, .pt or .bin."),
    method: str = opt.option(..., "The method it was trained with."),
    backbone: str = opt.option(..., "The backbone it was trained on."),
    tasks: str = opt.option("image-text", "The suite or tasks it was trained for."),
    backbone_path: Path | None = opt.option(None, "The backbone, where of other sizes."),
    settings: list[str] | None = opt.SETTINGS,
    out: Path | None = opt.option(None, "The file to write; FILE.METHOD.safetensors if left out."),
    outside_code: bool = opt.OUTSIDE_CODE,
    json: bool = opt.JSON,
) -> None:
    """Convert a checkpoint of the authors for `run --init`.

    Of VL-Adapter, Ladder-Side-Tuning or VL-PET. Every tensor of the model must be there, and no
    other: else nothing is written.
    """
    from vlbench.backbones import backbone_row, build_backbone
    from vlbench.cards import find_tasks, load_method
    from vlbench.checkpoints.authors import authors_names, spelt
    from vlbench.checkpoints.weights import match, read_state, write_weights
    from vlbench.data.table import file_hash
    from vlbench.techniques import resolve_method, technique_faults
    from vlbench.techniques.adapt import adapt
    from vlbench.tensors import unique_state

    opt.refuse_outside_code(context)
    changes = list(opt.merged_settings(settings))
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
        cli.print_document({"schema": "vlbench.import/1", **item})
    else:
        counts = {
            "further names of the same tensors": len(matched.repeated),
            "missing": len(matched.missing),
            "left over": len(matched.left_over),
            "otherwise not fitting": len(matched.faults),
        }
        rows = [["taken", f"{len(matched.taken):,}", f"{numbers:,}"]]
        rows += [[what, f"{number:,}", ""] for what, number in counts.items()]
        cli.print_table(rows, ("", "tensors", "numbers"), numbers=("tensors", "numbers"))
    matched.require_all(str(file))
    belongs_to = {
        "method": card.model_dump(mode="json"),
        "backbone": backbone,
        "suite": suite,
        "source_sha256": file_hash(file),
    }
    write_weights(target, matched.tensors, belongs_to)
    cli.note(f"Wrote {target}. Start a run from it: vlbench run --init {quote(str(target))} ...")


def pretrain(
    backbone: str = opt.argument(..., "mini-bart, or mini-bart-clips: gone on with clips."),
    out: Path | None = opt.option(None, "Folder for the weights; the backbone's name if left out."),
    steps: int | None = opt.count(None, "Training steps; the shipped weights' if left out."),
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
        card = recipe.pretrain_mini_bart(folder, steps or recipe.STEPS, cli.note)
        tasks = "image-text"
    else:
        card = recipe.pretrain_on_clips(folder, steps or recipe.CLIP_STEPS, cli.note)
        tasks = "video-text"
    path = quote(str(folder))
    cli.note(
        f"Use it with: vlbench run --backbone mini-bart --backbone-path {path} --tasks {tasks}"
    )
    cli.print_document(card)
