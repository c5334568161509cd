"""Season, day of the year and hour as channels, in any calendar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.time import CALENDAR, calendar_channels, calendar_values

CALENDARS = ["standard", "proleptic_gregorian", "noleap", "all_leap", "360_day", "julian"]
SEASONS = ["djf", "djf", "mam", "mam", "mam", "jja", "jja", "jja", "son", "son", "son", "djf"]


def axis(values: Any) -> xr.DataArray:
    return xr.DataArray(np.asarray(values), dims="time", name="time")


def record(calendar: str, start: str = "1999-12-30T22:00", steps: int = 4000, freq: str = "331min") -> xr.DataArray:
    """Some three years, a leap year among them, at all hours and minutes."""
    return axis(xr.date_range(start, periods=steps, freq=freq, calendar=calendar, use_cftime=True).values)


def of_year(moment: Any) -> float:
    """The part of the year that has gone by, from differences of dates alone."""
    first = moment.replace(month=1, day=1, hour=0, minute=0, second=0)
    return (moment - first) / (first.replace(year=moment.year + 1) - first)


def test_names() -> None:
    assert calendar_channels([]) == []
    assert calendar_channels(["hour", "season"]) == [
        *("calendar.hour_sin", "calendar.hour_cos"),
        *(f"calendar.season_{season}" for season in ("djf", "mam", "jja", "son")),
    ]
    assert calendar_channels(["day-of-year"]) == ["calendar.day_of_year_sin", "calendar.day_of_year_cos"]
    assert all(name.startswith(CALENDAR) for name in calendar_channels(["season", "day-of-year", "hour"]))


@pytest.mark.parametrize("calendar", CALENDARS)
def test_each_step_is_of_one_season(calendar: str) -> None:
    time = record(calendar)
    names = calendar_channels(["season"])
    found = np.stack([calendar_values(time, name) for name in names], axis=-1)
    assert found.dtype == np.float32
    assert set(found.ravel().tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(found.sum(axis=-1), 1)
    chosen = [names[number].rpartition("_")[2] for number in found.argmax(axis=-1)]
    assert chosen == [SEASONS[moment.month - 1] for moment in time.values]


@pytest.mark.parametrize("calendar", CALENDARS)
def test_the_day_of_the_year_is_a_part_of_the_years_of_the_calendar(calendar: str) -> None:
    time = record(calendar)
    phase = 2 * np.pi * np.array([of_year(moment) for moment in time.values])
    found = [calendar_values(time, name) for name in calendar_channels(["day-of-year"])]
    assert {values.dtype for values in found} == {np.dtype(np.float32)}
    np.testing.assert_allclose(found, [np.sin(phase), np.cos(phase)], atol=1e-6)


def test_half_a_year_of_some_calendars() -> None:
    """The 1st of July of a leap year: after 182 of 366 days, 181 of 365, and 180 of 360."""
    for calendar, part in (("standard", 182 / 366), ("noleap", 181 / 365), ("360_day", 180 / 360)):
        time = record(calendar, "2000-07-01", 1)
        np.testing.assert_allclose(
            calendar_values(time, "calendar.day_of_year_sin"), np.sin(2 * np.pi * part), atol=1e-6
        )


@pytest.mark.parametrize("calendar", CALENDARS)
def test_the_hour_has_its_minutes(calendar: str) -> None:
    time = record(calendar, "2000-02-28T00:00", 5, "270min")  # 0:00, 4:30, 9:00, 13:30, 18:00
    phase = np.radians([0, 67.5, 135, 202.5, 270])
    np.testing.assert_allclose(calendar_values(time, "calendar.hour_sin"), np.sin(phase), atol=1e-6)
    np.testing.assert_allclose(calendar_values(time, "calendar.hour_cos"), np.cos(phase), atol=1e-6)


@pytest.mark.parametrize("name", calendar_channels(["season", "day-of-year", "hour"]))
def test_datetimes_of_numpy_are_those_of_the_standard_calendar(name: str) -> None:
    time = record("standard")
    plain = axis(pd.date_range("1999-12-30T22:00", periods=4000, freq="331min"))
    np.testing.assert_array_equal(calendar_values(plain, name), calendar_values(time, name))
