"""Daily values of fields with shorter steps."""

from __future__ import annotations

import re
from typing import Any, Literal

import cftime
import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.time.axis import seconds, step_of
from dl4ds_core.time.tidying import Field, take_steps

#: Seconds.
DAY = 86_400

Method = Literal["point", "mean", "sum"]


def to_daily(field: xr.DataArray, cell_methods: Method | None, where: str = "time") -> tuple[xr.DataArray, list[str]]:
    """Put the steps of each day together.

    Point values and means are averaged, sums are summed. A mean or sum is that of the interval that ends at its time,
    so 00:00 belongs to the day before; a point value at 00:00 belongs to the day that begins. Days that lack a step are
    left out. A cell is missing on a day where any of the day's steps is.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, ...), ascending steps shorter than a day; stays lazy, and is read chunk by chunk.
    cell_methods : str, optional
        ``point``, ``mean`` or ``sum``; by default as the attribute ``cell_methods`` of the field says, else ``point``.
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
        If steps don't divide a day or change their length, or no day is complete.
    """
    method = cell_methods or stated_method(field) or "point"
    per_day, days, complete = _days(field["time"], method != "point", where)
    chosen = np.flatnonzero(np.isin(days, complete))
    if complete.size == 0:
        raise DataError(f"{where}: no day has all of its {per_day} steps, so no daily values can be made")
    parts = take_steps(field, chosen)
    data = _aggregated(parts.data, per_day, method)
    attributes = dict(field.attrs) | {"cell_methods": _cell_methods(field, "sum" if method == "sum" else "mean")}
    time = xr.DataArray(_midnights(field["time"], complete), dims="time", attrs=field["time"].attrs)
    kept = {name: value for name, value in field.coords.items() if "time" not in value.dims}
    daily = xr.DataArray(data, dims=field.dims, coords={**kept, "time": time}, name=field.name, attrs=attributes)
    lost = np.unique(days).size - complete.size
    stated = "" if cell_methods or stated_method(field) else ", taken as point values for want of `cell_methods`"
    notes = [
        f"{where}: daily {'sums' if method == 'sum' else 'means'} of {per_day} steps each{stated}; {complete.size} days"
        + (f", {lost} incomplete days left out" if lost else "")
    ]
    return daily, notes


def to_midnight(field: Field) -> Field:
    """Stamp daily values 00:00 of their date."""
    days = seconds(field["time"]) // DAY
    time = xr.DataArray(_midnights(field["time"], days), dims="time", attrs=field["time"].attrs)
    return field.assign_coords(time=time)


def stated_method(field: xr.DataArray) -> Method | None:
    """Return what the CF attribute ``cell_methods`` says about time, if it is point, mean or sum."""
    found = re.search(r"\btime: *(point|mean|sum)\b", str(field.attrs.get("cell_methods", "")))
    return found[1] if found else None  # type: ignore[return-value]


def _days(time: xr.DataArray, at_end: bool, where: str) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the steps of a day, the day of each step, and the days that are complete."""
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
            f"{str(_midnights(time, unique[counts.argmax()][None])[0])[:10]}: steps of different lengths can't be put "
            "together"
        )
    return per_day, days, unique[counts == per_day]


def _midnights(time: xr.DataArray, days: np.ndarray) -> np.ndarray:
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


def _aggregated(data: Any, per_day: int, method: Method) -> Any:
    """Return the mean or sum of each group of ``per_day`` steps, in the type of the data; lazily for dask arrays."""

    def reduce(block: np.ndarray) -> np.ndarray:
        groups = block.reshape(block.shape[0] // per_day, per_day, *block.shape[1:])
        combine = np.sum if method == "sum" else np.mean
        return np.asarray(combine(groups, axis=1, dtype=np.float64)).astype(block.dtype)

    if isinstance(data, np.ndarray):
        return reduce(data)
    # Chunks of whole days, of about the length they had.
    size = max(1, max(data.chunks[0]) // per_day) * per_day
    whole = data.rechunk({0: size})
    chunks = (tuple(length // per_day for length in whole.chunks[0]), *whole.chunks[1:])
    return whole.map_blocks(reduce, chunks=chunks, dtype=data.dtype, meta=np.empty((0,) * data.ndim, data.dtype))


def _cell_methods(field: xr.DataArray, method: str) -> str:
    """Return the CF attribute with what it says about time replaced."""
    kept = []
    for names, how, comment in re.findall(
        r"((?:\w+: *)+)(\w+)(?: *(\([^)]*\)))?", str(field.attrs.get("cell_methods", ""))
    ):
        others = [name for name in names.replace(":", " ").split() if name != "time"]
        if others:
            kept.append(" ".join([*(f"{name}:" for name in others), how, comment]).strip())
    return " ".join([*kept, f"time: {method}"])
