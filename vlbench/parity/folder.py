"""A folder of golden files: which there are, of what kind, and the comparison of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vlbench.checkpoints.weights import read_tensors
from vlbench.errors import DataError, NothingToReport, UsageError, VlbenchError
from vlbench.parity.facts import OptimiserFacts, OrderFacts, read_facts
from vlbench.parity.golden import Golden
from vlbench.parity.models import check_model
from vlbench.parity.optimiser import check_optimiser
from vlbench.parity.order import check_order
from vlbench.parity.outcome import Outcome

BACKBONES = ("bart", "t5")
FOLLOWUP = "followup"
OPTIMISER = "optim"
ORDER = "multitask_order"
SUFFIXES = (".json", ".safetensors")


class Listing(NamedTuple):
    """What a folder holds."""

    names: list[str]
    """Of golden files, without their suffix."""
    others: list[str]
    """JSON files that are not of this command."""


def list_goldens(folder: Path) -> Listing:
    """The golden files of a folder; half a pair is one too, and fails."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    files = {file.name for file in folder.iterdir() if file.suffix in SUFFIXES}
    names = sorted({Path(name).stem for name in files})
    others = [
        f"{name}.json"
        for name in names
        if name != ORDER and f"{name}.safetensors" not in files and _kind(name) is None
    ]
    goldens = [name for name in names if f"{name}.json" not in others]
    if not goldens:
        raise NothingToReport(
            f"{folder}: no golden files here (looked for pairs of .safetensors and .json)."
        )
    return Listing(goldens, others)


def check_folder(folder: Path, names: list[str]) -> Iterator[Outcome]:
    """Compare one after the other; an error is a fault of that file and stops no other."""
    for name in names:
        outcome = Outcome(name)
        try:
            _check(folder, outcome)
        except VlbenchError as error:
            outcome.fault(" ".join(str(error).split()))
        except Exception as error:  # whatever sizes or inputs that do not fit make of it
            reason = " ".join(str(error).split())
            outcome.fault(f"cannot be computed: {type(error).__name__}: {reason}")
        yield outcome


def _check(folder: Path, outcome: Outcome) -> None:
    name = outcome.name
    file = folder / f"{name}.json"
    if name == ORDER:
        check_order(read_facts(file, OrderFacts), outcome)
        return
    missing = [suffix for suffix in SUFFIXES if not (folder / f"{name}{suffix}").is_file()]
    if missing:
        raise DataError(f"half a pair: no {name}{missing[0]}")
    kind = _kind(name)
    if kind == OPTIMISER:
        facts = read_facts(file, OptimiserFacts)
        final = read_tensors(file.with_suffix(".safetensors"))
        start = Golden(folder / f"{name.removeprefix(f'{OPTIMISER}__')}.json")
        if not _is_left_out(start, outcome):
            check_optimiser(start, facts, final, outcome)
    elif kind is not None:
        golden = Golden(file)
        prefix = f"{FOLLOWUP}__" if kind == FOLLOWUP else ""
        named = f"{prefix}{golden.facts.backbone}__{golden.facts.method}"
        if name != named or golden.is_followup != (kind == FOLLOWUP):
            raise DataError(f"its JSON is of {named}")
        if not _is_left_out(golden, outcome):
            check_model(golden, outcome)
    else:
        raise DataError("not a golden's name: none of {bart,t5}__*, optim__*, followup__*")


def _is_left_out(golden: Golden, outcome: Outcome) -> bool:
    if golden.lora_is_left_out:
        outcome.not_run = "the authors' T5 has no LoRA in it: not run"
    return golden.lora_is_left_out


def _kind(name: str) -> str | None:
    kind, separator, rest = name.partition("__")
    is_known = separator and rest and kind in (*BACKBONES, FOLLOWUP, OPTIMISER)
    return kind if is_known else None
