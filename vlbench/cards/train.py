"""The `[train]` table of a method card; its defaults are VL-Adapter's recipe for images on BART."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vlbench.cards.checking import Checked


class TrainSettings(Checked):
    """How a method is trained."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate: reached after the warm-up, then falling linearly to zero."""
    epochs: int = Field(default=20, ge=1, le=1_000_000)
    """Passes over the training data of every task."""
    batch_size: int = Field(default=500, ge=1, le=1_000_000)
    """Examples in a batch of VQA; a task card scales it for its own task."""
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decay per step, times the learning rate; the training code says which tensors are spared."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Largest norm of the gradient of all parameters together."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of the backbone: hidden states, attention and activations."""
    task_prompts: bool = True
    """Whether the text begins with the task card's prompt."""
    truncate: Literal["end", "subtitles"] = "end"
    """What goes of a text that is too long: its end, prompt included, as in the authors' code, or
    the subtitles in front of it."""
    order: Literal["random", "lengths", "pictures"] = "random"
    """How a task's examples come into batches: in any order, as in the authors' code, those of like
    lengths together, which pads less, or those of one picture together."""
    share_encoder: bool = False
    """Whether examples of a batch with the same text and pictures, as captions of one picture are,
    pass the encoder once; with dropout they then share its draws."""
    norms: bool = True
    """Whether the backbone's layer norms train too."""
    blind: bool = False
    """Whether the model sees zeros in place of the pictures."""
    optimiser: Literal["authors-adamw", "adamw"] = "authors-adamw"
    """AdamW as in the authors' transformers (decay after the update, eps 1e-6), or torch's own."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the forward and backward pass; the weights stay fp32."""
