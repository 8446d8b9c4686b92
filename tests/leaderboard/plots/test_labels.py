"""Names beside points: none over another, all where they are looked for."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vlbench.leaderboard.plots.labels import Label, Scene, place_labels

RADIUS = 3.0


def scene(points, size=(40.0, 8.0), inside=(0.0, 0.0, 400.0, 300.0), **others) -> Scene:
    named = others.pop("named", list(range(len(points))))
    nothing = np.zeros((0, 4))
    made = {"bars": nothing, "lines": nothing} | others
    return Scene(
        points=np.array(points, float).reshape(-1, 2),
        radius=RADIUS,
        named=named,
        sizes=np.array([size] * len(named), float).reshape(-1, 2),
        inside=np.array(inside),
        **made,
    )


CROWD = [(180 + 9 * (n % 4), 140 + 7 * (n // 4)) for n in range(16)]


@pytest.fixture(scope="module")
def crowd() -> list[Label]:
    return place_labels(scene(CROWD)) or []


def gap(label: Label, point) -> float:
    near = np.clip(point, label.box[:2], label.box[2:])
    return float(np.hypot(*(near - np.array(point))))


def overlap(a: Label, b: Label) -> bool:
    return bool((a.box[:2] < b.box[2:]).all() and (b.box[:2] < a.box[2:]).all())


def test_a_lonely_name_stands_to_the_right_without_a_line() -> None:
    [label] = place_labels(scene([(100, 100)])) or []
    assert label.leader is None
    assert label.box[0] > 103
    assert label.box[1] < 100 < label.box[3]


def test_at_the_right_edge_it_stands_to_the_left() -> None:
    [label] = place_labels(scene([(390, 100)])) or []
    assert label.box[2] < 387


def test_names_of_a_crowd_keep_clear_of_each_other_and_of_every_marker(crowd) -> None:
    assert len(crowd) == 16
    assert not any(overlap(a, b) for a, b in combinations(crowd, 2))
    assert min(gap(label, point) for label in crowd for point in CROWD) >= RADIUS * 0.99
    assert all((each.box[:2] >= 0).all() and (each.box[2:] <= (400, 300)).all() for each in crowd)


def test_a_name_that_is_not_beside_its_point_has_a_line_to_it(crowd) -> None:
    for label, point in zip(crowd, CROWD, strict=True):
        distance = gap(label, point) - RADIUS
        assert (label.leader is None) == (distance < 6)
        if label.leader is not None:
            assert np.hypot(*(label.leader[:2] - point)) <= RADIUS + 0.1


def test_where_names_find_no_room_there_is_no_placement() -> None:
    points = [(10 + n, 20) for n in range(30)]
    assert place_labels(scene(points, inside=(0.0, 0.0, 90.0, 40.0))) is None
    assert place_labels(scene([(50, 50)], size=(500.0, 8.0))) is None


def test_points_without_a_name_are_kept_clear_too() -> None:
    [label] = place_labels(scene([(100, 100), (115, 100), (130, 100)], named=[0])) or []
    assert min(gap(label, point) for point in [(115, 100), (130, 100)]) >= RADIUS


def test_a_name_keeps_off_the_frontier_where_it_can() -> None:
    line = np.array([[100.0, 100.0, 400.0, 100.0]])
    [label] = place_labels(scene([(100, 100)], lines=line)) or []
    assert label.box[1] >= 100 or label.box[3] <= 100 or label.box[2] <= 100


def test_the_same_scene_gives_the_same_places(crowd) -> None:
    again = place_labels(scene(CROWD)) or []
    assert [each.box.tolist() for each in crowd] == [each.box.tolist() for each in again]


def test_nothing_to_name_is_no_fault() -> None:
    assert place_labels(scene([])) == []
