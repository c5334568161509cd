"""Time axes: periods in any calendar, order, text."""

from __future__ import annotations

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from dl4ds_core.config import parse_period
from dl4ds_core.errors import DataError
from dl4ds_core.time import require_ascending, text, within

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
