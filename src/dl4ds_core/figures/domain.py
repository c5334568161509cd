"""The domain: where it lies, its fine cells with a truth, the coarse cells, and the places that figures name."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from dl4ds_core.figures.canvas import Canvas, coast_of
from dl4ds_core.figures.panels import FIELD_COLOURS, OUTLIERS, name_and_unit, value_range
from dl4ds_core.figures.style import WIDTH, style
from dl4ds_core.grids import Grid
from dl4ds_core.report.text import labelled

MOST_LINES = 80
"""Borders of more coarse cells than these along an axis would hide the map."""

HIGHEST = 4.2
"""Inches."""

_BESIDE, _AROUND = 1.6, 0.8  # inches for the colour bar and for text
_LETTERS = 30  # of a line beside the colour bar

_BORDER = "#FFFFFF"
_PLACE = "#111111"


def domain_map(
    field: xr.DataArray,
    *,
    scale: int,
    cells: Mapping[str, tuple[int, int]] | None = None,
    land: xr.DataArray | None = None,
) -> Figure:
    """Show a field on the fine grid with the borders of the coarse cells and some named cells.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (Y, X), such as the temporal mean of the truth; missing cells are grey.
    scale : int
        Fine cells per coarse cell, along each axis.
    cells : mapping of str to (row, column), optional
        Cells to mark.
    land : xarray.DataArray, optional
        Fraction of land of the cells (Y, X): the coast is drawn where it is 0.5.

    Raises
    ------
    DataError
        If the field of land has other cells or other values.
    """
    grid = Grid.of(field)
    canvas, (name, unit) = Canvas(grid), name_and_unit(field)
    rows, columns = (size // scale for size in grid.shape)
    with style():
        height = (WIDTH - _BESIDE) / canvas.ratio + _AROUND
        figure = Figure(figsize=(WIDTH, min(height, HIGHEST)), layout="compressed")
        axes = figure.subplots()
        mesh = canvas.draw(axes, field, FIELD_COLOURS, value_range([field], OUTLIERS), coast_of(land, field))
        if max(rows, columns) <= MOST_LINES:
            _draw_borders(axes, canvas, scale)
        for text, cell in (cells or {}).items():
            _draw_place(axes, canvas, cell, text)
        canvas.frame(axes, f"{grid.shape[0]} × {grid.shape[1]} cells, {rows} × {columns} coarse cells")
        figure.colorbar(mesh, ax=axes, label=fill(labelled(name, unit), _LETTERS), extend="both")
    return figure


def _draw_borders(axes: Axes, canvas: Canvas, scale: int) -> None:
    x, y = canvas.edges
    if x.ndim == 1:
        x, y = np.meshgrid(x, y)
    for across, up in ((x[::scale].T, y[::scale].T), (x[:, ::scale], y[:, ::scale])):
        axes.plot(across, up, color=_BORDER, linewidth=0.35, alpha=0.7)


def _draw_place(axes: Axes, canvas: Canvas, cell: tuple[int, int], name: str) -> None:
    """Mark a cell; its name is written towards the middle of the map."""
    across, up = canvas.centre(cell)
    left, right, bottom, top = canvas.extent
    beside, above = across < (left + right) / 2, up < (bottom + top) / 2
    axes.plot(across, up, marker="o", markersize=3, color=_PLACE, markeredgecolor="white", markeredgewidth=0.6)
    text = axes.annotate(
        name,
        (across, up),
        xytext=(3 if beside else -3, 3 if above else -3),
        textcoords="offset points",
        ha="left" if beside else "right",
        va="bottom" if above else "top",
        fontsize=6,
        color=_PLACE,
    )
    text.set_path_effects([withStroke(linewidth=1.3, foreground="white", alpha=0.85)])
    text.set_in_layout(False)  # it lies within the map
