"""`--init`: a run that starts from weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.theirs import mini_model
from tests.runs.builders import Bench, do, predictions, rows
from vlbench.checkpoints.weights import write_weights
from vlbench.errors import MissingError
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.tensors import unique_state

TASKS = ("vqav2", "nlvr2")
STILL = ("train.epochs=1", "train.batch_size=30", "train.dropout=0", "train.learning_rate=1e-12")
"""Settings of a run that stays where it starts."""


def test_a_run_from_an_adapter_goes_on_where_that_one_ended(
    bench: Bench, finished: tuple[RunSpec, RunFolder], tmp_path: Path
) -> None:
    before = finished[1]
    spec = bench.spec(init=before.adapter, settings=STILL)
    folder = do(spec, tmp_path)
    assert predictions(folder) == predictions(before)
    assert predictions(folder) != predictions(do(bench.spec(settings=STILL), tmp_path))
    (said,) = {row["init"] for row in rows(folder)}
    assert said == f"{spec.init_hash[:12]} adapter.safetensors"
    assert {row["init"] for row in rows(before)} == {""}


def test_an_imported_checkpoint_brings_the_frozen_weights_too(bench: Bench, tmp_path: Path) -> None:
    model = mini_model("shared-adapter", bench.backbone, TASKS)
    file = tmp_path / "imported.safetensors"
    write_weights(file, unique_state(model), {})
    folder = do(bench.spec(init=file, settings=STILL), tmp_path)
    ended = load_file(folder.adapter)
    for name, tensor in ended.items():
        torch.testing.assert_close(tensor, unique_state(model)[name], atol=1e-6, rtol=0)
    without = {n: t for n, t in unique_state(model).items() if n in ended}
    write_weights(file, without, {})
    other = do(bench.spec(init=file, settings=STILL), tmp_path)
    assert predictions(other) != predictions(folder)


def test_what_does_not_fit_is_told_before_anything_runs(
    bench: Bench, finished: tuple[RunSpec, RunFolder], tmp_path: Path
) -> None:
    adapter = finished[1].adapter
    with pytest.raises(MissingError, match=r"compacter on mini-bart has no such tensor"):
        bench.spec("compacter", init=adapter, settings=())
    with pytest.raises(MissingError, match="no such file"):
        bench.spec(init=tmp_path / "nowhere")
