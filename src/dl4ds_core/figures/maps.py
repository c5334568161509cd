"""Maps of example fields and of scores per cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from textwrap import fill
from typing import Any, cast

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import Canvas, coast_of
from dl4ds_core.figures.panels import (
    DIVERGING_COLOURS,
    FIELD_COLOURS,
    OUTLIERS,
    Limits,
    check_alike,
    colour_bar,
    label_outer,
    name_and_unit,
    panels,
    symmetric,
    value_range,
)
from dl4ds_core.figures.style import style
from dl4ds_core.grids import Grid, horizontal
from dl4ds_core.report.text import difference_unit_text, labelled, time_text
from dl4ds_core.verification import METRICS

# Perceptually uniform and safe for colour-blind readers; dark is good in both.
ERROR_COLOURS, SKILL_COLOURS = "cividis", "cividis_r"

_SIGNED = "bias"  # a part of the names of scores that are too high or too low
_LANDSCAPE = 1.25
_TITLE = 31  # letters above such a panel
_ONE_LINE = 28  # letters under a panel of a quarter of the width


def choose_times(truth: xr.DataArray, prediction: xr.DataArray, *, seed: int = 0) -> dict[str, Any]:
    """Choose the time steps to show: those of the largest error and of the largest true value, and one at random.

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
        Time (datetime64 or cftime) by ``largest-error`` (area-weighted RMSE over the domain), ``largest-value`` (of the
        truth, in any cell) and ``random``.

    Raises
    ------
    DataError
        If the two don't have the same shape and times.
    """
    check_alike(truth, prediction)
    errors = _rmse(truth, prediction).values
    known = np.flatnonzero(np.isfinite(errors))
    if not known.size:
        raise DataError(f"{truth.name}: truth and prediction have no cell in common where both are defined")
    times = truth["time"].values
    drawn = known[np.random.default_rng(seed).integers(known.size)]
    highest = truth.max([str(dim) for dim in truth.dims if dim != "time"]).values
    return {
        "largest-error": times[int(np.nanargmax(errors))],
        "largest-value": times[int(np.nanargmax(highest))],
        "random": times[int(drawn)],
    }


def example_maps(
    truth: xr.DataArray,
    coarse: xr.DataArray | None,
    prediction: xr.DataArray,
    when: Any,
    *,
    land: xr.DataArray | None = None,
) -> Figure:
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
    land : xarray.DataArray, optional
        Fraction of land of the fine cells (Y, X), from 0 to 1: the coast is drawn where it is 0.5, unless the sea is
        missing in the truth, and so grey already.

    Raises
    ------
    DataError
        If truth and prediction don't have the same shape and times, a field has no such time, or the field of land has
        other cells or other values.
    """
    check_alike(truth, prediction)
    given = {"Truth": truth, "Coarse input": coarse, "Prediction": prediction}
    steps = {title: _at(field, when, title) for title, field in given.items() if field is not None}
    shown = steps["Truth"]
    coast = coast_of(land, shown)
    steps["Prediction"] = shown.copy(data=steps["Prediction"].transpose(*shown.dims).values).where(shown.notnull())
    rmse = float(_rmse(shown, steps["Prediction"]))
    canvas, unit = Canvas(Grid.of(shown)), difference_unit_text(truth.attrs.get("units"))
    wide = canvas.ratio > _LANDSCAPE and len(steps) == 3
    texts = [labelled("Error", unit), f"RMSE {rmse:#.3g} {unit}".strip()]
    one_line = wide or len("; ".join(texts)) < _ONE_LINE
    with style():
        figure, axes = panels(len(steps) + 1, canvas, columns=2 if wide else 4, lines=1 if one_line else 2)
        limits = value_range(steps.values())
        for axis, (title, field) in zip(axes, steps.items(), strict=False):
            mesh = canvas.draw(axis, field, FIELD_COLOURS, limits, coast)
            canvas.frame(axis, title)
        columns = (axes[::2], axes[1::2]) if wide else (axes[:-1], axes[-1:])
        colour_bar(figure, mesh, columns[0], labelled(*name_and_unit(truth)))
        error = steps["Prediction"] - shown
        mesh = canvas.draw(axes[-1], error, DIVERGING_COLOURS, symmetric([error]), coast)
        canvas.frame(axes[-1], "Error: prediction − truth")
        colour_bar(figure, mesh, columns[1], ("; " if one_line else "\n").join(texts), extend="both")
        label_outer(axes)
        figure.suptitle(f"{name_and_unit(truth)[0]}, {time_text(truth['time'], when)}")
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


def score_maps(
    scores: xr.Dataset,
    variable: str,
    *,
    limits: Mapping[str, Limits] | None = None,
    land: xr.DataArray | None = None,
) -> Figure:
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
    land : xarray.DataArray, optional
        Fraction of land (Y, X), from 0 to 1: the coast is drawn where it is 0.5, unless the sea has no scores.

    Raises
    ------
    DataError
        If there is no map of a score of this predictand, or the field of land has other cells or other values.
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
        figure, axes = panels(len(fields), canvas, columns=4, colorbars=True)
        for axis, (metric, field) in zip(axes, fields.items(), strict=False):
            mesh = canvas.draw(axis, field, _score_colours(metric), chosen[metric], coast_of(land, field))
            unit = difference_unit_text(field.attrs.get("units"))
            name = METRICS[metric].long_name
            canvas.frame(axis, fill(labelled(name[:1].upper() + name[1:], unit), _TITLE))
            colour_bar(figure, mesh, [axis], "", extend=_extension(field, chosen[metric]))
        for axis in axes[len(fields) :]:
            axis.remove()
        label_outer(axes[: len(fields)], every_row=True)
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
    limits = value_range([field.where(predicted.notnull()) for field in shown.values()])
    one_sign = limits[0] >= 0 or limits[1] <= 0
    if not one_sign:
        limits = symmetric(list(shown.values()))
    with style():
        figure, axes = panels(len(shown), canvas, columns=3)
        for axis, (title, field) in zip(axes, shown.items(), strict=True):
            colours = FIELD_COLOURS if one_sign else DIVERGING_COLOURS
            mesh = canvas.draw(axis, field.where(predicted.notnull()), colours, limits)
            canvas.frame(axis, title)
        colour_bar(figure, mesh, axes, labelled("Change of the mean", unit))
        label_outer(axes)
    return figure


def _score_fields(scores: xr.Dataset, variable: str) -> dict[str, xr.DataArray]:
    """Return the maps of a predictand by metric, in the order of the table of metrics."""
    # Names are looked up, not taken apart: maps of tas_max are none of tas.
    names = {metric: f"{variable}_{metric}" for metric in METRICS}
    return {metric: scores[name] for metric, name in names.items() if name in scores and scores[name].ndim == 2}


def _score_range(metric: str, fields: list[xr.DataArray]) -> Limits:
    if _SIGNED in metric:
        return symmetric(fields)
    if metric == "std_ratio":
        low, high = symmetric([field - 1 for field in fields])
        return max(1 + low, 0.0), min(1 + high, 2.0)
    return value_range(fields, OUTLIERS)


def _score_colours(metric: str) -> str:
    if _SIGNED in metric or metric == "std_ratio":
        return DIVERGING_COLOURS
    return SKILL_COLOURS if METRICS[metric].perfect == 1 else ERROR_COLOURS


def _extension(field: xr.DataArray, limits: Limits) -> str:
    below, above = bool((field < limits[0]).any()), bool((field > limits[1]).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def _at(field: xr.DataArray, when: Any, title: str) -> xr.DataArray:
    try:
        return field.sel(time=when).load()
    except KeyError as error:
        raise DataError(f"{title} of {field.name}: expected a field at {when}, found none at that time") from error


def _rmse(truth: xr.DataArray, prediction: xr.DataArray) -> xr.DataArray:
    """Area-weighted RMSE over the cells with a truth, for each step where there are several."""
    # Not aligned by coordinates: those of a prediction may differ by rounding.
    squared = truth.copy(data=(prediction.transpose(*truth.dims).data - truth.data) ** 2)
    weights = xr.DataArray(Grid.of(truth).area.values, dims=horizontal(truth))
    return cast(xr.DataArray, np.sqrt(squared.weighted(weights).mean(weights.dims)))
