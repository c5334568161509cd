"""Days from shorter steps, against cdo and by hand."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.time import text, to_daily, to_midnight


def series(first: str, steps: int, freq: str, calendar: str = "standard", **attributes: str) -> xr.DataArray:
    """Values 0, 1, 2 ... in one cell."""
    times = xr.date_range(first, periods=steps, freq=freq, calendar=calendar, use_cftime=calendar != "standard")
    values = np.arange(steps, dtype=np.float32)[:, None, None]
    return xr.DataArray(values, {"time": times}, ("time", "y", "x"), "v", attributes)


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # 00 06 12 18 of a day are 0 1 2 3, 4 5 6 7 ...
        ("point", {"01": 1.5, "02": 5.5, "03": 9.5}),
        # 00 belongs to the day before: 06 12 18 00 are 1 2 3 4, ...; 0 is the end of a day without the rest.
        ("mean", {"01": 2.5, "02": 6.5}),
        ("sum", {"01": 10.0, "02": 26.0}),
    ],
)
def test_days_of_four_steps(calendar, lazy, method, expected):
    field = series("2000-01-01", 12, "6h", calendar)
    daily, _ = to_daily(field.chunk(time=5) if lazy else field, method)
    assert {
        text(time).removeprefix("2000-01-"): float(value)
        for time, value in zip(daily["time"].values, daily.values.ravel(), strict=True)
    } == expected
    assert (daily.chunks is not None) is lazy
    assert daily.dtype == np.float32
    assert type(daily["time"].values[0]) is type(field["time"].values[0])


def test_incomplete_days_are_left_out_and_counted():
    field = series("2000-01-01T06", 23, "3h").drop_isel(time=12)
    daily, notes = to_daily(field, "point", "x")
    assert [text(time) for time in daily["time"].values] == ["2000-01-03"]
    assert notes == ["x: daily means of 8 steps each; 1 days, 3 incomplete days left out"]


def test_a_gap_of_months_doesnt_matter():
    field = xr.concat([series("2000-02-27", 16, "6h"), series("2000-12-01", 8, "6h")], "time")
    daily, _ = to_daily(field.chunk(time=7), "point")
    assert [text(time) for time in daily["time"].values] == [
        "2000-02-27",
        "2000-02-28",
        "2000-02-29",
        "2000-03-01",
        "2000-12-01",
        "2000-12-02",
    ]
    assert daily.values.ravel().tolist() == [1.5, 5.5, 9.5, 13.5, 1.5, 5.5]


def test_a_cell_is_missing_where_a_step_is():
    field = series("2000-01-01", 8, "6h")
    field[2] = np.nan
    for method in ("point", "sum"):
        field_ = field if method == "point" else field.assign_coords(time=field["time"].values + np.timedelta64(6, "h"))
        assert np.isnan(to_daily(field_, method)[0].values.ravel()).tolist() == [True, False]


@pytest.mark.parametrize(
    ("stated", "given", "value", "after"),
    [
        ("area: mean time: sum", None, 10.0, "area: mean time: sum"),
        ("time: mean (interval: 6 hours)", None, 2.5, "time: mean"),
        ("time: sum", "mean", 2.5, "time: mean"),
        ("time: point", None, 1.5, "time: mean"),
        ("", None, 1.5, "time: mean"),
        ("time: lat: lon: mean", None, 2.5, "lat: lon: mean time: mean"),
        ("time: maximum", None, 4.0, "time: maximum"),
        ("time: minimum within hours", None, 1.0, "time: minimum"),
    ],
)
def test_what_the_file_says_counts_unless_the_configuration_does(stated, given, value, after):
    field = series("2000-01-01", 9, "6h", cell_methods=stated, units="mm")
    daily, notes = to_daily(field, given)
    assert float(daily.values[0, 0, 0]) == value
    assert daily.attrs == {"cell_methods": after, "units": "mm"}
    assert ("for want of" in notes[0]) is (stated == "")


def test_what_cannot_be_put_together_is_refused_unless_the_configuration_knows_better():
    field = series("2000-01-01", 9, "6h", cell_methods="time: variance")
    with pytest.raises(DataError, match="x: daily values can't be made of the variance of shorter intervals"):
        to_daily(field, None, "x")
    assert to_daily(field, "mean")[0].size == 2


@pytest.mark.parametrize(("freq", "steps"), [("D", 4), ("5h", 20), ("36h", 4), ("h", 1)])
def test_steps_that_make_no_days_are_refused(freq, steps):
    with pytest.raises(DataError, match="x: expected steps of which a whole number makes a day"):
        to_daily(series("2000-01-01", steps, freq), "point", "x")


def test_steps_of_two_lengths_are_refused():
    field = xr.concat([series("2000-01-01", 40, "6h"), series("2000-01-11", 16, "3h")], "time")
    with pytest.raises(DataError, match=r"expected 4 steps a day .* found 8 on 2000-01-11"):
        to_daily(field, "point")


def test_a_record_without_a_whole_day_is_refused():
    with pytest.raises(DataError, match="no day has all of its 4 steps"):
        to_daily(series("2000-01-01T06", 4, "6h"), "point")


@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_midnights(calendar):
    field = to_midnight(series("2000-02-28T12", 3, "D", calendar))
    third = "2000-03-01" if calendar == "standard" else "2000-03-02"
    assert [text(time) for time in field["time"].values][::2] == ["2000-02-28", third]


def cdo(*arguments: str) -> None:
    if shutil.which("cdo") is None:
        pytest.skip("cdo is not installed")
    subprocess.run(["cdo", "-s", *arguments], check=True, capture_output=True)


def test_hourly_points_are_averaged_as_by_cdo(data_dir, tmp_path):
    source = data_dir / "era5-uk" / "era5_t2m_hourly_2019-03_uk.nc"
    cdo("-daymean", str(source), str(tmp_path / "days.nc"))
    with xr.open_dataset(source, chunks={}) as dataset, xr.open_dataset(tmp_path / "days.nc") as expected:
        daily, notes = to_daily(dataset["t2m"].chunk(time=100), "point", "t2m")
        np.testing.assert_allclose(daily.values, expected["t2m"].values, rtol=2e-7)
        days = expected["time"].values.astype("datetime64[D]")
        np.testing.assert_array_equal(daily["time"].values, days.astype(daily["time"].dtype))
    assert notes == ["t2m: daily means of 24 steps each; 31 days"]


def test_means_over_the_interval_before_as_by_cdo(data_dir, tmp_path):
    """Shifted by a second, each interval lies within its day, and cdo puts it there."""
    source = data_dir / "po-basin-5km" / "ta6_5km_6hourly_1951-01.nc"
    cdo("-daymean", "-shifttime,-1second", str(source), str(tmp_path / "days.nc"))
    with xr.open_dataset(source, chunks={}) as dataset, xr.open_dataset(tmp_path / "days.nc") as expected:
        daily, notes = to_daily(dataset["ta6"].chunk(time=50), "mean", "ta6")
        days = expected["time"].values.astype("datetime64[D]")
        complete = np.isin(days, daily["time"].values.astype("datetime64[D]"))
        # The record begins with the end of an interval in 1950.
        assert days[~complete].tolist() == [np.datetime64("1950-12-31").astype(object)]
        np.testing.assert_allclose(daily.values, expected["ta6"].values[complete], rtol=2e-6, atol=1e-6)
    assert notes == ["ta6: daily means of 4 steps each; 31 days, 1 incomplete days left out"]
