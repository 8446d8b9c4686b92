"""How plots look, how they are laid out, and how they are written to files."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from vlbench.errors import UsageError
from vlbench.files import write_out

FORMATS = ("png", "svg", "pdf")
PNG_DPI = 200
TEXT_SIZE, SMALL_SIZE, TITLE_SIZE = 7.0, 6.0, 8.0
"""In points."""
INK, DIM, GRID, PAPER, FLOOR_GREY = "#1a1a1a", "#595959", "#e3e3e3", "#ffffff", "#9a9a9a"
TWO_ABREAST = 6.0
"""From this width on, in inches, two axes stand side by side."""
LETTER_WIDTH = 0.58
"""Mean width of a letter by the size of the font."""
LINE_SPACING = 1.3
MARGIN, BESIDE, BELOW = 0.08, 0.42, 0.36
"""Inches: around everything; for the numbers and the label left of axes, and below them."""
BOLD = "bold:"
"""Begins a legend's entry that explains bold names."""
SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT_SIZE,
    "text.color": INK,
    "text.hinting": "none",  # letters are as wide at every resolution
    "text.parse_math": False,  # a name with dollar signs is a name
    "axes.edgecolor": DIM,
    "axes.linewidth": 0.6,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.color": DIM,
    "ytick.color": DIM,
    "xtick.labelsize": SMALL_SIZE,
    "ytick.labelsize": SMALL_SIZE,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": SMALL_SIZE,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
    "legend.labelspacing": 0.5,
    "legend.columnspacing": 1.6,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # text that can be searched and read aloud
    "svg.hashsalt": "vlbench",  # the same names inside the file each time
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
}


class Marker(NamedTuple):
    """A shape and a colour."""

    shape: str
    colour: str
    size: float = 1.0
    """Makes shapes look equally large."""


MARKERS = {
    "adapters": Marker("o", "#0072b2"),
    "VL-PET": Marker("p", "#56b4e9"),
    "low-rank updates": Marker("s", "#d55e00", 0.9),
    "prompts": Marker("^", "#009e73"),
    "some of the weights": Marker("D", "#e69f00", 0.82),
    "side network": Marker("v", "#cc79a7"),
    "tuners of peft": Marker("P", "#8c510a", 1.1),
    "all weights": Marker("h", "#000000"),
    "combined": Marker("*", "#000000", 1.4),
    "other technique": Marker("<", "#000000"),
    "floor": Marker("X", FLOOR_GREY, 1.1),
}
"""By family of techniques: colours of Okabe and Ito (2008), brown for their yellow, which is too
pale in grey, and a shape of its own for each."""
LINES = (
    ("#0072b2", "-"),
    ("#d55e00", (0, (4, 1.5))),
    ("#009e73", (0, (1, 1))),
    ("#cc79a7", (0, (6, 1.5, 1, 1.5))),
    ("#000000", (0, (2.5, 1.5))),
    ("#e69f00", (0, (8, 2))),
    ("#56b4e9", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
)
"""Colours of Okabe and Ito, each with dashes of its own: as many lines as can be told apart."""


@contextmanager
def styled() -> Iterator[None]:
    """Have matplotlib draw in this style, whatever a `matplotlibrc` says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


class Block(NamedTuple):
    """One board's part of a figure: a title, axes, a legend below them, and notes."""

    title: str
    n_axes: int
    axes_height: float
    """Inches."""
    legend: Sequence[Any]
    """Handles of the legend."""
    notes: Sequence[str]
    has_titles: bool = False
    """Whether axes have titles."""


def draw_blocks(blocks: Sequence[Block], width: float) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure `width` inches wide, a block below the other, and the axes of each.

    Everything stands in inches from the top, so that axes are as wide in every plot.
    """
    columns = max(1, int(width // 1.6))
    titles = [_wrapped(block.title, TITLE_SIZE, width) for block in blocks]
    notes = ["\n".join(_wrapped(note, SMALL_SIZE, width) for note in b.notes) for b in blocks]
    places: list[dict[str, float]] = []
    top = 0.0
    for block, title, text in zip(blocks, titles, notes, strict=True):
        abreast = 2 if block.n_axes > 1 and width >= TWO_ABREAST else 1
        step = block.axes_height + (0.3 if block.has_titles else 0.1) + BELOW
        first = top + 0.12 + _height(title, TITLE_SIZE)
        legend = first + step * -(-block.n_axes // abreast) + 0.02
        note = legend + 0.135 * -(-len(block.legend) // columns) + 0.08
        places.append({"title": top + 0.08, "first": first, "step": step, "abreast": abreast})
        places[-1] |= {"legend": legend, "notes": note}
        top = note + _height(text, SMALL_SIZE) + 0.2
    figure = Figure(figsize=(width, top))

    def up(inches: float) -> float:
        return 1 - inches / top

    axes_by_block: list[list[Axes]] = []
    for block, title, text, at in zip(blocks, titles, notes, places, strict=True):
        small: dict[str, Any] = {"fontsize": SMALL_SIZE, "color": DIM, "linespacing": LINE_SPACING}
        bold: dict[str, Any] = {"fontsize": TITLE_SIZE, "fontweight": "bold"}
        figure.text(MARGIN / width, up(at["title"]), title, va="top", **bold)
        figure.text(MARGIN / width, up(at["notes"]), text, va="top", **small)
        across = (width - MARGIN) / at["abreast"]
        grid = []
        for n in range(block.n_axes):
            row, column = divmod(n, int(at["abreast"]))
            bottom = at["first"] + (row + 1) * at["step"] - BELOW
            corner = (MARGIN + BESIDE + column * across) / width, up(bottom)
            size = (across - BESIDE - MARGIN) / width, block.axes_height / top
            grid.append(figure.add_axes((*corner, *size)))
        axes_by_block.append(grid)
        drawn = figure.legend(
            handles=block.legend,
            loc="upper left",
            bbox_to_anchor=(MARGIN / width, up(at["legend"])),
            ncols=columns,
        )
        for entry in drawn.get_texts():
            entry.set_fontweight("bold" if entry.get_text().startswith(BOLD) else "normal")
    return figure, axes_by_block


def log_axis(axis: Axis, label: str) -> None:
    """Have a logarithmic axis, its limits set, show a few round values: 30k, 100k."""
    low, high = axis.get_view_interval()
    locator = LogLocator(subs=(1, 3) if high > 20 * low else (1, 1.5, 2, 3, 5, 7))
    axis.set_ticks([tick for tick in locator.tick_values(low, high) if low <= tick <= high])
    axis.set_minor_locator(NullLocator())
    thousands = EngFormatter(sep="")
    axis.set_major_formatter(lambda value, _: thousands(value) if value > 999 else f"{value:g}")
    axis.set_label_text(label)
    axis.labelpad = 2


def picture_format(file: Path) -> str:
    """Return the format that a file's suffix names; UsageError for any other suffix."""
    suffix = file.suffix.lower().removeprefix(".")
    valid = ", ".join(f".{name}" for name in FORMATS)
    if file.is_dir():
        raise UsageError(f"--out {file}: A folder is there; name a file that ends in {valid}.")
    if suffix not in FORMATS:
        fault = f"The suffix '{file.suffix}' is no picture's" if suffix else "A suffix is missing"
        raise UsageError(f"--out {file}: {fault}; it says the format: {valid}.")
    return suffix


def save(figure: Figure, file: Path, title: str, description: str) -> Path:
    """Write a figure with a title and a description for screen readers."""
    write_out(file, encoded(figure, picture_format(file), title, description))
    return file


def encoded(figure: Figure, suffix: str, title: str, description: str) -> bytes:
    """Return a figure in one of FORMATS, with a title and a description for screen readers.

    The same figure gives the same bytes: neither the time nor matplotlib's version is written.
    """
    metadata: dict[str, str | None] = {
        "png": {"Software": None, "Description": description},
        "svg": {"Date": None, "Creator": None, "Description": description},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": description},
    }[suffix]
    content = io.BytesIO()
    figure.savefig(content, format=suffix, dpi=PNG_DPI, metadata={"Title": title, **metadata})
    return content.getvalue()


def _wrapped(text: str, size: float, width: float) -> str:
    """Break text into lines that fit `width` inches, by the letters' mean width."""
    return textwrap.fill(text, width=max(20, int((width - 0.2) * 72 / (size * LETTER_WIDTH))))


def _height(text: str, size: float) -> float:
    """Inches that lines of text take."""
    return (text.count("\n") + 1) * size * LINE_SPACING / 72
