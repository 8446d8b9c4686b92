"""Python, the packages that every run needs, the extras, and Java."""

from __future__ import annotations

import platform
import sys
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version

from vlbench.doctor.finding import Finding
from vlbench.errors import VlbenchError
from vlbench.metrics.java import require_java

PACKAGES = (
    *("torch", "transformers", "accelerate", "tokenizers", "safetensors"),
    *("pycocoevalcap", "numpy", "pandas", "pyarrow", "pillow"),
)
EXTRAS = {
    "peft": ("peft", "for the methods that need it"),
    "h5py": ("hdf5", "for feature stores in HDF5"),
    "efficientnet-lite-pytorch": ("efficientnet", "for the encoder efficientnet-lite0"),
    "easy-vqa": ("easy-vqa", "for the task easy-vqa"),
    "submitit": ("slurm", "for --launcher slurm"),
    "timm": ("clip-resnet", "for the encoders clip-rn50 and clip-rn101, in an own environment"),
}
"""Package -> the extra that brings it, and what it is for."""


def python() -> Finding:
    """The Python that runs vlbench."""
    return Finding("Python", True, f"{platform.python_version()}, {sys.executable}")


def packages() -> list[Finding]:
    """What is installed with vlbench."""
    return [_package(name, f"pip install {name}") for name in PACKAGES]


def extras(needed: Collection[str] = ()) -> list[Finding]:
    """What is installed on request; `needed` names the packages that this default run needs."""
    return [
        _package(name, f"pip install 'vlbench[{extra}]', {purpose}", name in needed)
        for name, (extra, purpose) in EXTRAS.items()
    ]


def models() -> Finding:
    """Whether torch and transformers work together: a torchvision of another build breaks them."""
    try:
        from transformers import BartForConditionalGeneration  # noqa: F401
    except Exception as error:  # whatever an import can raise
        reason = str(error).strip().splitlines()[-1:]
        remedy = (
            f"torch and transformers do not work together: {' '.join(reason) or repr(error)} "
            "A torchvision of another build is a usual cause: pip uninstall torchvision"
        )
        return Finding("models", False, "", remedy)
    return Finding("models", True, "torch and transformers work together")


def java() -> Finding:
    """What the scorers of captions run on: a caption is tokenized and goes through METEOR."""
    try:
        from vlbench.metrics.captions import running_meteor, tokenize

        with running_meteor() as scorer:
            tokens = {"tried": tokenize(["A dog."])}
            scorer.compute_score(tokens, tokens)
    except (VlbenchError, ImportError, OSError) as error:
        return Finding("Java", False, "", str(error))
    return Finding("Java", True, f"{require_java()}, scores a caption")


def _package(name: str, remedy: str, is_needed: bool = True) -> Finding:
    try:
        return Finding(name, True, version(name), "", is_needed)
    except PackageNotFoundError:
        return Finding(name, False, "", remedy, is_needed)
