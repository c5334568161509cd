"""The domain: where it lies, its fine cells with a truth, the coarse cells, and the places that figures name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from dl4ds_core.figures.canvas import Canvas, coast_of
from dl4ds_core.figures.panels import FIELD_COLOURS, OUTLIERS, colour_bar, name_and_unit, panels, value_range
from dl4ds_core.figures.style import style
from dl4ds_core.grids import Grid, horizontal
from dl4ds_core.report.text import labelled

MOST_LINES = 80
"""Borders of more coarse cells than these along an axis would hide the map."""

HIGHEST = 4.2
"""Inches."""

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
        Shape (Y, X), such as the temporal mean of the truth; missing cells, which nothing is predicted for, are grey.
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
        figure, (axes,) = panels(1, canvas, columns=1, colorbars=True)
        figure.set_size_inches(figure.get_size_inches() * min(1.0, HIGHEST / figure.get_figheight()))
        mesh = canvas.draw(axes, field, FIELD_COLOURS, value_range([field], OUTLIERS), coast_of(land, field))
        if max(rows, columns) <= MOST_LINES:
            _draw_borders(axes, canvas, scale)
        for text, cell in (cells or {}).items():
            _draw_place(axes, canvas, field, cell, text)
        canvas.frame(axes, f"{grid.shape[0]} × {grid.shape[1]} cells, {rows} × {columns} coarse cells")
        colour_bar(figure, mesh, [axes], labelled(name, unit), extend="both")
    return figure


def _draw_borders(axes: Axes, canvas: Canvas, scale: int) -> None:
    x, y = canvas.edges
    if x.ndim == 1:
        x, y = np.meshgrid(x, y)
    for across, up in ((x[::scale].T, y[::scale].T), (x[:, ::scale], y[:, ::scale])):
        axes.plot(across, up, color=_BORDER, linewidth=0.35, alpha=0.7)


def _draw_place(axes: Axes, canvas: Canvas, field: xr.DataArray, cell: tuple[int, int], name: str) -> None:
    at = field.isel(dict(zip(horizontal(field), cell, strict=True)))
    y, x = (float(at.coords[dim]) if dim in at.coords else 0.0 for dim in horizontal(field))
    lat, lon = float(canvas.grid.lat[cell]), float(canvas.grid.lon[cell])
    across, up = canvas.place(lat, lon, y, x)
    axes.plot(across, up, marker="o", markersize=3, color=_PLACE, markeredgecolor="white", markeredgewidth=0.6)
    text = axes.annotate(name, (across, up), xytext=(3, 3), textcoords="offset points", fontsize=6, color=_PLACE)
    text.set_path_effects([withStroke(linewidth=1.3, foreground="white", alpha=0.85)])
