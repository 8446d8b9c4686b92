"""Cards against the trials that chose their learning rates."""

from __future__ import annotations

import math
from pathlib import Path

from vlbench.cards.load import load_method, own_cards
from vlbench.cards.tuned import Searched, written
from vlbench.errors import NothingToReport
from vlbench.sweep import Cell, Search, ruler_of, stored_searches
from vlbench.verify.inputs import Findings
from vlbench.verify.verify import Verified

FILE = "search"
NOT_SAID = "trials of methods whose card names no search of this backbone and suite"


def verify_searches(results: Path) -> Verified | None:
    """Compare what the cards say was tried and chosen with the trials in a results folder.

    None where there is no trial.
    """
    try:
        searches = stored_searches(results, [])  # what is damaged is reported as a run
    except NothingToReport:
        return None
    if not searches:
        return None
    findings = Findings()
    for cell, methods in searches.items():
        ruler = ruler_of(methods)
        for own in methods:
            chosen = own.ranked(ruler)
            _check(cell, own, chosen[0] if chosen else None, findings)
    return Verified(FILE, None, findings)


def _check(cell: Cell, own: Search, best: float | None, findings: Findings) -> None:
    is_plain = cell.limit is None and not (cell.settings or cell.init)
    is_ours = own.method in own_cards("methods")
    lines = load_method(own.method).tuning.searched if is_ours else ()
    said = [line for line in lines if line.startswith(f"{cell.pattern}: ")]
    if not said or not is_plain or math.isnan(own.card_rate):
        findings.skip(NOT_SAID, own.count)
        return
    name = f"{own.method} {cell.pattern}"
    tried = Searched(cell.pattern, own.card_rate, own.center, [*own.trials], own.count, "").line
    why = "the stored trials; methods are searched together, in one folder"
    findings.cell(FILE, name, "tuning.searched", said[0], tried, why)
    rates = (written(own.card_rate), written(best) if best else "none")
    findings.cell(FILE, name, "train.learning_rate", *rates, f"the best of {why}")
