"""A run small enough for tests: a tiny edition, a random backbone, one or two tasks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.data.mini.builders import TINY
from vlbench import worker
from vlbench.data.mini.write import write_mini
from vlbench.runs.folder import RunFolder
from vlbench.runs.plan import Selection, plan
from vlbench.runs.spec import RunSpec

MEASURED = {
    "attempt",
    "peak_memory_bytes",
    "train_seconds",
    "examples_per_second",
    "evaluate_seconds",
    "code_version",
    "created_at",
}
"""Columns that may differ between two runs of one spec."""
SETTINGS = ("train.epochs=2", "train.batch_size=30", "train.dropout=0.1")


@dataclass(frozen=True)
class Bench:
    """Where the tiny edition and the random backbone lie."""

    root: Path
    backbone: Path

    def spec(self, method: str = "shared-adapter", **changes: Any) -> RunSpec:
        """The one spec of a selection."""
        asked = Selection(
            methods=(method,),
            tasks="vqav2,nlvr2",
            backbone_path=self.backbone,
            root=self.root,
            settings=SETTINGS,
        )
        selection = replace(asked, **changes)
        (spec,) = plan(selection) if selection.init else _planned(selection)
        return spec

    def words(self, *more: str) -> list[str]:
        """The same as words of the command line."""
        return [
            *("run", "--method", "shared-adapter", "--tasks", "vqav2,nlvr2"),
            *("--backbone-path", str(self.backbone), "--root", str(self.root)),
            *(word for setting in SETTINGS for word in ("--set", setting)),
            *more,
        ]


@cache
def _planned(selection: Selection) -> list[RunSpec]:
    return plan(selection)


def make_bench(folder: Path) -> Bench:
    """Write the edition and the backbone."""
    import torch

    from tools.pretrain.recipe import save_backbone
    from tools.pretrain.tokenizer import train_tokenizer
    from vlbench.backbones.bart import new_bart
    from vlbench.backbones.weights import TOKENIZER_FILE, bart_tokenizer

    bench = Bench(folder / "mini", folder / "backbone")
    bench.root.mkdir()
    write_mini(bench.root, 0, TINY)
    bench.backbone.mkdir()
    tokenizer = bench.backbone / TOKENIZER_FILE
    train_tokenizer(["is there a red circle ? yes no", "true false blue square"], tokenizer)
    config = tiny_bart(len(bart_tokenizer(tokenizer)))
    config.init_std = 0.2
    torch.manual_seed(1)
    save_backbone(new_bart(config, feature_width=128, visual_tokens=16), bench.backbone)
    return bench


def tiny_bart(vocab_size: int) -> Any:
    """A configuration of one layer a side."""
    from transformers import BartConfig

    return BartConfig(
        vocab_size=vocab_size,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=48,
    )


def write_published_bart(folder: Path, texts: Sequence[str] = ()) -> None:
    """Write a random BART as the hub has it: configuration, weights, tokenizer."""
    from transformers import BartForConditionalGeneration

    from tools.pretrain.tokenizer import train_tokenizer
    from vlbench.backbones.weights import bart_tokenizer

    folder.mkdir(parents=True)
    words = ["is there a red circle ? yes no", *texts]
    train_tokenizer(words, folder / "tokenizer.json")
    tokenizer = bart_tokenizer(folder / "tokenizer.json")
    tokenizer.save_pretrained(folder)
    config = tiny_bart(len(tokenizer))
    BartForConditionalGeneration(config).save_pretrained(folder)


def do(spec: RunSpec, results: Path, code: int = 0) -> RunFolder:
    """Do a run as a worker does it, in this process."""
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    assert worker.main([str(folder.path)]) == code
    return folder


class InProcess:
    """A worker in the test's own process, which has imported everything."""

    def __init__(self, folder: RunFolder, *_: object) -> None:
        self.code = worker.main([str(folder.path)])

    def poll(self) -> int:
        return self.code


def work_in_process(patch: pytest.MonkeyPatch) -> None:
    """Launchers start no processes from now on."""
    patch.setattr("vlbench.runs.local.WorkerProcess", InProcess)
    patch.setattr("vlbench.runs.local.LocalLauncher.warm", lambda _: nullcontext())


def forget_devices() -> None:
    """Have accelerate choose its device and count its processes again, once a process else."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def rows(folder: RunFolder) -> list[dict[str, Any]]:
    """The result's rows without what was measured."""
    return [
        {name: value for name, value in row.items() if name not in MEASURED}
        for row in pq.read_table(folder.result).to_pylist()
    ]


def predictions(folder: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """Task -> the rows of its predictions."""
    files = sorted(folder.predictions.glob("*.parquet"))
    return {file.stem: pq.read_table(file).to_pylist() for file in files}
