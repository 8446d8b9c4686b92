"""Plan: selectors become run specs; what could stop a run is found before it starts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vlbench.backbones import Features, Visual, backbone_row, build_backbone, weights_files
from vlbench.backbones.base import Backbone
from vlbench.cards import find_methods, find_tasks, resolve_method
from vlbench.cards.schema import MethodCard, TaskCard
from vlbench.checkpoints.weights import check_weights
from vlbench.data.fingerprint import file_hash
from vlbench.data.prepare import prepare
from vlbench.metrics import load_metric, require_metric
from vlbench.running.inputs import (
    data_root,
    features_read,
    other_encoder,
    task_edition,
    wanted_features,
)
from vlbench.running.spec import RunSpec
from vlbench.techniques import parts_of
from vlbench.techniques.adapt import adapt, check_reached
from vlbench.training.train import MaxBatch

Say = Callable[[str], None]


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


def plan(asked: Selection, say: Say = lambda _: None) -> list[RunSpec]:
    """One spec for each method and seed, checked: cards, widths, data, features, Java."""
    suite, cards = find_tasks(asked.tasks)
    edition = task_edition(cards, asked.edition)
    weights = asked.backbone_path.expanduser().resolve() if asked.backbone_path else None
    backbone_row(asked.backbone)  # an unknown name is told before a card's overrides for it
    methods = [
        (card, resolve_method(card, asked.backbone, suite, asked.settings))
        for card in find_methods(asked.methods, check_params=True)
    ]
    for task in cards:
        require_metric(task.metric)
        load_metric(task.metric)
    names = [task.name for task in cards]
    for _, method in methods:
        model = adapt(_shapes(asked, weights, cards[0].visual), method, names)
        check_reached(model, names, method.shown)
        if asked.checkpoint_activations:
            model.checkpoint_activations()
    weights_hash = weights_hash_of(asked.backbone, weights, cards[0].visual)
    encoder = other_encoder(asked.backbone, cards[0].visual, asked.encoder)
    folders = tuple(path.expanduser().resolve() for path in asked.features)
    root = data_root(cards, edition, asked.root, say)
    here = asked.device if torch.cuda.is_available() else "cpu"  # a login node has no GPU
    wanted = wanted_features(asked.backbone, cards[0].visual, encoder, folders, here)
    tasks = prepare(cards, edition, root, asked.limit, wanted, say)
    read = features_read(asked.backbone, cards[0].visual, encoder, tasks)
    init = asked.init.expanduser().resolve() if asked.init else None
    if init is not None:
        for _, method in methods:
            model = adapt(_shapes(asked, weights, cards[0].visual, read), method, names)
            check_weights(init, model, f"{method.name} on {asked.backbone}")
    return [
        RunSpec(
            method=method,
            method_file=str(card.folder.resolve() / f"{card.name}.toml") if card.folder else "",
            settings=asked.settings,
            suite=suite,
            tasks=tuple(cards),
            backbone=asked.backbone,
            backbone_path=str(weights or ""),
            backbone_hash=weights_hash,
            init=str(init or ""),
            init_hash=file_hash(init) if init else "",
            edition=edition,
            root=str(root) if asked.root else "",
            encoder=encoder,
            features=tuple(map(str, folders)),
            data={task.card.name: task.fingerprint for task in tasks},
            code=outside_code(method, cards),
            seed=seed,
            limit=asked.limit,
            device=asked.device,
            max_batch=asked.max_batch,
            checkpoint_activations=asked.checkpoint_activations,
        )
        for card, method in methods
        for seed in asked.seeds
    ]


def _shapes(
    asked: Selection, weights: Path | None, visual: Visual, read: Features | None = None
) -> Backbone:
    """The backbone without its weights."""
    return build_backbone(asked.backbone, weights, meta=True, visual=visual, features=read)


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
