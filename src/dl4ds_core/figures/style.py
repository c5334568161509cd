"""What all figures share: fonts, colours, and how a figure becomes a file."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from dl4ds_core.io import atomic

WIDTH = 7.2
"""Width of a figure over both columns of a page, inches."""

RESOLUTION = 150
"""Dots per inch of the PNG files."""

# Colours of Okabe and Ito (2008), which colour-blind readers can tell apart.
NETWORK, BASELINE, ACCENT = "#0072B2", "#D55E00", "#009E73"
MUTED = "#6B6B6B"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_UNNAMED: dict[str, object] = dict.fromkeys(("CreationDate", "Creator", "Producer"))  # of PDF

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "figure.titlesize": 9,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    # Names and units come from files: a dollar sign in them is a dollar sign.
    "text.parse_math": False,
    "pdf.fonttype": 42,  # outlines that can be edited: journals refuse Type 3
}


def style() -> AbstractContextManager[None]:
    """Return a context in which figures look alike, whatever the user's own settings of matplotlib are."""
    return matplotlib.style.context(["default", _STYLE])


def power_of_ten(value: float) -> str:
    """Return a power of ten as text, for a logarithmic axis: matplotlib's own is in mathematics, which is off here.

    >>> power_of_ten(0.01), power_of_ten(1e5)
    ('0.01', '10⁵')
    """
    exponent = round(math.log10(value))
    return f"{value:g}" if abs(exponent) <= 2 else "10" + str(exponent).translate(_SUPERSCRIPTS)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG and, beside it, as PDF; equal figures give bitwise equal files.

    Fields of cells are pixels in the PDF too; lines and text are not.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    path : str or Path
        Name of the PNG file; its folder is made where it is missing. Both files appear only when whole.
    """
    target = Path(path)
    with style():
        with atomic(target) as temporary:
            figure.savefig(temporary, format="png", dpi=RESOLUTION, metadata={"Software": None})
        figure.set_layout_engine(None)  # all is in its place now; finding it again would take a third of the time
        with atomic(target.with_suffix(".pdf")) as temporary:
            figure.savefig(temporary, format="pdf", dpi=2 * RESOLUTION, metadata=_UNNAMED)
