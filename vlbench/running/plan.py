"""Plan: selectors become run specs; what could stop a run is found before it starts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlbench.backbones import Visual, backbone_row, build_backbone, weights_files
from vlbench.cards import find_methods, find_tasks, resolve_method
from vlbench.cards.method import MethodCard
from vlbench.cards.task import Edition, TaskCard
from vlbench.checkpoints.weights import check_weights
from vlbench.data.fingerprint import file_hash
from vlbench.data.mini.edition import mini_root
from vlbench.data.prepared import prepare
from vlbench.encoders import ENCODERS, load_encoder
from vlbench.errors import MissingError, UsageError
from vlbench.metrics import require_metric
from vlbench.running.spec import RunSpec
from vlbench.techniques import parts_of
from vlbench.techniques.adapt import adapt

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
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    settings: tuple[str, ...] = ()
    device: str = "cpu"


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
    names = [task.name for task in cards]
    visual = cards[0].visual
    init = asked.init.expanduser().resolve() if asked.init else None
    for _, method in methods:
        backbone = build_backbone(asked.backbone, weights, meta=True, visual=visual)
        model = adapt(backbone, method, names)
        if init is not None:
            check_weights(init, model, f"{method.name} on {asked.backbone}")
    weights_hash = _weights_hash(asked.backbone, weights)
    encoder = load_encoder(_encoder_of(asked.backbone, visual))
    root = data_root(edition, asked.root, say)
    tasks = prepare(cards, edition, root, asked.limit, encoder, say)
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
            data={task.card.name: task.fingerprint for task in tasks},
            code=_outside_code(method, cards),
            seed=seed,
            limit=asked.limit,
            device=asked.device,
        )
        for card, method in methods
        for seed in asked.seeds
    ]


def task_edition(cards: Sequence[TaskCard], asked: str | None) -> Edition:
    """The edition asked for; else mini, or the only one that all tasks have."""
    shared = [name for name in cards[0].editions if all(name in card.splits for card in cards)]
    if asked is not None:
        for card in cards:
            if asked not in card.splits:
                known = ", ".join(card.splits)
                raise UsageError(f"Task '{card.name}' has no edition '{asked}'. Known: {known}.")
        return next(name for name in shared if name == asked)
    if "mini" in shared:
        return "mini"
    if len(shared) == 1:
        return shared[0]
    raise UsageError(
        f"Tasks {', '.join(c.name for c in cards)} share no edition: name fewer tasks."
    )


def data_root(edition: str, asked: Path | None, say: Say) -> Path:
    """The folder that holds the data; the mini edition is made on its first use."""
    if asked is not None:
        return asked.expanduser().resolve()
    if edition == "mini":
        return mini_root(lambda what: say(f"making the mini edition, first use: {what}"))
    raise UsageError(f"--edition {edition} reads the official files: --root says where they lie.")


def _encoder_of(backbone: str, visual: Visual) -> str:
    encoder = backbone_row(backbone).features[visual].encoder
    if encoder not in ENCODERS:
        raise MissingError(
            f"Backbone '{backbone}' reads {visual} features of the encoder '{encoder}', which this "
            f"version of vlbench does not have. It has: {', '.join(ENCODERS)}."
        )
    return encoder


def _outside_code(method: MethodCard, tasks: Sequence[TaskCard]) -> dict[str, str]:
    """The code that cards name by `module:name`, imported by now, with its file's hash."""
    named = {*parts_of(method.technique), *(t.reader for t in tasks), *(t.metric for t in tasks)}
    files = {
        name: getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
        for name in sorted(named)
        if ":" in name
    }
    return {name: file_hash(Path(file)) for name, file in files.items() if file}


def _weights_hash(backbone: str, path: Path | None) -> str:
    """sha256 over the backbone's files."""
    files = weights_files(backbone, path)
    return hashlib.sha256("".join(file_hash(file) for file in files).encode()).hexdigest()
