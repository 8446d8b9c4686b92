"""Cards: flat TOML files that declare methods, tasks and suites; reading one imports no torch."""

from vlbench.cards.load import (
    card_hash,
    find_methods,
    find_tasks,
    load_method,
    load_suites,
    load_task,
    resolve_method,
)
from vlbench.cards.schema import MethodCard, Suite, TaskCard, TrainSettings

__all__ = [
    "MethodCard",
    "Suite",
    "TaskCard",
    "TrainSettings",
    "card_hash",
    "find_methods",
    "find_tasks",
    "load_method",
    "load_suites",
    "load_task",
    "resolve_method",
]
