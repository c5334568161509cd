"""One time axis: periods in any calendar, order, steps, gaps, durations, text."""

from __future__ import annotations

from datetime import timedelta

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from dl4ds_core.config import parse_period
from dl4ds_core.errors import DataError
from dl4ds_core.time import (
    calendar_of,
    duration,
    gaps,
    require_ascending,
    runs,
    seconds,
    shift,
    step_of,
    text,
    windows,
    within,
)

HOURS = xr.DataArray(pd.date_range("2019-02-27", "2019-03-02T23:00", freq="h"), dims="time", name="time")


def axis(values: list[object]) -> xr.DataArray:
    return xr.DataArray(values, dims="time", name="time")


@pytest.mark.parametrize(
    ("ends", "first", "last"),
    [
        (("2019-02-28", "2019-03-01"), "2019-02-28T00", "2019-03-01T23"),
        (("2019-02", "2019-02"), "2019-02-27T00", "2019-02-28T23"),
        (("2019", "2019"), "2019-02-27T00", "2019-03-02T23"),
        (("2019-03-01T06", "2019-03-01T08"), "2019-03-01T06", "2019-03-01T08"),
        (("2019-03-01T06:30", "2019-03-01T08:30"), "2019-03-01T07", "2019-03-01T08"),
    ],
)
def test_both_ends_belong_to_a_period(ends: tuple[str, str], first: str, last: str) -> None:
    chosen = HOURS.values[within(HOURS, parse_period(ends))]
    assert chosen[0] == np.datetime64(first)
    assert chosen[-1] == np.datetime64(last)
    assert len(chosen) == (np.datetime64(last) - np.datetime64(first)) / np.timedelta64(1, "h") + 1


def test_a_period_may_end_on_a_day_that_the_calendar_lacks() -> None:
    days = [cftime.Datetime360Day(2000, month, day) for month in (2, 3) for day in range(1, 31)]
    inside = within(axis(days), parse_period(("2000-02-28", "2000-02-31")))
    assert [day.day for day, kept in zip(days, inside, strict=True) if kept] == [28, 29, 30]


def test_parts_of_a_second_belong_to_the_last_second() -> None:
    late = axis([np.datetime64("2019-03-01T23:59:59.900", "ns"), np.datetime64("2019-03-02T00:00:00", "ns")])
    assert within(late, parse_period(("2019-03-01", "2019-03-01"))).tolist() == [True, False]


MOMENTS = st.datetimes(min_value=pd.Timestamp("1700-01-01"), max_value=pd.Timestamp("2200-01-01"))


@given(MOMENTS, MOMENTS, st.lists(MOMENTS, min_size=1, max_size=20))
def test_within_is_what_datetimes_say(one: pd.Timestamp, other: pd.Timestamp, moments: list[pd.Timestamp]) -> None:
    start, end = sorted(moment.replace(microsecond=0) for moment in (one, other))
    moments = [moment.replace(microsecond=0) for moment in moments] + [start, end]
    period = parse_period((start.isoformat(), end.isoformat()))
    values = np.array(moments, dtype="datetime64[ns]")
    expected = [start <= moment <= end for moment in moments]
    assert within(xr.DataArray(values, dims="time"), period).tolist() == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (np.datetime64("2019-03-01T00:00:00.000000000"), "2019-03-01"),
        (np.datetime64("2019-03-01T06:00"), "2019-03-01T06"),
        (np.datetime64("2019-03-01T00:30"), "2019-03-01T00:30"),
        (np.datetime64("2019-03-01T06:00:30"), "2019-03-01T06:00:30"),
        (cftime.Datetime360Day(2000, 2, 30), "2000-02-30"),
        (cftime.DatetimeNoLeap(2000, 2, 28, 1, 30), "2000-02-28T01:30"),
    ],
)
def test_text_leaves_out_zeros_and_can_be_read_as_a_period(moment: object, expected: str) -> None:
    assert text(moment) == expected
    parse_period((expected, expected))


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_ascending_times_pass(calendar: str) -> None:
    times = xr.date_range("2000-01-01", periods=5, calendar=calendar, use_cftime=calendar != "standard")
    require_ascending(xr.DataArray(times, dims="time"), "here")


def test_the_first_step_out_of_order_is_named() -> None:
    days = pd.to_datetime(["2000-01-01", "2000-01-03", "2000-01-02"])
    with pytest.raises(DataError, match=r"x\.nc: the time step 2000-01-02 comes after 2000-01-03"):
        require_ascending(xr.DataArray(days, dims="time"), "x.nc")


def test_a_step_that_occurs_twice_is_named() -> None:
    day = cftime.Datetime360Day(2000, 1, 30)
    with pytest.raises(DataError, match="2000-01-30 comes twice"):
        require_ascending(axis([day, day]), "x.nc")


CALENDARS = ("standard", "noleap", "360_day", "all_leap", "julian")


def days(first: str, periods: int, calendar: str = "standard", freq: str = "D") -> xr.DataArray:
    values = xr.date_range(first, periods=periods, freq=freq, calendar=calendar, use_cftime=calendar != "standard")
    return xr.DataArray(values, dims="time", name="time")


@pytest.mark.parametrize("calendar", CALENDARS)
def test_seconds_count_from_the_beginning_of_2000(calendar: str) -> None:
    last = "1999-12-30" if calendar == "360_day" else "1999-12-31"
    first = seconds(days(last, 3, calendar))
    assert first.tolist() == [-86_400, 0, 86_400]
    length = {"noleap": 365, "360_day": 360}.get(calendar, 366)
    assert seconds(days("2001-01-01", 1, calendar)).tolist() == [86_400 * length]


def test_seconds_are_the_same_for_both_kinds_of_dates() -> None:
    plain = days("1850-02-27", 1000, freq="6h")
    with_cftime = xr.DataArray(
        xr.date_range("1850-02-27", periods=1000, freq="6h", calendar="standard", use_cftime=True), dims="time"
    )
    np.testing.assert_array_equal(seconds(plain), seconds(with_cftime))
    assert calendar_of(plain) == calendar_of(with_cftime) == "standard"


@pytest.mark.parametrize("calendar", [*CALENDARS, "proleptic_gregorian"])
def test_seconds_are_those_of_cftime(calendar: str) -> None:
    """From before 1582 on, where calendars of several of these names differ."""
    times = xr.date_range("1400-01-01T01", periods=3000, freq="2003h", calendar=calendar, use_cftime=True)
    expected = cftime.date2num(times.values, "seconds since 2000-01-01", calendar=calendar)
    np.testing.assert_array_equal(seconds(xr.DataArray(times, dims="time")), expected)


def test_noise_of_floating_point_times_is_rounded_off() -> None:
    noisy = axis([np.datetime64("1999-12-31T23:59:59.9996", "ns"), np.datetime64("2000-01-01T06:00:00.0004", "ns")])
    assert seconds(noisy).tolist() == [0, 6 * 3600]
    assert seconds(axis([cftime.DatetimeNoLeap(1999, 12, 31, 23, 59, 59, 999_990)])).tolist() == [0]


def test_steps_without_a_time_are_refused() -> None:
    with pytest.raises(DataError, match=r"x\.nc: 1 of 2 steps have no time"):
        seconds(axis([np.datetime64("2000-01-01", "ns"), np.datetime64("NaT", "ns")]), "x.nc")
    with pytest.raises(DataError, match="expected dates and times"):
        seconds(axis(["2000-01-01"]).astype(object), "x.nc")


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        ("30min", timedelta(minutes=30)),
        ("6h", timedelta(hours=6)),
        ("-12h", timedelta(hours=-12)),
        ("+3d", timedelta(days=3)),
        ("2w", timedelta(days=14)),
        ("0h", timedelta(0)),
    ],
)
def test_durations(length: str, expected: timedelta) -> None:
    assert duration(length) == expected


def test_years_and_months_are_those_of_the_calendar() -> None:
    assert duration("2y", "360_day") == timedelta(days=720)
    assert duration("1month", "360_day") == timedelta(days=30)
    assert duration("1y", "365_day") == timedelta(days=365)
    assert duration("400y", "gregorian") == timedelta(days=146_097)
    with pytest.raises(DataError, match="a month has no fixed length"):
        duration("1month")


@pytest.mark.parametrize("wrong", ["", "h", "1.5h", "3 days", "1s", "--1h"])
def test_what_is_no_duration_is_refused(wrong: str) -> None:
    with pytest.raises(DataError, match="expected a duration such as"):
        duration(wrong)


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_shifts_pass_the_end_of_february_as_the_calendar_says(calendar: str) -> None:
    moved = shift(days("2000-02-28", 1, calendar), "24h")
    expected = {"standard": "2000-02-29", "noleap": "2000-03-01", "360_day": "2000-02-29"}[calendar]
    assert text(moved.values[0]) == expected
    assert calendar_of(moved) == calendar
    assert text(shift(moved, "-1d").values[0]) == "2000-02-28"


@pytest.mark.parametrize("length", ["999999999y", "99999999999999999999d", "-99999999999999999999min"])
def test_absurd_durations_are_refused(length: str) -> None:
    with pytest.raises(DataError, match="expected a duration of less than 100 000 years, found"):
        duration(length, "standard")


@pytest.mark.parametrize("offset", ["200000d", "-200000d", "-3000000d"])
def test_shifts_out_of_range_are_refused(offset: str) -> None:
    with pytest.raises(DataError, match=f"time_offset {offset}: the times lie beyond what can be represented"):
        shift(days("2000-02-28", 2, "standard"), offset)


def test_a_shift_of_nothing_changes_nothing() -> None:
    assert shift(HOURS, "0h") is HOURS


def test_the_usual_step_is_the_median() -> None:
    assert step_of(HOURS) == timedelta(hours=1)
    assert step_of(HOURS[:1]) is None
    months = days("2000-01-01", 24, "noleap", freq="MS")
    assert step_of(months) == timedelta(days=31)
    assert len(runs(months)) == 1


def winters(calendar: str, years: int = 3) -> xr.DataArray:
    parts = [days(f"{1990 + year}-12-01", 60, calendar).values for year in range(years)]
    return xr.DataArray(np.concatenate(parts), dims="time", name="time")


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_winters_are_runs_with_gaps_between(calendar: str) -> None:
    record = winters(calendar)
    assert runs(record) == [slice(0, 60), slice(60, 120), slice(120, 180)]
    found = gaps(record)
    assert [text(after) for _, after in found] == ["1991-12-01", "1992-12-01"]
    assert [text(before) for before, _ in found] == [text(record.values[59]), text(record.values[119])]


def test_one_missing_day_is_a_gap_and_a_record_of_one_step_has_none() -> None:
    assert runs(days("2000-01-01", 10)[[0, 1, 2, 4, 5, 6]]) == [slice(0, 3), slice(3, 6)]
    assert runs(days("2000-01-01", 1)) == [slice(0, 1)]
    assert runs(days("2000-01-01", 5)[:0]) == []


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
@pytest.mark.parametrize("length", [1, 2, 5, 60, 61])
def test_each_step_has_a_window_that_ends_at_it_and_crosses_no_gap(length: int, calendar: str) -> None:
    record = winters(calendar)
    found = windows(record, length)
    assert found.shape == (180, length)
    np.testing.assert_array_equal(found[:, -1], np.arange(180))
    times = seconds(record)[found]
    steps = np.diff(times, axis=1)
    repeated = steps == 0
    assert np.all(repeated | (steps == 86_400))
    # Only the first step of a winter is repeated, and only as often as it must be.
    assert set(found[:, :-1][repeated].tolist()) <= {0, 60, 120}
    np.testing.assert_array_equal(repeated.sum(axis=1), np.maximum(0, length - 1 - np.arange(180) % 60))


def test_windows_at_the_beginning_and_after_a_gap() -> None:
    record = days("2000-01-01", 6)[[0, 1, 2, 4, 5]]
    assert windows(record, 3).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [3, 3, 3], [3, 3, 4]]
    assert windows(record[:1], 3).tolist() == [[0, 0, 0]]
    assert windows(record[:0], 3).shape == (0, 3)


def test_the_gaps_of_a_real_winter_record(data_dir) -> None:
    with xr.open_dataset(data_dir / "eobs-iberia" / "eobs_tas_0.25deg_djf_1990-2000.nc") as dataset:
        found = runs(dataset["time"])
        lengths = [part.stop - part.start for part in found]
    # Ten winters from 1990/91 on; those that end in 1992, 1996 and 2000 have a 29th of February.
    assert lengths == [90, 91, 90, 90, 90, 91, 90, 90, 90, 91]


def test_calendars_of_real_files(data_dir) -> None:
    names = {
        "a1b_north_america_360day_lon0-360.nc": ("360_day", 360),
        "crcm5_tasmax_1984-06_rotated-pole_noleap.nc": ("noleap", 1),
    }
    for name, (calendar, step) in names.items():
        with xr.open_dataset(data_dir / "quirks" / name) as dataset:
            assert calendar_of(dataset["time"]) == calendar
            assert step_of(dataset["time"]) == timedelta(days=step)
