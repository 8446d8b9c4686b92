"""Plan: selectors become run specs, and what each of them reads is checked before it starts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from vlbench.backbones import Features, Visual, backbone_row, build_backbone, weights_files
from vlbench.cards import find_methods, find_tasks
from vlbench.cards.schema import Edition, MethodCard, TaskCard
from vlbench.checkpoints.weights import check_weights
from vlbench.data.fingerprint import file_hash
from vlbench.data.mini.edition import mini_root
from vlbench.data.prepare import PreparedTask, Wanted, prepare
from vlbench.data.readers import load_reader
from vlbench.encoders import ENCODERS, load_encoder
from vlbench.errors import DataError, UsageError, nearest
from vlbench.metrics import load_metric, require_metric
from vlbench.runs.spec import RunSpec
from vlbench.techniques import parts_of, resolve_method, technique_faults
from vlbench.techniques.adapt import AdaptedModel, adapt, check_reached
from vlbench.training.train import MaxBatch

Say = Callable[[str], None]
NO_ROOT = Path(".")
"""The data root of datasets that are Python packages."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asks for, as `vlbench run` takes it."""

    methods: tuple[str, ...]
    tasks: str
    backbone: str = "mini-bart"
    backbone_path: Path | None = None
    init: Path | None = None
    edition: str | None = None
    root: Path | None = None
    encoder: str | None = None
    features: tuple[Path, ...] = ()
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    settings: tuple[str, ...] = ()
    device: str = "cpu"
    max_batch: MaxBatch = None
    checkpoint_activations: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run reads: where its data lie, its tasks, and the visual features it is given."""

    root: Path
    tasks: list[PreparedTask]
    features: Features


def plan(selection: Selection, say: Say = lambda _: None) -> list[RunSpec]:
    """One spec for each method and seed, checked: cards, widths, data, features, Java."""
    suite, cards = find_tasks(selection.tasks)
    edition = task_edition(cards, selection.edition)
    weights = _resolved(selection.backbone_path)
    visual = cards[0].visual
    own = backbone_row(selection.backbone)  # an unknown name before a card's overrides for it
    methods = [
        (card, resolve_method(card, selection.backbone, suite, selection.settings))
        for card in find_methods(selection.methods, technique_faults)
    ]
    for task in cards:
        require_metric(task.metric)
        load_metric(task.metric)
    names = [task.name for task in cards]

    def adapted(method: MethodCard, features: Features | None = None) -> AdaptedModel:
        """The adapted model without weights, for its shapes."""
        backbone = build_backbone(
            selection.backbone, weights, meta=True, visual=visual, features=features
        )
        return adapt(backbone, method, names)

    for _, method in methods:
        model = adapted(method)
        check_reached(model, names, method.shown)
        if selection.checkpoint_activations:
            model.checkpoint_activations()
    weights_hash = weights_hash_of(selection.backbone, weights, visual)
    is_own = selection.encoder in (None, "", own.features[visual].encoder)
    encoder = "" if is_own else str(selection.encoder)
    folders = tuple(path.expanduser().resolve() for path in selection.features)
    inputs = read_inputs(
        cards,
        edition,
        selection.root,
        selection.backbone,
        encoder,
        folders,
        selection.limit,
        selection.device if torch.cuda.is_available() else "cpu",  # a login node has no GPU
        say,
    )
    init = _resolved(selection.init)
    if init is not None:
        for _, method in methods:
            model = adapted(method, inputs.features)
            check_weights(init, model, f"{method.name} on {selection.backbone}")
    return [
        RunSpec(
            method=method,
            method_file=str(card.folder.resolve() / f"{card.name}.toml") if card.folder else "",
            settings=selection.settings,
            suite=suite,
            tasks=tuple(cards),
            backbone=selection.backbone,
            backbone_path=str(weights or ""),
            backbone_hash=weights_hash,
            init=str(init or ""),
            init_hash=file_hash(init) if init else "",
            edition=edition,
            root=str(inputs.root) if selection.root else "",
            encoder=encoder,
            features=tuple(map(str, folders)),
            data={task.card.name: task.fingerprint for task in inputs.tasks},
            code=outside_code(method, cards),
            seed=seed,
            limit=selection.limit,
            device=selection.device,
            max_batch=selection.max_batch,
            checkpoint_activations=selection.checkpoint_activations,
        )
        for card, method in methods
        for seed in selection.seeds
    ]


def read_inputs(
    cards: Sequence[TaskCard],
    edition: Edition,
    root: Path | None,
    backbone: str,
    encoder: str,
    folders: tuple[Path, ...],
    limit: int | None,
    device: str = "cpu",
    say: Say = lambda _: None,
) -> Inputs:
    """Find and read the data and features of a run; `encoder` is empty for the backbone's own."""
    visual = cards[0].visual
    path = data_root(cards, edition, root, say)
    wanted = wanted_features(backbone, visual, encoder, folders, device)
    tasks = prepare(cards, edition, path, limit, wanted, say)
    return Inputs(path, tasks, features_read(backbone, visual, encoder, tasks))


def _resolved(path: Path | None) -> Path | None:
    return path.expanduser().resolve() if path else None


def task_edition(cards: Sequence[TaskCard], edition: str | None) -> Edition:
    """The edition asked for; else mini, or the only one that all tasks have."""
    shared = [name for name in cards[0].editions if all(name in card.splits for card in cards)]
    if edition is not None:
        for card in cards:
            if edition not in card.splits:
                known = ", ".join(card.splits)
                raise UsageError(f"Task '{card.name}' has no edition '{edition}'. Known: {known}.")
        return next(name for name in shared if name == edition)
    if "mini" in shared:
        return "mini"
    if len(shared) == 1:
        return shared[0]
    raise UsageError(
        f"Tasks {', '.join(c.name for c in cards)} share no edition: name fewer tasks."
    )


def data_root(
    cards: Sequence[TaskCard], edition: str, root: Path | None, say: Say = lambda _: None
) -> Path:
    """The folder that holds the data; the mini edition is made on its first use.

    Datasets that come as a Python package need none.
    """
    if root is not None:
        return root.expanduser().resolve()
    if edition == "mini":
        return mini_root(
            cards[0].visual, lambda what: say(f"making the mini edition, first use: {what}")
        )
    readers = [load_reader(card.reader, NO_ROOT) for card in cards]
    if all(reader.is_packaged for reader in readers):
        return NO_ROOT
    raise UsageError(f"--edition {edition} reads the official files: --root says where they lie.")


def features_read(
    backbone: str, visual: Visual, encoder: str, tasks: Sequence[PreparedTask]
) -> Features:
    """The features a backbone reads: its own, or those of `encoder` with the width in the store."""
    own = backbone_row(backbone).features[visual]
    widths = {task.card.name: task.store.width for task in tasks}
    if len(set(widths.values())) > 1:
        text = ", ".join(f"{task} {width}" for task, width in widths.items())
        raise DataError(f"The features of tasks that train together differ in width: {text}.")
    return own.of(encoder, tasks[0].store.width) if encoder else own


def wanted_features(
    backbone: str,
    visual: Visual,
    encoder: str,
    folders: tuple[Path, ...],
    device: str = "cpu",
) -> Wanted:
    """The features to look for, of the backbone's own encoder or of another one."""
    own = backbone_row(backbone).features[visual]
    name = encoder or own.encoder
    if name not in ENCODERS and ":" not in name and not folders:
        raise UsageError(
            f"Unknown encoder '{name}'. {nearest(name, ENCODERS)} Your own is named "
            '"module:function"; features that are there are named with --features.'
        )
    return Wanted(
        encoder=name,
        tokens=own.tokens,
        width=own.width if name == own.encoder else None,
        load=cache(lambda: load_encoder(name, device=device)),
        folders=folders,
    )


def outside_code(method: MethodCard, tasks: Sequence[TaskCard]) -> dict[str, str]:
    """The code that cards name by `module:name`, imported by now, with its file's hash."""
    named = {*parts_of(method.technique), *(t.reader for t in tasks), *(t.metric for t in tasks)}
    files = {
        name: getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
        for name in sorted(named)
        if ":" in name
    }
    return {name: file_hash(Path(file)) for name, file in files.items() if file}


def weights_hash_of(backbone: str, path: Path | None, visual: Visual) -> str:
    """sha256 over the backbone's files."""
    files = weights_files(backbone, path, visual)
    return hashlib.sha256("".join(file_hash(file) for file in files).encode()).hexdigest()
