from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from vlbench.training.train import task_order


def test_an_epoch_has_every_batch_of_every_task_once() -> None:
    batches = {"vqav2": 5, "gqa": 6, "nlvr2": 2, "coco": 4}
    assert Counter(task_order(batches, epoch=7)) == batches


def test_epochs_differ_and_repeat() -> None:
    batches = {"vqav2": 5, "gqa": 6}
    assert task_order(batches, 0) != task_order(batches, 1)
    assert task_order(batches, 1) == task_order(batches, 1)


def test_the_order_is_the_authors(shared_folder: Path) -> None:
    file = shared_folder / "golden" / "methods" / "multitask_order.json"
    for lengths, epochs in json.loads(file.read_text())["orders"].items():
        for epoch, steps in epochs.items():
            assert task_order(json.loads(lengths), int(epoch)) == [task for task, _ in steps]
