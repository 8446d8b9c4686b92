"""Parameters of a run's model, counted on its shapes alone, and the bytes of its saved tensors."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file

from vlbench.backbones import BACKBONES, Features, build_backbone
from vlbench.cards.load import hashed
from vlbench.config import leaves
from vlbench.errors import DataError, MissingError, VlbenchError
from vlbench.running.spec import RunSpec
from vlbench.running.sums import WEIGHTS
from vlbench.techniques import parts_of
from vlbench.techniques.adapt import Counts, adapt, count, trained_parameters
from vlbench.tensors import not_finite
from vlbench.verifying.findings import Findings
from vlbench.verifying.ground import Ground
from vlbench.verifying.stored import parse_json
from vlbench.verifying.trust import refusal
from vlbench.verifying.weights import Weights

LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, which is padded to a multiple of it."""
MOST_HEADER = 1 << 24
EARLIER_NAMES = {".w": ".factors.0", ".left": ".factors.0", ".right": ".factors.1"}
"""The ends of tensors' names -> what they were in the first runs of Compacter."""
TYPES = {"torch.float32": ("F32", 4), "torch.bfloat16": ("BF16", 2), "torch.float16": ("F16", 2)}
"""torch's name -> safetensors' name and bytes."""
Shape = tuple[str, tuple[int, ...]]
"""Type as torch names it, and sizes."""


class Size(NamedTuple):
    """What a model's shapes tell."""

    counts: Counts
    trained: dict[str, Shape]


class Sizes:
    """Builds each model once, whatever its seed."""

    def __init__(self, weights: Weights, is_trusting: bool) -> None:
        self._weights = weights
        self._is_trusting = is_trusting
        self._built: dict[str, Size | str] = {}

    def of(self, spec: RunSpec, ground: Ground) -> Size | str:
        """The size of the spec's model, or why it cannot be known here."""
        read = ground.features
        if spec.encoder and read is None:
            return f"the width of the features of {spec.encoder} is not known here"
        outside = [part for part in parts_of(spec.method.technique) if ":" in part]
        if outside and not self._is_trusting:
            return refusal(outside)
        if spec.backbone not in BACKBONES:
            return f"no backbone '{spec.backbone}' here"
        names = [task.name for task in spec.tasks]
        try:
            place = self._weights.place(spec)
        except MissingError:
            return "the backbone's folder is not here"
        key = json.dumps([hashed(spec.method), spec.backbone, str(place), names, read])
        if key not in self._built:
            self._built[key] = _build(spec, place, names, read)
        return self._built[key]


def _build(
    spec: RunSpec, path: Path | None, names: Sequence[str], read: Features | None
) -> Size | str:
    visual = spec.tasks[0].visual
    try:
        backbone = build_backbone(spec.backbone, path, meta=True, visual=visual, features=read)
        model = adapt(backbone, spec.method, names)
    except VlbenchError as error:
        return f"the model cannot be built: {' '.join(str(error).split())}"
    trained = {
        name: (str(tensor.dtype), tuple(tensor.shape))
        for name, tensor in trained_parameters(model).items()
    }
    return Size(count(model), trained)


def check_weights(
    run: Path, spec: RunSpec, size: Size, lengths: Sequence[int], findings: Findings
) -> None:
    """The saved tensors, where they are kept, are those that the card trains, and of its run."""
    file = run / WEIGHTS
    if not file.is_file():
        return
    try:
        header = _header(file)
        said = dict(leaves(parse_json(header["__metadata__"]["vlbench"])))
        tensors = {
            name: (each["dtype"], tuple(each["shape"]))
            for name, each in header.items()
            if name != "__metadata__"
        }
    except (DataError, AttributeError, KeyError, TypeError, ValueError) as error:
        findings.fault(WEIGHTS, "", "", "", "", f"not a readable safetensors file: {error}")
        return
    spelt, full = (dict(leaves(table)) for table in _belongs_to(run, spec))
    for key in sorted(said.keys() | spelt.keys()):
        wanted = spelt.get(key, full.get(key))
        findings.cell(WEIGHTS, "", key, said.get(key), wanted, "as spec.json says")
    for name in sorted(tensors.keys() | size.trained.keys()):
        kind, shape = size.trained.get(name, ("", ()))
        expected = (TYPES.get(kind, (kind,))[0], shape) if name in size.trained else None
        findings.cell(WEIGHTS, name, "shape", tensors.get(name), expected)
    if lengths:
        found = file.stat().st_size
        findings.cell(WEIGHTS, "", "bytes", found, fitting(found, lengths))


def check_finite(run: Path, findings: Findings) -> None:
    """The saved tensors hold numbers, whatever is known of the model."""
    file = run / WEIGHTS
    if not file.is_file():
        return
    try:
        names = not_finite(load_file(file))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        findings.fault(WEIGHTS, "", "", "", "", f"cannot be read: {error}")
        return
    for name in names:
        findings.fault(WEIGHTS, name, "", "NaN or infinity", "numbers")


def adapter_lengths(run: Path, spec: RunSpec, size: Size) -> list[int]:
    """How many bytes the trained tensors take, also under earlier names where no file is kept.

    Empty where a type of theirs is not known. The file holds the run's card, so that its length
    tells of the card's title, notes and tuning too.
    """
    if any(kind not in TYPES for kind, _ in size.trained.values()):
        return []
    named = [size.trained]
    if not (run / WEIGHTS).is_file():
        named.append({_earlier(name): shape for name, shape in size.trained.items()})
    return [_length(table, each) for table in _belongs_to(run, spec) for each in named]


def fitting(found: int, lengths: Sequence[int]) -> int:
    """What so many bytes should be: themselves where they may be, else the usual length."""
    return found if found in lengths else lengths[0]


def _earlier(name: str) -> str:
    ends = (end for end in EARLIER_NAMES if name.endswith(end))
    return next((name.removesuffix(end) + EARLIER_NAMES[end] for end in ends), name)


def _belongs_to(run: Path, spec: RunSpec) -> list[dict[str, Any]]:
    """What the file says of its run: as `spec.json` spells it, and with what came to cards since.

    The latter is in the file where a run was begun by an older vlbench and ended by this one.
    """
    table: dict[str, Any] = json.loads((run / "spec.json").read_text(encoding="utf-8"))
    spelt = {name: table[name] for name in ("method", "backbone", "suite", "key")}
    return [spelt, {**spelt, "method": spec.method.model_dump(mode="json")}]


def _length(belongs_to: dict[str, Any], trained: Mapping[str, Shape]) -> int:
    header: dict[str, Any] = {"__metadata__": {"vlbench": json.dumps(belongs_to, sort_keys=True)}}
    place = 0
    for name, (kind, shape) in sorted(trained.items()):
        spelt, width = TYPES[kind]
        end = place + width * math.prod(shape)
        header[name] = {"dtype": spelt, "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = -(-len(text) // LENGTH_BYTES) * LENGTH_BYTES
    return LENGTH_BYTES + padded + place


def _header(file: Path) -> Mapping[str, Any]:
    with file.open("rb") as content:
        start = content.read(LENGTH_BYTES)
        (length,) = struct.unpack("<Q", start) if len(start) == LENGTH_BYTES else (MOST_HEADER + 1,)
        if length > MOST_HEADER:
            raise DataError("its header is too long")
        header: dict[str, Any] = parse_json(content.read(length))
    return header
