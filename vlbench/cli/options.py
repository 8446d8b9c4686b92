"""The options of commands: those that several have, once, and where their values come from.

Values come from the command line, then variables, then configuration files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from vlbench.cli import note
from vlbench.errors import CardError, UsageError, nearest

if TYPE_CHECKING:
    from vlbench.leaderboard.load import Filters
    from vlbench.runs.launch import Resources
    from vlbench.runs.plan import Selection

PREFIX = "VLBENCH"
MOST = 1_000_000_000
"""Upper bound of options that count."""
HIGHEST_SEED = 2**32 - 1
"""Highest seed of NumPy's generator."""


def option(default: Any, help: str, *names: str, **more: Any) -> Any:
    """Declare an option as a parameter's default; `...` makes it a required one."""
    return typer.Option(default, *names, help=help, **more)


def flag(name: str, help: str) -> Any:
    """Declare a switch."""
    return typer.Option(False, name, help=help)


def count(default: int | None, help: str, least: int = 1) -> Any:
    """Declare an option that counts."""
    return typer.Option(default, help=help, min=least, max=MOST)


def argument(default: Any, help: str, **more: Any) -> Any:
    """Declare a word without an option's name."""
    return typer.Argument(default, help=help, **more)


BACKBONE = option("mini-bart", "The backbone: a name, card, folder or hub name.")
BACKBONE_PATH = option(None, "Folder with the backbone's weights.")
EDITION = option(None, "mini (generated) or full (official files).")
ROOT = option(None, "Where the data lie.")
FULL_ROOT = option(None, "Where the full edition's files lie.")
SETTINGS = option(None, "key=value over the card, repeatable.", "--set", envvar="VLBENCH_SET")
METHODS = option(None, "Only these methods, comma list or repeated.", "--method")
SEEDS = option(None, "Only these seeds, with commas between.")
RESULTS = option(Path("results"), "The results folder.")
DEVICE = option("auto", "auto, cpu, or a GPU's number.")
JSON = flag("--json", "Print JSON.")
OUTSIDE_CODE = flag("--outside-code", "Run code that a file from elsewhere names.")


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """Which methods train on what: runs but for their seeds."""

    method: list[str] = option(..., "Methods or card files, with commas between.", "--method")
    tasks: str = option(..., "A suite, a task, or tasks with commas between.")
    backbone: str = BACKBONE
    backbone_path: Path | None = BACKBONE_PATH
    init: Path | None = option(None, "Weights to start from: a run's or import-checkpoint's.")
    edition: str | None = EDITION
    root: Path | None = ROOT
    encoder: str | None = option(None, "Read features of this encoder, not the backbone's.")
    features: list[Path] | None = option(None, "A feature store, repeatable; else below the root.")
    limit: int | None = count(None, "At most so many examples a task and split: a smoke run.")
    settings: list[str] | None = SETTINGS
    max_batch: str | None = option(None, "Examples computed at once: a number, or auto: what fits.")
    checkpoint_activations: bool = flag("--checkpoint-activations", "Less memory, more time.")

    def selection(self, device: str, **more: Any) -> Selection:
        """The runs that the options select; `device` is cpu or cuda."""
        from vlbench.runs.plan import Selection

        batch = self.max_batch
        if batch and batch != "auto" and not re.fullmatch("[1-9][0-9]{0,8}", batch):
            raise UsageError(f"--max-batch {batch}: should be a number from 1, or auto.")
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {
            "methods": tuple(values.pop("method")),
            "features": tuple(self.features or ()),
            "settings": merged_settings(self.settings),
            "max_batch": int(batch) if batch and batch != "auto" else batch or None,
        }
        return Selection(**{**values, **more}, device=device)


@dataclass(frozen=True, kw_only=True)
class RunOptions(CellOptions):
    """Which runs `run` does and `plan` shows."""

    seeds: str = option("0", "Seeds, with commas between.")

    def selection(self, device: str, **more: Any) -> Selection:
        """The runs that the options select; `device` is cpu or cuda."""
        return super().selection(device, seeds=seed_numbers(self.seeds), **more)


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """How runs are started, and where they are kept."""

    launcher: str = option("local", "local (this machine) or slurm.")
    devices: str = option("auto", "auto, cpu, or GPUs' numbers, comma list.")
    jobs: int = count(1, "Runs at once on the CPU.")
    processes: int = count(1, "Processes (GPUs) that share one run.")
    time_limit: float | None = option(None, "Minutes that an attempt at a run may take.", min=0.01)
    results: Path = RESULTS
    outside_code: bool = OUTSIDE_CODE
    json: bool = JSON

    def resources(self) -> Resources:
        """What runs may use, from the options and the configuration."""
        from vlbench.config import load_config
        from vlbench.runs.launch import Resources

        shared = (self.jobs, self.processes, self.time_limit, load_config().slurm)
        return Resources(self.launcher, self.devices, *shared)


@dataclass(frozen=True, kw_only=True)
class StoredOptions:
    """Which stored runs a command reads."""

    tasks: list[str] | None = option(None, "Only this suite (or task, or comma list of tasks).")
    backbone: list[str] | None = option(None, "Only these backbones, comma list or repeated.")
    edition: list[str] | None = option(None, "Only these editions, comma list or repeated.")
    results: Path = RESULTS


@dataclass(frozen=True, kw_only=True)
class BoardOptions(StoredOptions):
    """Which results a leaderboard is made of."""

    include: list[str] | None = option(None, "smoke: show runs with --limit too.")

    def filters(self, methods: list[str] | None = None, **more: Any) -> Filters:
        """The options as `read_boards` takes them."""
        from vlbench.leaderboard.load import Filters

        chosen = (self.tasks or (), self.backbone or (), self.edition or (), self.include or ())
        return Filters(*chosen, methods or (), **more)


@dataclass(frozen=True, kw_only=True)
class DoneOptions(StoredOptions):
    """Which runs that are done are verified or packed."""

    method: list[str] | None = METHODS
    seeds: str | None = SEEDS

    def filters(self) -> Filters:
        """The options as `choose` takes them."""
        from vlbench.leaderboard.load import Filters

        return Filters(
            tasks=self.tasks or (),
            backbone=self.backbone or (),
            edition=self.edition or (),
            methods=self.method or (),
            seeds=seed_numbers(self.seeds) if self.seeds else (),
        )


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of each dataclass among its parameters, in that place."""
    groups: dict[str, Any] = {}
    parameters: list[Parameter] = []
    for parameter in _parameters(command):
        if is_dataclass(kind := parameter.annotation):
            groups[parameter.name] = kind
        parameters += _parameters(kind) if is_dataclass(kind) else [parameter]

    @wraps(command)
    def expanded(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values)

    expanded.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return expanded


def _parameters(function: Any) -> list[Parameter]:
    """The parameters of a command or dataclass as Typer takes them."""
    hints = get_type_hints(function)
    return [
        parameter.replace(annotation=hints[parameter.name], kind=Parameter.KEYWORD_ONLY)
        for parameter in signature(function).parameters.values()
    ]


def torch_device(name: str) -> str:
    """The device of --device as torch calls it; auto is the first GPU, else the CPU."""
    import torch

    gpus = {str(number): f"cuda:{number}" for number in range(torch.cuda.device_count())}
    devices = {"auto": gpus.get("0", "cpu"), "cpu": "cpu", **gpus}
    if name not in devices:
        raise UsageError(f"--device {name}: {nearest(name, devices)}")
    return devices[name]


def seed_numbers(text: str) -> tuple[int, ...]:
    """The seeds of a comma list, without repetitions."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,10}", part) and int(part) <= HIGHEST_SEED for part in parts):
        kind = f"whole numbers from 0 to {HIGHEST_SEED}, for example 0,1,2"
        raise UsageError(f"--seeds {text}: should be {kind}.")
    return tuple(dict.fromkeys(map(int, parts)))


def default_map(command: Any) -> dict[str, Any]:
    """Defaults of a command's options from the configuration files, below variables."""
    from vlbench.config import load_config

    config = load_config()
    defaults: dict[str, Any] = {}
    for option in command.params:
        if option.name in config.options and option.param_type_name == "option":
            value = config.options[option.name]
            parts = [str(part) for part in (value if isinstance(value, list) else [value])]
            typed = parts if option.multiple else ",".join(parts)  # as on the command line
            try:
                option.process_value(typer.Context(command), typed)
            except typer.BadParameter as error:
                raise CardError(f"{config.file}: {option.name}: {error.message}") from None
            defaults[option.name] = typed
    return defaults


def merged_settings(typed: Iterable[str] | None) -> tuple[str, ...]:
    """`--set` over `VLBENCH_SET` over `[set]`, key by key; notes what comes from a file."""
    from vlbench.config import load_config

    config = load_config()
    settings = [*os.environ.get(f"{PREFIX}_SET", "").split(), *(typed or ())]
    by_key = {text.partition("=")[0].strip(): text for text in settings}
    defaults = config.card_settings.items()
    written = [f"{key}={_as_typed(value)}" for key, value in defaults if key not in by_key]
    for setting in written:
        note(f"{config.file}: {setting}")
    return (*written, *by_key.values())


def _as_typed(value: object) -> str:
    """A value as one types it after `--set key=`: a word is no TOML, and stays bare."""
    if isinstance(value, str) and re.fullmatch(r"(?!true$|false$|inf$|nan$)[A-Za-z][^\s]*", value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def refuse_outside_code(context: typer.Context) -> None:
    """Refuse code that the project's file names and this command would run without --outside-code.

    What the command line, variables and a file that VLBENCH_CONFIG names is the user's choice.
    """
    from vlbench.cards.load import find_tasks, split_names
    from vlbench.config import load_config

    values, config = context.params, load_config()
    if values.get("outside_code") or config.is_own:
        return

    def from_file(name: str) -> str:
        source = context.get_parameter_source(name)
        return str(values[name]) if source and source.name == "DEFAULT_MAP" else ""

    keys = ["encoder"] if ":" in from_file("encoder") else []
    if tasks := from_file("tasks"):
        cards = [card for name in split_names(tasks) for card in find_tasks(name)[1]]
        if any(":" in f"{card.reader}{card.metric}{card.submission}" for card in cards):
            keys.append("tasks")
    if "settings" in values and ":" in str(config.card_settings.get("technique")):
        keys.append("set.technique")
    if values.get("launcher") == "slurm":
        keys += [f"slurm.{key}" for key in ("setup", "extra") if getattr(config.slurm, key)]
    if keys:
        raise UsageError(
            f"{config.file}: {keys[0]}: names code to run, and anyone may have written this file. "
            "--outside-code allows it; so does VLBENCH_CONFIG, which makes the file your own."
        )
