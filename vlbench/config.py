"""The configuration file: defaults of the command line, overrides of cards, Slurm's settings.

It is `vlbench.toml` in the working folder or the nearest one above, or what VLBENCH_CONFIG names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vlbench.errors import CardError, nearest
from vlbench.text import printable
from vlbench.toml import dotted, leaves, read_toml

FILE = "vlbench.toml"
PATHS = {"backbone_path", "root", "features", "results", "cache"}
"""Keys whose values are relative to the folder of their file."""
OPTIONS = (
    *("tasks", "backbone", "backbone_path", "edition", "root", "encoder", "features", "seeds"),
    *("limit", "launcher", "devices", "jobs", "processes", "time_limit", "results"),
)
"""Options whose defaults a file may set; the options know their types."""
TABLES = ("set", "slurm")
MOST_FAULTS = 5
"""Faults that a message lists."""
KEYS = (*OPTIONS, "cache", *TABLES)


def _line(text: str) -> str:
    if printable(text) != text:
        raise ValueError("Should be one line without control characters")
    return text


Line = Annotated[str, AfterValidator(_line)]
OptionName = Annotated[str, Field(pattern=r"^(--)?[A-Za-z][A-Za-z0-9_-]*$")]
Count = Annotated[int | None, Field(ge=1)]


class SlurmSettings(BaseModel):
    """`[slurm]`: what jobs of `--launcher slurm` ask for; what is left out, the cluster decides."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

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
    setup: Annotated[tuple[Line, ...], Field(strict=False)] = ()
    """Shell lines before the worker, such as `module load cuda`."""
    extra: dict[OptionName, Line | bool | int | float] = {}
    """Further options of sbatch, passed through as they are."""


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration file."""

    file: Path | None = None
    is_own: bool = False
    """Whether the user's variable names the file; else anyone may have written it."""
    values: dict[str, Any] = field(default_factory=dict)
    """The keys that are given, tables within; paths are absolute."""

    @property
    def options(self) -> dict[str, Any]:
        """Defaults of options, by the options' names."""
        return {key: value for key, value in self.values.items() if key in OPTIONS}

    @property
    def slurm(self) -> SlurmSettings:
        """The table `[slurm]`, with its defaults."""
        return SlurmSettings(**self.values.get("slurm", {}))

    @property
    def card_settings(self) -> dict[str, Any]:
        """The table `[set]` with dotted keys: `train.epochs`."""
        return dict(leaves(self.values.get("set", {})))


def load_config() -> Config:
    """Load the file that `VLBENCH_CONFIG` names, else the nearest `vlbench.toml`, if any."""
    named = os.environ.get("VLBENCH_CONFIG")
    file = Path(named).expanduser().absolute() if named else _project_file()
    if file is None:
        return Config()
    table = read_toml(file, str(file))
    if faults := _faults(table):
        more = [f"And {len(faults) - MOST_FAULTS:,} more."] if len(faults) > MOST_FAULTS else []
        shown = [f"{file}: {fault}" for fault in faults[:MOST_FAULTS]]
        raise CardError("\n".join(shown + more))
    for key in PATHS & table.keys():
        table[key] = _absolute(table[key], file.parent)
    return Config(file, bool(named), table)


def _faults(table: dict[str, Any]) -> list[str]:
    faults = []
    for key, value in table.items():
        if key not in KEYS:
            faults.append(f"{key}: Unknown key '{key}'. {nearest(key, KEYS)}")
        elif isinstance(value, dict) != (key in TABLES):
            kind = "a table" if key in TABLES else "a value or a list"
            faults.append(f"{key}: Should be {kind}.")
    try:
        SlurmSettings.model_validate(table.get("slurm", {}))
    except ValidationError as error:
        for detail in error.errors():
            key = dotted(("slurm", *(part for part in detail["loc"] if part != "[key]")))
            text = detail["msg"].removeprefix("Value error, ")
            if detail["type"] == "extra_forbidden":
                text = f"Unknown key. {nearest(key, SlurmSettings.model_fields)}"
            faults.append(f"{key}: {text}")
    return faults


def _project_file() -> Path | None:
    """The nearest file in the working folder or above; a repository is not left."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working folder was deleted
        return None
    for folder in (here, *here.parents):
        if os.path.isfile(folder / FILE):  # unlike Path's, False where we may not look
            return folder / FILE
        if os.path.exists(folder / ".git"):
            break
    return None


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(part, folder) for part in value]
    return folder / Path(str(value)).expanduser()
