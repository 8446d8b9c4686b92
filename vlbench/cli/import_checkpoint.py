"""`vlbench import-checkpoint`: a checkpoint of the authors' code under our names."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.config import merged_settings, refuse_outside_code
from vlbench.cli.output import note, print_document, print_table
from vlbench.cli.selectors import OutsideCode
from vlbench.cli.show import Json
from vlbench.errors import UsageError
from vlbench.files import check_out

if TYPE_CHECKING:
    from vlbench.cards import MethodCard
    from vlbench.techniques.adapt import AdaptedModel


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
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", envvar="VLBENCH_SET", help="key=value over the card, repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; FILE.METHOD.safetensors if left out.")
    ] = None,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Import a checkpoint of VL-Adapter, Ladder-Side-Tuning or VL-PET, for `run --init`.

    Every tensor of the model must be there, and no other: else nothing is written.
    """
    from vlbench.checkpoints.authors import authors_names, spelt
    from vlbench.checkpoints.matching import match
    from vlbench.checkpoints.reading import read_state
    from vlbench.checkpoints.weights import write_weights
    from vlbench.data.fingerprint import file_hash
    from vlbench.tensors import unique_state

    refuse_outside_code(context)
    changes = list(merged_settings(settings))
    model, card, suite, names = _model(method, backbone, backbone_path, tasks, changes)
    target = out or Path(f"{file.stem}.{card.name}.safetensors")
    if target.suffix != ".safetensors":
        raise UsageError(f"--out {target}: should end in .safetensors.")
    if target.resolve() == file.resolve():
        raise UsageError(f"--out {target}: is the checkpoint itself.")
    check_out(target)
    own = unique_state(model)
    found = match(own, authors_names(model, spelt(names)), read_state(file))
    numbers = sum(tensor.numel() for tensor in found.tensors.values())
    item: dict[str, Any] = {
        "file": str(file),
        "method": card.name,
        "backbone": backbone,
        "suite": suite,
        "taken": len(found.taken),
        "numbers": numbers,
        "repeated": len(found.repeated),
        "missing": found.missing,
        "left_over": found.left_over,
        "faults": found.faults,
        "out": None if found.complaints() else str(target),
    }
    if json:
        print_document({"schema": "vlbench.import/1", **item})
    else:
        _show(item)
    found.require_all(str(file))
    belongs_to = {
        "method": card.model_dump(mode="json"),
        "backbone": backbone,
        "suite": suite,
        "source_sha256": file_hash(file),
    }
    write_weights(target, found.tensors, belongs_to)
    note(f"Wrote {target}. Start a run from it: vlbench run --init {quote(str(target))} ...")


def _model(
    method: str, backbone: str, path: Path | None, tasks: str, settings: list[str]
) -> tuple[AdaptedModel, MethodCard, str, list[str]]:
    """The adapted model without weights, its resolved card, the suite and its tasks."""
    from vlbench.backbones import backbone_row, build_backbone
    from vlbench.cards import find_tasks, load_method, resolve_method
    from vlbench.techniques.adapt import adapt

    backbone_row(backbone)  # an unknown name is told before a card's overrides for it
    suite, cards = find_tasks(tasks)
    card = resolve_method(load_method(method, check_params=True), backbone, suite, settings)
    names = [each.name for each in cards]
    weights = path.expanduser().resolve() if path else None
    built = build_backbone(backbone, weights, meta=True, visual=cards[0].visual)
    return adapt(built, card, names), card, suite, names


def _show(item: dict[str, Any]) -> None:
    rows = [
        ["taken", f"{item['taken']:,}", f"{item['numbers']:,}"],
        ["further names of the same tensors", f"{item['repeated']:,}", ""],
        ["missing", f"{len(item['missing']):,}", ""],
        ["left over", f"{len(item['left_over']):,}", ""],
        ["otherwise not fitting", f"{len(item['faults']):,}", ""],
    ]
    print_table(rows, ("", "tensors", "numbers"), numbers=("tensors", "numbers"))
