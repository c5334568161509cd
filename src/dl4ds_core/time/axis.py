"""One time axis in any calendar: order, steps, runs without gaps, periods, durations and text."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise

import cftime
import numpy as np
import xarray as xr

from dl4ds_core.config.periods import Moment, Period
from dl4ds_core.errors import DataError

#: A step longer than this many median steps is a gap in the record.
GAP_FACTOR = 1.5

_GOLDEN = (5**0.5 - 1) / 2
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_BASE = (13, 32, 25, 60, 61)  # larger than any value of the part that follows
_UNITS = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800}
#: Seconds.
_LONGEST = 86_400 * 36_500_000
_YEAR_DAYS = {"360_day": 360.0, "noleap": 365.0, "all_leap": 366.0, "julian": 365.25}
_SYNONYMS = {
    "gregorian": "standard",
    "proleptic_gregorian": "standard",  # the same since 1582
    "365_day": "noleap",
    "366_day": "all_leap",
}


def _ordinal(parts: tuple[np.ndarray, ...] | Moment) -> np.ndarray:
    """Return one sortable integer per moment, which no calendar is needed for."""
    value = np.asarray(parts[0], dtype=np.int64)
    for base, part in zip(_BASE, parts[1:], strict=True):
        value = value * base + np.asarray(part, dtype=np.int64)
    return value


def within(time: xr.DataArray, period: Period) -> np.ndarray:
    """Tell which time steps belong to a period.

    Parameters
    ----------
    time : xarray.DataArray
        Shape (time,), datetime64 or cftime.
    period : Period
        Both ends belong to it.

    Returns
    -------
    numpy.ndarray
        Shape (time,), bool.
    """
    ordinals = _ordinal(tuple(getattr(time.dt, part).values for part in _PARTS))
    return (ordinals >= _ordinal(period.start)) & (ordinals <= _ordinal(period.end))


def text(moment: object) -> str:
    """Return a time step as ISO 8601 text, without parts that are zero."""
    value = str(np.datetime_as_string(moment, unit="s") if isinstance(moment, np.datetime64) else moment)
    value = value.replace(" ", "T")
    for suffix in (":00", ":00", "T00"):
        value = value.removesuffix(suffix)
    return value


def calendar_of(time: xr.DataArray) -> str:
    """Return the calendar of an axis, one name for each: standard, noleap, 360_day, all_leap or julian.

    The proleptic Gregorian calendar counts as the standard one, which it is since 1582.
    """
    name = str(time.dt.calendar) if time.size else "standard"
    return _SYNONYMS.get(name, name)


def seconds(time: xr.DataArray, where: str = "time") -> np.ndarray:
    """Return times as whole seconds since the beginning of 2000 in their own calendar.

    Rounding to seconds removes what floating point numbers in a file add to times that are meant to be exact.

    Parameters
    ----------
    time : xarray.DataArray
        Shape (time,), datetime64 or cftime.
    where : str
        What the axis belongs to, for messages.

    Returns
    -------
    numpy.ndarray
        Shape (time,), int64; midnights are multiples of 86400.

    Raises
    ------
    DataError
        If a step has no time.
    """
    values = time.values
    if values.dtype.kind == "M":
        if np.isnat(values).any():
            raise DataError(f"{where}: {int(np.isnat(values).sum())} of {values.size} steps have no time")
        since = values.astype("datetime64[ms]") - np.datetime64("2000-01-01", "ms")
        return (since.astype(np.int64) + 500) // 1000
    if values.size == 0:
        return np.zeros(0, dtype=np.int64)
    if not all(isinstance(value, cftime.datetime) for value in values):
        raise DataError(f"{where}: expected dates and times, found values of type {type(values[0]).__name__}")
    # Ten times as fast as cftime.date2num, which matters for a century of hours.
    epoch = cftime.datetime(2000, 1, 1, calendar=values[0].calendar, has_year_zero=values[0].has_year_zero).toordinal()
    days = np.fromiter((moment.toordinal() for moment in values), dtype=np.int64, count=values.size) - epoch
    rest = np.fromiter((_microseconds(moment) for moment in values), dtype=np.int64, count=values.size)
    return days * 86_400 + (rest + 500_000) // 1_000_000


def _microseconds(moment: cftime.datetime) -> int:
    """Return the time since midnight."""
    return ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1_000_000 + moment.microsecond


def require_ascending(time: xr.DataArray, where: str) -> None:
    """Check that times ascend strictly.

    Raises
    ------
    DataError
        Naming the first pair of steps that doesn't.
    """
    values = time.values
    wrong = np.flatnonzero(~np.asarray(values[1:] > values[:-1], dtype=bool))
    if wrong.size:
        earlier, later = values[wrong[0]], values[wrong[0] + 1]
        problem = "twice" if earlier == later else f"after {text(earlier)}"
        raise DataError(f"{where}: the time step {text(later)} comes {problem}; expected strictly ascending times")


def duration(length: str, calendar: str | None = None) -> timedelta:
    """Return a duration as written in a configuration.

    Parameters
    ----------
    length : str
        A whole number, which may have a sign, and min, h, d, w, month or y: ``30min``, ``-12h``, ``3d``.
    calendar : str, optional
        Needed for years and months: a year is that of the calendar, on average, and a month its twelfth.

    Raises
    ------
    DataError
        If it is none, or a year or month without a calendar.
    """
    found = re.fullmatch(r"([+-]?\d+) ?(min|h|d|w|month|y)", length.strip())
    if found is None:
        raise DataError(f"expected a duration such as 30min, 6h or 3d, found {length!r}")
    number, unit = int(found[1]), found[2]
    if unit in _UNITS:
        each: float = _UNITS[unit]
    elif calendar is None:
        raise DataError(f"expected a duration in min, h, d or w, found {length!r}: a {unit} has no fixed length")
    else:
        year = 86_400 * _YEAR_DAYS.get(_SYNONYMS.get(calendar, calendar), 365.2425)
        each = year / 12 if unit == "month" else year
    if abs(number) * each > _LONGEST:
        raise DataError(f"expected a duration of less than 100 000 years, found {length!r}")
    return timedelta(seconds=number * each)


def shift(time: xr.DataArray, offset: str) -> xr.DataArray:
    """Return times moved by an offset, in any calendar.

    Parameters
    ----------
    time : xarray.DataArray
        Shape (time,).
    offset : str
        As in ``sources.<source>.time_offset``: ``-12h`` makes 12:00 of a day 00:00.
    """
    delta = duration(offset)
    if not delta:
        return time
    added: timedelta | np.timedelta64 = delta
    if time.dtype.kind == "M":
        added = np.timedelta64(int(delta.total_seconds()), "s")
        # Sums of datetime64 that are too large begin anew at the other end.
        dates = time.values.astype("datetime64[D]") + np.timedelta64(delta.days, "D")
        if not np.array_equal(dates.astype(time.dtype).astype(dates.dtype), dates):
            raise DataError(f"time_offset {offset}: the times lie beyond what can be represented (years 1678 to 2262)")
    return xr.DataArray(time.values + added, dims="time", name="time", attrs=time.attrs)


def step_of(time: xr.DataArray) -> timedelta | None:
    """Return the usual step of an axis: the (lower) median distance of neighbours; None for a single step.

    Steps of months are of 28 to 31 days; the median is one of these.
    """
    steps = np.sort(np.diff(seconds(time)))
    return timedelta(seconds=int(steps[(steps.size - 1) // 2])) if steps.size else None


def runs(time: xr.DataArray) -> list[slice]:
    """Return the runs of steps between gaps.

    A gap is a step of more than 1.5 times the median step. Nothing that looks along time may cross one.

    Parameters
    ----------
    time : xarray.DataArray
        Shape (time,), ascending.

    Returns
    -------
    list of slice
        In order; together, they hold all steps.
    """
    step = step_of(time)
    if step is None:
        return [slice(0, time.size)] if time.size else []
    breaks = np.flatnonzero(np.diff(seconds(time)) > GAP_FACTOR * step.total_seconds()) + 1
    edges = [0, *breaks.tolist(), time.size]
    return [slice(first, last) for first, last in pairwise(edges)]


def gaps(time: xr.DataArray) -> list[tuple[object, object]]:
    """Return the last step before and the first step after each gap."""
    values = time.values
    return [(values[part.stop - 1], values[part.stop]) for part in runs(time)[:-1]]


def windows(time: xr.DataArray, length: int) -> np.ndarray:
    """Return the window of each step: the consecutive steps that end at it.

    Where a record begins, and after a gap, the first step of the run stands for those before it: so every step has a
    window, and none crosses a gap.

    Parameters
    ----------
    time : xarray.DataArray
        Shape (time,), ascending. The whole record: where its gaps are depends on the usual step.
    length : int
        Steps of a window.

    Returns
    -------
    numpy.ndarray
        Numbers of steps, ascending within each window, shape (time, step).
    """
    first = np.concatenate(
        [np.zeros(0, np.int64), *[np.full(part.stop - part.start, part.start) for part in runs(time)]]
    )
    steps = np.arange(time.size)[:, None] + np.arange(1 - length, 1)
    return np.maximum(steps, first[:, None])


def spread_steps(size: int, most: int) -> np.ndarray:
    """Return so many steps of a record, spread evenly, as numbers that ascend; all of them where there are no more.

    One is taken from each of equal parts of the record, and not always at the same place in it: otherwise the steps of
    a record of hours could all belong to one time of the day.
    """
    if size < 2 * most:
        return np.linspace(0, size - 1, min(size, most)).round().astype(np.intp)
    parts = np.arange(most)
    return ((parts + (parts * _GOLDEN) % 1) * size / most).astype(np.intp)
