"""The Pareto frontier of costs and scores."""

from __future__ import annotations

from collections.abc import Sequence


def on_frontier(costs: Sequence[float | None], scores: Sequence[float | None]) -> list[bool]:
    """Whether each point is on the frontier: no other costs at most as much and scores at least as
    high, and is better in one of the two.

    Points that are equal in both stand or fall together. One without a cost or a score is off it.
    """
    there = [
        (cost, -score, number)
        for number, (cost, score) in enumerate(zip(costs, scores, strict=True))
        if cost is not None and score is not None
    ]
    found = [False] * len(costs)
    best: tuple[float, float] | None = None
    for cost, low, number in sorted(there):
        if best is None or low < best[1] or (cost, low) == best:
            found[number] = True
            best = cost, low
    return found
