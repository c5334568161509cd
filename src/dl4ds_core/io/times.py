"""Time axes of files: numbers since a moment, in any calendar."""

from __future__ import annotations

import re
import warnings

import cftime
import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.io.problems import one_line, told

_ATTRIBUTES = {"standard_name": "time", "axis": "T"}


def decoded(time: xr.Variable, where: str) -> xr.Variable:
    """Return times as datetime64, or as cftime objects where the calendar isn't a real one.

    Times are rounded to whole seconds, as days in floating point numbers hold them to some microseconds only.

    Parameters
    ----------
    time : xarray.Variable
        Shape (time,), numbers with ``units`` such as ``days since 1950-01-01``.
    where : str
        File and variable, for messages.

    Raises
    ------
    DataError
        If there are none, one is missing, or the units or the calendar can't be understood.
    """
    if time.size == 0:
        raise DataError(f"{where}: the time axis is empty")
    units, calendar = str(time.attrs.get("units", "")).strip(), str(time.attrs.get("calendar", "standard"))
    if not units:
        raise DataError(f"{where}: the time coordinate has no units; expected such as 'days since 1950-01-01'")
    with told(f"{where}: times can't be read"):
        values = np.asarray(time.values)
    if values.dtype.kind not in "iuf":
        raise DataError(f"{where}: expected times as numbers, found {values.dtype}")
    if not np.all(np.isfinite(values)):
        raise DataError(f"{where}: the time coordinate has {np.sum(~np.isfinite(values))} missing values")
    if re.fullmatch(r"days? as %Y%m%d(\.%f)?", units, flags=re.IGNORECASE):
        values, units = _absolute(values, calendar, where), "seconds since 1970-01-01"
    # "Hour Since ..." is found too; what follows may have a T and a Z, which are to stay.
    units = re.sub(r"^(\w+) since ", lambda match: match[0].lower(), units, flags=re.IGNORECASE)
    attributes = {"units": units, "calendar": calendar.strip().lower() or "standard"}
    raw = xr.Dataset(coords={"time": ("time", values, attributes)})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of times outside the range of datetime64, which become cftime objects
            found = xr.decode_cf(raw)["time"]
    except (ValueError, TypeError, OverflowError, KeyError, AttributeError) as error:
        cause = one_line(error.__cause__ or error)
        raise DataError(
            f"{where}: times with the units {units!r} and the calendar {calendar!r} can't be understood: {cause}"
        ) from error
    if found.dtype.kind == "M":
        whole = found.values.astype("datetime64[ns]")
        found = xr.DataArray((whole + np.timedelta64(500_000_000, "ns")).astype("datetime64[s]"), dims="time")
        return xr.Variable("time", found.values.astype("datetime64[ns]"), _ATTRIBUTES)
    if found.dtype != object:
        raise DataError(
            f"{where}: times with the units {units!r} can't be understood; expected such as 'days since ...'"
        )
    return xr.Variable("time", xr.CFTimeIndex(found.values).round("s").values, _ATTRIBUTES)


def _absolute(values: np.ndarray, calendar: str, where: str) -> np.ndarray:
    """Return seconds since 1970, in the calendar given, of days written as 19500131.25."""
    days = np.floor(values.astype(np.float64))
    # Every date once: hourly files repeat each of them.
    dates, place = np.unique(days, return_inverse=True)
    starts = np.array([_day(date, calendar, where) for date in dates.tolist()], dtype=np.int64)
    return starts[place] * 86400 + np.round((values - days) * 86400.0).astype(np.int64)


def _day(date: float, calendar: str, where: str) -> int:
    """Return days since 1970 of a date written as 19500131."""
    name = calendar.strip().lower() or "standard"
    try:
        digits = int(date)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the year 0, which some calendars have
            found = cftime.datetime(digits // 10_000, digits // 100 % 100, digits % 100, calendar=name)
            return int(cftime.date2num(found, "days since 1970-01-01"))
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{where}: expected times as dates with the digits YYYYMMDD in the calendar {calendar!r}, "
            f"found {date:.0f}: {one_line(error)}; mend the time coordinate or its calendar"
        ) from error


def require_time(field: xr.DataArray, where: str) -> None:
    """Check that a field has a time axis.

    Raises
    ------
    DataError
        If it has none.
    """
    if "time" not in field.dims:
        raise DataError(f"{where}: expected a time axis, found the dimensions {', '.join(map(str, field.dims))} only")
