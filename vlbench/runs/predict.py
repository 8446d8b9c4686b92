"""Answers of a trained model to new questions, by the path that its run's test took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from vlbench.backbones import build_tokenizer, find_backbone
from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example
from vlbench.data.pictures import PictureSpec
from vlbench.data.prepare import FeatureSpec, read_visuals
from vlbench.encoders import ENCODERS
from vlbench.errors import UsageError
from vlbench.runs.execute import set_threads, task_data
from vlbench.runs.plan import feature_spec_for
from vlbench.runs.spec import RunSpec
from vlbench.runs.trained import trained_model
from vlbench.training.predict import ScoredAnswer, scored_answers
from vlbench.training.train import MicroBatches


def predict(
    spec: RunSpec,
    weights: Path,
    card: TaskCard,
    examples: Sequence[Example],
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, ScoredAnswer], float]:
    """Example id -> answer and candidates, and the seconds from pictures to answers.

    The ids of an example's images are their paths. `weights` are the run's trained tensors.
    """
    set_threads(spec)
    read = _visuals_read(spec, card, device)
    model = trained_model(spec, weights).to(device)
    path = Path(spec.backbone_path) if spec.backbone_path else None
    tokenizer = build_tokenizer(spec.backbone_reference, path)
    pictures = {image: Path(image) for example in examples for image in example.images}
    candidates = {e.id: e.annotation.get("candidates", ()) for e in examples}
    started = time.perf_counter()
    with TemporaryDirectory(prefix="vlbench-") as folder:
        store = read_visuals(card, pictures, read, Path(folder) / "features")
        data = task_data(model, tokenizer, card, examples, store, spec.method.train)
        parts = MicroBatches("auto", say)
        answers = scored_answers(model, data, candidates, torch.device(device), parts)
    return answers, time.perf_counter() - started


def _visuals_read(spec: RunSpec, card: TaskCard, device: str) -> FeatureSpec | PictureSpec:
    """What the model reads of pictures; UsageError where only stores had such features."""
    backbone = find_backbone(spec.backbone_reference)
    if not backbone.reads_pictures:
        encoder = spec.encoder or backbone.features_of(card.visual).encoder
        if encoder not in ENCODERS and ":" not in encoder:
            raise UsageError(
                f"{spec.name}: it read features of '{encoder}' from stores, and vlbench has no "
                "such encoder: it cannot read other pictures."
            )
    return feature_spec_for(spec.backbone_reference, card.visual, spec.encoder, (), device)
