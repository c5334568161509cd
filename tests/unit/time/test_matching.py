"""Steps that several time axes share."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dl4ds_core.errors import DataError
from dl4ds_core.time import match, seconds, text

CALENDARS = st.sampled_from(["standard", "noleap", "360_day"])


def axis(first: str, periods: int, freq: str = "D", calendar: str = "standard") -> xr.DataArray:
    values = xr.date_range(first, periods=periods, freq=freq, calendar=calendar, use_cftime=calendar != "standard")
    return xr.DataArray(values, dims="time", name="time")


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_exact_times_are_intersected(calendar: str) -> None:
    times = {
        "one": axis("2000-01-01", 10, calendar=calendar),
        "two": axis("2000-01-04", 20, calendar=calendar),
        "three": axis("1999-12-01", 200, "6h", calendar)[:-3],
    }
    found = match(times)
    assert [text(value) for value in times["one"].values[found["one"]]] == [
        f"2000-01-{day:02d}" for day in range(4, 11)
    ]
    for name, steps in found.items():
        np.testing.assert_array_equal(times[name].values[steps], times["one"].values[found["one"]])


def test_noon_and_midnight_of_one_day_are_the_same_step_within_a_tolerance() -> None:
    midnights, noons = axis("2000-01-01", 6), axis("2000-01-01T12", 6)
    with pytest.raises(
        DataError, match=r"no common times \(tolerance 0h\).*closest differ by 12h.*data\.time\.tolerance"
    ):
        match({"one": midnights, "two": noons})
    for times in ({"a": midnights, "b": noons}, {"a": noons, "b": midnights}):
        found = match(times, "12h")
        np.testing.assert_array_equal(found["a"], np.arange(6))
        np.testing.assert_array_equal(found["b"], np.arange(6))


def test_a_day_missing_on_one_side_is_not_paired_with_its_neighbour() -> None:
    midnights, noons = axis("2000-01-01", 6), axis("2000-01-01T12", 6)[[0, 1, 3, 4, 5]]
    found = match({"a": midnights, "b": noons}, "12h")
    assert found["a"].tolist() == [0, 1, 3, 4, 5]
    assert found["b"].tolist() == [0, 1, 2, 3, 4]


def test_noon_and_midnight_across_winters() -> None:
    winter = np.concatenate([axis(f"{year}-12-01", 90).values for year in (1990, 1991)])
    found = match({"a": axis("1990-01-01T12", 1500), "b": xr.DataArray(winter, dims="time")}, "12h")
    pairs = zip(axis("1990-01-01T12", 1500).values[found["a"]], winter[found["b"]], strict=True)
    assert len(found["a"]) == 180
    assert all(one.astype("datetime64[D]") == other.astype("datetime64[D]") for one, other in pairs)


def test_the_nearest_within_the_tolerance_counts() -> None:
    minutes = [0, 59, 121, 185]
    other = axis("2000-01-01", 4, "h").values[0] + np.array(minutes, "timedelta64[m]")
    found = match({"a": axis("2000-01-01", 4, "h"), "b": xr.DataArray(other, dims="time")}, "2min")
    assert found["a"].tolist() == found["b"].tolist() == [0, 1, 2]


@given(
    CALENDARS,
    st.sets(st.integers(0, 60), min_size=1),
    st.sets(st.integers(0, 60), min_size=1),
    st.integers(-12, 12),
)
@settings(deadline=None)
def test_days_stamped_at_any_hour_are_paired_by_nearness(
    calendar: str, one: set[int], other: set[int], hours: int
) -> None:
    """Against a search over all pairs; days are 24 h apart, so with 11 h nothing is ambiguous."""
    days = axis("2000-01-15", 61, calendar=calendar)
    hour = axis("2000-01-14T12", 62 * 24, "h", calendar)
    first, second = days[sorted(one)], hour[[12 + 24 * day + hours for day in sorted(other)]]
    expected = [
        (i, j) for i, day in enumerate(sorted(one)) for j, partner in enumerate(sorted(other)) if day == partner
    ]
    if abs(hours) > 11 or not expected:
        with pytest.raises(DataError):
            match({"a": first, "b": second}, "11h")
        return
    found = match({"a": first, "b": second}, "11h")
    assert list(zip(found["a"].tolist(), found["b"].tolist(), strict=True)) == expected
    np.testing.assert_array_equal(seconds(second)[found["b"]] - seconds(first)[found["a"]], hours * 3600)


def test_no_common_time_names_both_ranges() -> None:
    with pytest.raises(
        DataError,
        match=r"one and two have no common times .*one goes from 2000-01-01 to 2000-01-10 \(10 steps every 1d\), two "
        r"from 2010-01-01 to 2010-01-02T18 \(8 steps every 6h\)",
    ):
        match({"one": axis("2000-01-01", 10), "two": axis("2010-01-01", 8, "6h")})


def test_pairwise_overlap_is_not_enough() -> None:
    days = axis("2000-01-01", 9)
    times = {"one": days, "two": days[:4], "three": days[5:]}
    with pytest.raises(DataError, match="one, two, three have no time step that all of them share"):
        match(times)


def test_calendars_must_agree() -> None:
    with pytest.raises(DataError, match=r"one calendar .* one: noleap, two: 360_day; .*cdo setcalendar"):
        match({"one": axis("2000-01-01", 9, calendar="noleap"), "two": axis("2000-01-01", 9, calendar="360_day")})


def test_two_kinds_of_objects_of_one_calendar_agree() -> None:
    objects = xr.DataArray(xr.date_range("2000-01-03", periods=3, freq="D", use_cftime=True), dims="time")
    found = match({"one": axis("2000-01-01", 9), "two": objects})
    assert found["one"].tolist() == [2, 3, 4]


def test_a_tolerance_that_reaches_a_neighbour_is_refused() -> None:
    with pytest.raises(DataError, match=r"13h is more than half a step of two \(1d\).*time_offset"):
        match({"one": axis("2000-01-01", 1), "two": axis("2000-01-01", 9)}, "13h")


def test_disorder_and_nothing_are_refused() -> None:
    days = axis("2000-01-01", 4)
    with pytest.raises(DataError, match="two: the time step 2000-01-01 comes after 2000-01-02"):
        match({"one": days, "two": days[[1, 0]]})
    with pytest.raises(DataError, match="two: found no time steps"):
        match({"one": days, "two": days[:0]})


def test_the_eobs_days_among_those_of_ncep(data_dir) -> None:
    """The README of the data: NCEP has 993 days, E-OBS 903, which are all among them."""
    folder = data_dir / "eobs-iberia"
    with (
        xr.open_dataset(folder / "eobs_tas_0.25deg_djf_1990-2000.nc") as eobs,
        xr.open_dataset(folder / "ncep_predictors_2.5deg_djf_1990-2000.nc") as ncep,
    ):
        found = match({"eobs": eobs["time"], "ncep": ncep["time"]}, "12h")
        assert (eobs.sizes["time"], ncep.sizes["time"]) == (903, 993)
        assert found["eobs"].tolist() == list(range(903))
        paired = ncep["time"].values[found["ncep"]].astype("datetime64[D]")
        np.testing.assert_array_equal(paired, eobs["time"].values.astype("datetime64[D]"))
