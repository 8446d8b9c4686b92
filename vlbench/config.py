"""Configuration files: defaults of the command line, overrides of cards, and Slurm's settings.

The project's file is `vlbench.toml` in the working folder or the nearest one above it, the user's
is `vlbench/config.toml` below the folder for configuration. The project's values win, key by key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from vlbench.cards.load import merge, read_table
from vlbench.cards.schema import CardFile, Checked, Edition, Override, check, dotted, refuse
from vlbench.errors import CardError, UsageError
from vlbench.text import printable

PROJECT_FILE = "vlbench.toml"
USER_FILE = "vlbench/config.toml"
ONLY_YOURS = f"Only --outside-code and a file of your own, ~/.config/{USER_FILE}, may say this."
NOT_OPTIONS = {"cache", "set", "slurm"}
"""Keys that are no option's default."""


def _comma_list(value: object) -> object:
    """`[0, 1]` and `0` as the command line spells them: "0,1" and "0"."""
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, bool) or not isinstance(part, str | int) for part in parts):
        raise ValueError("Should be a name or number, or a list of them")
    return ",".join(map(str, parts))


def _single(value: object) -> object:
    if not isinstance(value, str | int | float):
        raise ValueError("Should be a single value, as an option of sbatch takes it")
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """Text that stays in one line of a job's script."""
    if printable(text) != text:
        raise ValueError("Should be one line without control characters")
    return text


def _option(name: str) -> str:
    """An option of sbatch as a key of `extra`."""
    if not re.fullmatch(r"(--)?[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError("Should be the name of an option of sbatch")
    return name


CommaList = Annotated[str, BeforeValidator(_comma_list)]
Line = Annotated[str, AfterValidator(_plain)]
Option = Annotated[str, AfterValidator(_option)]
Single = Annotated[Any, BeforeValidator(_single)]


class SlurmSettings(Checked):
    """`[slurm]`: what jobs of `--launcher slurm` ask for; what is left out, the cluster decides."""

    partition: Line | None = None
    """The partition, or several with commas between."""
    account: Line | None = None
    """The account that is charged."""
    qos: Line | None = None
    """The quality of service."""
    constraint: Line | None = None
    """Features that a node must have."""
    time_minutes: int | None = Field(default=None, ge=1)
    """Time limit of a job; a run that needs longer is requeued and goes on."""
    cpus_per_task: int | None = Field(default=None, ge=1)
    """Processors of a job."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Memory of a job."""
    gpus_per_node: int | None = Field(default=None, ge=0)
    """GPUs of a job."""
    array_parallelism: int = Field(default=256, ge=1)
    """At most so many jobs of a plan at once."""
    signal_seconds: int = Field(default=90, ge=1)
    """How long before the time limit a job is warned, so that it writes a checkpoint."""
    setup: tuple[Line, ...] = ()
    """Shell lines before the worker, such as `module load cuda`."""
    extra: dict[Option, Single] = {}
    """Further options of sbatch, passed through as they are."""


class CardSettings(Override):
    """`[set]`: what `--set` changes in a card."""

    technique: str = ""
    """In place of the card's technique."""


class Settings(Checked):
    """Keys of a configuration file."""

    tasks: CommaList | None = None
    """A suite, a task, or several."""
    backbone: str | None = None
    """The backbone to adapt."""
    backbone_path: Path | None = None
    """Folder with the backbone's weights."""
    edition: Edition | None = None
    """Which data a task reads."""
    root: Path | None = None
    """Where the data lie."""
    encoder: str | None = None
    """The frozen encoder whose features are read."""
    features: list[Path] | None = None
    """Feature stores."""
    seeds: CommaList | None = None
    """Seeds."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many examples a task and split."""
    launcher: Literal["local", "slurm"] | None = None
    """What starts the runs."""
    devices: CommaList | None = None
    """auto, cpu, or numbers of GPUs."""
    jobs: int | None = Field(default=None, ge=1)
    """Runs at once on the CPU."""
    processes: int | None = Field(default=None, ge=1)
    """Processes that share one run."""
    time_limit: float | None = Field(default=None, gt=0)
    """Minutes after which a run is stopped."""
    results: Path | None = None
    """Where results are kept."""
    cache: Path | None = None
    """Where what can be made again is kept."""
    outside_code: bool | None = None
    """Whether code that others name may run; in the user's file only."""
    set: CardSettings = CardSettings()
    """Overrides of cards."""
    slurm: SlurmSettings = SlurmSettings()
    """What jobs ask for."""


@dataclass(frozen=True, slots=True)
class Config:
    """The merged configuration files."""

    values: dict[str, Any]
    """The keys that are given, tables within; paths are absolute."""
    sources: dict[str, Path]
    """Dotted key -> the file that gives it."""
    files: tuple[Path, ...]
    """The files that were read; later ones win."""

    @property
    def slurm(self) -> SlurmSettings:
        """The table `[slurm]`, with its defaults."""
        return SlurmSettings(**self.values.get("slurm", {}))

    @property
    def card_settings(self) -> dict[str, Any]:
        """The table `[set]` with dotted keys: `train.epochs`."""
        return dict(leaves(self.values.get("set", {})))

    def refuse_code(self, keys: Iterable[str]) -> None:
        """Refuse code that the project's file names under one of these keys."""
        for key in keys:
            file = self.sources.get(key)
            if file is not None and file != _user_file():
                raise UsageError(
                    f"{file}: {key}: names code to run, and anyone may have written this file: "
                    "--outside-code allows it, as does outside_code = true in a file of your own, "
                    f"~/.config/{USER_FILE}."
                )


def load_config() -> Config:
    """Load the project's file over the user's, where they exist."""
    values: dict[str, Any] = {}
    sources: dict[str, Path] = {}
    files = config_files()
    for file in files:
        table = _read(file)
        if "outside_code" in table and file != _user_file():
            raise CardError(f"{file}: outside_code: {ONLY_YOURS}")
        merge(values, table)
        sources |= {key: file for key, _ in leaves(table)}
    return Config(values, sources, files)


def config_files() -> tuple[Path, ...]:
    """The files that exist, the user's first."""
    return tuple(file for file in (_user_file(), _project_file()) if file is not None)


def option_defaults() -> dict[str, Any]:
    """Defaults of options from the files, by the options' names."""
    return {key: value for key, value in load_config().values.items() if key not in NOT_OPTIONS}


def leaves(table: dict[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of all leaves of a table."""
    for key, value in table.items():
        name = f"{outer}{dotted([key])}"
        if isinstance(value, dict):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def _user_file() -> Path | None:
    home = os.environ.get("XDG_CONFIG_HOME", "")
    folder = home if os.path.isabs(home) else os.path.expanduser("~/.config")  # the XDG standard
    file = os.path.join(folder, USER_FILE)
    return Path(file) if os.path.isfile(file) else None


def _project_file() -> Path | None:
    """`VLBENCH_CONFIG`, else the nearest one; the search ends where a repository begins."""
    named = os.environ.get("VLBENCH_CONFIG")
    if named:
        return Path(named).expanduser().absolute()
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working folder was deleted
        return None
    for folder in (here, *here.parents):
        if os.path.isfile(folder / PROJECT_FILE):  # unlike Path's, False where we may not look
            return folder / PROJECT_FILE
        if os.path.exists(folder / ".git"):
            return None
    return None


def _read(file: Path) -> dict[str, Any]:
    """Read and check one file; its relative paths are relative to its folder."""
    table = read_table(CardFile(file.stem, file, str(file), is_outside=True))
    settings, faults = check(Settings, table)
    if settings is None:
        raise refuse(str(file), faults)
    values: dict[str, Any] = settings.model_dump(exclude_unset=True)
    return {key: _absolute(value, file.parent) for key, value in values.items()}


def _absolute(value: Any, folder: Path) -> Any:
    """Paths relative to `folder`, not to the working folder; all else as it is."""
    if isinstance(value, list):
        return [_absolute(part, folder) for part in value]
    return folder / value.expanduser() if isinstance(value, Path) else value
