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
NOT_OPTIONS = {"cache", "set", "slurm"}
"""Keys that are no option's default."""


def _comma_list(value: object) -> object:
    """`[0, 1]` and `0` as the command line spells them: "0,1" and "0"."""
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, bool) or not isinstance(part, str | int) for part in parts):
        raise ValueError("Should be a name or number, or a list of them")
    return ",".join(map(str, parts))


def _line(text: str) -> str:
    """Text that stays in one line of a job's script."""
    if printable(text) != text:
        raise ValueError("Should be one line without control characters")
    return text


def _single(value: object) -> object:
    if not isinstance(value, str | int | float):
        raise ValueError("Should be a single value, as an option of sbatch takes it")
    return _line(value) if isinstance(value, str) else value


def _sbatch_option(name: str) -> str:
    if not re.fullmatch(r"(--)?[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError("Should be the name of an option of sbatch")
    return name


CommaList = Annotated[str, BeforeValidator(_comma_list)]
Line = Annotated[str, AfterValidator(_line)]
Count = Annotated[int | None, Field(ge=1)]


class SlurmSettings(Checked):
    """`[slurm]`: what jobs of `--launcher slurm` ask for; what is left out, the cluster decides."""

    partition: Line | None = None  # or several with commas between
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    time_minutes: Count = None  # a run that needs longer is requeued and goes on
    cpus_per_task: Count = None
    memory_gb: float | None = Field(default=None, gt=0)
    gpus_per_node: int | None = Field(default=None, ge=0)
    array_parallelism: int = Field(default=256, ge=1)
    """Jobs of a plan at once, at most."""
    signal_seconds: int = Field(default=90, ge=1)
    """How long before the time limit a job is warned, so that it writes a checkpoint."""
    setup: tuple[Line, ...] = ()
    """Shell lines before the worker, such as `module load cuda`."""
    extra: dict[
        Annotated[str, AfterValidator(_sbatch_option)], Annotated[Any, BeforeValidator(_single)]
    ] = {}
    """Further options of sbatch, passed through as they are."""


class CardSettings(Override):
    """`[set]`: what `--set` changes in a card."""

    technique: str = ""


class Settings(Checked):
    """Keys of a configuration file: options of `run` under their names, and NOT_OPTIONS."""

    tasks: CommaList | None = None
    backbone: str | None = None
    backbone_path: Path | None = None
    edition: Edition | None = None
    root: Path | None = None
    encoder: str | None = None
    features: list[Path] | None = None
    seeds: CommaList | None = None
    limit: Count = None
    launcher: Literal["local", "slurm"] | None = None
    devices: CommaList | None = None
    jobs: Count = None
    processes: Count = None
    time_limit: float | None = Field(default=None, gt=0)
    results: Path | None = None
    cache: Path | None = None
    outside_code: bool | None = None
    """Whether code that others name may run; in the user's file only."""
    set: CardSettings = CardSettings()
    slurm: SlurmSettings = SlurmSettings()


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
    def options(self) -> dict[str, Any]:
        """Defaults of options, by the options' names."""
        return {key: value for key, value in self.values.items() if key not in NOT_OPTIONS}

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
            if key in self.sources and self.sources[key] != _user_file():
                raise UsageError(
                    f"{self.sources[key]}: {key}: names code to run, and anyone may have written "
                    "this file: --outside-code allows it, as does outside_code = true in a file of "
                    f"your own, ~/.config/{USER_FILE}."
                )


def load_config() -> Config:
    """Load the project's file over the user's, where they exist."""
    values: dict[str, Any] = {}
    sources: dict[str, Path] = {}
    files = config_files()
    for file in files:
        table = _read(file)
        if "outside_code" in table and file != _user_file():
            yours = f"Only --outside-code and a file of your own, ~/.config/{USER_FILE}, may say"
            raise CardError(f"{file}: outside_code: {yours} this.")
        merge(values, table)
        sources |= {key: file for key, _ in leaves(table)}
    return Config(values, sources, files)


def config_files() -> tuple[Path, ...]:
    """The files that exist, the user's first."""
    return tuple(file for file in (_user_file(), _project_file()) if file is not None)


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
    """`VLBENCH_CONFIG`, else the nearest file; the search ends where a repository begins."""
    if named := os.environ.get("VLBENCH_CONFIG"):
        return Path(named).expanduser().absolute()
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working folder was deleted
        return None
    for folder in (here, *here.parents):
        if os.path.isfile(folder / PROJECT_FILE):  # unlike Path's, False where we may not look
            return folder / PROJECT_FILE
        if os.path.exists(folder / ".git"):
            break
    return None


def _read(file: Path) -> dict[str, Any]:
    """Read and check one file; its relative paths are relative to its folder."""
    table = read_table(CardFile(file.stem, file, str(file), is_outside=True))
    settings, faults = check(Settings, table)
    if settings is None:
        raise refuse(str(file), faults)
    values: dict[str, Any] = _absolute(settings.model_dump(exclude_unset=True), file.parent)
    return values


def _absolute(value: Any, folder: Path) -> Any:
    """Make paths relative to `folder`, not to the working folder."""
    if isinstance(value, dict):
        return {key: _absolute(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_absolute(part, folder) for part in value]
    return folder / value.expanduser() if isinstance(value, Path) else value
