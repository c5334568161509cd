"""Maps of example fields and of scores per cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import Canvas
from dl4ds_core.figures.style import WIDTH, style
from dl4ds_core.grids import Grid, horizontal
from dl4ds_core.report.text import difference_unit_text, labelled, unit_text
from dl4ds_core.verification import METRICS

FIELD_COLOURS, DIVERGING_COLOURS = "viridis", "RdBu_r"
# Perceptually uniform and safe for colour-blind readers; dark is good in both.
ERROR_COLOURS, SKILL_COLOURS = "cividis", "cividis_r"

_OUTLIERS = 0.5  # percent of the cells at each end that may lie beyond a colour scale, marked by its arrow
_LANDSCAPE = 1.25
_ONE_LINE = 28  # letters under a panel of a quarter of the width

Limits = tuple[float, float]


def choose_times(truth: xr.DataArray, prediction: xr.DataArray, *, seed: int = 0) -> dict[str, Any]:
    """Choose the time steps to show: that of the largest error, and one at random.

    Parameters
    ----------
    truth, prediction : xarray.DataArray
        Shape (time, Y, X), in the same unit; may be lazy. Where the truth is missing, nothing is compared.
    seed : int
        Of the random choice, which depends on nothing else but the number of steps with a truth: models of one
        experiment show the same step.

    Returns
    -------
    dict
        Time (datetime64 or cftime) by ``largest-error`` (area-weighted RMSE over the domain) and ``random``.

    Raises
    ------
    DataError
        If the two don't have the same shape and times.
    """
    _check_alike(truth, prediction)
    errors = _rmse(truth, prediction).values
    known = np.flatnonzero(np.isfinite(errors))
    if not known.size:
        raise DataError(f"{truth.name}: truth and prediction have no cell in common where both are defined")
    times = truth["time"].values
    drawn = known[np.random.default_rng(seed).integers(known.size)]
    return {"largest-error": times[int(np.nanargmax(errors))], "random": times[int(drawn)]}


def example_maps(truth: xr.DataArray, coarse: xr.DataArray | None, prediction: xr.DataArray, when: Any) -> Figure:
    """Show truth, coarse input and prediction at one time on one colour scale, and the error.

    Cells where the truth is missing are grey in truth, prediction and error: what is predicted there can't be judged.

    Parameters
    ----------
    truth, prediction : xarray.DataArray
        Shape (time, Y, X), on the fine grid and in the same unit; ``long_name`` and ``units`` give the text.
    coarse : xarray.DataArray or None
        Shape (time, Y, X), on a coarse grid of the same kind, same unit; None where the inputs have no such field.
    when : datetime64 or cftime.datetime
        The time step to show.

    Raises
    ------
    DataError
        If truth and prediction don't have the same shape and times, or a field has no such time.
    """
    _check_alike(truth, prediction)
    given = {"Truth": truth, "Coarse input": coarse, "Prediction": prediction}
    steps = {title: _at(field, when, title) for title, field in given.items() if field is not None}
    shown = steps["Truth"]
    steps["Prediction"] = shown.copy(data=steps["Prediction"].transpose(*shown.dims).values).where(shown.notnull())
    rmse = float(_rmse(shown, steps["Prediction"]))
    canvas, unit = Canvas(Grid.of(shown)), difference_unit_text(truth.attrs.get("units"))
    wide = canvas.ratio > _LANDSCAPE and len(steps) == 3
    texts = [labelled("Error", unit), f"RMSE {rmse:#.3g} {unit}".strip()]
    one_line = wide or len("; ".join(texts)) < _ONE_LINE
    with style():
        figure, axes = _panels(len(steps) + 1, canvas, columns=2 if wide else 4, lines=1 if one_line else 2)
        limits = _range(steps.values())
        for axis, (title, field) in zip(axes, steps.items(), strict=False):
            mesh = canvas.draw(axis, field, FIELD_COLOURS, limits)
            canvas.frame(axis, title)
        columns = (axes[::2], axes[1::2]) if wide else (axes[:-1], axes[-1:])
        _below(figure, mesh, columns[0], labelled(*_name_and_unit(truth)))
        error = steps["Prediction"] - shown
        mesh = canvas.draw(axes[-1], error, DIVERGING_COLOURS, _symmetric([error]))
        canvas.frame(axes[-1], "Error: prediction − truth")
        _below(figure, mesh, columns[1], ("; " if one_line else "\n").join(texts), extend="both")
        _label_outer(axes)
        figure.suptitle(f"{_name_and_unit(truth)[0]}, {_time_text(truth['time'], when)}")
    return figure


def score_limits(scores: Iterable[xr.Dataset], variable: str) -> dict[str, Limits]:
    """Return, for each score of a predictand, the colour scale that suits several models.

    Parameters
    ----------
    scores : iterable of xarray.Dataset
        Maps ``<variable>_<metric>`` (Y, X), one data set per model; missing cells don't count.
    variable : str
        The predictand.

    Returns
    -------
    dict
        Lower and upper limit by metric.
    """
    collected: dict[str, list[xr.DataArray]] = {}
    for dataset in scores:
        for metric, field in _score_fields(dataset, variable).items():
            collected.setdefault(metric, []).append(field)
    return {metric: _score_range(metric, fields) for metric, fields in collected.items()}


def score_maps(scores: xr.Dataset, variable: str, *, limits: Mapping[str, Limits] | None = None) -> Figure:
    """Show the maps of one model's scores for a predictand, a panel per score.

    Parameters
    ----------
    scores : xarray.Dataset
        Maps ``<variable>_<metric>`` (Y, X), with ``units``, and the coordinates of their grid.
    variable : str
        The predictand.
    limits : mapping, optional
        Lower and upper limit of the colours by metric, from `score_limits`, so that models can be compared;
        default: the range of this model.

    Raises
    ------
    DataError
        If there is no map of a score of this predictand.
    """
    fields = _score_fields(scores, variable)
    if not fields:
        raise DataError(
            f"expected maps named {variable}_<metric> over the grid, found "
            f"{', '.join(map(str, scores)) or 'none'}; verify the model again"
        )
    chosen = score_limits([scores], variable) | dict(limits or {})
    canvas = Canvas(Grid.of(scores))
    with style():
        figure, axes = _panels(len(fields), canvas, columns=4, colorbars=True)
        for axis, (metric, field) in zip(axes, fields.items(), strict=False):
            mesh = canvas.draw(axis, field, _score_colours(metric), chosen[metric])
            unit = difference_unit_text(field.attrs.get("units"))
            name = METRICS[metric].long_name
            canvas.frame(axis, labelled(name[:1].upper() + name[1:], unit))
            _below(figure, mesh, [axis], "", extend=_extension(field, chosen[metric]))
        for axis in axes[len(fields) :]:
            axis.remove()
        _label_outer(axes[: len(fields)], every_row=True)
    return figure


def change_maps(fields: xr.Dataset, variable: str) -> Figure:
    """Show the change of the temporal mean that is predicted, beside that of the coarse inputs and the true one.

    Parameters
    ----------
    fields : xarray.Dataset
        ``<variable>_change`` and, where there are such, ``<variable>_coarse_change`` and ``<variable>_true_change``,
        shape (Y, X), with ``units`` and the coordinates of their grid.
    variable : str
        The predictand.
    """
    titles = {"change": "Predicted", "true_change": "Truth", "coarse_change": "Coarse inputs"}
    shown = {title: fields[f"{variable}_{kind}"] for kind, title in titles.items() if f"{variable}_{kind}" in fields}
    predicted = shown["Predicted"]
    canvas, unit = Canvas(Grid.of(fields)), difference_unit_text(predicted.attrs.get("units"))
    limits = _range([field.where(predicted.notnull()) for field in shown.values()])
    one_sign = limits[0] >= 0 or limits[1] <= 0
    if not one_sign:
        limits = _symmetric(list(shown.values()))
    with style():
        figure, axes = _panels(len(shown), canvas, columns=3)
        for axis, (title, field) in zip(axes, shown.items(), strict=True):
            colours = FIELD_COLOURS if one_sign else DIVERGING_COLOURS
            mesh = canvas.draw(axis, field.where(predicted.notnull()), colours, limits)
            canvas.frame(axis, title)
        _below(figure, mesh, axes, labelled("Change of the mean", unit))
        _label_outer(axes)
    return figure


def _panels(
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


def _label_outer(axes: Iterable[Axes], *, every_row: bool = False) -> None:
    """Leave numbers and names of the axes only along the left and the lower side of the figure, or of each row."""
    for axis in axes:
        place = axis.get_subplotspec()
        left = place is None or place.is_first_col()
        lowest = every_row or place is None or place.is_last_row()
        axis.tick_params(labelleft=left, labelbottom=lowest)
        axis.xaxis.label.set_visible(lowest)
        axis.yaxis.label.set_visible(left)


def _below(figure: Figure, mesh: QuadMesh, axes: Iterable[Axes], label: str, *, extend: str = "neither") -> None:
    panels = list(axes)
    bar = figure.colorbar(
        mesh,
        ax=panels,
        location="bottom",
        label=label,
        extend=extend,
        aspect=16 * min(len(panels), 3),
        shrink=0.9,
        pad=0.03,
    )
    bar.ax.xaxis.set_major_locator(MaxNLocator(nbins=4 if len(panels) == 1 else 8))


def _score_fields(scores: xr.Dataset, variable: str) -> dict[str, xr.DataArray]:
    """Return the maps of a predictand by metric, in the order of the table of metrics."""
    # Names are looked up, not taken apart: maps of tas_max are none of tas.
    names = {metric: f"{variable}_{metric}" for metric in METRICS}
    return {metric: scores[name] for metric, name in names.items() if name in scores and scores[name].ndim == 2}


def _score_range(metric: str, fields: list[xr.DataArray]) -> Limits:
    if metric == "bias":
        return _symmetric(fields)
    if metric == "std_ratio":
        low, high = _symmetric([field - 1 for field in fields])
        return max(1 + low, 0.0), min(1 + high, 2.0)
    return _range(fields, _OUTLIERS)


def _score_colours(metric: str) -> str:
    if metric in ("bias", "std_ratio"):
        return DIVERGING_COLOURS
    return SKILL_COLOURS if METRICS[metric].perfect == 1 else ERROR_COLOURS


def _range(fields: Iterable[xr.DataArray], percent: float = 0.0) -> Limits:
    """Return the common range of fields; a constant field gets a range of some width."""
    values = np.concatenate([np.asarray(field, dtype=np.float64).ravel() for field in fields])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, [percent, 100 - percent]))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _symmetric(fields: Iterable[xr.DataArray]) -> Limits:
    _, high = _range([abs(field) for field in fields], _OUTLIERS)
    return -high, high


def _extension(field: xr.DataArray, limits: Limits) -> str:
    below, above = bool((field < limits[0]).any()), bool((field > limits[1]).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def _at(field: xr.DataArray, when: Any, title: str) -> xr.DataArray:
    try:
        return field.sel(time=when).load()
    except KeyError as error:
        raise DataError(f"{title} of {field.name}: expected a field at {when}, found none at that time") from error


def _check_alike(truth: xr.DataArray, prediction: xr.DataArray) -> None:
    if truth.sizes != prediction.sizes or not truth.indexes["time"].equals(prediction.indexes["time"]):
        raise DataError(
            f"{truth.name}: expected truth and prediction with the same shape and times, found "
            f"{dict(truth.sizes)} and {dict(prediction.sizes)}; predict again for this period"
        )


def _rmse(truth: xr.DataArray, prediction: xr.DataArray) -> xr.DataArray:
    """Area-weighted RMSE over the cells with a truth, for each step where there are several."""
    # Not aligned by coordinates: those of a prediction may differ by rounding.
    squared = truth.copy(data=(prediction.transpose(*truth.dims).data - truth.data) ** 2)
    weights = xr.DataArray(Grid.of(truth).area.values, dims=horizontal(truth))
    return cast(xr.DataArray, np.sqrt(squared.weighted(weights).mean(weights.dims)))


def _name_and_unit(field: xr.DataArray) -> tuple[str, str]:
    name = str(field.attrs.get("long_name") or field.attrs.get("standard_name", field.name)).replace("_", " ")
    return name[:1].upper() + name[1:], unit_text(field.attrs.get("units"))


def _time_text(times: xr.DataArray, when: Any) -> str:
    """Return a time in any calendar; without the clock where the steps are days or more."""
    index = times.to_index()
    daily = len(index) > 1 and (index[1] - index[0]).total_seconds() >= 86400
    text = times.sel(time=when).dt.strftime("%Y-%m-%d" if daily else "%Y-%m-%d %H:%M").item()
    calendar = times.dt.calendar
    return text if calendar in ("proleptic_gregorian", "standard", "gregorian") else f"{text} ({calendar} calendar)"
