"""From regridded parts to samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config import parse_period
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import on_grid
from dl4ds_core.samples import assemble, take


def write(field: xr.DataArray, path: Path) -> Path:
    io.write(on_grid(field, Grid.of(field)), path, {})
    return path


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_parts_are_joined_in_time_in_any_order(tmp_path, field_of, calendar):
    field = field_of(steps=9, calendar=calendar)
    parts = [write(field[start : start + 3], tmp_path / f"{9 - start}.nc") for start in (3, 0, 6)]
    joined = assemble({"tas": parts})
    np.testing.assert_array_equal(joined["tas"].values, field.values)
    np.testing.assert_array_equal(joined["time"].values, field["time"].values)
    np.testing.assert_array_equal(joined["lat_bnds"].values, Grid.of(field).coordinates()["lat_bnds"].values)
    assert list(joined.data_vars) == ["tas"]
    assert joined["tas"].attrs["units"] == "K"


def test_several_fields_become_one_dataset(tmp_path, field_of):
    tas, pr = field_of(), field_of(name="pr", units="mm d-1", seed=2)
    joined = assemble({"tas": [write(tas, tmp_path / "a.nc")], "pr": [write(pr, tmp_path / "b.nc")]})
    assert set(joined.data_vars) == {"tas", "pr"}
    np.testing.assert_array_equal(joined["pr"].values, pr.values)
    assert joined["pr"].attrs["units"] == "mm d-1"


def test_a_step_in_two_files_is_named(tmp_path, field_of):
    field = field_of()
    parts = [write(field[:4], tmp_path / "a.nc"), write(field[3:], tmp_path / "b.nc")]
    with pytest.raises(DataError, match="'tas', files joined: the time step 2000-01-04 comes twice"):
        assemble({"tas": parts})


def test_interleaved_files_are_refused(tmp_path, field_of):
    field = field_of()
    parts = [write(field[::2], tmp_path / "a.nc"), write(field[1::2], tmp_path / "b.nc")]
    with pytest.raises(DataError, match="2000-01-02 comes after 2000-01-05"):
        assemble({"tas": parts})


@pytest.mark.parametrize(
    ("change", "axis"),
    [({"steps": 5}, "time"), ({"rows": 7}, "lat"), ({"west": -4.0}, "lon")],
)
def test_fields_that_differ_are_named(tmp_path, field_of, change, axis):
    one, other = field_of(), field_of(name="pr", **change)
    with pytest.raises(DataError, match=rf"'tas' and 'pr' differ in {axis}: .* from .* to .* and .* from .* to "):
        assemble({"tas": [write(one, tmp_path / "a.nc")], "pr": [write(other, tmp_path / "b.nc")]})


def test_files_of_one_field_on_two_grids_are_refused(tmp_path, field_of):
    early, late = field_of(steps=3), field_of(steps=6, south=41.0)[3:]
    with pytest.raises(DataError, match="is on another grid than"):
        assemble({"tas": [write(early, tmp_path / "a.nc"), write(late, tmp_path / "b.nc")]}).load()


def test_take_gives_the_steps_of_a_period(field_of):
    dataset = field_of(steps=60, calendar="360_day").to_dataset()
    found = take(dataset, parse_period(("2000-01-29", "2000-02-02")), "train")
    assert [(day.month, day.day) for day in found["time"].values] == [(1, 29), (1, 30), (2, 1), (2, 2)]
    np.testing.assert_array_equal(found["tas"].values, dataset["tas"].values[28:32])


def test_splits_of_a_record_share_nothing_and_lose_nothing(field_of):
    dataset = field_of(steps=30).to_dataset()
    periods = [("2000-01-01", "2000-01-10"), ("2000-01-11", "2000-01-20"), ("2000-01-21", "2000-01-31")]
    times = [take(dataset, parse_period(ends), "x")["time"].values for ends in periods]
    np.testing.assert_array_equal(np.concatenate(times), dataset["time"].values)


def test_an_empty_period_says_what_there_is(field_of):
    with pytest.raises(DataError, match=r"split\.test: no time step .* the record goes from 2000-01-01 to 2000-01-06"):
        take(field_of().to_dataset(), parse_period(("2001", "2002")), "test")
