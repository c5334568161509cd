"""Time series at some places: truth and models."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dl4ds_core.errors import DataError
from dl4ds_core.figures.looks import GRID, TRUTH, handles, legend_below, looks
from dl4ds_core.figures.series import date_axis, prepared
from dl4ds_core.figures.style import WIDTH, style
from dl4ds_core.report.text import labelled, place_text, unit_text
from dl4ds_core.time import runs

SHOWN_STEPS = 120
"""So many steps of a longer record are shown."""

_PANEL = 1.45  # height, inches


def typical_cells(score: xr.DataArray) -> dict[str, tuple[int, int]]:
    """Return row and column of the cells with the median and with the largest score.

    Parameters
    ----------
    score : xarray.DataArray
        Shape (Y, X), such as the RMSE of each cell; missing cells count for nothing.

    Raises
    ------
    DataError
        If no cell has a score.
    """
    values = np.asarray(score.values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        raise DataError(f"{score.name}: expected a score of some cells, found none; verify the model again")
    ordered = known[np.argsort(values.ravel()[known], kind="stable")]
    found = {"typical error": ordered[(ordered.size - 1) // 2], "largest error": ordered[-1]}
    return {name: divmod(int(number), values.shape[1]) for name, number in found.items()}


def series_at_places(
    truth: Mapping[str, xr.DataArray],
    predictions: Mapping[str, Mapping[str, xr.DataArray]],
    *,
    networks: Collection[str],
    units: str = "",
) -> Figure:
    """Show the true and the predicted values of some cells, a panel for each.

    Of a longer record `SHOWN_STEPS` steps are shown at most, those around the largest error of the first model and none
    beyond a gap: there the models can be told apart. No line crosses a gap.

    Parameters
    ----------
    truth : mapping of str to xarray.DataArray
        Values ``(time,)`` by place; ``lat`` and ``lon``, if they are coordinates, stand in the title.
    predictions : mapping of str to mapping of str to xarray.DataArray
        Values ``(time,)`` by place and model, in the same unit, all places with the same models.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.
    units : str
        Of all of them.

    Raises
    ------
    DataError
        If there is no place or model, or no value is known at a place.
    """
    if not truth:
        raise DataError("expected at least one place to show, found none")
    shown = looks(next(iter(predictions.values())), networks)
    with style():
        figure = Figure(figsize=(WIDTH, 0.3 + _PANEL * len(truth)), layout="constrained")
        rows = figure.subplots(len(truth), 1, squeeze=False)[:, 0]
        for axes, (place, true) in zip(rows, truth.items(), strict=True):
            first = next(iter(predictions[place].values()))
            steps = _window(true, first, place)
            of_truth = prepared(true[steps], 0)
            axes.plot(of_truth.times, of_truth.values, color=TRUTH, linewidth=1.8, zorder=2)
            for name, look in shown.items():
                each = prepared(predictions[place][name][steps], 0)
                axes.plot(each.times, each.values, linewidth=0.9, zorder=3, **look.line)
            axes.set_title(_title(place, true), loc="left")
            axes.margins(x=0.01)
            axes.grid(color=GRID, linewidth=0.5)
            axes.set_axisbelow(True)
            axes.set_ylabel(labelled("value", unit_text(units)))
            date_axis(axes, [true["time"][steps]])
        legend_below(figure, [Line2D([], [], color=TRUTH, linewidth=1.8, label="truth"), *handles(shown, dot=False)])
    return figure


def _window(truth: xr.DataArray, prediction: xr.DataArray, place: str) -> slice:
    """Return the steps around the largest error, or all of a short record; of a longer one, none beyond a gap."""
    error = np.abs(np.asarray(prediction.values - truth.values, dtype=np.float64))
    if not np.isfinite(error).any():
        raise DataError(f"{place}: expected values of truth and prediction there, found none; choose another place")
    if error.size <= SHOWN_STEPS:
        return slice(None)
    largest = int(np.nanargmax(error))
    part = next(part for part in runs(truth["time"]) if part.start <= largest < part.stop)
    first = min(max(largest - SHOWN_STEPS // 2, part.start), max(part.stop - SHOWN_STEPS, part.start))
    return slice(first, min(first + SHOWN_STEPS, part.stop))


def _title(place: str, truth: xr.DataArray) -> str:
    if "lat" not in truth.coords or "lon" not in truth.coords:
        return place
    return f"{place} ({place_text(float(truth['lat']), float(truth['lon']))})"
