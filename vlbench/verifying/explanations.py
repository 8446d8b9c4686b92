"""What a run's cards explain, which no key or hash covers: against the cards as they are today."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.cards.load import PROSE
from vlbench.cards.schema import MethodCard, TaskCard, Tuning, TuningFacts
from vlbench.verifying.findings import Findings
from vlbench.verifying.spec_check import SPEC

OTHERWISE = (
    "says otherwise: it or spec.json was changed since the run (a card that was corrected keeps "
    "what it said in [[tuning.before]])"
)


def check_prose(
    shown: str, then: MethodCard | TaskCard, now: MethodCard | TaskCard, findings: Findings
) -> None:
    """Titles, sources, notes: cards are reworded, so what differs is told and is no fault."""
    keys = (PROSE - {"tuning"}) & then.model_fields_set  # not what came to cards after the run
    before, after = (card.model_dump(mode="json", include=keys) for card in (then, now))
    for key in sorted(before):
        if before[key] == after[key]:
            findings.checked += 1
        else:
            findings.skip(f"{key}: {shown} is worded otherwise today, and no number hangs on it")


def check_tuning(
    shown: str, then: Tuning, now: Tuning, before: Sequence[TuningFacts], findings: Findings
) -> None:
    """How values were searched: as the card says today, or as it says that it said before."""
    stored, wanted = then.model_dump(mode="json"), now.model_dump(mode="json")
    if any(stored == {**wanted, **each.model_dump(mode="json")} for each in before):
        findings.skip(f"tuning: {shown} was corrected since the run (its [[tuning.before]])")
        return
    for key in wanted:
        column, why = f"method.tuning.{key}", f"{shown} {OTHERWISE}"
        findings.cell(SPEC, "", column, stored[key], wanted[key], why, is_since=True)
