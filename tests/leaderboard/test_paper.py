"""Published rows: complete, with their source, and result wherever the package lies."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboard.boards import METRICS, boards_of, official
from tests.leaderboard.builders import run
from vlbench.cards.load import load_suites, own_cards
from vlbench.leaderboard import paper
from vlbench.leaderboard.paper import (
    PaperPart,
    Printed,
    paper_file,
    paper_parts,
    paper_rows,
    published_percent,
)

PUBLISHED = [  # VL-Adapter, tables 1 and 4; VL-PET, table 2, with the rows of LST; DoRA
    ("full", "clip-bart", "image-text", 100.0),
    ("shared-adapter", "clip-bart", "image-text", 4.18),
    ("shared-lora", "clip-bart", "video-text", 5.17),
    ("lst", "clip-t5", "image-text", 7.46),
    ("vl-pet-large", "clip-bart", "image-text", 4.16),
    ("peft-dora", "clip-bart", "image-text", 5.96),
]


def test_the_published_percentages_are_the_papers() -> None:
    for method, backbone, suite, percent in PUBLISHED:
        assert published_percent(method, backbone, suite) == percent
    assert published_percent("shared-adapter", "mini-bart", "image-text") is None
    assert published_percent("mine", "clip-bart", "image-text") is None
    assert published_percent("prompt-tuning", "clip-bart", "image-text") is None  # scores only


def test_every_row_says_where_it_comes_from_and_what_it_measured() -> None:
    rows = paper_rows()
    assert len(rows) == 63
    suites = load_suites()
    for row in rows:
        assert row.suite in suites and row.backbone in own_cards("backbones")
        assert row.paper and row.table and row.run_by and row.strength
        assert row.kind in ("main", "analysis") and row.seeds in (1, 3)
        assert bool(row.note) == (row.method is None)
        assert row.trainable_percent is None or 0 < row.trainable_percent <= 100
        assert all(0 < value.mean < 200 for value in row.metrics.values())
        tasks = [value.mean for name, value in row.metrics.items() if name != "average"]
        if len(tasks) == 4 and "average" in row.metrics:
            assert row.metrics["average"].mean == pytest.approx(sum(tasks) / 4, abs=0.051)
    assert (rows[0].method, rows[0].metrics["average"]) == ("full", Printed(77.33, 0.39))
    one_seed = next(row for row in rows if row.paper.startswith("VL-Adapter"))
    assert one_seed.metrics["average"] == Printed(77.6, None)
    ablation = [row.method for row in rows if row.table == "module ablation"]
    assert ablation == ["frozen", "norms", "shared-adapter"]


def test_the_copy_of_a_wheel_is_found_where_there_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    settings = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    build = settings["tool"]["hatch"]["build"]["targets"]
    target = tmp_path / build["wheel"]["force-include"]["results/paper"]
    assert "/results/paper" in build["sdist"]["include"]
    here = paper_rows()
    monkeypatch.setattr(paper, "PACKAGE", tmp_path / "vlbench")
    shutil.copytree(project / "results/paper", target)
    assert paper_file() == target / "rows.json"
    assert paper_rows() == here


TABLE_1 = (65.9, 54.5, 74.2, 114.9)
"""VL-Adapter's shared adapter."""


def part_of(folder: Path, *runs: list[dict[str, Any]]) -> PaperPart:
    [board] = boards_of(folder, *runs)
    [part] = paper_parts([board])
    return part


def differences(part: PaperPart) -> Mapping[str, float]:
    """To the shared adapter's row in VL-Adapter's first table."""
    names = ("shared-adapter", "Table 1")
    [result] = [diffs for row, diffs in part.rows if (row.method, row.table) == names]
    return result


def test_a_difference_is_measured_minus_published_per_metric(tmp_path: Path) -> None:
    part = part_of(tmp_path, official("shared-adapter", 66.4, 54.5, 73.2, 116.9))
    assert part.otherwise == []
    expected = dict(zip((*METRICS, "average"), (0.5, 0.0, -1.0, 2.0, 0.35), strict=True))
    assert differences(part) == pytest.approx(expected, abs=1e-9)
    tables = [row.table for row, _ in part.rows if row.method == "shared-adapter"]
    assert tables == ["Table 1", "Table 2", "CLIP-BART clean performance"]  # each once


def test_tasks_that_lack_examples_or_have_another_split_have_no_difference(tmp_path: Path) -> None:
    rows = official("shared-adapter", *TABLE_1)
    rows[1]["n_examples"] = 12_577
    part = part_of(tmp_path / "image", rows)
    assert set(differences(part)) == {"vqav2.accuracy", "nlvr2.accuracy", "coco.cider"}
    values = {"tvqa": 76.6, "how2qa": 73.9, "tvc": 50.0, "yc2c": 150.0}
    setup = {"suite": "video-text", "backbone": "clip-bart", "edition": "full"}
    part = part_of(tmp_path / "video", run("full", values, **setup))
    assert part.otherwise == []
    assert part.rows and not any(diffs for _, diffs in part.rows)


def test_other_data_backbones_settings_weights_or_cards_have_no_difference(tmp_path: Path) -> None:
    for others, otherwise in (
        ({"edition": "mini", "backbone": "mini-bart"}, ["other data", "another backbone"]),
        ({"scope": "smoke", "limit": 64}, ["other data"]),
        ({"settings": "params.reduction=4"}, []),
        ({"init": "0123456789ab full.safetensors"}, []),
    ):
        part = part_of(tmp_path / str(others), official("shared-adapter", *TABLE_1, **others))
        assert part.otherwise == otherwise
        assert {row.backbone for row, _ in part.rows} == {"clip-bart"}
        assert not any(diffs for _, diffs in part.rows)
    runs = [official("shared-adapter", *TABLE_1, card_hash=a * 64, key=a) for a in "ab"]
    assert not differences(part_of(tmp_path, *runs))
