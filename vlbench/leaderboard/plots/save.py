"""Writing a picture to a file: the same picture gives the same bytes."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from vlbench.leaderboard.plots.formats import picture_format
from vlbench.out import write_out

PNG_DPI = 200
NO_DATES: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What matplotlib would add: the time, and its version."""
DESCRIPTION = {"png": "Description", "svg": "Description", "pdf": "Subject"}


def save(figure: Figure, file: Path, title: str, description: str) -> Path:
    """Write the picture in the format of the file's suffix, with what a screen reader tells."""
    suffix = picture_format(file)
    told = {"Title": title, DESCRIPTION[suffix]: description}
    held = io.BytesIO()
    figure.savefig(held, format=suffix, dpi=PNG_DPI, metadata=NO_DATES[suffix] | told)
    write_out(file, held.getvalue())
    return file
