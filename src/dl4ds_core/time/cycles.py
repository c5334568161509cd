"""Where a time step lies in the year and in the day, in any calendar, as channels for networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

#: What the names of these channels begin with; fields of files have no dot in their names.
CALENDAR = "calendar."

_SEASONS = ("djf", "mam", "jja", "son")
#: Names of the channels, without the prefix, by name in ``models.<name>.calendar``.
_CHANNELS: dict[str, tuple[str, ...]] = {
    "season": tuple(f"season_{season}" for season in _SEASONS),
    "day-of-year": ("day_of_year_sin", "day_of_year_cos"),
    "hour": ("hour_sin", "hour_cos"),
}
_WAVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sin": np.sin, "cos": np.cos}


def calendar_channels(entries: Sequence[str]) -> list[str]:
    """Return the names of channels.

    Parameters
    ----------
    entries : sequence of str
        ``season``, ``day-of-year``, ``hour``, as in ``models.<name>.calendar``.
    """
    return [f"{CALENDAR}{name}" for entry in entries for name in _CHANNELS[entry]]


def calendar_values(time: xr.DataArray, channel: str) -> np.ndarray:
    """Return the values of a channel.

    Seasons are those of meteorology, one or zero. The others are sine and cosine of 2 pi times the part of the year
    (from its first midnight, in years of this calendar) or of the day that has gone by.

    Parameters
    ----------
    time : xarray.DataArray
        Shape (time,), datetime64 or cftime.
    channel : str
        As of `calendar_channels`.

    Returns
    -------
    numpy.ndarray
        Shape (time,), float32, -1 to 1.
    """
    cycle, _, part = channel.removeprefix(CALENDAR).rpartition("_")
    if cycle == "season":
        return (time.dt.month.values % 12 // 3 == _SEASONS.index(part)).astype(np.float32)
    phase = _part_of_day(time) if cycle == "hour" else _part_of_year(time)
    return _WAVES[part](2 * np.pi * phase).astype(np.float32)


def _part_of_day(time: xr.DataArray) -> np.ndarray:
    hour, minute, second = (getattr(time.dt, part).values for part in ("hour", "minute", "second"))
    return (hour + (minute + second / 60) / 60) / 24


def _part_of_year(time: xr.DataArray) -> np.ndarray:
    return (time.dt.dayofyear.values - 1 + _part_of_day(time)) / time.dt.days_in_year.values
