"""Parameters of a run's model, counted on its shapes alone, and the bytes of its saved tensors."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.backbones import BACKBONES, Features, build_backbone
from vlbench.cards.resolve import hashed
from vlbench.errors import DataError, VlbenchError
from vlbench.running.spec import RunSpec
from vlbench.running.sums import WEIGHTS
from vlbench.techniques import parts_of
from vlbench.techniques.adapt import adapt
from vlbench.techniques.counting import Counts, count
from vlbench.techniques.freezing import trained_parameters
from vlbench.verifying.findings import Findings
from vlbench.verifying.ground import Ground
from vlbench.verifying.trust import refusal

LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, which is padded to a multiple of it."""
MOST_HEADER = 1 << 27
OTHER_NAMES = 4
"""So many times the header may be longer where an earlier vlbench named the tensors otherwise."""
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

    def __init__(self, is_trusting: bool) -> None:
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
        key = json.dumps([hashed(spec.method), spec.backbone, spec.backbone_path, names, read])
        if key not in self._built:
            self._built[key] = _build(spec, names, read)
        return self._built[key]


def _build(spec: RunSpec, names: Sequence[str], read: Features | None) -> Size | str:
    path = Path(spec.backbone_path) if spec.backbone_path else None
    if path is not None and not path.is_dir():
        return "the backbone's folder is not here"
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


def check_weights(run: Path, spec: RunSpec, size: Size, findings: Findings) -> None:
    """The saved tensors, where they are kept, are those that the card trains."""
    file = run / WEIGHTS
    if not file.is_file():
        return
    try:
        header = _header(file)
        said = json.loads(header.get("__metadata__", {}).get("vlbench", "{}"))
        tensors = {
            name: (each["dtype"], tuple(each["shape"]))
            for name, each in header.items()
            if name != "__metadata__"
        }
        key = said.get("key")
    except (DataError, AttributeError, KeyError, TypeError, ValueError) as error:
        findings.fault(WEIGHTS, "", "", "", "", f"not a readable safetensors file: {error}")
        return
    findings.cell(WEIGHTS, "", "key", key, spec.key)
    for name in sorted(tensors.keys() | size.trained.keys()):
        kind, shape = size.trained.get(name, ("", ()))
        expected = (TYPES.get(kind, (kind,))[0], shape) if name in size.trained else None
        findings.cell(WEIGHTS, name, "shape", tensors.get(name), expected)


class Length(NamedTuple):
    """How long a file of trained tensors must be."""

    header: int
    tensors: int
    is_sure: bool
    """Whether the tensors' names are those in the file; else they may have been others."""

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        return self.header + self.tensors

    def may_be(self, found: object) -> bool:
        """Whether a file of so many bytes could hold these tensors under other names."""
        header = found - self.tensors if isinstance(found, int) else 0
        is_header = 0 < header <= OTHER_NAMES * self.header and not header % LENGTH_BYTES
        return is_header and not self.is_sure


def adapter_length(run: Path, size: Size) -> Length | None:
    """What the shapes say of the file; None where a type of theirs is not known.

    The card in it is the one in `spec.json`, as it is spelt there.
    """
    table: dict[str, Any] = json.loads((run / "spec.json").read_text(encoding="utf-8"))
    belongs_to = {name: table[name] for name in ("method", "backbone", "suite", "key")}
    header: dict[str, Any] = {"__metadata__": {"vlbench": json.dumps(belongs_to, sort_keys=True)}}
    place = 0
    for name, (kind, shape) in sorted(size.trained.items()):
        if kind not in TYPES:
            return None
        spelt, width = TYPES[kind]
        end = place + width * math.prod(shape)
        header[name] = {"dtype": spelt, "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = -(-len(text) // LENGTH_BYTES) * LENGTH_BYTES
    return Length(LENGTH_BYTES + padded, place, (run / WEIGHTS).is_file())


def _header(file: Path) -> Mapping[str, Any]:
    with file.open("rb") as content:
        start = content.read(LENGTH_BYTES)
        (length,) = struct.unpack("<Q", start) if len(start) == LENGTH_BYTES else (MOST_HEADER + 1,)
        if length > MOST_HEADER:
            raise DataError("its header is too long")
        header: dict[str, Any] = json.loads(content.read(length))
    return header
