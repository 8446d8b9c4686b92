"""How pictures look: fonts, inks, colours that colour-blind readers tell apart, marker shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib

TEXT_SIZE, SMALL_SIZE, TITLE_SIZE = 7.0, 6.0, 8.0
"""In points: what a journal takes, at the width of its column and of its page."""
LINE_SPACING = 1.3
INK, DIM, GRID, PAPER = "#1a1a1a", "#595959", "#e3e3e3", "#ffffff"
FLOOR_GREY = "#9a9a9a"
MARKER_RADIUS = 2.9
"""In points."""

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
    """What makes shapes look equally large."""


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


@contextmanager
def styled() -> Iterator[None]:
    """Within it matplotlib draws in this style, whatever a `matplotlibrc` says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield
