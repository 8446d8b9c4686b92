"""The options that say which runs are meant, the same for `run` and `plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.errors import UsageError

if TYPE_CHECKING:
    from vlbench.running.plan import Selection
    from vlbench.training.train import MaxBatch

MOST = 1_000_000_000
"""Of what an option counts: more than there is of anything."""
Method = Annotated[
    list[str], typer.Option("--method", help="Methods or card files, with commas between.")
]
Tasks = Annotated[str, typer.Option(help="A suite, a task, or tasks with commas between.")]
Backbone = Annotated[str, typer.Option(help="The backbone to adapt.")]
BackbonePath = Annotated[Path | None, typer.Option(help="Folder with the backbone's weights.")]
Init = Annotated[
    Path | None,
    typer.Option(
        help="Weights to start from: an imported checkpoint or a run's adapter.safetensors."
    ),
]
Edition = Annotated[str | None, typer.Option(help="mini (generated) or full (official files).")]
Root = Annotated[Path | None, typer.Option(help="Where the data lie.")]
Encoder = Annotated[
    str | None,
    typer.Option(help="Read features of this frozen encoder, not of the backbone's own."),
]
Features = Annotated[
    list[Path] | None,
    typer.Option(help="A feature store, repeatable; else those below the root are found."),
]
Seeds = Annotated[str, typer.Option(help="Seeds, with commas between.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, max=MOST, help="At most so many examples a task and split: a smoke run."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", envvar="VLBENCH_SET", help="key=value over the card, repeatable."),
]
OutsideCode = Annotated[
    bool,
    typer.Option(
        "--outside-code",
        help="Run code that is not vlbench's and that a file from elsewhere names.",
    ),
]
Results = Annotated[Path, typer.Option(help="Where results are kept.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

HIGHEST_SEED = 2**32 - 1
"""What NumPy's generator takes."""


def select(
    method: list[str],
    tasks: str,
    backbone: str,
    backbone_path: Path | None,
    init: Path | None,
    edition: str | None,
    root: Path | None,
    encoder: str | None,
    features: list[Path] | None,
    seeds: str,
    limit: int | None,
    settings: list[str] | None,
    device: str,
    max_batch: MaxBatch = None,
    checkpoint_activations: bool = False,
) -> Selection:
    """What the options ask for, as the plan takes it; `device` is cpu or cuda."""
    from vlbench.cli.config import merged_settings
    from vlbench.running.plan import Selection

    return Selection(
        methods=tuple(method),
        tasks=tasks,
        backbone=backbone,
        backbone_path=backbone_path,
        init=init,
        edition=edition,
        root=root,
        encoder=encoder,
        features=tuple(features or ()),
        seeds=numbers(seeds),
        limit=limit,
        settings=merged_settings(settings),
        device=device,
        max_batch=max_batch,
        checkpoint_activations=checkpoint_activations,
    )


def numbers(text: str) -> tuple[int, ...]:
    """The seeds of a comma list, each once."""
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"--seeds {text}: should be whole numbers, for example 0,1,2.") from None
    if any(not 0 <= seed <= HIGHEST_SEED for seed in seeds):
        raise UsageError(f"--seeds {text}: a seed is 0 or more and at most {HIGHEST_SEED}.")
    return seeds
