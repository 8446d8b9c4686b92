"""Which files a picture can be written to, told by the suffix."""

from __future__ import annotations

from pathlib import Path

from vlbench.errors import UsageError

FORMATS = ("png", "svg", "pdf")


def picture_format(file: Path) -> str:
    """The format of a file's name; an error names the valid suffixes."""
    suffix = file.suffix.lower().removeprefix(".")
    valid = ", ".join(f".{name}" for name in FORMATS)
    if file.is_dir():
        raise UsageError(f"--out {file}: A folder is there; name a file that ends in {valid}.")
    if suffix not in FORMATS:
        found = f"The suffix '{file.suffix}' is no picture's" if suffix else "A suffix is missing"
        raise UsageError(f"--out {file}: {found}; it says the format: {valid}.")
    return suffix
