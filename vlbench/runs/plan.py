"""Plan: selectors become run specs, and what each of them reads is checked before it starts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from vlbench.backbones import build_backbone, find_backbone, weights_files
from vlbench.cards import find_methods, find_tasks
from vlbench.cards.backbone import BackboneCard, Features
from vlbench.cards.load import card_hash
from vlbench.cards.schema import Edition, MethodCard, TaskCard, Visual
from vlbench.checkpoints.weights import check_weights
from vlbench.data.hashes import file_hash
from vlbench.data.mini.write import mini_root
from vlbench.data.pictures import PictureSpec
from vlbench.data.prepare import FeatureSpec, PreparedTask, prepare
from vlbench.data.readers import card_reader
from vlbench.data.stores.base import Store
from vlbench.encoders import ENCODERS, load_encoder
from vlbench.errors import DataError, UsageError, nearest
from vlbench.metrics import load_metric, require_metric
from vlbench.runs.spec import RunSpec
from vlbench.techniques import parts_of, resolve_method, technique_faults
from vlbench.techniques.adapt import AdaptedModel, adapt, check_reached
from vlbench.training.train import MaxBatch

Say = Callable[[str], None]
OF_TRAINING = (
    *("learning_rate", "epochs", "batch_size", "warmup_ratio", "weight_decay", "clip_norm"),
    *("dropout", "order", "norms", "projector", "optimiser"),
)
"""Training settings that change nothing where nothing trains."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Selectors of runs, as the options of `vlbench run` give them."""

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
    is_trial: bool = False
    settings: tuple[str, ...] = ()
    device: str = "cpu"
    max_batch: MaxBatch = None
    checkpoint_activations: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run reads: where its data lie, its tasks, and the features of its backbone."""

    root: Path
    tasks: list[PreparedTask]
    features: Features | None
    """None: it reads pictures."""

    @property
    def fingerprints(self) -> dict[str, str]:
        """Task -> data fingerprint."""
        return {task.card.name: task.fingerprint for task in self.tasks}


def plan(selection: Selection, say: Say = lambda _: None) -> list[RunSpec]:
    """Return a spec for each method and seed, checked: cards, widths, data, features, Java."""
    suite, cards = find_tasks(selection.tasks)
    edition = task_edition(cards, selection.edition)
    visual = cards[0].visual
    own = find_backbone(selection.backbone)  # an unknown name before a card's overrides for it
    methods = []
    for card in find_methods(selection.methods, technique_faults):
        settings = _settings_for(card, selection.settings, say)
        resolved = resolve_method(card, own.name, suite, settings, own.like)
        methods.append((resolved, card.outside_file, settings))
    for task in cards:
        check_metric(task)
    given = (selection.backbone_path, selection.init, selection.root)
    weights, init, root = (path and path.expanduser().resolve() for path in given)
    check_pictures(own, selection)
    is_own = not selection.encoder or selection.encoder == own.features_of(visual).encoder
    same = {
        "suite": suite,
        "tasks": tuple(cards),
        "backbone": own.name,
        "backbone_file": own.reference if own.reference != own.name else "",
        "backbone_path": str(weights or ""),
        "init": str(init or ""),
        "edition": edition,
        "root": str(root or ""),
        "encoder": "" if is_own else str(selection.encoder),
        "features": tuple(str(path.expanduser().resolve()) for path in selection.features),
        "limit": selection.limit,
        "is_trial": selection.is_trial,
        "device": selection.device,
        "max_batch": selection.max_batch,
        "checkpoint_activations": selection.checkpoint_activations,
    }
    specs = [
        RunSpec(
            method=method,
            method_file=file,
            settings=settings,
            backbone_hash="",
            data={},
            seed=0,
            **same,
        )
        for method, file, settings in methods
    ]
    for spec in specs:
        check_reached(adapted(spec, meta=True), spec.task_names, spec.method.shown)
    hashes = {"backbone_hash": backbone_hash(own, weights, visual)}
    # a login node has no GPU
    inputs = read_inputs(specs[0], say, selection.device if torch.cuda.is_available() else "cpu")
    if init is not None:
        for spec in specs:
            model = adapted(spec, inputs.features, meta=True)
            check_weights(init, model, f"{spec.method.name} on {spec.backbone}")
        hashes["init_hash"] = file_hash(init)
    update = {**hashes, "data": inputs.fingerprints}
    return [
        spec.model_copy(update={**update, "code": outside_code(spec.method, cards), "seed": seed})
        for spec in specs
        for seed in selection.seeds
    ]


def check_metric(card: TaskCard) -> None:
    """Raise where a task's metric is unknown, or could not be computed here."""
    require_metric(card.metric)
    try:
        load_metric(card.metric)
    except UsageError as error:
        raise UsageError(f"{card.shown}: metric: {error}") from None


def _settings_for(card: MethodCard, settings: tuple[str, ...], say: Say) -> tuple[str, ...]:
    """The settings without those of training, for a method that trains nothing."""
    if card.train.epochs:
        return settings
    names = tuple(f"train.{name}=" for name in OF_TRAINING)
    left_out = [text for text in settings if text.replace(" ", "").startswith(names)]
    if left_out:
        say(f"{card.name} trains nothing: {', '.join(left_out)} left out for it")
    return tuple(text for text in settings if text not in left_out)


def backbone_hash(card: BackboneCard, path: Path | None, visual: Visual) -> str:
    """sha256 over the backbone's files, those in `path` where it is given, and its card."""
    files = weights_files(card.reference, path, visual)
    parts = "".join(map(file_hash, files)) + card_hash(card)
    return hashlib.sha256(parts.encode()).hexdigest()


def adapted(spec: RunSpec, features: Features | None = None, meta: bool = False) -> AdaptedModel:
    """Build the run's backbone with its technique; `meta`: for its shapes, without weights."""
    backbone = build_backbone(
        spec.backbone_reference,
        Path(spec.backbone_path) if spec.backbone_path else None,
        meta=meta,
        visual=spec.tasks[0].visual,
        features=features,
        weights=spec.method.train.weights,
    )
    model = adapt(backbone, spec.method, spec.task_names)
    if spec.checkpoint_activations:
        model.checkpoint_activations()
    return model


def read_inputs(spec: RunSpec, say: Say = lambda _: None, device: str | None = None) -> Inputs:
    """Find and read the data and features of a run; encoders run on `device`."""
    visual = spec.tasks[0].visual
    root = data_root(spec.tasks, spec.edition, Path(spec.root) if spec.root else None, say)
    folders = tuple(map(Path, spec.features))
    backbone = spec.backbone_reference
    features = feature_spec_for(backbone, visual, spec.encoder, folders, device or spec.device)
    tasks = prepare(spec.tasks, spec.edition, root, spec.limit, features, say)
    if isinstance(features, PictureSpec):
        return Inputs(root, tasks, None)
    widths = {t.card.name: t.store.width for t in tasks if isinstance(t.store, Store)}
    if len(set(widths.values())) > 1:
        text = ", ".join(f"{task} {width}" for task, width in widths.items())
        raise DataError(f"The features of tasks that train together differ in width: {text}.")
    own = find_backbone(backbone).features_of(visual)
    encoded = own.of(spec.encoder, widths[tasks[0].card.name]) if spec.encoder else own
    return Inputs(root, tasks, encoded)


def check_pictures(backbone: BackboneCard, selection: Selection) -> None:
    """Raise UsageError where a backbone that reads pictures is to read something else."""
    if not backbone.reads_pictures:
        return
    given = {"--encoder": selection.encoder, "--features": selection.features}
    for option in (option for option, value in given.items() if value):
        raise UsageError(f"{option}: '{backbone.name}' reads pictures, not features: leave it out.")


def task_edition(cards: Sequence[TaskCard], edition: str | None) -> Edition:
    """Return this edition where all tasks have it; of None mini, or the only one they share."""
    shared = [name for name in cards[0].editions if all(name in card.splits for card in cards)]
    if edition in shared:
        return next(name for name in shared if name == edition)
    for card in cards if edition else ():
        if edition not in card.splits:
            known = ", ".join(card.splits)
            raise UsageError(f"Task '{card.name}' has no edition '{edition}'. Known: {known}.")
    if "mini" in shared or len(shared) == 1:
        return "mini" if "mini" in shared else shared[0]
    names = ", ".join(card.name for card in cards)
    raise UsageError(f"Tasks {names} share no edition: name fewer tasks.")


def data_root(
    cards: Sequence[TaskCard], edition: str, root: Path | None, say: Say = lambda _: None
) -> Path:
    """Return the folder that holds the data; the mini edition is made on its first use.

    Datasets that come as a Python package, or in files that their cards name, need none.
    """
    if root is not None:
        return root.expanduser().resolve()
    if edition == "mini":
        return mini_root(cards[0].visual, lambda what: say(f"making the mini edition: {what}"))
    if not any(card_reader(card, Path()).needs_root for card in cards):
        return Path()
    raise UsageError(f"--edition {edition} reads the official files: --root says where they lie.")


def feature_spec_for(
    backbone: str, visual: Visual, encoder: str, folders: tuple[Path, ...], device: str = "cpu"
) -> FeatureSpec | PictureSpec:
    """Return the features to look for, of `encoder` or, where it is empty, the backbone's own.

    A chat model reads pictures.
    """
    card = find_backbone(backbone)
    if card.reads_pictures:
        return PictureSpec(card.frames)
    own = card.features_of(visual)
    name = encoder or own.encoder
    if name not in ENCODERS and ":" not in name and not folders:
        raise UsageError(
            f"Unknown encoder '{name}'. {nearest(name, ENCODERS)} Your own is named "
            '"module:function"; features that are there are named with --features.'
        )
    return FeatureSpec(
        encoder=name,
        tokens=own.tokens,
        width=own.width if name == own.encoder else None,
        load=cache(lambda: load_encoder(name, device=device)),
        folders=folders,
    )


def outside_code(method: MethodCard, tasks: Sequence[TaskCard]) -> dict[str, str]:
    """Hash the files of the code that cards name by `module:name`, imported by now."""
    named = {*parts_of(method.technique), *(t.reader for t in tasks), *(t.metric for t in tasks)}
    files = {
        name: getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
        for name in sorted(named)
        if ":" in name
    }
    return {name: file_hash(Path(file)) for name, file in files.items() if file}
