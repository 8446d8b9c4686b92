"""`vlbench data`, `score`, `import-checkpoint` and `pretrain`: data, files and weights."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Any

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import MissingError, UsageError, nearest
from vlbench.files import check_out, write_out

PRETRAINED = {
    "mini-bart": "--backbone mini-bart --tasks image-text --backbone-path {}",
    "mini-bart-clips": "--backbone mini-bart --tasks video-text --backbone-path {}",
    "mini-vlm": "--tasks image-text --backbone {}",
}
"""Name -> the options of a run that reads its folder."""
Kind = StrEnum("Kind", "PICTURES FRAMES")

data = cli.subcommands("Fetch, make and check data, extract features.")


@data.command("make-mini", epilog=cli.example("data make-mini --out my-mini --seed 1"))
def make_mini(
    out: Path = opt.option(..., "A new folder for the edition."),
    seed: int = opt.option(0, "Another seed, another world.", min=0, max=opt.HIGHEST_SEED),
) -> None:
    """Write the mini edition in the official file formats."""
    from vlbench.data.mini import write

    write.make_mini(out, seed, lambda what: cli.note(f"writing {what}"))
    typer.echo(str(out))


@data.command("get", epilog=cli.example("data get vqav2,coco --root data --dry-run"))
def get(
    tasks: str = opt.argument(..., "Suites or tasks, with commas between."),
    root: Path = opt.option(..., "Where the data shall lie."),
    mirror: str | None = opt.option(None, "Fetch MIRROR/HOST/PATH in place of https://HOST/PATH."),
    parallel: int = opt.count(4, "Files to fetch at once."),
    dry_run: bool = opt.flag("--dry-run", "Print the list and fetch nothing."),
    json: bool = opt.JSON,
) -> None:
    """Fetch what is openly published of the full edition's data; again, go on.

    To where the readers look. What needs an agreement is named with the page that hands it out.
    """
    from vlbench.cards import find_tasks
    from vlbench.cards.load import split_names
    from vlbench.data.downloads import get as downloads
    from vlbench.text import format_bytes

    folder = root.expanduser().resolve()
    cards = [card for name in split_names(tasks) for card in find_tasks(name)[1]]
    items = downloads.list_items(cards, folder, mirror or "")
    for text, names in _by_text((line, card.name) for card in cards for line in card.not_fetched):
        cli.note(f"{names}: not fetched: {text}")
    if not items:
        raise MissingError("Nothing of these tasks is fetched: the lines above say why.")
    try:
        if not dry_run:
            with cli.counting("MB") as count:
                downloads.get(items, folder, parallel, count, cli.note)
    finally:
        rows = [item.row() for item in items]
        if json:
            cli.print_json("get", rows)
        else:
            for row in rows:
                row["size"] = format_bytes(row["size_bytes"]) if row["size_bytes"] else "-"
            columns = ("tasks", "state", "size", "url", "to")
            cli.print_table([[cli.cell(row[name]) for name in columns] for row in rows], columns)


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
    """Report what a run would miss of its data; exit code 0 only when it could start."""
    from vlbench.cards import find_tasks
    from vlbench.cards.load import all_tasks, split_names
    from vlbench.cards.schema import VISUALS
    from vlbench.data.example import first_lines
    from vlbench.runs.check import check_tasks
    from vlbench.runs.plan import check_metric, data_root, feature_spec_for, task_edition

    opt.refuse_outside_code(context)
    if tasks is None:
        cards = [card for card in all_tasks() if (edition or "mini") in card.splits]
    else:
        cards = [card for name in split_names(tasks) for card in find_tasks(name)[1]]
    if not cards:
        known = {name for card in all_tasks() for name in card.splits}
        raise UsageError(f"--edition {edition}: no task has it. {nearest(str(edition), known)}")
    for card in cards:
        if card.files:
            check_metric(card)
    stores = tuple(store.expanduser().resolve() for store in features or ())
    splits: list[dict[str, Any]] = []
    for visual in VISUALS:
        if same := [card for card in cards if card.visual == visual]:
            chosen = task_edition(same, edition)
            folder = data_root(same, chosen, root, cli.note)
            spec = feature_spec_for(backbone, visual, encoder or "", stores)
            splits += check_tasks(same, chosen, folder, spec, cli.note)
    if json:
        cli.print_json("check", splits)
    else:
        columns = ("task", "split", "examples", "published", "pictures", "features", "ready")
        rows = [[str(split[column] or "-") for column in columns] for split in splits]
        cli.print_table(rows, columns)
    problems = (
        (problem, f"{split['task']} {split['split']}")
        for split in splits
        for problem in first_lines(split["problems"])
    )
    for problem, names in _by_text(problems):
        cli.note(f"{names}: {problem}")
    for split in splits:
        for remark in split["remarks"]:
            cli.note(f"{split['task']} {split['split']}: {remark}")
    if not all(split["ready"] for split in splits):
        raise MissingError("A run could not start with these data.")


@data.command("preview", epilog=cli.example("data preview ./my-task.toml --out page.html"))
def preview(
    context: typer.Context,
    tasks: str = opt.argument(..., "A task, by its name or its card's path.", metavar="TASK"),
    out: Path = opt.option(..., "The page to write."),
    backbone: str = opt.BACKBONE,
    backbone_path: Path | None = opt.BACKBONE_PATH,
    root: Path | None = opt.ROOT,
    edition: str | None = opt.EDITION,
    examples: int = opt.count(6, "Examples of each split."),
    outside_code: bool = opt.OUTSIDE_CODE,
) -> None:
    """Write a page of examples as the model will see them: pictures, text, target.

    With task prompts, as most methods train.
    """
    from vlbench.cards import load_task
    from vlbench.runs.plan import data_root, task_edition
    from vlbench.runs.preview import preview_page

    opt.refuse_outside_code(context)
    check_out(out)
    card = load_task(tasks)
    chosen = task_edition([card], edition)
    folder = data_root([card], chosen, root, cli.note)
    write_out(out, preview_page(card, chosen, folder, backbone, backbone_path, examples))
    typer.echo(str(out))


def _by_text(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(text, names with commas between) of (text, name); each text once."""
    names: dict[str, list[str]] = {}
    for text, name in pairs:
        names.setdefault(text, []).append(name)
    return [(text, ", ".join(of_text)) for text, of_text in names.items()]


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
    by_path: bool = opt.flag("--by-path", "Ids are paths below --images, for your own data."),
    device: str = opt.DEVICE,
    outside_code: bool = opt.OUTSIDE_CODE,
    json: bool = opt.JSON,
) -> None:
    """Run a frozen encoder over pictures or clips; again, go on with a store that is begun.

    The id of a picture is its file name without the suffix, that of a clip its folder's name; of
    your own data it is the path below the card's folder of pictures.
    """
    from vlbench.data.stores.extract import extract_below
    from vlbench.encoders import load_encoder

    opt.refuse_outside_code(context)
    loaded = load_encoder(encoder, weights, opt.torch_device(device))
    is_video = kind is Kind.FRAMES
    with cli.counting("clips" if is_video else "pictures") as count:
        store = extract_below(loaded, images, out, is_video, count, cli.note, by_path)
    if json:
        answer = {"store": str(out), "encoder": loaded.name, "kind": kind.value}
        answer |= {"count": len(store.ids), "width": store.width}
        cli.print_document({"schema": "vlbench.extracted/1", **answer})
    else:
        typer.echo(str(out))


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
    split: str | None = opt.option(
        None, "Of the Karpathy file: train, val or test; --karpathy takes test."
    ),
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
    from vlbench.backbones import build_backbone, find_backbone
    from vlbench.cards import find_tasks, load_method
    from vlbench.checkpoints.authors import authors_names, spelt
    from vlbench.checkpoints.weights import match, read_state, write_weights
    from vlbench.data.hashes import file_hash
    from vlbench.techniques import resolve_method, technique_faults
    from vlbench.techniques.adapt import adapt
    from vlbench.tensors import unique_state

    opt.refuse_outside_code(context)
    changes = list(opt.merged_settings(settings))
    name = find_backbone(backbone).name  # an unknown name comes before a card's overrides for it
    suite, cards = find_tasks(tasks)
    card = resolve_method(load_method(method, technique_faults), name, suite, changes)
    target = out or Path(f"{file.stem}.{card.name}.safetensors")
    if target.suffix != ".safetensors" or target.resolve() == file.resolve():
        raise UsageError(f"--out {target}: should be another file that ends in .safetensors.")
    check_out(target)
    names = [task.name for task in cards]
    weights = backbone_path.expanduser().resolve() if backbone_path else None
    built = build_backbone(backbone, weights, meta=True, visual=cards[0].visual)
    model = adapt(built, card, names)
    names_there = authors_names(model, spelt(names))
    tensors = match(unique_state(model), names_there, read_state(file), str(file))
    places = {"backbone": name, "suite": suite}
    source = {"method": card.model_dump(mode="json"), "source_sha256": file_hash(file)}
    write_weights(target, tensors, {**source, **places})
    counts = {"tensors": len(tensors), "numbers": sum(t.numel() for t in tensors.values())}
    if json:
        item = {"file": str(file), "method": card.name, **places, **counts, "out": str(target)}
        cli.print_document({"schema": "vlbench.import/1", **item})
    taken = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    start = f"vlbench run --init {quote(str(target))} ..."
    cli.note(f"Wrote {target}: {taken}. Start a run from it: {start}")


def pretrain(
    backbone: str = opt.argument(
        ..., "mini-bart, mini-vlm, or mini-bart-clips: gone on with clips."
    ),
    out: Path | None = opt.option(None, "Folder for the weights; the backbone's name if left out."),
) -> None:
    """Make the embedded backbone's weights anew, in a checkout.

    Prints their recipe with what the model can do.
    """
    if backbone not in PRETRAINED:
        raise UsageError(f"Cannot pretrain '{backbone}'. {nearest(backbone, PRETRAINED)}")
    from tools.pretrain import recipe

    folder = out or Path(backbone)
    pretrain, steps = recipe.RECIPES[backbone]
    card = pretrain(folder, steps, cli.note)
    options = PRETRAINED[backbone].format(quote(str(folder.resolve())))
    cli.note(f"Use it with: vlbench run {options}")
    cli.print_document(card)
