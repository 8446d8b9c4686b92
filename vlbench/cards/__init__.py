"""Cards: flat TOML files that declare methods, tasks and suites; reading one imports no torch."""

from vlbench.cards.method import MethodCard, find_methods, load_method
from vlbench.cards.resolve import card_hash, resolve_method
from vlbench.cards.task import Suite, TaskCard, find_tasks, load_suites, load_task
from vlbench.cards.technique import find_technique
from vlbench.cards.train import TrainSettings

__all__ = [
    "MethodCard",
    "Suite",
    "TaskCard",
    "TrainSettings",
    "card_hash",
    "find_methods",
    "find_tasks",
    "find_technique",
    "load_method",
    "load_suites",
    "load_task",
    "resolve_method",
]
