"""Cards: flat TOML files that declare methods, tasks and suites; reading one imports no torch."""

from vlbench.cards.load import (
    card_hash,
    find_methods,
    find_tasks,
    load_method,
    load_suites,
    load_task,
)
from vlbench.cards.schema import Checked, MethodCard, Suite, TaskCard, TrainSettings

__all__ = [
    "Checked",
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
]
