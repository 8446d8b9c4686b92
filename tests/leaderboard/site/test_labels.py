"""Names beside points."""

from __future__ import annotations

import random

from vlbench.leaderboard.site.labels import Box, _box, place_labels

INSIDE = Box(0, 0, 900, 400)


def test_no_label_covers_another_or_a_point() -> None:
    chance = random.Random(0)
    points = [(chance.uniform(20, 880), chance.uniform(20, 380)) for _ in range(60)]
    labels = place_labels(points, [f"method-{n}" for n in range(60)], INSIDE)
    boxes = [_box(label) for label in labels]
    assert 20 < len(labels) < 60
    assert not any(a.meets(b) for n, a in enumerate(boxes) for b in boxes[:n])
    dots = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    assert not any(box.meets(dot) for box in boxes for dot in dots)


def test_a_label_stays_inside() -> None:
    [label] = place_labels([(890, 200)], ["a-long-name"], INSIDE)
    assert label.anchor == "end"


def test_who_comes_first_has_the_choice() -> None:
    labels = place_labels([(100, 100), (100, 101)], ["first", "second"], INSIDE)
    assert (labels[0].text, labels[0].anchor) == ("first", "start")
