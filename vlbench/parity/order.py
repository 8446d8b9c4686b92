"""The recorded order of tasks: which task each batch of an epoch is of."""

from __future__ import annotations

import json

from vlbench.errors import DataError
from vlbench.parity.facts import OrderFacts
from vlbench.parity.outcome import Outcome
from vlbench.training.train import task_order


def check_order(facts: OrderFacts, outcome: Outcome) -> None:
    """Our order for the same numbers of batches must be theirs, batch by batch."""
    outcome.technique = "order of tasks"
    for text, epochs in facts.orders.items():
        batches = json.loads(text)
        if not isinstance(batches, dict) or not all(isinstance(n, int) for n in batches.values()):
            raise DataError(f"orders: not numbers of batches by task: {text}")
        for epoch, theirs in epochs.items():
            seen = dict.fromkeys(batches, -1)
            ours = []
            for task in task_order(batches, epoch):
                seen[task] += 1
                ours.append((task, seen[task]))
            if ours != theirs:
                outcome.fault(f"epoch {epoch} of {text}: another order")
