"""Where an encoder's weights lie: a folder, or the Hugging Face cache; nothing is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError

from vlbench.data.fingerprint import file_hash
from vlbench.errors import MissingError

BROKEN = (OSError, ValueError, RuntimeError, KeyError, EOFError, UnpicklingError, SafetensorError)
"""What reading a file of other weights, or of none, raises."""


def weights_folder(encoder: str, source: str, given: Path | None) -> Path:
    """The folder `given`, else the cached one of `source`, a name on the Hugging Face hub."""
    if given is not None:
        if not given.is_dir():
            raise MissingError(f"--weights {given}: no such folder.")
        return given
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        raise MissingError(
            f"The weights of the encoder '{encoder}' are not on this machine. Get them with "
            f"`hf download {source}` where there is a network, or name the folder that holds "
            "them with --weights."
        ) from None


def weights_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that is there."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise MissingError(f"{folder}: no weights there; looked for {', '.join(names)}.")


def weights_hash(files: Iterable[Path], preprocessing: str) -> str:
    """sha256 over the files, and over how pictures are prepared."""
    parts = [*map(file_hash, files), preprocessing]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
