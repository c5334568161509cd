"""What a network's predictions depend on: importance of inputs, and where on the coarse grid it looks."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import Canvas
from dl4ds_core.figures.looks import GRID
from dl4ds_core.figures.panels import colour_bar, label_outer, panels
from dl4ds_core.figures.style import ACCENT, BASELINE, MUTED, NETWORK, WIDTH, style
from dl4ds_core.grids import Grid
from dl4ds_core.report.text import difference_unit_text, labelled, number

# Nothing is light; the colours differ in lightness, for colour-blind readers too.
SALIENCY_COLOURS = "YlGnBu"

_KINDS = {
    "coarse": ("coarse predictand", NETWORK),
    "predictor": ("predictor", BASELINE),
    "static": ("static field", ACCENT),
    "calendar": ("calendar", "#CC79A7"),
}
_COLUMNS = ("variable", "input", "kind", "repeat", "reference", "increase", "unit")
_BAR = 0.22  # inches, height of a bar with its space
_LETTERS = 26  # of the name of an input, in a line; of the title of a map twice as many in all
_PANELS = 3  # beside each other
_RING: dict[str, Any] = {
    "markersize": 6,
    "markerfacecolor": "none",
    "markeredgecolor": BASELINE,
    "markeredgewidth": 1.6,
}
_SINGLE = 0.6  # of the page's width, for a map alone


def importance(table: pd.DataFrame) -> Figure:
    """Show by how much the RMSE grows with each input permuted: bars, a dot per repeat, a panel per predictand.

    Inputs stand in the order of their importance for the first predictand, in all panels.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns variable, input, kind (coarse, predictor, static or calendar), repeat, reference (RMSE with nothing
        permuted), increase, and unit of both.

    Raises
    ------
    DataError
        If a column is missing, or there is no row.
    """
    missing = [name for name in _COLUMNS if name not in table]
    if missing or table.empty:
        raise DataError(
            f"importance of inputs: expected the columns {', '.join(_COLUMNS)} and at least one row, found "
            f"{', '.join(map(str, table.columns)) or 'no columns'} and {len(table)} rows; make importance.csv again"
        )
    variables = list(dict.fromkeys(table["variable"]))
    first = table[table["variable"] == variables[0]]
    means = first.groupby(["input", "kind"], sort=False)["increase"].mean().sort_values(ascending=False, kind="stable")
    inputs = list(means.index)
    columns = min(len(variables), _PANELS)
    rows = -(-len(variables) // columns)
    kinds = [kind for kind in _KINDS if any(kind == of for _, of in inputs)]
    with style():
        height = rows * (0.75 + _BAR * len(inputs)) + 0.25
        figure = Figure(figsize=(WIDTH * (0.8 if columns == 1 else 1.0), height), layout="constrained")
        every = list(figure.subplots(rows, columns, squeeze=False, sharey=True).ravel())
        for axes, variable in zip(every, variables, strict=False):
            _draw_bars(axes, table[table["variable"] == variable], inputs)
        for axes in every[len(variables) :]:
            axes.remove()
        every[0].set_ylim(len(inputs) - 0.4, -0.6)
        every[0].set_yticks(range(len(inputs)), [fill(name, _LETTERS, break_on_hyphens=False) for name, _ in inputs])
        entries: list[Patch | Line2D] = [Patch(color=_KINDS[kind][1], label=_KINDS[kind][0]) for kind in kinds]
        if table["repeat"].nunique() > 1:
            entries.append(_dot([], [], label="one permutation"))
        figure.legend(handles=entries, loc="outside upper left", ncols=5, handlelength=1.2, handletextpad=0.6)
    return figure


def saliency(fields: xr.Dataset, variable: str) -> Figure:
    """Show how much the prediction at chosen cells changes with each coarse field: a map per cell and field.

    All maps have one scale, on which colours stand for square roots. The cell is marked.

    Parameters
    ----------
    fields : xarray.Dataset
        ``<variable>_saliency`` (cell, input, Y, X) with ``units``, and the coordinates of ``explaining.saliency``.
    variable : str
        The predictand.

    Raises
    ------
    DataError
        If there is no such field.
    """
    name = f"{variable}_saliency"
    if name not in fields or fields[name].ndim != 4:
        raise DataError(
            f"expected {name} (cell, input, Y, X), found {', '.join(map(str, fields)) or 'no fields'}; make "
            "saliency.nc again"
        )
    field = fields[name].load()
    grid = Grid.of(fields)
    canvas = Canvas(grid)
    highest = float(field.max()) or 1.0
    cells, inputs = ([str(text) for text in fields[f"{what}_name"].values] for what in ("cell", "input"))
    with style():
        figure, axes = panels(field.sizes["cell"] * field.sizes["input"], canvas, columns=_maps(field))
        if len(axes) == 1:  # a few large cells need no more room
            figure.set_size_inches(_SINGLE * WIDTH, _SINGLE * figure.get_figheight() + 0.4)
        shown = [(cell, given) for cell in range(len(cells)) for given in range(len(inputs))]
        for axis, (cell, given) in zip(axes, shown, strict=False):
            mesh = canvas.draw(axis, field[cell, given], SALIENCY_COLOURS, (0.0, highest))
            mesh.set_norm(PowerNorm(0.5, 0.0, highest))  # what is far away is small, and yet what is asked for
            where = {key: float(fields[f"cell_{key}"][cell]) for key in ("lat", "lon")}
            y, x = (float(fields.get(f"cell_{dim}", fields["cell_lat"])[cell]) for dim in grid.dims)
            axis.plot(*canvas.place(**where, y=y, x=x), "o", **_RING)
            canvas.frame(axis, fill(f"{cells[cell]}: {inputs[given]}", 2 * _LETTERS // min(len(shown), 2)))
        for axis in axes[len(shown) :]:
            axis.remove()
        unit = difference_unit_text(field.attrs.get("units"))
        label = labelled(f"Mean change of {variable} at the ring", f"{unit} per standard deviation".strip())
        colour_bar(figure, mesh, axes[: len(shown)], label)
        label_outer(axes[: len(shown)])
    return figure


def _maps(field: xr.DataArray) -> int:
    """Return the number of maps beside each other: the inputs of a cell in one row, where these are few."""
    inputs, cells = field.sizes["input"], field.sizes["cell"]
    if inputs == 1:
        return min(cells, 3)
    return inputs if inputs <= 4 else 4 if inputs % 4 == 0 else 3


def _draw_bars(axes: Axes, rows: pd.DataFrame, inputs: list[tuple[str, str]]) -> None:
    for place, (name, kind) in enumerate(inputs):
        values = rows[(rows["input"] == name) & (rows["kind"] == kind)]["increase"].to_numpy(dtype=float)
        mean = float(values.mean())
        axes.barh(place, mean, height=0.62, color=_KINDS[kind][1])
        if values.size > 1:
            axes.add_line(_dot(values, [place] * values.size))
        end = max(float(values.max()), 0.0)
        axes.annotate(
            "0" if mean == 0 else number(mean, 2),
            (end, place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    unit = difference_unit_text(rows["unit"].iloc[0])
    axes.set_title(f"{rows['variable'].iloc[0]}: RMSE {number(float(rows['reference'].iloc[0]))} {unit}".strip())
    axes.set_xlabel(labelled("increase of the RMSE", unit))
    low, high = float(min(rows["increase"].min(), 0.0)), float(max(rows["increase"].max(), 0.0))
    room = 0.25 * (high - low) or 1.0  # for the numbers
    axes.set_xlim(low - 0.04 * (high - low), high + room)
    axes.axvline(0.0, color=MUTED, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _dot(x: np.ndarray | list[float], y: list[int], label: str = "") -> Line2D:
    return Line2D(
        x,
        y,
        linestyle="",
        marker="o",
        markersize=3,
        markerfacecolor="white",
        markeredgecolor="black",
        markeredgewidth=0.6,
        label=label,
    )
