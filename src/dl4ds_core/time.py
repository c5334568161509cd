"""Time axes in any calendar: periods, order, and text."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr

from dl4ds_core.config.periods import Moment, Period
from dl4ds_core.errors import DataError

_PARTS = ("year", "month", "day", "hour", "minute", "second")
_BASE = (13, 32, 25, 60, 61)  # larger than any value of the part that follows


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


def require_ascending(time: xr.DataArray, where: str) -> None:
    """Check that times ascend strictly.

    Raises
    ------
    DataError
        Naming the first pair of steps that doesn't.
    """
    values = time.values
    for earlier, later in pairwise(values):
        if not earlier < later:
            problem = "twice" if earlier == later else f"after {text(earlier)}"
            raise DataError(f"{where}: the time step {text(later)} comes {problem}; expected strictly ascending times")
