"""What could stop a run is found before it starts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.runs.builders import Bench, do
from vlbench.cards import find_tasks
from vlbench.errors import UsageError
from vlbench.runs.plan import Selection, data_root, plan, task_edition

ASKED = Selection(methods=("shared-adapter",), tasks="gqa")


def test_there_is_a_spec_for_each_method_and_seed(bench: Bench) -> None:
    asked = replace(
        ASKED,
        methods=("frozen,compacter", "full"),
        seeds=(0, 1),
        root=bench.root,
        backbone_path=bench.backbone,
        limit=4,
    )
    specs = plan(replace(asked, settings=("train.epochs=1",)))
    assert [(spec.method.name, spec.seed) for spec in specs] == [
        (name, seed) for name in ("frozen", "compacter", "full") for seed in (0, 1)
    ]
    assert len({spec.key for spec in specs}) == 6
    assert {spec.method.train.epochs for spec in specs} == {1}
    assert all(not spec.method.when for spec in specs)


def test_a_setting_or_a_place_that_says_the_same_is_the_same_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.chdir(bench.backbone.parent)
    here = replace(ASKED, root=bench.root, backbone_path=Path("backbone"), limit=4, seeds=(0, 1))
    (plain, _) = plan(here, lines.append)
    assert plain.backbone_path == str(bench.backbone)
    assert len([line for line in lines if "training" in line]) == 1  # read once
    other = tmp_path / "other"
    shutil.copytree(bench.backbone, other)
    rate = f"train.learning_rate={plain.method.train.learning_rate}"
    assert plan(replace(here, backbone_path=other, settings=(rate,)))[0].key == plain.key
    assert plan(replace(here, settings=("train.learning_rate=0.5",)))[0].key != plain.key
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    assert plan(replace(here, backbone_path=other))[0].key != plain.key


def test_a_folder_without_a_card_is_a_run_of_its_own_name(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec(backbone=str(bench.backbone), backbone_path=None, limit=4)
    assert (spec.backbone, spec.backbone_file) == ("backbone", str(bench.backbone))
    own = bench.spec(limit=4)
    assert spec.backbone_hash != own.backbone_hash and spec.key != own.key
    result = pq.read_table(do(spec, tmp_path).result)
    assert {row["backbone"] for row in result.to_pylist()} == {"backbone"}


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (replace(ASKED, methods=("compactor",)), "Did you mean 'compacter'"),
        (replace(ASKED, methods=("full", "full")), "Named twice: full"),
        (replace(ASKED, tasks="gqq"), "Did you mean 'gqa'"),
        (replace(ASKED, backbone="mini-brat"), "Did you mean 'mini-bart'"),
        (replace(ASKED, settings=("params.reductoin=4",)), "Did you mean 'params.reduction'"),
        (replace(ASKED, settings=("train.epochs=many",)), "--set train.epochs"),
        (replace(ASKED, edition="tiny"), "Task 'gqa' has no edition 'tiny'. Known: mini, full"),
        (replace(ASKED, tasks="nlvr", edition="mini"), "has no edition 'mini'. Known: full"),
        (replace(ASKED, tasks="nlvr"), "--root says where"),
        (replace(ASKED, edition="full"), "--root says where"),
    ],
    ids=str,
)
def test_words_that_do_not_fit_are_usage_errors(bench: Bench, asked: Selection, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        plan(replace(asked, backbone_path=bench.backbone))


def test_a_task_with_one_edition_uses_that_one(tmp_path: Path) -> None:
    assert task_edition(find_tasks("nlvr")[1], None) == "full"
    assert task_edition(find_tasks("image-text")[1], None) == "mini"
    assert data_root(find_tasks("nlvr")[1], "full", tmp_path) == tmp_path


def test_runs_for_gpus_are_planned_where_there_are_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))  # features must be made
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    spec = bench.spec(device="cuda")
    assert spec.device == "cuda"
    assert spec.key == bench.spec().key
