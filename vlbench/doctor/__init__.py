"""What a run needs of a machine: what is there, what is missing, and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from vlbench.backbones import backbone_row
from vlbench.cards.schema import Edition
from vlbench.config import SlurmSettings, config_files, load_config
from vlbench.doctor.backbone import find_backbone
from vlbench.doctor.cluster import find_slurm
from vlbench.doctor.data import find_data
from vlbench.doctor.devices import find_devices
from vlbench.doctor.finding import Finding
from vlbench.doctor.places import cache, locks, results_folder
from vlbench.doctor.software import extras, java, models, packages, python
from vlbench.errors import CardError, UsageError, nearest
from vlbench.running.launchers import LAUNCHERS

__all__ = ["Finding", "examine"]
EDITIONS: tuple[str, ...] = get_args(Edition)


def examine(
    root: Path | None,
    edition: str | None,
    results: Path,
    launcher: str,
    backbone: str = "mini-bart",
    backbone_path: Path | None = None,
) -> list[Finding]:
    """Everything that is looked for, for runs with these options."""
    for option, value, known in (("edition", edition, EDITIONS), ("launcher", launcher, LAUNCHERS)):
        if value is not None and value not in known:
            raise UsageError(f"--{option} {value}: {nearest(value, known)}")
    backbone_row(backbone)
    below = root.expanduser().absolute() if root else None
    told = _configuration()
    settings = load_config().slurm if told.is_there else SlurmSettings()
    is_slurm = launcher == "slurm"
    return [
        *(python(), *packages(), models(), java(), *find_devices(), told),
        *find_backbone(backbone, backbone_path, below),
        *((cache(), find_data(root, edition)) if told.is_there else ()),  # it may name the cache
        *(results_folder(results), locks(results)),
        *extras(needed={"submitit"} if is_slurm else set()),
        find_slurm(settings, is_needed=is_slurm),
    ]


def _configuration() -> Finding:
    files = ", ".join(map(str, config_files()))
    try:
        load_config()
    except CardError as error:
        return Finding("configuration", False, files, "; ".join(str(error).splitlines()))
    return Finding("configuration", True, files or "no file, which is fine")
