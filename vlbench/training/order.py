"""Which task the next batch is of: the authors' order, every batch of every task once an epoch."""

from __future__ import annotations

import random
from collections.abc import Mapping


def task_order(batches: Mapping[str, int], epoch: int) -> list[str]:
    """The task of each step of an epoch, from the number of batches each task has.

    The list of tasks in suite order, each as often as it has batches, shuffled by the epoch's
    number alone and read from its end; the order within a task is the sampler's.
    """
    tasks = [task for task, number in batches.items() for _ in range(number)]
    random.Random(epoch).shuffle(tasks)
    return tasks[::-1]
