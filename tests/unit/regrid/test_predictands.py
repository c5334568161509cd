"""Predictands: cut to the domain and to whole blocks, and coarsened."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import (
    cells_left_out,
    coarse_predictand,
    cut_to_blocks,
    fine_predictand,
    missing_values,
    on_grid,
)

ERA5 = "era5-uk/era5_t2m_hourly_2019-03_uk.nc"


def coarsen_predictand(
    field: xr.DataArray, scale: int, where: str, missing: str = "refuse", **settings: float
) -> tuple[xr.Dataset, xr.Dataset]:
    """A predictand on its own grid and coarsened, without context."""
    grid, entry = Grid.of(field), {"regrid": settings}
    fine = fine_predictand(field, grid, entry, "", where, missing)
    return fine, coarse_predictand(field, grid, entry, "", where, scale=scale, context=0, missing=missing)


class TestBlocks:
    def test_the_field_is_cut_to_whole_blocks(self, field_of):
        field = field_of(rows=11, columns=14)
        found = cut_to_blocks(field, 4, "x")
        np.testing.assert_array_equal(found.values, field.values[:, :8, :12])

    def test_less_than_a_block_is_refused(self, field_of):
        with pytest.raises(DataError, match=r"x\.nc: 3 x 12 cells are fewer than one block of data.scale 4 x 4"):
            cut_to_blocks(field_of(rows=3), 4, "x.nc")

    def test_cells_left_out_are_named(self, field_of):
        notes = cells_left_out(field_of(rows=9, columns=14), 4)
        assert notes == [
            "data.scale 4 doesn't divide 9 cells along lat: left out are the rows at latitude 44",
            "data.scale 4 doesn't divide 14 cells along lon: left out are the columns at longitude 1, 1.5",
        ]
        assert cells_left_out(field_of(rows=8, columns=12), 4) == []

    def test_cells_left_out_of_other_grids(self, field_on):
        assert cells_left_out(field_on("rotated", 9, 8, 0.5), 4) == [
            "data.scale 4 doesn't divide 9 cells along rlat: left out are the rows at rlat 1"
        ]
        assert cells_left_out(field_on("curvilinear", 9, 10, 0.5), 4) == [
            "data.scale 4 doesn't divide 9 cells along y: left out are the last 1 rows",
            "data.scale 4 doesn't divide 10 cells along x: left out are the last 2 columns",
        ]

    def test_the_cells_named_are_the_cells_left_out(self, data_dir):
        whole = io.open_variable(data_dir / ERA5, "t2m")
        kept = cut_to_blocks(whole, 4, "x")
        gone = set(whole["lat"].values) - set(kept["lat"].values)
        note = cells_left_out(whole, 4)[0]
        assert note.endswith(f"rows at latitude {', '.join(f'{value:g}' for value in gone)}")


class TestMissingValues:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_they_are_counted(self, field_of, bad):
        kind = "missing" if np.isnan(bad) else "infinite"
        field = field_of().copy()
        field[2, :3, 0] = bad
        field[4, 0, 0] = bad
        with pytest.raises(DataError) as raised:
            missing_values(field.chunk(time=2), "x.nc: tas")
        message = str(raised.value)
        assert message.startswith(f"x.nc: tas: 4 values are {kind}, in 2 of 6 time steps (most at 2000-01-03)")
        assert ("data.missing: refuse" in message) == np.isnan(bad)
        if not np.isnan(bad):
            with pytest.raises(DataError, match="infinite"):
                missing_values(field, "x.nc: tas", "mask")

    def test_with_mask_some_may_be_missing_but_not_all(self, field_of):
        field = field_of().where(np.random.default_rng(0).random((6, 8, 12)) > 0.5)
        missing_values(field, "x", "mask")
        with pytest.raises(DataError, match=r"x\.nc: all values are missing"):
            missing_values(field * np.nan, "x.nc", "mask")

    def test_complete_fields_pass(self, field_of):
        missing_values(field_of(calendar="360_day"), "x")

    def test_real_gaps_are_refused(self, data_dir):
        field = io.open_variable(data_dir / "eobs-iberia/eobs_tas_0.25deg_djf_1990-2000.nc", "tas")
        count = int(np.isnan(field.values).sum())
        assert count > 0
        with pytest.raises(DataError, match=f": {count} values are missing, in 903 of 903 time steps"):
            missing_values(field, "x")


class TestFineAndCoarse:
    @pytest.mark.parametrize("calendar", ["standard", "360_day"])
    def test_both_grids(self, field_of, calendar):
        field = field_of(calendar=calendar)
        fine, coarse = coarsen_predictand(field, 4, "x")
        np.testing.assert_array_equal(fine["tas"].values, field.values)
        assert coarse["tas"].shape == (6, 2, 3)
        np.testing.assert_array_equal(coarse["time"].values, field["time"].values)
        np.testing.assert_array_equal(coarse["lat_bnds"].values, [[39.75, 41.75], [41.75, 43.75]])
        assert coarse["tas"].attrs["units"] == fine["tas"].attrs["units"] == "K"

    def test_a_mask_gives_means_over_what_is_there_and_its_share(self, field_of):
        field = field_of()
        field[:, 0, :] = np.nan
        field[3, 1, 0] = np.nan
        fine, coarse = coarsen_predictand(field, 4, "x", "mask")
        assert np.isnan(fine["tas"].values[:, 0]).all()
        assert list(coarse.data_vars) == ["tas", "tas_valid_fraction"]
        weights = np.diff(np.sin(np.deg2rad(np.array([39.75, 40.25, 40.75, 41.25, 41.75]))))
        block = field.values[0, 1:4, :4].astype(np.float64).mean(axis=1)
        assert coarse["tas"].values[0, 0, 0] == pytest.approx(np.average(block, weights=weights[1:]), rel=1e-6)
        share = weights[1:].sum() / weights.sum()
        np.testing.assert_allclose(coarse["tas_valid_fraction"].values[0], [[share] * 3, [1] * 3])
        less = share - weights[1] / weights.sum() / 4
        assert coarse["tas_valid_fraction"].values[3, 0, 0] == pytest.approx(less)
        _, strict = coarsen_predictand(field, 4, "x", "mask", min_valid_fraction=0.9)
        assert np.isnan(strict["tas"].values[:, 0]).all()
        assert np.isfinite(strict["tas"].values[:, 1]).all()

    @pytest.mark.parametrize("kind", ["rotated", "lambert", "curvilinear"])
    def test_grids_of_other_kinds_are_kept_in_files(self, tmp_path, field_on, kind):
        field = field_on(kind, 8, 12, 0.5, steps=2)
        for dataset, grid in zip(
            coarsen_predictand(field, 4, "x"), (Grid.of(field), Grid.of(field).coarsened(4)), strict=True
        ):
            dataset.to_netcdf(tmp_path / "a.nc")
            with xr.open_dataset(tmp_path / "a.nc") as stored:
                assert Grid.of(stored).same(grid)

    def test_cell_methods_say_what_was_done_and_keep_what_was_said(self, field_of):
        field = field_of()
        _, coarse = coarsen_predictand(field, 4, "x")
        assert coarse["tas"].attrs["cell_methods"] == "area: mean"
        fine, coarse = coarsen_predictand(field.assign_attrs(cell_methods="time: maximum"), 4, "x")
        assert fine["tas"].attrs["cell_methods"] == "time: maximum"
        assert coarse["tas"].attrs["cell_methods"] == "time: maximum area: mean"

    def test_attributes_of_readers_are_not_passed_on(self, field_of):
        field = field_of().assign_attrs(standard_name="unknown", GRIB_paramId=167, long_name="temperature")
        found = on_grid(field, Grid.of(field))["tas"].attrs
        assert found == {"units": "K", "long_name": "temperature"}
