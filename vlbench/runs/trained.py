"""A run's trained model: which run is meant, its weights, and the model built from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import join

from accelerate.utils import set_seed

from vlbench.backbones import find_backbone
from vlbench.cards.backbone import Features
from vlbench.checkpoints.weights import load_weights, read_tensors
from vlbench.data.hashes import file_hash
from vlbench.errors import DataError, MissingError, UsageError
from vlbench.runs.callbacks import read_curve
from vlbench.runs.folder import RunFolder, find_runs, several_runs
from vlbench.runs.plan import adapted, backbone_hash
from vlbench.runs.spec import RunSpec
from vlbench.techniques.adapt import AdaptedModel, load_trained_state

VISUAL_WEIGHT = "backbone.visual.feature.0.weight"
"""The projection of features (C, feature width) in an encoder-decoder's visual embedding."""


def find_best_seed(
    results: Path, text: str, task: str | None, say: Callable[[str], None]
) -> RunFolder:
    """The run that the words name; of runs that differ in their seed alone, the best on validation.

    The folder of an exported adapter is a run, too.

    So a method's name is enough: it means the method as its card is, on all of the data, where
    there are such runs. `task` leaves out runs without it, and its score decides; else it is the
    average of the run's tasks.
    """
    exported = RunFolder(Path(text))
    if exported.adapter.is_file() and exported.spec_file.is_file():
        return exported
    matches = find_runs(results, text)
    if len(matches) == 1:
        return matches[0]
    if matches[0].path.name.startswith(text):  # of a key
        raise several_runs(text, matches)
    groups: dict[str, list[tuple[RunFolder, RunSpec]]] = {}
    for folder in matches:
        spec = RunSpec.read(folder.spec_file)
        if task is None or task in spec.task_names:
            groups.setdefault(spec.model_copy(update={"seed": 0}).key, []).append((folder, spec))
    as_is = [runs for runs in groups.values() if _is_as_its_card(runs[0][1])]
    chosen = as_is or [*groups.values()]
    if len(chosen) != 1:
        raise several_runs(text, matches)
    by_seed = sorted(chosen[0], key=lambda run: run[1].seed)
    scores = {
        folder: _validated(folder, spec, task)
        for folder, spec in by_seed
        if folder.adapter.is_file()
    }
    known = {folder: score for folder, score in scores.items() if score is not None}
    best = max(known, key=known.__getitem__) if known else next(iter(scores), by_seed[0][0])
    seeds = {folder: spec.seed for folder, spec in by_seed}
    why = f"best on validation, {known[best]:.2f}" if known else "no validation is on record"
    if scores:
        listed = ", ".join(str(seeds[folder]) for folder in scores)
        say(f"{text}: seed {seeds[best]} of {listed}: {why}")
    return best


def _is_as_its_card(spec: RunSpec) -> bool:
    return spec.scope == "complete" and not (spec.overrides or spec.init)


def _validated(folder: RunFolder, spec: RunSpec, task: str | None) -> float | None:
    """Main metric of the task, else the average, at the end of training; None: not on record."""
    lines = read_curve(folder.curve, 1, spec.method.train.epochs)
    validations = [line["validation"] for line in lines if "validation" in line]
    last = validations[-1] if validations else {}
    cards = [card for card in spec.tasks if card.name == task] or spec.tasks
    values = [last.get(f"{card.name}.{card.main_metric}") for card in cards]
    known = [value for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if len(known) == len(values) else None


def weights_of(folder: RunFolder, spec: RunSpec) -> Path:
    """The file of what a run trained; an error says why there is none and how to get it."""
    if folder.adapter.is_file():
        return folder.adapter
    absent = f"{folder.path}: no {folder.adapter.name}"
    if not folder.is_done:
        raise UsageError(f"{absent}: the run has not trained yet.")
    options = {
        "--method": spec.method_file or spec.method.name,
        "--tasks": ",".join(spec.task_names),
        "--backbone": spec.backbone_reference,
        "--backbone-path": spec.backbone_path,
        "--init": spec.init,
        "--edition": spec.edition,
        "--root": spec.root,
        "--encoder": spec.encoder,
        "--limit": str(spec.limit or ""),
        "--seeds": str(spec.seed),
    }
    words = [word for option in options.items() if option[1] for word in option]
    words += [word for setting in spec.settings for word in ("--set", setting)]
    words += [word for store in spec.features for word in ("--features", store)]
    raise MissingError(
        f"{absent}: these results were stored without the weights. Train them again in another "
        f"folder: vlbench run {join([*words, '--results', 'again'])}"
    )


def features_of(spec: RunSpec, weights: Path) -> Features | None:
    """The features that it read, of another encoder with the width of what was trained on them."""
    if not spec.encoder:
        return None
    state = read_tensors(weights)
    if VISUAL_WEIGHT not in state:
        raise UsageError(f"{spec.name}: its visual embedding is not among what it trained.")
    own = find_backbone(spec.backbone_reference).features_of(spec.tasks[0].visual)
    return own.of(spec.encoder, state[VISUAL_WEIGHT].shape[1])


def trained_model(spec: RunSpec, weights: Path) -> AdaptedModel:
    """The run's model with what it trained; what it started from must be as it was."""
    card, visual = find_backbone(spec.backbone_reference), spec.tasks[0].visual
    path = Path(spec.backbone_path) if spec.backbone_path else None
    if backbone_hash(card, path, visual) != spec.backbone_hash:
        raise DataError(f"The weights of '{spec.backbone}' here are not those that the run read.")
    if spec.init_hash and file_hash(Path(spec.init)) != spec.init_hash:
        raise DataError(f"{spec.init}: it is not the file that the run began from.")
    set_seed(spec.seed)  # as when it trained: what is new and frozen is drawn
    model = adapted(spec, features_of(spec, weights))
    if spec.init_hash:
        load_weights(Path(spec.init), model, f"{spec.method.name} on {spec.backbone}")
    load_trained_state(model, read_tensors(weights), str(weights))
    return model.eval()


def task_named(names: Sequence[str], task: str | None) -> str:
    """The task of a run that --task names; without it the only one."""
    name = names[0] if task is None and len(names) == 1 else task
    if name is None or name not in names:
        given = "--task" if task is None else f"--task {task}"
        raise UsageError(f"{given}: the run has {', '.join(names)}: say which.")
    return name
