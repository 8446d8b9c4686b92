"""What `vlbench data get` fetches: a part of a task's card that no key or spec of a run holds."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from vlbench.cards.checking import Checked


class Download(Checked):
    """A file as a dataset's authors publish it, and where the reader looks for what it holds."""

    url: str = Field(pattern=r"^https?://[^/@\s]+/[^\s?#]+$")
    """The official address, without a name and password."""
    to: str = ""
    """The file below the data root; of an archive nothing: `unpack` says it."""
    unpack: dict[str, str] = {}
    """Of a ZIP or tar archive: member -> path below the data root; those of folders end in /."""
    size_bytes: int | None = Field(default=None, ge=1)
    """Its published size."""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    """Its published checksum."""

    @model_validator(mode="after")
    def _stays_below_the_root(self) -> Self:
        if bool(self.to) == bool(self.unpack):
            raise ValueError("either `to` or `unpack` says where it goes")
        for path in (*self.unpack, *self.unpack.values(), *filter(None, [self.to])):
            parts = path.removesuffix("/").split("/")
            if "\\" in path or {"", ".", ".."} & {*parts}:
                raise ValueError(f"should be a path without . and .., found '{path}'")
        if self.to.endswith("/") or any(
            member.endswith("/") != path.endswith("/") for member, path in self.unpack.items()
        ):
            raise ValueError("a folder is unpacked to a folder, a file to a file: folders end in /")
        return self
