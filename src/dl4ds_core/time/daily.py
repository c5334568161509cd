"""Daily values of fields with shorter steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import cftime
import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.time.axis import seconds, step_of
from dl4ds_core.time.tidying import Field, take_steps

#: Seconds.
DAY = 86_400

#: How the steps of a day are put together, by their method.
COMBINED: dict[str, Callable[..., Any]] = {
    "point": np.mean,
    "mean": np.mean,
    "sum": np.sum,
    "maximum": np.max,
    "minimum": np.min,
}
_PLURALS = {"sum": "sums", "maximum": "maxima", "minimum": "minima"}


def to_daily(field: xr.DataArray, cell_methods: str | None, where: str = "time") -> tuple[xr.DataArray, list[str]]:
    """Put the steps of each day together.

    Point values and means are averaged, sums are summed, and of maxima and minima the largest and the smallest is
    taken. All but points are those of the interval that ends at their time, so 00:00 belongs to the day before; a
    point value at 00:00 belongs to the day that begins. Days that lack a step are left out. A cell is missing on a
    day where any of the day's steps is.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, ...), ascending steps shorter than a day; stays lazy, and is read chunk by chunk.
    cell_methods : str, optional
        ``point``, ``mean`` or ``sum``; by default as the attribute ``cell_methods`` of the field says (``maximum`` and
        ``minimum`` too), else ``point``.
    where : str
        What the field is, for messages.

    Returns
    -------
    xarray.DataArray
        Shape (day, ...), the unit and type of ``field``, stamped 00:00 of the day.
    list of str
        What was done.

    Raises
    ------
    DataError
        If steps don't divide a day or change their length, no day is complete, or the field says that it is something
        else, such as a variance.
    """
    method = cell_methods or stated_method(field) or "point"
    if method not in COMBINED:
        raise DataError(
            f"{where}: daily values can't be made of the {method} of shorter intervals (attribute `cell_methods`); if "
            "they are something else, say so with `sources.<source>.cell_methods`"
        )
    per_day, days, complete = complete_days(field["time"], method != "point", where)
    chosen = np.flatnonzero(np.isin(days, complete))
    if complete.size == 0:
        raise DataError(f"{where}: no day has all of its {per_day} steps, so no daily values can be made")
    parts = take_steps(field, chosen)
    data = _aggregated(parts.data, per_day, method)
    attributes = dict(field.attrs) | {"cell_methods": _cell_methods(field, "mean" if method == "point" else method)}
    time = xr.DataArray(midnights(field["time"], complete), dims="time", attrs=field["time"].attrs)
    kept = {name: value for name, value in field.coords.items() if "time" not in value.dims}
    daily = xr.DataArray(data, dims=field.dims, coords={**kept, "time": time}, name=field.name, attrs=attributes)
    lost = np.unique(days).size - complete.size
    stated = "" if cell_methods or stated_method(field) else ", taken as point values for want of `cell_methods`"
    notes = [
        f"{where}: daily {_PLURALS.get(method, 'means')} of {per_day} steps each{stated}; {complete.size} days"
        + (f", {lost} incomplete days left out" if lost else "")
    ]
    return daily, notes


def to_midnight(field: Field) -> Field:
    """Stamp daily values 00:00 of their date."""
    days = seconds(field["time"]) // DAY
    time = xr.DataArray(midnights(field["time"], days), dims="time", attrs=field["time"].attrs)
    return field.assign_coords(time=time)


def stated_method(field: xr.DataArray) -> str | None:
    """Return what the CF attribute ``cell_methods`` says about time: mean, maximum ..., if it does."""
    return next((how for names, how, _ in _stated(field) if "time" in names), None)


def complete_days(time: xr.DataArray, at_end: bool, where: str) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the steps of a day, the day of each step, and the days that are complete, counted from 2000-01-01.

    Parameters
    ----------
    time : xarray.DataArray
        Shape (time,), ascending steps shorter than a day.
    at_end : bool
        Whether values are those of the interval that ends at their time: 00:00 belongs to the day before.
    where : str
        What the axis belongs to, for messages.

    Raises
    ------
    DataError
        If steps don't divide a day or change their length.
    """
    step = step_of(time)
    length = int(step.total_seconds()) if step else 0
    if not 0 < length < DAY or DAY % length:
        raise DataError(f"{where}: expected steps of which a whole number makes a day, found {step or 'one step'}")
    days = (seconds(time, where) - (1 if at_end else 0)) // DAY
    unique, counts = np.unique(days, return_counts=True)
    per_day = DAY // length
    if counts.max() > per_day:
        raise DataError(
            f"{where}: expected {per_day} steps a day (most steps are {step}), found {counts.max()} on "
            f"{str(midnights(time, unique[counts.argmax()][None])[0])[:10]}: steps of different lengths can't be put "
            "together"
        )
    return per_day, days, unique[counts == per_day]


def midnights(time: xr.DataArray, days: np.ndarray) -> np.ndarray:
    """Return days since the beginning of 2000 as times of the kind of an axis."""
    if time.dtype.kind == "M":
        return np.asarray((np.datetime64("2000-01-01", "D") + days).astype(time.dtype))
    first = time.values[0]
    return np.asarray(
        cftime.num2date(
            days,
            "days since 2000-01-01",
            calendar=first.calendar,
            only_use_cftime_datetimes=True,
            has_year_zero=first.has_year_zero,
        )
    )


def _aggregated(data: Any, per_day: int, method: str) -> Any:
    """Return the mean, sum ... of each group of ``per_day`` steps, in the type of the data; lazily for dask arrays."""

    def reduce(block: np.ndarray) -> np.ndarray:
        groups = block.reshape(block.shape[0] // per_day, per_day, *block.shape[1:])
        return np.asarray(COMBINED[method](groups.astype(np.float64), axis=1)).astype(block.dtype)

    if isinstance(data, np.ndarray):
        return reduce(data)
    # Chunks of whole days, of about the length they had.
    size = max(1, max(data.chunks[0]) // per_day) * per_day
    whole = data.rechunk({0: size})
    chunks = (tuple(length // per_day for length in whole.chunks[0]), *whole.chunks[1:])
    return whole.map_blocks(reduce, chunks=chunks, dtype=data.dtype, meta=np.empty((0,) * data.ndim, data.dtype))


def _stated(field: xr.DataArray) -> Iterator[tuple[list[str], str, str]]:
    """Yield the parts of the CF attribute ``cell_methods``: names of dimensions, method, and comment in brackets."""
    stated = str(field.attrs.get("cell_methods", ""))
    for names, how, comment in re.findall(r"((?:\w+: *)+)(\w+)(?: *(\([^)]*\)))?", stated):
        yield names.replace(":", " ").split(), how, comment


def _cell_methods(field: xr.DataArray, method: str) -> str:
    """Return the CF attribute with what it says about time replaced."""
    kept = []
    for names, how, comment in _stated(field):
        others = [name for name in names if name != "time"]
        if others:
            kept.append(" ".join([*(f"{name}:" for name in others), how, comment]).strip())
    return " ".join([*kept, f"time: {method}"])
