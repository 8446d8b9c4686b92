"""Code that is not vlbench's is imported only when the user says so: anyone may write a spec."""

from __future__ import annotations

from vlbench.running.spec import RunSpec
from vlbench.techniques import parts_of


def outside_names(spec: RunSpec) -> list[str]:
    """What a spec names as `module:name`: techniques, readers, metrics, encoders."""
    named = [*parts_of(spec.method.technique), spec.encoder]
    for task in spec.tasks:
        named += [task.reader, task.metric, task.submission]
    return sorted({name for name in named if ":" in name})


def refusal(names: list[str]) -> str:
    """Why something cannot be checked that needs this code."""
    return f"needs code that is not vlbench's, {', '.join(names)} (--outside-code imports it)"
