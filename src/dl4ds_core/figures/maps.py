"""Maps of example fields and of scores per cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.style import WIDTH, style
from dl4ds_core.grids import Grid
from dl4ds_core.report.text import difference_unit_text, labelled, unit_text
from dl4ds_core.verification import METRICS

FIELD_COLOURS, DIVERGING_COLOURS = "viridis", "RdBu_r"
# Perceptually uniform and safe for colour-blind readers; dark is good in both.
ERROR_COLOURS, SKILL_COLOURS = "cividis", "cividis_r"

_OUTLIERS = 0.5  # percent of the cells at each end that may lie beyond a colour scale, marked by its arrow
_LANDSCAPE = 1.25

Limits = tuple[float, float]


def choose_times(truth: xr.DataArray, prediction: xr.DataArray, *, seed: int = 0) -> dict[str, Any]:
    """Choose the time steps to show: that of the largest error, and one at random.

    Parameters
    ----------
    truth, prediction : xarray.DataArray
        Shape (time, lat, lon), in the same unit; may be lazy.
    seed : int
        Of the random choice, which depends on nothing else but the number of steps: models of one experiment
        show the same step.

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
    squared = (prediction.assign_coords(lat=truth["lat"], lon=truth["lon"]) - truth) ** 2
    errors = squared.weighted(_area(truth)).mean(("lat", "lon")).values
    if not np.isfinite(errors).any():
        raise DataError(f"{truth.name}: truth and prediction have no cell in common where both are defined")
    times = truth["time"].values
    drawn = np.random.default_rng(seed).integers(times.size)
    return {"largest-error": times[int(np.nanargmax(errors))], "random": times[int(drawn)]}


def example_maps(truth: xr.DataArray, coarse: xr.DataArray, prediction: xr.DataArray, when: Any) -> Figure:
    """Show truth, coarse input and prediction at one time on one colour scale, and the error.

    Parameters
    ----------
    truth, prediction : xarray.DataArray
        Shape (time, lat, lon), on the fine grid and in the same unit; ``long_name`` and ``units`` give the
        text.
    coarse : xarray.DataArray
        Shape (time, lat, lon), on the coarse grid, same unit.
    when : datetime64 or cftime.datetime
        The time step to show.

    Raises
    ------
    DataError
        If truth and prediction don't have the same shape and times, or a field has no such time.
    """
    _check_alike(truth, prediction)
    fields = {"Truth": truth, "Coarse input": coarse, "Prediction": prediction}
    steps = {title: _at(field, when, title) for title, field in fields.items()}
    error = steps["Truth"].copy(data=steps["Prediction"].values - steps["Truth"].values)
    rmse = float(np.sqrt((error**2).weighted(_area(error)).mean()))
    unit = difference_unit_text(truth.attrs.get("units"))
    with style():
        figure, axes = _panels(4, steps["Truth"], columns=2 if _is_landscape(steps["Truth"]) else 4)
        low, high = _range(steps.values())
        for axis, (title, field) in zip(axes, steps.items(), strict=False):
            mesh = _draw(axis, field, FIELD_COLOURS, (low, high))
            _frame(axis, steps["Truth"], title)
        columns = (axes[::2], axes[1::2]) if _is_landscape(truth) else (axes[:3], axes[3:])
        _below(figure, mesh, columns[0], labelled(*_name_and_unit(truth)))
        mesh = _draw(axes[3], error, DIVERGING_COLOURS, _symmetric([error]))
        _frame(axes[3], error, "Error: prediction − truth")
        _below(
            figure,
            mesh,
            columns[1],
            f"{labelled('Error', unit)}; RMSE {rmse:#.3g} {unit}".strip(),
            extend="both",
        )
        figure.suptitle(f"{_name_and_unit(truth)[0]}, {_time_text(truth['time'], when)}")
    return figure


def score_limits(scores: Iterable[xr.Dataset], variable: str) -> dict[str, Limits]:
    """Return, for each score of a predictand, the colour scale that suits several models.

    Parameters
    ----------
    scores : iterable of xarray.Dataset
        Maps ``<variable>_<metric>`` (lat, lon), one data set per model.
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
        Maps ``<variable>_<metric>`` (lat, lon), with ``units``.
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
            f"expected maps named {variable}_<metric> (lat, lon), found "
            f"{', '.join(map(str, scores)) or 'none'}; verify the model again"
        )
    chosen = score_limits([scores], variable) | dict(limits or {})
    with style():
        first = next(iter(fields.values()))
        figure, axes = _panels(len(fields), first, columns=4, colorbars=True)
        for axis, (metric, field) in zip(axes, fields.items(), strict=False):
            mesh = _draw(axis, field, _score_colours(metric), chosen[metric])
            unit = difference_unit_text(field.attrs.get("units"))
            name = METRICS[metric].long_name if metric in METRICS else metric.replace("_", " ")
            _frame(axis, field, labelled(name[:1].upper() + name[1:], unit))
            _below(figure, mesh, [axis], "", extend=_extension(field, chosen[metric]))
        for axis in axes[len(fields) :]:
            axis.remove()
    return figure


def _panels(count: int, field: xr.DataArray, *, columns: int, colorbars: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure of the page's width with panels of the shape of the domain and room around them."""
    columns = min(columns, count)
    rows = -(-count // columns)
    panel = (WIDTH - 0.45 - 0.12 * columns) / columns / _shape_ratio(field)
    around = 0.9 if colorbars else 0.3
    height = rows * (panel + around) + (0.1 if colorbars else 0.95)
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(WIDTH, height), layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            grid[row, column].tick_params(labelbottom=colorbars or row == rows - 1, labelleft=column == 0)
    return figure, list(grid.ravel())


def _draw(axes: Axes, field: xr.DataArray, colours: str, limits: Limits) -> QuadMesh:
    grid = Grid.of(field)
    values = np.ma.masked_invalid(field.transpose("lat", "lon").values)
    low, high = limits
    return axes.pcolormesh(grid.lon_bounds, grid.lat_bounds, values, cmap=colours, vmin=low, vmax=high, rasterized=True)


def _frame(axes: Axes, field: xr.DataArray, title: str) -> None:
    """Set title, extent, proportions and degrees of a map."""
    grid = Grid.of(field)
    axes.set_title(title)
    axes.set_xlim(grid.lon_bounds[0], grid.lon_bounds[-1])
    axes.set_ylim(grid.lat_bounds[0], grid.lat_bounds[-1])
    axes.set_aspect(_aspect(field))
    axes.set_facecolor("#DDDDDD")  # where cells are missing
    for axis, sides in ((axes.xaxis, "EW"), (axes.yaxis, "NS")):
        axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 4, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _, sides=sides: _degrees(value, sides)))


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
    """Return the maps of a predictand by metric, those of the table of metrics first and in its order."""
    prefix = f"{variable}_"
    found = {
        str(name).removeprefix(prefix): field
        for name, field in scores.data_vars.items()
        if str(name).startswith(prefix) and set(field.dims) == {"lat", "lon"}
    }
    known = [metric for metric in METRICS if metric in found]
    return {metric: found[metric] for metric in [*known, *sorted(set(found) - set(known))]}


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
    return SKILL_COLOURS if metric in METRICS and METRICS[metric].perfect == 1 else ERROR_COLOURS


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
        return field.sel(time=when).transpose("lat", "lon").load()
    except KeyError as error:
        raise DataError(f"{title} of {field.name}: expected a field at {when}, found none at that time") from error


def _check_alike(truth: xr.DataArray, prediction: xr.DataArray) -> None:
    if truth.sizes != prediction.sizes or not truth.indexes["time"].equals(prediction.indexes["time"]):
        raise DataError(
            f"{truth.name}: expected truth and prediction with the same shape and times, found "
            f"{dict(truth.sizes)} and {dict(prediction.sizes)}; predict again for this period"
        )


def _area(field: xr.DataArray) -> xr.DataArray:
    return Grid.of(field).area.assign_coords(lat=field["lat"], lon=field["lon"])


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


def _degrees(value: float, sides: str) -> str:
    """Return an angle as a reader expects it: 225 degrees east is 135°W."""
    if sides == "EW":
        value = (value + 180) % 360 - 180
    if value in (0, -180):
        return f"{abs(value):g}°"
    return f"{abs(value):g}°{sides[0] if value > 0 else sides[1]}"


def _aspect(field: xr.DataArray) -> float:
    """Return the length of a degree of latitude in degrees of longitude, in the middle of the domain."""
    middle = 0.5 * float(field["lat"].min() + field["lat"].max())
    return 1.0 / max(float(np.cos(np.deg2rad(middle))), 0.1)


def _shape_ratio(field: xr.DataArray) -> float:
    grid = Grid.of(field)
    return float(np.ptp(grid.lon_bounds) / np.ptp(grid.lat_bounds)) / _aspect(field)


def _is_landscape(field: xr.DataArray) -> bool:
    return _shape_ratio(field) > _LANDSCAPE
