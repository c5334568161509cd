"""Reading files as users have them; writing CF netCDF that is whole or not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import cftime
import dask.array
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core import io
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import on_grid

ERA5 = Path("era5-uk/era5_t2m_hourly_2019-03_uk.nc")
GRIB = Path("era5-uk/era5-2mt-2019-03-01_03_uk.grib")


def domain(lat: tuple[float, float], lon: tuple[float, float]) -> SimpleNamespace:
    """What `crop` needs of `data.domain`."""
    return SimpleNamespace(lat=lat, lon=lon)


class TestOpening:
    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(DataError, match=r"nowhere\.nc: no such file"):
            io.open_dataset(tmp_path / "nowhere.nc")

    @pytest.mark.parametrize("content", [b"", b"lat,lon,tas\n1,2,3\n", b"GRIB broken"])
    def test_what_cannot_be_read_is_named(self, tmp_path, content):
        path = tmp_path / "odd.nc"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"odd\.nc: can't be read as netCDF, GRIB or Zarr"):
            io.open_dataset(path)

    def test_a_truncated_file_is_named(self, tmp_path, field_of):
        path = tmp_path / "whole.nc"
        field_of(steps=50).to_netcdf(path)
        (tmp_path / "part.nc").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match=r"part\.nc"):
            io.open_dataset(tmp_path / "part.nc")

    def test_a_folder_that_is_no_zarr_store_is_named(self, tmp_path):
        with pytest.raises(DataError, match="can't be read"):
            io.open_dataset(tmp_path)

    def test_zarr(self, tmp_path, field_of):
        pytest.importorskip("zarr")
        field = field_of(calendar="360_day")
        field.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2)
        found = io.open_variable(tmp_path / "a.zarr", "tas")
        np.testing.assert_array_equal(found.values, field.values)
        np.testing.assert_array_equal(found["time"].values, field["time"].values)

    def test_a_wrong_variable_lists_those_there_are(self, tmp_path, field_of):
        field_of().to_netcdf(tmp_path / "a.nc")
        with pytest.raises(DataError, match=r"a\.nc: there is no variable 't2m'; the file has: tas"):
            io.open_variable(tmp_path / "a.nc", "t2m")

    def test_values_stay_on_disk(self, tmp_path, field_of):
        field_of().to_netcdf(tmp_path / "a.nc")
        assert isinstance(io.open_variable(tmp_path / "a.nc", "tas").data, dask.array.Array)

    def test_chunks_along_time_are_bounded(self, tmp_path, field_of, monkeypatch):
        monkeypatch.setattr(io, "CHUNK_VALUES", 3 * 8 * 12)
        field_of(steps=7).to_netcdf(tmp_path / "a.nc")
        assert io.open_variable(tmp_path / "a.nc", "tas").chunks == ((3, 3, 1), (8,), (12,))


class TestCanonicalForm:
    def test_descending_latitude_is_turned_with_its_values(self, data_dir):
        field = io.open_variable(data_dir / ERA5, "t2m")
        with netCDF4.Dataset(data_dir / ERA5) as raw:
            expected = raw["t2m"][:][:, ::-1, :]
            latitudes = raw["latitude"][:][::-1]
        assert field.dims == ("time", "lat", "lon")
        np.testing.assert_array_equal(field["lat"], latitudes)
        np.testing.assert_array_equal(field.values, expected)

    def test_grib_gives_the_values_of_the_netcdf(self, data_dir):
        grib = io.open_variable(data_dir / GRIB, "t2m")
        netcdf = io.open_variable(data_dir / ERA5, "t2m").isel(time=slice(0, 72))
        np.testing.assert_array_equal(grib["time"], netcdf["time"])
        np.testing.assert_allclose(grib["lat"], netcdf["lat"], atol=1e-9)
        np.testing.assert_allclose(grib["lon"], netcdf["lon"], atol=1e-9)
        np.testing.assert_array_equal(grib.values, netcdf.values)
        assert grib.attrs["units"] == netcdf.attrs["units"] == "K"
        assert set(grib.coords) == {"time", "lat", "lon"}

    def test_reading_grib_leaves_no_index_beside_it(self, data_dir, tmp_path):
        copy = tmp_path / "readonly" / "a.grib"
        copy.parent.mkdir()
        shutil.copyfile(data_dir / GRIB, copy)
        io.open_variable(copy, "t2m").load()
        assert [path.name for path in copy.parent.iterdir()] == ["a.grib"]

    def test_360_day_calendar_and_scalar_coordinates(self, demo_file):
        field = io.open_variable(demo_file, "air_temperature", "K")
        assert field.dims == ("time", "lat", "lon")
        assert set(field.coords) == {"time", "lat", "lon"}
        assert field["time"].values[0] == cftime.Datetime360Day(1860, 6, 1)
        with netCDF4.Dataset(demo_file) as raw:
            np.testing.assert_array_equal(field.values, raw["air_temperature"][:])

    def test_other_names_orders_and_single_levels(self, tmp_path, field_of):
        field = field_of()
        odd = (
            field.rename(lat="nav_lat", lon="x", time="t").expand_dims(height=[2.0]).transpose("x", "height", "t", ...)
        )
        odd.isel(x=slice(None, None, -1)).to_netcdf(tmp_path / "a.nc")
        found = io.open_variable(tmp_path / "a.nc", "tas")
        xr.testing.assert_equal(found.load().drop_attrs(), field.drop_attrs())
        assert found.attrs["units"] == "K"

    def test_coordinates_beside_their_dimensions(self, tmp_path, field_of):
        field = field_of()
        odd = field.rename(lat="j", lon="i").assign_coords(
            lat=("j", field["lat"].values, field["lat"].attrs), lon=("i", field["lon"].values, field["lon"].attrs)
        )
        odd.drop_vars(["i", "j"]).transpose("i", "time", "j").to_netcdf(tmp_path / "a.nc")
        xr.testing.assert_equal(io.open_variable(tmp_path / "a.nc", "tas").load().drop_attrs(), field.drop_attrs())

    def test_times_of_a_forecast_are_those_of_validity(self, tmp_path, field_of):
        field = field_of()
        field["time"].attrs["standard_name"] = "forecast_reference_time"
        valid = field["time"].values + np.timedelta64(6, "h")
        field = field.assign_coords(valid_time=("time", valid, {"standard_name": "time"}))
        field.to_netcdf(tmp_path / "a.nc")
        found = io.open_variable(tmp_path / "a.nc", "tas")
        np.testing.assert_array_equal(found["time"].values, valid)

    def test_places_in_a_row_are_no_grid(self, tmp_path, field_of):
        field_of().stack(place=["lat", "lon"]).reset_index("place").to_netcdf(tmp_path / "a.nc")
        with pytest.raises(DataError, match="expected one-dimensional"):
            io.open_variable(tmp_path / "a.nc", "tas")

    def test_coordinates_are_known_by_their_names_where_they_have_no_attributes(self, tmp_path, field_of):
        field = field_of().drop_attrs(deep=True).assign_attrs(units="K")
        field.to_netcdf(tmp_path / "a.nc")
        np.testing.assert_array_equal(io.open_variable(tmp_path / "a.nc", "tas").values, field.values)

    def test_packed_integers_are_unpacked(self, data_dir):
        found = io.open_variable(data_dir / "quirks/era-interim_2017-02_packed-int16_global.nc", "t2m")
        with netCDF4.Dataset(data_dir / "quirks/era-interim_2017-02_packed-int16_global.nc") as raw:
            expected = raw["t2m"][:][:, ::-1]
        np.testing.assert_allclose(found.values, expected, atol=1e-3)
        assert found["lat"].values[0] < found["lat"].values[-1]

    @pytest.mark.parametrize(
        ("path", "variable"),
        [
            ("quirks/crcm5_tasmax_1984-06_rotated-pole_noleap.nc", "tasmax"),
            ("climate4r-iberia/cordex_eur44_racmo22e_historical_djf_1983-1992.nc", "tas"),
            ("po-basin-5km/ta6_5km_6hourly_1951-01.nc", "ta6"),
        ],
    )
    def test_other_grids_are_refused_by_name(self, data_dir, path, variable):
        with pytest.raises(DataError) as raised:
            io.open_variable(data_dir / path, variable)
        message = str(raised.value)
        assert Path(path).name in message
        assert variable in message
        assert "expected one-dimensional latitude and longitude" in message
        assert "not available" in message

    def test_a_further_dimension_is_named(self, tmp_path, field_of):
        field_of().expand_dims(member=[1, 2]).to_netcdf(tmp_path / "a.nc")
        with pytest.raises(DataError, match="found also member"):
            io.open_variable(tmp_path / "a.nc", "tas")


class TestUnits:
    def test_kelvin_to_celsius_and_back(self, field_of):
        field = field_of()
        celsius = io.convert_units(field, "degC", "here")
        np.testing.assert_allclose(celsius.values, field.values.astype(np.float64) - 273.15, atol=3e-5)
        assert celsius.attrs == {**field.attrs, "units": "degC"}
        assert celsius.dtype == np.float32
        back = io.convert_units(celsius, "K", "here")
        np.testing.assert_allclose(back.values, field.values, atol=6e-5)

    @pytest.mark.parametrize(
        ("found", "wanted", "factor", "offset"),
        [
            ("K", "degC", 1.0, -273.15),
            ("Celsius", "K", 1.0, 273.15),
            ("hPa", "Pa", 100.0, 0.0),
            ("m", "mm", 1000.0, 0.0),
            ("m s-1", "km h-1", 3.6, 0.0),
            ("m s**-1", "m s-1", 1.0, 0.0),
            ("degF", "degC", 1 / 1.8, -32 / 1.8),
            ("%", "1", 0.01, 0.0),
            ("mm d-1", "m s-1", 1e-3 / 86400, 0.0),
        ],
    )
    def test_factor_and_offset(self, found, wanted, factor, offset):
        assert io.unit_conversion(found, wanted, "here") == pytest.approx((factor, offset), rel=1e-9, abs=1e-12)

    @pytest.mark.parametrize(
        ("found", "wanted"),
        [("K", "mm"), ("K", "nonsense"), ("celcius", "K"), ("m", "K"), ("hPa)(", "Pa"), ("K", "degC d-1")],
    )
    def test_what_cannot_be_converted_is_named(self, found, wanted):
        with pytest.raises(DataError) as raised:
            io.unit_conversion(found, wanted, "x.nc: tas")
        message = str(raised.value)
        assert message.startswith("x.nc: tas: units ")
        assert repr(found) in message
        assert repr(wanted) in message

    @pytest.mark.parametrize("wanted", [None, "K"])
    def test_missing_units_are_an_error_not_a_guess(self, field_of, wanted):
        field = field_of().drop_attrs()
        with pytest.raises(DataError, match=r"x\.nc: tas: the variable has no units attribute; expected"):
            io.convert_units(field, wanted, "x.nc: tas")

    def test_equal_units_change_nothing(self, field_of):
        field = field_of()
        assert io.convert_units(field, "K", "here") is field
        assert io.convert_units(field, None, "here") is field


class TestCrop:
    def test_both_limits_belong_to_it(self, field_of):
        cropped = io.crop(field_of(), domain((40.5, 42.0), (-4.0, -1.0)))
        assert cropped["lat"].values.tolist() == [40.5, 41.0, 41.5, 42.0]
        assert cropped["lon"].values.tolist() == [-4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0]

    def test_rounding_of_coordinates_is_forgiven(self, field_of):
        field = field_of()
        field = field.assign_coords(lat=field["lat"] + 5e-7, lon=field["lon"] - 5e-7)
        assert io.crop(field, domain((40.5, 42.0), (-4.0, -1.0))).shape == (6, 4, 7)

    def test_none_keeps_all(self, field_of):
        field = field_of()
        assert io.crop(field, None) is field

    @pytest.mark.parametrize("lat", [(50.0, 60.0), (40.9, 41.1)])
    def test_too_small_a_domain_says_what_there_is(self, field_of, lat):
        with pytest.raises(DataError, match=r"data\.domain\.lat: \[.*\] holds [01] cells of tas.* from 40 to 43\.5"):
            io.crop(field_of(), domain(lat, (-4.0, -1.0)))


class TestAtomic:
    def test_a_success_is_renamed_and_nothing_else_left(self, tmp_path):
        target = tmp_path / "new" / "a.nc"
        with io.atomic(target) as temporary:
            temporary.write_text("whole")
            assert not target.exists()
            assert temporary.parent == target.parent
            assert temporary.suffix == ".nc"
        assert target.read_text() == "whole"
        assert os.listdir(target.parent) == ["a.nc"]

    @staticmethod
    def write_half(path: Path, error: BaseException) -> None:
        with io.atomic(path) as temporary:
            temporary.write_text("half")
            raise error

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_a_failure_leaves_nothing(self, tmp_path, error):
        with pytest.raises(error):
            self.write_half(tmp_path / "a.nc", error())
        assert os.listdir(tmp_path) == []

    def test_a_failure_keeps_what_was_there(self, tmp_path):
        (tmp_path / "a.nc").write_text("old")
        with pytest.raises(ValueError, match="half way"):
            self.write_half(tmp_path / "a.nc", ValueError("half way"))
        assert (tmp_path / "a.nc").read_text() == "old"
        assert os.listdir(tmp_path) == ["a.nc"]

    @pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
    def test_others_may_read_what_the_umask_allows(self, tmp_path, mask, mode):
        before = os.umask(mask)
        try:
            with io.atomic(tmp_path / "a.nc") as temporary:
                temporary.write_text("whole")
            assert os.umask(mask) == mask
        finally:
            os.umask(before)
        assert (tmp_path / "a.nc").stat().st_mode & 0o777 == mode

    def test_a_failing_chunk_leaves_neither_file_nor_traces(self, tmp_path, field_of):
        def fail(block: np.ndarray) -> np.ndarray:
            raise RuntimeError("disk on fire")

        field = field_of()
        lazy = field.copy(
            data=dask.array.from_array(field.values).map_blocks(fail, dtype=np.float32, meta=field.values)
        )
        with pytest.raises(RuntimeError, match="disk on fire"):
            io.write(on_grid(lazy, Grid.of(field)), tmp_path / "a.nc", {})
        assert os.listdir(tmp_path) == []


class TestWrite:
    @pytest.mark.parametrize("calendar", ["standard", "360_day", "noleap"])
    def test_round_trip(self, tmp_path, field_of, calendar):
        field = field_of(calendar=calendar)
        io.write(on_grid(field, Grid.of(field)), tmp_path / "a.nc", {"title": "A trial"})
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
        io.write(on_grid(field, Grid.of(field)), tmp_path / "a.nc", {})
        with io.open_dataset(tmp_path / "a.nc") as found:
            np.testing.assert_array_equal(found["time"].values, field["time"].values)

    def test_compressed_float32_with_cf_attributes(self, tmp_path, field_of):
        field = field_of().astype(np.float64)
        io.write(on_grid(field, Grid.of(field)), tmp_path / "a.nc", {})
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
        io.write(on_grid(field, Grid.of(field)), tmp_path / "a.nc", {})
        with io.open_dataset(tmp_path / "a.nc") as found:
            assert list(found.data_vars) == ["tas"]
            np.testing.assert_allclose(found["lat_bnds"][0], [39.75, 40.25])

    def test_missing_values_come_back_missing(self, tmp_path, field_of):
        field = field_of().copy()
        field[2, 3, 4] = np.nan
        io.write(on_grid(field, Grid.of(field)), tmp_path / "a.nc", {})
        with io.open_dataset(tmp_path / "a.nc") as found:
            np.testing.assert_array_equal(np.isnan(found["tas"].values), np.isnan(field.values))

    def test_the_dataset_given_is_not_changed(self, tmp_path, field_of):
        field = field_of()
        dataset = on_grid(field, Grid.of(field))
        dataset["time"].encoding = {"units": "days since 1900-01-01"}
        before = dataset.copy(deep=True)
        io.write(dataset, tmp_path / "a.nc", {"title": "x"})
        xr.testing.assert_identical(dataset, before)
        assert dataset["time"].encoding == {"units": "days since 1900-01-01"}

    def test_encoding_of_the_input_does_not_pass_on(self, tmp_path, data_dir):
        source = data_dir / "quirks/era-interim_2017-02_packed-int16_global.nc"
        field = io.open_variable(source, "t2m")
        io.write(on_grid(field, Grid.of(field)), tmp_path / "a.nc", {})
        with netCDF4.Dataset(tmp_path / "a.nc") as raw:
            assert raw["t2m"].dtype == np.float32
            assert "scale_factor" not in raw["t2m"].ncattrs()
            np.testing.assert_array_equal(raw["t2m"][:].data, field.values.astype(np.float32))
