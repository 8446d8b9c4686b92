"""Backbone cards: the kind of a model, where its weights lie, and what it reads of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from vlbench.cards.checking import Checked
from vlbench.cards.schema import Card, Visual
from vlbench.errors import UsageError

BackboneKind = Literal["embedded-bart", "bart", "t5", "chat", "lite0-smollm2"]
READS_PICTURES = ("chat", "lite0-smollm2")


class Features(Checked):
    """The features a backbone reads, of a frozen encoder."""

    encoder: str = Field(pattern="^[^:]+$")
    """The encoder, a name in the table ENCODERS; one of your own is given by --encoder."""
    width: int = Field(ge=1)
    """Width of a feature."""
    tokens: int = Field(ge=1)
    """Visual tokens of a picture after pooling, or frames of a clip."""
    is_grid: bool = True
    """Whether they are a picture's: pretraining fixes their number, but not that of frames."""

    _is_own: bool = PrivateAttr(default=True)

    @property
    def is_own(self) -> bool:
        """Whether they are of the backbone's encoder; else their projection starts anew."""
        return self._is_own

    def of(self, encoder: str, width: int) -> Features:
        """Features of another encoder in their place."""
        features = self.model_copy(update={"encoder": encoder, "width": width})
        features._is_own = encoder == self.encoder
        return features


class BackboneCard(Card):
    """A backbone: a pretrained model and what it reads of pictures or clips."""

    title: str
    """Name of the backbone as tables print it."""
    kind: BackboneKind
    """How it is built: bart and t5 read features behind their text, chat reads the pictures."""
    source: str
    """Its weights: a name on the Hugging Face hub, or a folder (./weights is beside the card)."""
    video_source: str = ""
    """Where other weights lie for clips; empty: `source` reads both."""
    features: dict[Visual, Features] = {}
    """The features it reads of pictures (image) or of clips (video)."""
    picture_tokens: int | None = Field(default=None, ge=1)
    """Visual tokens of a picture that a chat backbone reads at most; left out: all there are."""
    frames: int = Field(default=8, ge=1)
    """Most frames that a chat backbone reads of a clip, evenly chosen."""
    seen: tuple[str, ...] = ()
    """Our tasks whose data it has seen in pretraining."""
    like: str = ""
    """A backbone of ours whose overrides in method cards hold for this one too, before its own."""
    license: str = ""
    """Licence of its weights, those for clips too, as the hub spells it; empty: not known."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads to use, for the same bits on every machine; left out: all there are."""

    @model_validator(mode="after")
    def _reads_one_way(self) -> Self:
        if self.reads_pictures and self.features:
            raise ValueError("features: a chat backbone reads the pictures themselves")
        if not self.reads_pictures and not self.features:
            raise ValueError("no features: features.image or features.video is needed")
        for name in {"picture_tokens", "frames"} & self.model_fields_set:
            if not self.reads_pictures:
                raise ValueError(f"{name}: only a chat backbone has them")
        return self

    @property
    def reads_pictures(self) -> bool:
        """Whether it reads the pictures themselves, not features of them."""
        return self.kind in READS_PICTURES

    @property
    def reference(self) -> str:
        """What finds the backbone from any folder: name, card's path, or source without a card."""
        return self.outside_file or (self.name if self._file else self.source)

    def source_of(self, visual: Visual = "image") -> str | Path:
        """Where the weights for pictures or for clips lie; a path where outside the package."""
        source = (self.video_source if visual == "video" else "") or self.source
        path = Path(source).expanduser()
        is_outside = path.is_absolute() or source.startswith(".")
        return (self.folder or Path()).resolve() / path if is_outside else source

    def features_of(self, visual: Visual) -> Features:
        """The features of pictures or of clips that it reads."""
        if visual not in self.features:
            known = ", ".join(self.features) or "none, it reads pictures"
            raise UsageError(
                f"Backbone '{self.name}' reads no {visual} features. Its card has: {known}."
            )
        return self.features[visual]
