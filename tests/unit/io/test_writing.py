"""Writing CF netCDF: whole, compressed, on any grid, in bounded memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import dask.array
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core import io
from dl4ds_core.grids import Grid


def placed(field: xr.DataArray) -> xr.Dataset:
    """A dataset of a field, with the coordinates of its grid as stages write it."""
    return Grid.of(field).placed(field.to_dataset())


class TestWrite:
    @pytest.mark.parametrize("calendar", ["standard", "360_day", "noleap"])
    def test_round_trip(self, tmp_path, field_of, calendar):
        field = field_of(calendar=calendar)
        io.write(placed(field), tmp_path / "a.nc", {"title": "A trial"})
        found = io.open_variable(tmp_path / "a.nc", "tas")
        np.testing.assert_array_equal(found.values, field.values)
        np.testing.assert_array_equal(found["time"].values, field["time"].values)
        np.testing.assert_array_equal(found["lat"].values, field["lat"].values)
        assert found.attrs == field.attrs
        with netCDF4.Dataset(tmp_path / "a.nc") as raw:
            assert raw["time"].calendar == calendar
            assert raw.title == "A trial"
            assert raw.Conventions == "CF-1.8"

    @pytest.mark.parametrize("step", ["5min", "20min", "90min", "7s"])
    def test_times_that_are_no_whole_hours_come_back_exactly(self, tmp_path, field_of, step):
        times = pd.date_range("2019-12-01", periods=2000, freq=step)
        field = field_of(steps=2000, rows=2, columns=2).assign_coords(time=times)
        io.write(placed(field), tmp_path / "a.nc", {})
        with io.open_dataset(tmp_path / "a.nc") as found:
            np.testing.assert_array_equal(found["time"].values, field["time"].values)

    def test_compressed_float32_with_cf_attributes(self, tmp_path, field_of):
        field = field_of().astype(np.float64)
        io.write(placed(field), tmp_path / "a.nc", {})
        with netCDF4.Dataset(tmp_path / "a.nc") as raw:
            variable = raw["tas"]
            assert raw.data_model == "NETCDF4"
            assert variable.dtype == np.float32
            assert variable.filters()["zlib"]
            assert variable.filters()["shuffle"]
            assert (variable.units, variable.standard_name) == ("K", "air_temperature")
            assert raw["lat"].units == "degrees_north"
            assert raw["lon"].units == "degrees_east"
            assert raw["lat"].bounds == "lat_bnds"
            assert raw["lat"].dtype == raw["lon"].dtype == raw["time"].dtype == np.float64
            assert "_FillValue" not in raw["lat"].ncattrs() + raw["lon"].ncattrs() + raw["time"].ncattrs()
            assert raw["time"].standard_name == "time"

    def test_bounds_come_back_as_coordinates_not_as_fields(self, tmp_path, field_of):
        field = field_of()
        io.write(placed(field), tmp_path / "a.nc", {})
        with io.open_dataset(tmp_path / "a.nc") as found:
            assert list(found.data_vars) == ["tas"]
            np.testing.assert_allclose(found["lat_bnds"][0], [39.75, 40.25])

    def test_missing_values_come_back_missing(self, tmp_path, field_of):
        field = field_of().copy()
        field[2, 3, 4] = np.nan
        io.write(placed(field), tmp_path / "a.nc", {})
        with io.open_dataset(tmp_path / "a.nc") as found:
            np.testing.assert_array_equal(np.isnan(found["tas"].values), np.isnan(field.values))

    def test_the_dataset_given_is_not_changed(self, tmp_path, field_of):
        field = field_of()
        dataset = placed(field)
        dataset["time"].encoding = {"units": "days since 1900-01-01"}
        before = dataset.copy(deep=True)
        io.write(dataset, tmp_path / "a.nc", {"title": "x"})
        xr.testing.assert_identical(dataset, before)
        assert dataset["time"].encoding == {"units": "days since 1900-01-01"}

    def test_encoding_of_the_input_does_not_pass_on(self, tmp_path, data_dir):
        source = data_dir / "quirks/era-interim_2017-02_packed-int16_global.nc"
        field = io.open_variable(source, "t2m")
        io.write(placed(field), tmp_path / "a.nc", {})
        with netCDF4.Dataset(tmp_path / "a.nc") as raw:
            assert raw["t2m"].dtype == np.float32
            assert "scale_factor" not in raw["t2m"].ncattrs()
            np.testing.assert_array_equal(raw["t2m"][:].data, field.values.astype(np.float32))

    def test_a_failing_chunk_leaves_neither_file_nor_traces(self, tmp_path, field_of):
        def fail(block: np.ndarray) -> np.ndarray:
            raise RuntimeError("disk on fire")

        field = field_of()
        lazy = field.copy(
            data=dask.array.from_array(field.values).map_blocks(fail, dtype=np.float32, meta=field.values)
        )
        with pytest.raises(RuntimeError, match="disk on fire"):
            io.write(placed(lazy), tmp_path / "a.nc", {})
        assert os.listdir(tmp_path) == []


CASES = [
    ("quirks/crcm5_tasmax_1984-06_rotated-pole_noleap.nc", "tasmax", "rotated_latitude_longitude", "lat lon"),
    ("quirks/uk_tmean_transverse-mercator_1910.nc", "tmean", "transverse_mercator", "lat lon"),
    ("quirks/nam_awip_lambert_multi-level.grib2", "t2m", "lambert_conformal_conic", "lat lon"),
    ("po-basin-5km/ta6_5km_6hourly_1951-01.nc", "ta6", "lambert_azimuthal_equal_area", "lat lon"),
    (
        "quirks/stageiv_precip_hourly_curvilinear_2018-09.nc",
        "Total_precipitation_surface_1_Hour_Accumulation",
        "",
        "lat lon",
    ),
    ("quirks/a1b_north_america_360day_lon0-360.nc", "air_temperature", "", ""),
]


class TestGrids:
    @pytest.mark.parametrize(("path", "variable", "mapping", "coordinates"), CASES)
    def test_what_is_written_is_what_was_read(self, tmp_path, data_dir, path, variable, mapping, coordinates):
        field = io.open_variable(data_dir / path, variable).isel(time=slice(2))
        io.write(placed(field), tmp_path / "a.nc", {})
        found = io.open_variable(tmp_path / "a.nc", variable)
        np.testing.assert_allclose(found.values, field.values, rtol=1e-7)
        assert found.dims == field.dims
        for name in field.coords:
            if name not in ("crs", "time"):
                difference = found[name].values - field[name].values
                # 226 degrees east is 134 degrees west; in the file of the model they are in float32.
                difference = (difference + 180.0) % 360.0 - 180.0 if name == "lon" else difference
                np.testing.assert_allclose(difference, 0.0, rtol=0, atol=3e-5)
        np.testing.assert_array_equal(found["time"].values, field["time"].values)
        with netCDF4.Dataset(tmp_path / "a.nc") as raw:
            attributes = raw[variable].ncattrs()
            assert ("coordinates" in attributes) == bool(coordinates)
            assert not coordinates or raw[variable].coordinates == coordinates
            assert ("grid_mapping" in attributes) == bool(mapping)
            assert "coordinates" not in raw.ncattrs()
            if mapping:
                assert raw[raw[variable].grid_mapping].grid_mapping_name == mapping
                assert raw[raw[variable].grid_mapping].shape == ()
            for name in ("lat", "lon"):
                assert "_FillValue" not in raw[name].ncattrs()
                assert "coordinates" not in raw[name].ncattrs()

    def test_cdo_finds_the_places(self, tmp_path, data_dir):
        cdo = shutil.which("cdo")
        if cdo is None:
            pytest.skip("cdo is not installed")
        field = io.open_variable(data_dir / "po-basin-5km/ta6_5km_6hourly_1951-01.nc", "ta6").isel(time=[4])
        io.write(placed(field), tmp_path / "a.nc", {})
        # In the original, cdo has this value at this place: see test_quirks.py.
        command = [cdo, "-s", "outputtab,lon,lat,value", "-remapnn,lon=7.13177_lat=45.7314", "a.nc"]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
        np.testing.assert_allclose([float(word) for word in found[-3:]], [7.13177, 45.7314, 4.242188], atol=1e-5)

    def test_a_coordinate_that_is_a_number_is_named(self, tmp_path, field_of):
        dataset = placed(field_of()).assign_coords(height=((), 2.0, {"units": "m", "standard_name": "height"}))
        io.write(dataset, tmp_path / "a.nc", {})
        with netCDF4.Dataset(tmp_path / "a.nc") as raw:
            assert raw["tas"].coordinates == "height"

    def test_masked_cells_are_fill_values(self, tmp_path, data_dir):
        field = io.open_variable(data_dir / "quirks/uk_tmean_transverse-mercator_1910.nc", "tmean")
        io.write(placed(field), tmp_path / "a.nc", {})
        with netCDF4.Dataset(tmp_path / "a.nc") as raw:
            # netCDF4 counts 60.8 % of the original as masked.
            assert raw["tmean"][:].mask.mean() == pytest.approx(0.6083716475)
            raw.set_auto_mask(False)
            assert set(np.unique(raw["tmean"][:][raw["tmean"][:] > 1e3])) == {np.float32(9.96921e36)}


_COPY = """
import resource, sys
from dl4ds_core import io
from dl4ds_core.grids import Grid
io.reading.CHUNK_VALUES = 1_000_000
field = io.open_variable(sys.argv[1], "tas", "degC")
io.write(Grid.of(field).placed(field.to_dataset()), sys.argv[2], {})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_record(tmp_path):
    peaks = {}
    for steps in (200, 4000):
        with netCDF4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_64BIT_OFFSET") as raw:
            for name, size in (("time", steps), ("lat", 100), ("lon", 100)):
                raw.createDimension(name, size)
                raw.createVariable(name, "f8", (name,))[:] = np.arange(size) * (1.0 if name == "time" else 0.25)
            raw["time"].units = "days since 1900-01-01"
            raw.createVariable("tas", "f4", ("time", "lat", "lon")).units = "K"
            for first in range(0, steps, 200):
                raw["tas"][first : first + 200] = 280.0 + np.arange(100 * 100).reshape(100, 100) % 7
        command = [sys.executable, "-c", _COPY, str(tmp_path / "a.nc"), str(tmp_path / "b.nc")]
        peaks[steps] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # 4000 steps are 160 MB in float32.
    assert peaks[4000] < 1.2 * peaks[200], peaks
