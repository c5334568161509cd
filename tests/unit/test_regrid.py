"""Coarsening of predictands and remapping of static fields."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io, regrid
from dl4ds_core.config.schema import Domain, Regrid
from dl4ds_core.errors import DataError, RegridError
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import (
    cdo_grid,
    cells_left_out,
    coarsen_predictand,
    fine_field,
    missing_values,
    on_grid,
    on_same_grid,
    remap,
)

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed")
ERA5 = "era5-uk/era5_t2m_hourly_2019-03_uk.nc"
ETOPO = "static/etopo5_western-europe.nc"
RCM = "static/rcm_0.11deg_europe_orography_landfraction.nc"
CONSERVATIVE = Regrid()


@pytest.fixture
def era5_grid(data_dir: Path) -> Grid:
    """The grid of ERA5 over the UK, cut to blocks of four."""
    return Grid.of(fine_field(data_dir / ERA5, "t2m", None, None, 4))


def block_average(values: np.ndarray, edges: np.ndarray, bounds: np.ndarray, *, sine: bool) -> np.ndarray:
    """Matrix of the shares that source intervals have in target intervals, by overlap."""
    measure = (lambda x: np.sin(np.deg2rad(x))) if sine else (lambda x: x)
    lower = np.maximum(edges[None, :-1], bounds[:-1, None])
    upper = np.minimum(edges[None, 1:], bounds[1:, None])
    overlap = np.where(upper > lower, measure(upper) - measure(np.minimum(lower, upper)), 0.0)
    return overlap / overlap.sum(axis=1, keepdims=True)


class TestFineField:
    def test_domain_and_whole_blocks(self, tmp_path, field_of):
        field = field_of(rows=11, columns=14)
        field.to_netcdf(tmp_path / "a.nc")
        found = fine_field(tmp_path / "a.nc", "tas", "degC", Domain(lat=(40.5, 44.5), lon=(-5, 0.5)), 4)
        np.testing.assert_allclose(found.values, field.values[:, 1:9, :12] - 273.15, atol=1e-4)
        assert found.attrs["units"] == "degC"

    def test_a_field_without_time_is_refused(self, tmp_path, field_of):
        field_of(steps=None).to_netcdf(tmp_path / "a.nc")
        with pytest.raises(DataError, match="expected a time axis, found the dimensions lat, lon"):
            fine_field(tmp_path / "a.nc", "tas", None, None, 4)

    def test_cells_left_out_are_named(self, field_of):
        notes = cells_left_out(field_of(rows=9, columns=14), 4)
        assert notes == [
            "data.scale 4 doesn't divide 9 cells along lat: left out are the rows at latitude 44",
            "data.scale 4 doesn't divide 14 cells along lon: left out are the columns at longitude 1, 1.5",
        ]
        assert cells_left_out(field_of(rows=8, columns=12), 4) == []

    def test_the_cells_named_are_the_cells_left_out(self, data_dir):
        whole = io.open_variable(data_dir / ERA5, "t2m")
        kept = fine_field(data_dir / ERA5, "t2m", None, None, 4)
        gone = set(whole["lat"].values) - set(kept["lat"].values)
        note = cells_left_out(whole, 4)[0]
        assert note.endswith(f"rows at latitude {', '.join(f'{value:g}' for value in gone)}")


class TestMissingValues:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_they_are_counted(self, field_of, bad):
        field = field_of().copy()
        field[2, :3, 0] = bad
        field[4, 0, 0] = bad
        with pytest.raises(DataError) as raised:
            missing_values(field.chunk(time=2), "x.nc: tas")
        message = str(raised.value)
        assert message.startswith("x.nc: tas: 4 values are missing, in 2 of 6 time steps (most at 2000-01-03)")
        assert "data.missing: refuse" in message
        assert "data.domain" in message

    def test_complete_fields_pass(self, field_of):
        missing_values(field_of(calendar="360_day"), "x")

    def test_real_gaps_are_refused(self, data_dir):
        path = data_dir / "eobs-iberia/eobs_tas_0.25deg_djf_1990-2000.nc"
        field = fine_field(path, "tas", None, None, 4)
        count = int(np.isnan(field.values).sum())
        assert count > 0
        with pytest.raises(DataError, match=f": {count} values are missing, in 903 of 903 time steps"):
            coarsen_predictand(field, 4, "x")


class TestCoarsenPredictand:
    @pytest.mark.parametrize("calendar", ["standard", "360_day"])
    def test_both_grids(self, field_of, calendar):
        field = field_of(calendar=calendar)
        fine, coarse = coarsen_predictand(field, 4, "x")
        np.testing.assert_array_equal(fine["tas"].values, field.values)
        assert coarse["tas"].shape == (6, 2, 3)
        np.testing.assert_array_equal(coarse["time"].values, field["time"].values)
        np.testing.assert_array_equal(coarse["lat_bnds"].values, [[39.75, 41.75], [41.75, 43.75]])
        assert coarse["tas"].attrs["units"] == fine["tas"].attrs["units"] == "K"

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


class TestSameGrid:
    def test_equal_grids_need_no_engine(self, tmp_path, field_of, monkeypatch):
        monkeypatch.setenv("PATH", "")
        field = field_of(steps=None, rows=12, columns=16, name="orog", units="km")
        field.isel(lat=slice(None, None, -1)).to_netcdf(tmp_path / "a.nc")
        target = Grid.of(field.isel(lat=slice(2, 10), lon=slice(4, 16)))
        found = remap(tmp_path / "a.nc", "orog", "m", target, CONSERVATIVE)
        np.testing.assert_allclose(found.values, 1000 * field.values[2:10, 4:16], rtol=1e-6)
        assert found.attrs["units"] == "m"
        assert found.dtype == np.float32

    @pytest.mark.parametrize("change", [{"south": 40.1}, {"step": 0.25}, {"rows": 6}, {"west": 170.0}])
    def test_other_grids_are_told_apart(self, tmp_path, field_of, change):
        field_of(steps=None, **change).to_netcdf(tmp_path / "a.nc")
        assert on_same_grid(tmp_path / "a.nc", "tas", Grid.of(field_of())) is None

    def test_a_single_time_step_is_no_time(self, tmp_path, field_of):
        field = field_of(steps=1)
        field.to_netcdf(tmp_path / "a.nc")
        found = remap(tmp_path / "a.nc", "tas", None, Grid.of(field), CONSERVATIVE)
        np.testing.assert_array_equal(found.values, field.values[0])

    def test_a_field_that_varies_in_time_is_refused(self, tmp_path, field_of):
        field = field_of(steps=3)
        field.to_netcdf(tmp_path / "a.nc")
        with pytest.raises(DataError, match="expected a field without time, found 3 time steps"):
            remap(tmp_path / "a.nc", "tas", None, Grid.of(field), CONSERVATIVE)

    def test_cells_without_value_are_counted(self, tmp_path, field_of):
        field = field_of(steps=None)
        field[0, :2] = np.nan
        field.to_netcdf(tmp_path / "a.nc")
        with pytest.raises(RegridError, match="tas has no value in 2 of 96 cells of the fine grid"):
            remap(tmp_path / "a.nc", "tas", None, Grid.of(field), CONSERVATIVE)


@needs_cdo
class TestCdo:
    def test_relief_against_area_averages(self, data_dir, era5_grid):
        found = remap(data_dir / ETOPO, "elevation", "m", era5_grid, CONSERVATIVE)
        with xr.open_dataset(data_dir / ETOPO) as dataset:
            source = Grid.of(dataset)
            values = dataset["elevation"].values.astype(np.float64)
        rows = block_average(values, source.lat_bounds, era5_grid.lat_bounds, sine=True)
        columns = block_average(values, source.lon_bounds, era5_grid.lon_bounds, sine=False)
        expected = rows @ values @ columns.T
        assert found.dims == ("lat", "lon")
        np.testing.assert_allclose(found["lat"], era5_grid.lat)
        np.testing.assert_allclose(found.values, expected, atol=0.02 * expected.std())

    def test_a_rotated_pole_against_the_cells_within(self, data_dir, era5_grid):
        found = remap(data_dir / RCM, "FR_LAND", "1", era5_grid, Regrid(method="bilinear"))
        with xr.open_dataset(data_dir / RCM) as dataset:
            values, lat, lon = (dataset[name].values.astype(np.float64) for name in ("FR_LAND", "lat", "lon"))
        # Some five source cells have their centre in a target cell; their mean is a coarse but independent estimate.
        row = np.searchsorted(era5_grid.lat_bounds, lat) - 1
        column = np.searchsorted(era5_grid.lon_bounds, lon) - 1
        inside = (row >= 0) & (row < era5_grid.shape[0]) & (column >= 0) & (column < era5_grid.shape[1])
        counts, sums = np.zeros(era5_grid.shape), np.zeros(era5_grid.shape)
        np.add.at(counts, (row[inside], column[inside]), 1)
        np.add.at(sums, (row[inside], column[inside]), values[inside])
        assert counts.min() >= 1
        difference = found.values - sums / counts
        assert found.values.min() >= -1e-6
        assert found.values.max() <= 1 + 1e-6
        assert np.corrcoef(found.values.ravel(), (sums / counts).ravel())[0, 1] > 0.97
        assert np.abs(difference).mean() < 0.04
        assert np.average(difference, weights=era5_grid.area.values) == pytest.approx(0.0, abs=0.005)

    def test_a_grid_without_corners_asks_for_another_method(self, data_dir, era5_grid):
        with pytest.raises(RegridError, match=r"(?s)FR_LAND.*corner.*method: bilinear"):
            remap(data_dir / RCM, "FR_LAND", "1", era5_grid, CONSERVATIVE)

    @pytest.mark.parametrize("method", ["bilinear", "bicubic", "nearest"])
    def test_other_methods_keep_a_plane(self, tmp_path, field_of, method):
        source = field_of(steps=None, rows=40, columns=40, south=38, west=-8)
        source[:] = (source["lat"] + 2 * source["lon"]).values
        source.to_netcdf(tmp_path / "a.nc")
        target = Grid.of(field_of(steps=None, south=42.13, west=-1.37, step=0.4))
        found = remap(tmp_path / "a.nc", "tas", None, target, Regrid(method=method))
        expected = target.lat[:, None] + 2 * target.lon[None, :]
        np.testing.assert_allclose(found.values, expected, atol=0.76 if method == "nearest" else 2e-3)

    @pytest.mark.parametrize(
        "name",
        ["with blanks", "a;touch harm", "$(touch harm)", "`touch harm`", "it's", "a*b?[c]", "-x", "a,b", "ä | é"],
    )
    def test_odd_names_of_files_are_harmless(self, tmp_path, field_of, name, monkeypatch):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(tmp_path)
        source = field_of(steps=None, rows=40, columns=40, south=38, west=-8)
        source.to_netcdf(folder / f"{name}.nc")
        found = remap(folder / f"{name}.nc", "tas", None, Grid.of(field_of(south=42.1)), CONSERVATIVE)
        assert found.shape == (8, 12)
        assert not list(tmp_path.rglob("harm"))

    def test_a_target_beyond_the_source_is_refused(self, tmp_path, field_of):
        field_of(steps=None, rows=10, columns=10).to_netcdf(tmp_path / "a.nc")
        with pytest.raises(RegridError, match=r"no value in \d+ of 96 cells"):
            remap(tmp_path / "a.nc", "tas", None, Grid.of(field_of(south=43.1)), CONSERVATIVE)

    def test_failures_of_cdo_are_told(self, tmp_path, field_of):
        field_of(steps=None).to_netcdf(tmp_path / "a.nc")
        with pytest.raises(RegridError, match="cdo could not remap 'nothing'"):
            remap(tmp_path / "a.nc", "nothing", None, Grid.of(field_of(south=42.1)), CONSERVATIVE)

    def test_no_temporary_files_are_left(self, tmp_path, field_of, monkeypatch):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr(regrid.tempfile, "tempdir", str(scratch))
        field_of(steps=None, rows=40, columns=40, south=38, west=-8).to_netcdf(tmp_path / "a.nc")
        remap(tmp_path / "a.nc", "tas", None, Grid.of(field_of(south=42.1)), CONSERVATIVE)
        assert os.listdir(scratch) == []


def test_without_cdo_the_message_says_what_to_install(tmp_path, field_of, monkeypatch):
    field_of(steps=None).to_netcdf(tmp_path / "a.nc")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RegridError) as raised:
        remap(tmp_path / "a.nc", "tas", None, Grid.of(field_of(south=42.1)), CONSERVATIVE)
    for part in ("a.nc", "tas", "apt install cdo", "conda-forge"):
        assert part in str(raised.value)


def test_grid_description_has_exact_bounds(field_of):
    text = cdo_grid(Grid.of(field_of(rows=2, columns=3, south=1 / 3)))
    described = dict(line.split(" = ") for line in text.splitlines())
    assert described["gridtype"] == "lonlat"
    assert (described["xsize"], described["ysize"]) == ("3", "2")
    assert [float(value) for value in described["xvals"].split()] == [-5.0, -4.5, -4.0]
    np.testing.assert_allclose(
        [float(v) for v in described["ybounds"].split()], np.array([1, 7, 7, 13]) / 12, atol=1e-9
    )
