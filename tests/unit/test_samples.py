"""From regridded parts to samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io, samples
from dl4ds_core.config import parse_period
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.samples import assemble, take, take_split
from dl4ds_core.time import text

CALENDARS = pytest.mark.parametrize("calendar", ["standard", "360_day"])


def write(field: xr.DataArray | xr.Dataset, path: Path) -> Path:
    dataset = field.to_dataset() if isinstance(field, xr.DataArray) else field
    io.write(dataset.assign_coords(Grid.of(field).coordinates()), path, {})
    return path


def dated(field: xr.DataArray, first: str, freq: str) -> xr.DataArray:
    """The same values at other times of the same calendar."""
    calendar = field["time"].dt.calendar
    times = xr.date_range(
        first, periods=field.sizes["time"], freq=freq, calendar=calendar, use_cftime=field["time"].dtype.kind == "O"
    )
    return field.assign_coords(time=times)


def texts(dataset: xr.Dataset) -> list[str]:
    return [text(value) for value in dataset["time"].values]


def days(numbers: Sequence[int]) -> list[str]:
    return [f"2000-01-{number:02d}" for number in numbers]


@pytest.fixture
def coarse_of(field_of):
    """Fields on the coarse grid of the fields that ``field_of`` makes."""

    def make(steps: int = 6, name: str = "z", **options) -> xr.DataArray:
        field = field_of(steps, 2, 3, name=name, south=40.75, west=-4.25, step=2.0, seed=9, **options)
        return field

    return make


# --- one grid -------------------------------------------------------------------------------------------------


@CALENDARS
def test_parts_are_joined_in_time_in_any_order(tmp_path, field_of, calendar):
    field = field_of(steps=9, calendar=calendar)
    parts = [write(field[start : start + 3], tmp_path / f"{9 - start}.nc") for start in (3, 0, 6)]
    found = assemble({"fine": {"tas": parts}})
    joined = found.fine
    np.testing.assert_array_equal(joined["tas"].values, field.values)
    np.testing.assert_array_equal(joined["time"].values, field["time"].values)
    np.testing.assert_array_equal(joined["lat_bnds"].values, Grid.of(field).coordinates()["lat_bnds"].values)
    assert list(joined.data_vars) == ["tas"]
    assert joined["tas"].attrs["units"] == "K"
    assert joined["tas"].chunks is not None
    assert found.notes == []
    assert not found.coarse


def test_several_fields_become_one_dataset(tmp_path, field_of):
    tas, pr = field_of(), field_of(name="pr", units="mm d-1", seed=2)
    joined = assemble({"fine": {"tas": [write(tas, tmp_path / "a.nc")], "pr": [write(pr, tmp_path / "b.nc")]}}).fine
    assert list(joined.data_vars) == ["tas", "pr"]
    np.testing.assert_array_equal(joined["pr"].values, pr.values)
    assert joined["pr"].attrs["units"] == "mm d-1"


def test_a_step_in_two_files_is_named_or_taken_once(tmp_path, field_of):
    field = field_of()
    parts = [write(field[:4], tmp_path / "a.nc"), write(field[3:] + 1, tmp_path / "b.nc")]
    with pytest.raises(DataError, match=r"'tas' \(fine grid\), files joined: the time step 2000-01-04 comes twice"):
        assemble({"fine": {"tas": parts}})
    for how, more in (("first", 0.0), ("last", 1.0), ("mean", 0.5)):
        found = assemble({"fine": {"tas": parts}}, policy={"duplicates": how})
        np.testing.assert_allclose(found.fine["tas"].values[3], field.values[3] + more, rtol=1e-6)
        assert texts(found.fine) == days(range(1, 7))
        assert "1 of 6 time steps came more than once" in found.notes[0]


def test_interleaved_files_are_refused_or_sorted(tmp_path, field_of):
    field = field_of()
    parts = [write(field[::2], tmp_path / "a.nc"), write(field[1::2], tmp_path / "b.nc")]
    with pytest.raises(DataError, match=r"2000-01-02 comes after 2000-01-05; .*data\.time\.unsorted"):
        assemble({"fine": {"tas": parts}})
    found = assemble({"fine": {"tas": parts}}, policy={"unsorted": "sort"})
    np.testing.assert_array_equal(found.fine["tas"].values, field.values)


@pytest.mark.parametrize("change", [{"rows": 7}, {"west": -4.0}])
def test_fields_on_other_grids_are_named(tmp_path, field_of, change):
    one, other = field_of(), field_of(name="pr", **change)
    with pytest.raises(DataError, match=r"fine: 'pr' \(fine grid\) is on another grid than 'tas' \(fine grid\): "):
        assemble({"fine": {"tas": [write(one, tmp_path / "a.nc")], "pr": [write(other, tmp_path / "b.nc")]}})


def test_files_of_one_field_on_two_grids_are_refused(tmp_path, field_of):
    early, late = field_of(steps=3), field_of(steps=6, south=41.0)[3:]
    with pytest.raises(DataError, match=r"tas: .*b\.nc is on another grid than .*a\.nc"):
        assemble({"fine": {"tas": [write(early, tmp_path / "a.nc"), write(late, tmp_path / "b.nc")]}})


def test_files_of_one_field_in_two_calendars_are_refused(tmp_path, field_of):
    parts = [write(field_of(calendar=name), tmp_path / f"{name}.nc") for name in ("standard", "noleap")]
    with pytest.raises(DataError, match=r"noleap\.nc has the calendar noleap, and .*standard\.nc standard"):
        assemble({"fine": {"tas": parts}})


def test_a_record_may_go_beyond_what_datetime64_holds(tmp_path, field_of):
    early = field_of(steps=3)
    late = field_of(steps=6)[3:]
    late = late.assign_coords(time=xr.date_range("2300-01-01", periods=3, freq="D", use_cftime=True))
    parts = [write(late, tmp_path / "a.nc"), write(early, tmp_path / "b.nc")]
    found = assemble({"fine": {"tas": parts}}).fine
    assert texts(found) == [*days([1, 2, 3]), "2300-01-01", "2300-01-02", "2300-01-03"]
    np.testing.assert_array_equal(found["tas"].values, np.concatenate([early.values, late.values]))


# --- two grids ------------------------------------------------------------------------------------------------


@CALENDARS
def test_only_common_steps_are_kept(tmp_path, field_of, coarse_of, calendar):
    fine = field_of(steps=9, calendar=calendar)
    tas, z = coarse_of(9, "tas", calendar=calendar), coarse_of(9, calendar=calendar)
    parts = {
        "fine": {"tas": [write(fine[:7], tmp_path / "a.nc")]},
        "coarse": {"tas": [write(tas[1:], tmp_path / "b.nc")], "z": [write(z[2:], tmp_path / "c.nc")]},
    }
    found = assemble(parts)
    assert texts(found.fine) == texts(found.coarse) == days([3, 4, 5, 6, 7])
    np.testing.assert_array_equal(found.fine["tas"].values, fine.values[2:7])
    np.testing.assert_array_equal(found.coarse["tas"].values, tas.values[2:7])
    np.testing.assert_array_equal(found.coarse["z"].values, z.values[2:7])
    assert found.notes == [
        "'tas' (fine grid): 5 of 7 time steps are shared by all fields; 2 left out",
        "'tas' (coarse grid): 5 of 8 time steps are shared by all fields; 3 left out",
        "'z' (coarse grid): 5 of 7 time steps are shared by all fields; 2 left out",
    ]


def test_no_common_times_name_both_ranges(tmp_path, field_of, coarse_of):
    parts = {
        "fine": {"tas": [write(field_of(), tmp_path / "a.nc")]},
        "coarse": {"z": [write(dated(coarse_of(), "2010-01-01", "D"), tmp_path / "b.nc")]},
    }
    with pytest.raises(
        DataError, match=r"'tas' \(fine grid\) goes from 2000-01-01 to .*'z' \(coarse grid\) from 2010-01"
    ):
        assemble(parts)


def test_stamps_at_noon_by_tolerance_or_by_offset(tmp_path, field_of, coarse_of):
    fine, z = field_of(), coarse_of()
    parts = {
        "fine": {"tas": [write(fine, tmp_path / "a.nc")]},
        "coarse": {"z": [write(dated(z, "2000-01-01T12", "D"), tmp_path / "b.nc")]},
    }
    with pytest.raises(DataError, match="no common times"):
        assemble(parts)
    near = assemble(parts, policy={"tolerance": "12h"})
    shifted = assemble(parts, {"coarse": {"z": {"time_offset": "-12h", "cell_methods": None}}})
    # As if noon stood for the day after.
    later = assemble(parts, {"coarse": {"z": {"time_offset": "12h"}}})
    for found, first in ((near, 0), (shifted, 0), (later, 1)):
        assert texts(found.coarse) == texts(found.fine) == days(range(first + 1, 7))
        np.testing.assert_array_equal(found.fine["tas"].values, fine.values[first:])
        np.testing.assert_array_equal(found.coarse["z"].values, z.values[: 6 - first])


@CALENDARS
@pytest.mark.parametrize(
    ("method", "first_step", "factor"), [("point", 0, 1), ("mean", 1, 1), ("sum", 1, 4)], ids=lambda value: str(value)
)
def test_days_are_made_where_the_other_side_is_daily(
    tmp_path, field_of, coarse_of, calendar, method, first_step, factor
):
    fine = field_of(steps=5, calendar=calendar)
    z = dated(coarse_of(17, calendar=calendar), "2000-01-02", "6h")
    parts = {"fine": {"tas": [write(fine, tmp_path / "a.nc")]}, "coarse": {"z": [write(z, tmp_path / "b.nc")]}}
    found = assemble(parts, {"coarse": {"z": {"cell_methods": method}}})
    assert texts(found.fine) == texts(found.coarse) == days([2, 3, 4, 5])
    values = z.values[first_step : first_step + 16].astype(np.float64).reshape(4, 4, 2, 3).mean(axis=1) * factor
    np.testing.assert_allclose(found.coarse["z"].values, values, rtol=1e-6)
    np.testing.assert_array_equal(found.fine["tas"].values, fine.values[1:])
    assert "of 4 steps each" in found.notes[0]
    for grid in (found.fine, found.coarse):
        assert {"lat_bnds", "lon_bnds"} <= set(grid.coords)


def test_days_can_be_asked_for_and_daily_stamps_become_midnights(tmp_path, field_of):
    hourly, noons = dated(field_of(steps=48), "2000-01-01", "h"), dated(field_of(2, name="b"), "2000-01-01T12", "D")
    parts = {"fine": {"tas": [write(hourly, tmp_path / "a.nc")]}}
    assert texts(assemble(parts, policy={"step": "day"}).fine) == days([1, 2])
    assert len(texts(assemble(parts).fine)) == 48
    parts["fine"]["b"] = [write(noons, tmp_path / "b.nc")]
    assert texts(assemble(parts).fine) == days([1, 2])


def test_hours_are_matched_with_six_hours_without_days(tmp_path, field_of, coarse_of):
    hourly, z = dated(field_of(steps=30), "2000-01-01", "h"), dated(coarse_of(5), "2000-01-01", "6h")
    parts = {"fine": {"tas": [write(hourly, tmp_path / "a.nc")]}, "coarse": {"z": [write(z, tmp_path / "b.nc")]}}
    found = assemble(parts)
    np.testing.assert_array_equal(found.fine["tas"].values, hourly.values[::6])
    # One of the six-hourly steps less is a hole, though.
    parts["coarse"]["z"] = [write(z[[0, 1, 3, 4]], tmp_path / "c.nc")]
    with pytest.raises(DataError, match=r"lacks 11 time steps .* \(the first of them 2000-01-01T07\)"):
        assemble(parts)


def test_days_of_months_are_refused(tmp_path, field_of):
    months = dated(field_of(steps=4), "2000-01-01", "MS")
    with pytest.raises(DataError, match=r"'tas' \(fine grid\): daily values can't be made of steps of 31 days"):
        assemble({"fine": {"tas": [write(months, tmp_path / "a.nc")]}}, policy={"step": "day"})


def test_gaps_are_noted(tmp_path, field_of):
    field = field_of(steps=30)[[0, 1, 2, 5, 6, 7, 20, 21]]
    found = assemble({"fine": {"tas": [write(field, tmp_path / "a.nc")]}})
    assert found.notes == ["the record has 2 gaps; the longest from 2000-01-08 to 2000-01-21"]


# --- missing values and steps ---------------------------------------------------------------------------------


def pair(tmp_path: Path, fine: xr.DataArray, coarse: xr.DataArray | xr.Dataset, name: str = "z") -> dict:
    return {"fine": {"tas": [write(fine, tmp_path / "f.nc")]}, "coarse": {name: [write(coarse, tmp_path / "c.nc")]}}


def test_missing_values_of_predictors_are_refused_or_kept_for_filling(tmp_path, field_of, coarse_of):
    z = coarse_of()
    z[1, 0, 0] = z[4] = np.nan
    parts = pair(tmp_path, field_of(), z)
    with pytest.raises(
        DataError, match=r"'z' \(coarse grid\): 7 of 36 values are missing, in 2 of 6 time steps \(most at 2000-01-05\)"
    ):
        assemble(parts)
    found = assemble(parts, policy={"missing_predictors": "fill"})
    assert texts(found.fine) == days([1, 2, 3, 4, 6])
    np.testing.assert_array_equal(found.coarse["z"].values, z.values[[0, 1, 2, 3, 5]])
    assert "filled from the nearest cells; 1 steps without any value left out" in found.notes[0]


@pytest.mark.parametrize("policy", ["refuse", "fill"])
def test_a_predictor_without_any_value_is_always_refused(tmp_path, field_of, coarse_of, policy):
    parts = pair(tmp_path, field_of(), coarse_of() * np.nan)
    with pytest.raises(DataError, match=r"'z' \(coarse grid\): all values are missing"):
        assemble(parts, policy={"missing_predictors": policy})


def test_missing_steps_of_predictors_are_refused_or_left_out(tmp_path, field_of, coarse_of):
    parts = pair(tmp_path, field_of(steps=12), coarse_of(12)[[1, 2, 5, 7, 8, 9, 10]])
    with pytest.raises(
        DataError, match=r"'z' \(coarse grid\) lacks 3 time steps of 'tas' .* \(the first of them 2000-01-04\)"
    ):
        assemble(parts)
    found = assemble(parts, policy={"missing_predictors": "fill"})
    assert texts(found.fine) == days([2, 3, 6, 8, 9, 10, 11])


def test_steps_that_the_predictand_lacks_are_no_problem(tmp_path, field_of, coarse_of):
    """Winters against a whole year."""
    parts = pair(tmp_path, field_of(steps=9)[[1, 2, 5, 7]], coarse_of(9))
    assert texts(assemble(parts).fine) == days([2, 3, 6, 8])


def test_coarsened_predictands_keep_their_missing_cells_and_valid_fractions(tmp_path, field_of, coarse_of):
    fine, tas = dated(field_of(8), "2000-01-01", "6h"), dated(coarse_of(8, "tas"), "2000-01-01", "6h")
    fraction = (tas > 280).astype(np.float32).rename("tas_valid_fraction")
    tas = tas.where(fraction > 0)
    coarse = xr.Dataset({"tas_valid_fraction": fraction, "tas": tas})
    parts = pair(tmp_path, fine, coarse, "tas")
    parts["coarse"]["z"] = [write(dated(coarse_of(8), "2000-01-01", "6h"), tmp_path / "z.nc")]
    found = assemble(parts)
    assert list(found.coarse.data_vars) == ["tas", "z", "tas_valid_fraction"]
    np.testing.assert_array_equal(found.coarse["tas"].values, tas.values)
    timing = {grid: {"tas": {"cell_methods": "point"}} for grid in parts}
    by_day = assemble(parts, timing, {"step": "day"})
    expected = fraction.values.reshape(2, 4, 2, 3).mean(axis=1)
    np.testing.assert_allclose(by_day.coarse["tas_valid_fraction"].values, expected)
    np.testing.assert_array_equal(
        np.isnan(by_day.coarse["tas"].values), np.isnan(tas.values.reshape(2, 4, 2, 3)).any(axis=1)
    )


def test_valid_fractions_are_averaged_over_the_day_that_sums_are_taken_over(tmp_path, field_of, coarse_of):
    tas = dated(coarse_of(9, "tas"), "2000-01-01", "6h")
    fraction = tas.copy(data=np.arange(54, dtype=np.float32).reshape(9, 2, 3) / 54).rename("tas_valid_fraction")
    parts = {"coarse": {"tas": [write(xr.Dataset({"tas": tas, "tas_valid_fraction": fraction}), tmp_path / "c.nc")]}}
    found = assemble(parts, {"coarse": {"tas": {"cell_methods": "sum"}}}, {"step": "day"}).coarse
    for name, values, factor in (("tas", tas, 4), ("tas_valid_fraction", fraction, 1)):
        expected = factor * values.values[1:].astype(np.float64).reshape(2, 4, 2, 3).mean(axis=1)
        np.testing.assert_allclose(found[name].values, expected, rtol=1e-6)


def test_a_file_without_steps_is_named(tmp_path, field_of):
    field_of()[:0].to_netcdf(tmp_path / "b.nc")
    with pytest.raises(DataError, match=r"b\.nc: expected time steps, found none"):
        assemble({"fine": {"tas": [tmp_path / "b.nc"]}})


# --- periods and splits ---------------------------------------------------------------------------------------


def test_take_gives_the_steps_of_a_period(field_of):
    dataset = field_of(steps=60, calendar="360_day").to_dataset()
    found = take(dataset, parse_period(("2000-01-29", "2000-02-02")), "x")
    assert [(day.month, day.day) for day in found["time"].values] == [(1, 29), (1, 30), (2, 1), (2, 2)]
    np.testing.assert_array_equal(found["tas"].values, dataset["tas"].values[28:32])


def test_an_empty_period_says_what_there_is(field_of):
    with pytest.raises(DataError, match=r"here: no time step lies in this period; the record goes from 2000-01-01 to "):
        take(field_of().to_dataset(), parse_period(("2001", "2002")), "here")


def test_steps_of_a_split(field_of):
    dataset = field_of(steps=5).to_dataset()
    labels = np.array(["train", "test", "train", "", "validation"])
    np.testing.assert_array_equal(take_split(dataset, labels, "train")["tas"].values, dataset["tas"].values[[0, 2]])
    with pytest.raises(DataError, match=r"split\.test: no time step"):
        take_split(dataset, np.full(5, "train"), "test")


# --- real data ------------------------------------------------------------------------------------------------


def test_eobs_with_ncep(data_dir, tmp_path):
    """993 days of NCEP, of which the 903 of E-OBS are used; values at a named day as in the files."""
    folder = data_dir / "eobs-iberia"
    with (
        xr.open_dataset(folder / "eobs_tas_0.25deg_djf_1990-2000.nc") as eobs,
        xr.open_dataset(folder / "ncep_predictors_2.5deg_djf_1990-2000.nc") as ncep,
    ):
        tas, psl = eobs["tas"].load(), ncep["psl"].load()
    fine = [write(tas[:500], tmp_path / "a.nc"), write(tas[500:], tmp_path / "b.nc")]
    coarse = {"psl": [write(psl, tmp_path / "c.nc")]}
    found = assemble({"fine": {"tas": fine}, "coarse": coarse}, policy={"tolerance": "12h"})
    assert found.fine.sizes["time"] == found.coarse.sizes["time"] == 903
    day = np.datetime64("1996-02-29")
    for field, source, name in ((found.fine, tas, "tas"), (found.coarse, psl, "psl")):
        here = field[name].values[field["time"].values.astype("datetime64[D]") == day]
        there = source.values[source["time"].values.astype("datetime64[D]") == day]
        np.testing.assert_array_equal(here, there.astype(np.float32))
    assert found.notes == [
        "'psl' (coarse grid): 903 of 993 time steps are shared by all fields; 90 left out",
        "the record has 9 gaps; the longest from 1991-02-28 to 1991-12-01",
    ]


def test_chunks_are_larger_than_those_on_disk(tmp_path, field_of, monkeypatch):
    monkeypatch.setattr(samples, "CHUNK_VALUES", 300)
    found = assemble({"fine": {"tas": [write(field_of(steps=10), tmp_path / "a.nc")]}}).fine
    assert found["tas"].chunks[0] == (3, 3, 3, 1)
