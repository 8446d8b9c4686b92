"""Every option that several commands have, once, with the configuration that stands behind them."""

from __future__ import annotations

import difflib
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from vlbench.cards.load import parse_toml
from vlbench.cli.output import note
from vlbench.errors import CardError, UsageError

if TYPE_CHECKING:
    from vlbench.config import Config
    from vlbench.leaderboard.load import Filters
    from vlbench.runs.launchers import Resources
    from vlbench.runs.plan import Selection
    from vlbench.training.train import MaxBatch
    from vlbench.verify import choosing

PREFIX = "VLBENCH"
NOT_OPTIONS = {
    "VLBENCH_CACHE": "where what can be made again is kept",
    "VLBENCH_CHECKPOINT_SECONDS": "how often a training run keeps a checkpoint",
    "VLBENCH_CONFIG": "the project's configuration file",
    "VLBENCH_FAKE_GPUS": "GPUs to pretend, for tests of the launchers",
    "VLBENCH_TORCH_INDEX": "a further package index, read by make",
}
"""Variables that no option reads, and what they are for."""
MOST = 1_000_000_000
"""Upper bound of options that count: more than there is of anything."""
HIGHEST_SEED = 2**32 - 1
"""Highest seed of NumPy's generator."""

Methods = Annotated[
    list[str] | None, typer.Option("--method", help="Only these methods, comma list or repeated.")
]
Seeds = Annotated[str | None, typer.Option(help="Only these seeds, with commas between.")]
FilterTasks = Annotated[
    list[str] | None, typer.Option(help="Only this suite (or task, or comma list of tasks).")
]
FilterBackbones = Annotated[
    list[str] | None,
    typer.Option("--backbone", help="Only these backbones, comma list or repeated."),
]
FilterEditions = Annotated[
    list[str] | None, typer.Option("--edition", help="Only these editions, comma list or repeated.")
]
Backbone = Annotated[str, typer.Option(help="The backbone to adapt.")]
BackbonePath = Annotated[Path | None, typer.Option(help="Folder with the backbone's weights.")]
Edition = Annotated[str | None, typer.Option(help="mini (generated) or full (official files).")]
Root = Annotated[Path | None, typer.Option(help="Where the data lie.")]
FullRoot = Annotated[Path | None, typer.Option(help="Where the full edition's files lie.")]
Features = Annotated[
    list[Path] | None,
    typer.Option(help="A feature store, repeatable; else those below the root are found."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", envvar="VLBENCH_SET", help="key=value over the card, repeatable."),
]
Launcher = Annotated[str, typer.Option(help="local (this machine) or slurm.")]
OutsideCode = Annotated[
    bool,
    typer.Option(
        "--outside-code",
        help="Run code that is not vlbench's and that a file from elsewhere names.",
    ),
]
Results = Annotated[Path, typer.Option(help="The results folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """How runs are started, and where they are kept."""

    launcher: Launcher = "local"
    devices: Annotated[str, typer.Option(help="auto, cpu, or GPUs' numbers, comma list.")] = "auto"
    jobs: Annotated[int, typer.Option(min=1, max=MOST, help="Runs at once on the CPU.")] = 1
    processes: Annotated[
        int, typer.Option(min=1, max=MOST, help="Processes (GPUs) that share one run.")
    ] = 1
    time_limit: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes that an attempt at a run may take.")
    ] = None
    results: Results = Path("results")
    outside_code: OutsideCode = False
    json: Json = False

    def resources(self, detach: bool = False) -> Resources:
        """What runs may use, from the options and the configuration."""
        from vlbench.config import load_config
        from vlbench.runs.launchers import Resources

        if self.time_limit is not None and not math.isfinite(self.time_limit):
            raise UsageError(f"--time-limit {self.time_limit}: should be a number of minutes.")
        return Resources(
            launcher=self.launcher,
            devices=self.devices,
            jobs=self.jobs,
            processes=self.processes,
            time_limit_minutes=self.time_limit,
            slurm=load_config().slurm,
            detach=detach,
        )


@dataclass(frozen=True, kw_only=True)
class RunOptions(LaunchOptions):
    """The options of `run` and `plan`: which runs, and how they are started."""

    method: Annotated[
        list[str], typer.Option("--method", help="Methods or card files, with commas between.")
    ]
    tasks: Annotated[str, typer.Option(help="A suite, a task, or tasks with commas between.")]
    backbone: Backbone = "mini-bart"
    backbone_path: BackbonePath = None
    init: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from: an imported checkpoint or a run's adapter.safetensors."
        ),
    ] = None
    edition: Edition = None
    root: Root = None
    encoder: Annotated[
        str | None,
        typer.Option(help="Read features of this frozen encoder, not of the backbone's own."),
    ] = None
    features: Features = None
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between.")] = "0"
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST, help="At most so many examples a task and split: a smoke run."
        ),
    ] = None
    settings: Settings = None
    max_batch: Annotated[
        str | None,
        typer.Option(
            help="Examples computed at once: a number, or auto for what fits. Batches stay the "
            "card's."
        ),
    ] = None
    checkpoint_activations: Annotated[
        bool,
        typer.Option(
            "--checkpoint-activations", help="Less memory: activations are computed twice."
        ),
    ] = False

    def selection(self, device: str) -> Selection:
        """The runs that the options select; `device` is cpu or cuda."""
        from vlbench.runs.plan import Selection

        return Selection(
            methods=tuple(self.method),
            tasks=self.tasks,
            backbone=self.backbone,
            backbone_path=self.backbone_path,
            init=self.init,
            edition=self.edition,
            root=self.root,
            encoder=self.encoder,
            features=tuple(self.features or ()),
            seeds=numbers(self.seeds),
            limit=self.limit,
            settings=merged_settings(self.settings),
            device=device,
            max_batch=_micro_batch(self.max_batch),
            checkpoint_activations=self.checkpoint_activations,
        )


@dataclass(frozen=True, kw_only=True)
class BoardOptions:
    """Which results a leaderboard is made of."""

    tasks: FilterTasks = None
    backbone: FilterBackbones = None
    edition: FilterEditions = None
    include: Annotated[
        list[str] | None,
        typer.Option(help="smoke: runs with --limit too, in a table or on axes of their own."),
    ] = None
    results: Results = Path("results")

    def filters(self, methods: list[str] | None = None, **more: Any) -> Filters:
        """The options as `read_boards` takes them."""
        from vlbench.backbones import BACKBONES
        from vlbench.leaderboard.load import Filters

        chosen = (self.tasks or (), self.backbone or (), self.edition or (), self.include or ())
        return Filters(*chosen, BACKBONES, methods or (), **more)


@dataclass(frozen=True, kw_only=True)
class DoneOptions:
    """Which runs that are done are verified or packed."""

    results: Results = Path("results")
    method: Methods = None
    tasks: FilterTasks = None
    backbone: FilterBackbones = None
    edition: FilterEditions = None
    seeds: Seeds = None

    def filters(self) -> choosing.Filters:
        """The options as `choose` takes them."""
        from vlbench.verify.choosing import Filters

        return Filters(
            methods=self.method or (),
            tasks=self.tasks or (),
            backbones=self.backbone or (),
            editions=self.edition or (),
            seeds=numbers(self.seeds) if self.seeds else (),
        )


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of each dataclass among its parameters, in that place."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if name in groups:
            parameters += _parameters(groups[name])
        else:
            kind = Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[name], kind=kind))

    @wraps(command)
    def expanded(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    expanded.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return expanded


def _parameters(kind: Any) -> list[Parameter]:
    """The fields of a dataclass as parameters: its own before those of its base."""
    hints = get_type_hints(kind, include_extras=True)
    own = kind.__annotations__
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=getattr(kind, field.name, Parameter.empty),
            annotation=hints[field.name],
        )
        for field in sorted(fields(kind), key=lambda field: field.name not in own)
    ]


def numbers(text: str) -> tuple[int, ...]:
    """The seeds of a comma list, without repetitions."""
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"--seeds {text}: should be whole numbers, for example 0,1,2.") from None
    if any(not 0 <= seed <= HIGHEST_SEED for seed in seeds):
        raise UsageError(f"--seeds {text}: a seed is 0 or more and at most {HIGHEST_SEED}.")
    return seeds


def _micro_batch(text: str | None) -> MaxBatch:
    """The value of `--max-batch`."""
    if text is None or text == "auto":
        return "auto" if text else None
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise UsageError(f"--max-batch {text}: should be a number from 1, or auto.")
    return int(text)


def default_map(command: Any) -> dict[str, Any]:
    """Defaults of a command's options from the configuration files, below variables.

    `doctor` starts without a faulty file, as it reports what is wrong with it.
    """
    from vlbench.config import option_defaults

    try:
        values = option_defaults()
    except CardError:
        if command.name != "doctor":
            raise
        return {}
    defaults = {}
    for option in options_of(command):
        if option.name in values:
            value = values[option.name]
            # one command's list is another one's comma list
            is_single = option.multiple and not isinstance(value, list)
            defaults[option.name] = [value] if is_single else value
    return defaults


def merged_settings(given: Iterable[str] | None) -> tuple[str, ...]:
    """`--set` over `VLBENCH_SET` over `[set]`, key by key; notes what comes from a file."""
    from vlbench.config import load_config

    config = load_config()
    typed = settings_by_key([*variable_settings(), *(given or ())])
    written = {
        key: f"{key}={_as_typed(value)}"
        for key, value in config.card_settings.items()
        if key not in typed
    }
    for key, setting in written.items():
        note(f"{config.sources[f'set.{key}']}: {setting}")
    return (*written.values(), *typed.values())


def refuse_outside_code(context: typer.Context) -> None:
    """Refuse code that the project's file names and this command would run without --outside-code.

    What the command line, variables and the user's own file name is the user's choice.
    """
    from vlbench.config import load_config

    if not context.params.get("outside_code"):
        config = load_config()
        config.refuse_code(_keys_that_name_code(context, config))


def _keys_that_name_code(context: typer.Context, config: Config) -> Iterator[str]:
    """Keys of files that count in this command and whose values are code, or name some."""
    from vlbench.cards.load import find_tasks, split_names

    given = context.params

    def from_file(option: str) -> str:
        source = context.get_parameter_source(option)
        is_default = source is not None and source.name == "DEFAULT_MAP"
        return str(given[option]) if is_default else ""

    if ":" in from_file("encoder"):
        yield "encoder"
    if tasks := from_file("tasks"):
        cards = [card for name in split_names(tasks) for card in find_tasks(name)[1]]
        if any(":" in f"{card.reader}{card.metric}{card.submission}" for card in cards):
            yield "tasks"
    if "settings" in given:
        typed = settings_by_key([*variable_settings(), *(given["settings"] or ())])
        if "technique" not in typed and ":" in str(config.card_settings.get("technique")):
            yield "set.technique"
    if given.get("launcher") == "slurm":
        yield from (key for key in config.sources if key.startswith(("slurm.setup", "slurm.extra")))


def note_unknown_variables(root: Any) -> None:
    """Warn of variables that begin like ours and that nothing reads."""
    names = sorted(name for name in os.environ if name.startswith(f"{PREFIX}_"))
    known = {*NOT_OPTIONS, *map(variable_of, all_options(root))} if names else set()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f" Did you mean {close[0]}?" if close else ""
            note(f"vlbench: nothing reads the variable {name}.{guess}")


def options_of(command: Any) -> list[Any]:
    """The options of one command, as Typer made them."""
    return [option for option in command.params if option.param_type_name == "option"]


def all_options(command: Any) -> Iterator[Any]:
    """The options of all subcommands."""
    for subcommand in getattr(command, "commands", {}).values():
        yield from options_of(subcommand)
        yield from all_options(subcommand)


def variable_of(option: Any) -> str:
    """The environment variable of an option."""
    return str(option.envvar or f"{PREFIX}_{option.name.upper()}")


def variable_settings() -> list[str]:
    """The settings of VLBENCH_SET, parted as Typer parts them."""
    return os.environ.get(f"{PREFIX}_SET", "").split()


def settings_by_key(settings: Iterable[str]) -> dict[str, str]:
    """The last setting of each key."""
    return {text.partition("=")[0].strip(): text for text in settings}


def _as_typed(value: object) -> str:
    """A value as one types it after `--set key=`: words that TOML would not take stay bare."""
    if isinstance(value, str):
        try:
            parse_toml(f"value = {value}", "")
        except (tomllib.TOMLDecodeError, CardError):
            return value
    return json.dumps(value, ensure_ascii=False)
