"""Missing values: default fill values of netCDF and valid ranges."""

from __future__ import annotations

import logging

import dask.array
import netCDF4
import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io

I2 = np.int16


@pytest.fixture
def stored(tmp_path):
    """Write values as they are, with attributes, and open them; values are those of a field of 2 rows."""

    def store(values, kind, fill_value=None, form="NETCDF4", **attributes):
        path = tmp_path / "a.nc"
        values = np.asarray(values, dtype=kind)
        sizes = {"time": values.size // 6, "lat": 2, "lon": 3}
        with netCDF4.Dataset(path, "w", format=form) as raw:
            for name, size in sizes.items():
                raw.createDimension(name, size)
                raw.createVariable(name, "f8", (name,))[:] = np.arange(float(size))
            raw["time"].units = "days since 2000-01-01"
            variable = raw.createVariable("tas", kind, tuple(sizes), fill_value=fill_value)
            variable.set_auto_maskandscale(False)
            variable.setncatts({"units": "K", **attributes})
            variable[:] = values.reshape(tuple(sizes.values()))
        return path

    return store


def of_netcdf4(path):
    """The values as the netCDF4 module has them."""
    with netCDF4.Dataset(path) as raw:
        return np.ma.filled(raw["tas"][:].astype(np.float64), np.nan)


PACKED = {"scale_factor": 0.1, "add_offset": 200.0}


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize(
    "packing",
    [{}, PACKED, {"scale_factor": -2.5}, {"scale_factor": np.float32(1e-6), "add_offset": np.float32(200.3)}],
)
def test_default_fill_values_are_missing(stored, kind, packing):
    path = stored([netCDF4.default_fillvals[kind], 1, 2, 3, 4, 5], kind, **packing)
    found = io.open_variable(path, "tas").values
    assert np.isnan(found).sum() == 1
    np.testing.assert_allclose(found, of_netcdf4(path), rtol=1e-6)


def test_cells_that_were_never_written_are_missing(tmp_path, stored):
    path = stored(np.arange(6.0), "f4", form="NETCDF3_CLASSIC")
    with netCDF4.Dataset(path, "a") as raw:
        raw.createVariable("pr", "f4", ("time", "lat", "lon")).units = "mm"
    assert np.isnan(io.open_variable(path, "pr").values).all()
    assert not np.isnan(io.open_variable(path, "tas").values).any()


def test_neighbours_of_the_default_are_values(stored):
    found = io.open_variable(stored([-32766, -32768, 1, 2, 3, 4], "i2", **PACKED), "tas").values
    assert not np.isnan(found).any()


@pytest.mark.parametrize(("kind", "fill"), [("i1", -127), ("u1", 255)])
def test_bytes_have_no_default(stored, kind, fill):
    assert io.open_variable(stored([fill, 0, 1, 2, 3, 4], kind), "tas").values[0, 0, 0] == fill


def test_a_factor_of_nought_makes_nothing_missing(stored):
    found = io.open_variable(stored([-32767, 0, 1, 2, 3, 4], "i2", scale_factor=0.0), "tas").values
    np.testing.assert_array_equal(found, np.zeros((1, 2, 3)))


def test_a_fill_value_of_the_file_replaces_the_default(stored):
    found = io.open_variable(stored([-32767, -1, 1, 2, 3, 4], "i2", fill_value=I2(-1)), "tas").values[0, 0]
    np.testing.assert_array_equal(found, [-32767, np.nan, 1])


@pytest.mark.parametrize(
    ("kind", "attributes", "valid"),
    [
        ("f4", {"valid_range": np.array([2, 4], "f4")}, [2, 3, 4]),
        ("f4", {"valid_min": np.float32(3)}, [3, 4, 5, 6]),
        ("f4", {"valid_max": 3.0}, [1, 2, 3]),
        ("f4", {"valid_min": I2(2), "valid_max": np.float64(1e300)}, [2, 3, 4, 5, 6]),
        ("i2", {"valid_range": np.array([2, 4], "i2")}, [2, 3, 4]),
        # Limits of the packed type are packed ones, others are not.
        ("i2", {"valid_range": np.array([2, 4], "i2"), **PACKED}, [2, 3, 4]),
        ("i2", {"valid_range": np.array([200.15, 200.45]), **PACKED}, [2, 3, 4]),
        ("i2", {"valid_max": np.float32(200.45), **PACKED}, [1, 2, 3, 4]),
        ("i2", {"valid_min": I2(3), "scale_factor": -0.1}, [3, 4, 5, 6]),
        ("i2", {"valid_range": np.array([2, 4], "i2"), "scale_factor": -0.1}, [2, 3, 4]),
        ("f4", {"valid_range": np.array([2, 4], "f4"), "scale_factor": 0.1}, [2, 3, 4]),
    ],
)
def test_values_outside_of_the_valid_range_are_missing(stored, kind, attributes, valid):
    found = io.open_variable(stored([1, 2, 3, 4, 5, 6], kind, **attributes), "tas").values.ravel()
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(found)) + 1, valid)


def test_limits_that_float32_rounds_are_valid(stored):
    found = io.open_variable(stored([0.1, 1.1, 0.5, 0.5, 0.5, 0.5], "f4", valid_min=0.1, valid_max=1.1), "tas").values
    assert not np.isnan(found).any()


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_limits_of_unsigned_values_in_signed_types(stored, factor):
    attributes = {"_Unsigned": "true", "valid_range": np.array([0, -56], "i1")}
    attributes |= {} if factor == 1.0 else {"scale_factor": factor}
    path = stored([0, 100, -56, -1, 1, 2], "i1", **attributes)
    expected = factor * np.array([0, 100, 200, np.nan, 1, 2])
    np.testing.assert_array_equal(io.open_variable(path, "tas").values.ravel(), expected)


def test_limits_that_are_no_numbers_are_told_and_ignored(stored, caplog):
    with caplog.at_level(logging.WARNING):
        found = io.open_variable(stored(np.arange(6), "f4", valid_range="0 to 3"), "tas").values
    assert not np.isnan(found).any()
    assert "a.nc: tas: expected 2 number(s) in the attribute valid_range, found '0 to 3'; it is ignored" in caplog.text


def test_nothing_is_read_at_opening_and_units_are_converted_after(stored):
    path = stored([10, 20, 30, 40, 50, 60], "f4", valid_max=np.float32(50))
    field = io.open_variable(path, "tas", "degC", minimum=-260.0)
    assert isinstance(field.data, dask.array.Array)
    np.testing.assert_allclose(field.values.ravel(), [-260, -253.15, -243.15, -233.15, -223.15, np.nan], rtol=1e-5)


def test_zarr_has_valid_ranges_but_no_defaults_of_netcdf(tmp_path, stored):
    values = [1, 2, 3, 4, 5, netCDF4.default_fillvals["f4"]]
    dataset = xr.open_dataset(stored(values, "f4", valid_min=np.float32(2)), decode_cf=False).load()
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False)
    found = io.open_variable(tmp_path / "a.zarr", "tas").values.ravel()
    np.testing.assert_array_equal(np.isnan(found), [True, False, False, False, False, False])
