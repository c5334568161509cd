"""What figures with maps share: panels in the shape of the domain, colour bars, ranges and text."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import Canvas
from dl4ds_core.figures.style import WIDTH
from dl4ds_core.report.text import unit_text

FIELD_COLOURS, DIVERGING_COLOURS = "viridis", "RdBu_r"

OUTLIERS = 0.5
"""Percent of the cells at each end that may lie beyond a colour scale, marked by its arrow."""

Limits = tuple[float, float]


def panels(
    count: int, canvas: Canvas, *, columns: int, colorbars: bool = False, lines: int = 1
) -> tuple[Figure, list[Axes]]:
    """Return a figure of the page's width with panels of the shape of the domain and room around them.

    Without room enough, titles would be drawn over each other: for text of so many ``lines`` below the colour bars.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    panel = (WIDTH - 0.45 - 0.12 * columns) / columns / canvas.ratio
    around = 0.9 if colorbars else 0.3
    names = 0.0 if canvas.grid.kind == "latlon" else 0.15  # of the axes
    below = 0.1 if colorbars else 0.95 + 0.06 * (4 - columns) + names + 0.17 * (lines - 1)
    height = rows * (panel + around + names * colorbars) + below
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(WIDTH, height), layout=layout)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def label_outer(axes: Iterable[Axes], *, every_row: bool = False) -> None:
    """Leave numbers and names of the axes only along the left and the lower side of the figure, or of each row."""
    for axis in axes:
        place = axis.get_subplotspec()
        left = place is None or place.is_first_col()
        lowest = every_row or place is None or place.is_last_row()
        axis.tick_params(labelleft=left, labelbottom=lowest)
        axis.xaxis.label.set_visible(lowest)
        axis.yaxis.label.set_visible(left)


def colour_bar(figure: Figure, mesh: QuadMesh, axes: Iterable[Axes], label: str, *, extend: str = "neither") -> None:
    """Draw the colour bar of some panels below them."""
    places = list(axes)
    bar = figure.colorbar(
        mesh,
        ax=places,
        location="bottom",
        label=label,
        extend=extend,
        aspect=16 * min(len(places), 3),
        shrink=0.9,
        pad=0.03,
    )
    bar.ax.xaxis.set_major_locator(MaxNLocator(nbins=3 if len(places) == 1 else 8))


def value_range(fields: Iterable[xr.DataArray], percent: float = 0.0) -> Limits:
    """Return the common range of fields; a constant field gets a range of some width."""
    values = np.concatenate([np.asarray(field, dtype=np.float64).ravel() for field in fields])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, [percent, 100 - percent]))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def symmetric(fields: Iterable[xr.DataArray]) -> Limits:
    """Return a range around 0 that holds all but a few outliers of some fields."""
    _, high = value_range([abs(field) for field in fields], OUTLIERS)
    return -high, high


def check_alike(truth: xr.DataArray, prediction: xr.DataArray) -> None:
    """Refuse fields with other shapes or times."""
    if truth.sizes != prediction.sizes or not truth.indexes["time"].equals(prediction.indexes["time"]):
        raise DataError(
            f"{truth.name}: expected truth and prediction with the same shape and times, found "
            f"{dict(truth.sizes)} and {dict(prediction.sizes)}; predict again for this period"
        )


def name_and_unit(field: xr.DataArray) -> tuple[str, str]:
    """Return what a field is called in figures, and its unit as a reader expects it."""
    name = str(field.attrs.get("long_name") or field.attrs.get("standard_name", field.name)).replace("_", " ")
    return name[:1].upper() + name[1:], unit_text(field.attrs.get("units"))
