"""Opening files: laziness, formats, chunks, and what one call costs."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import dask.array
import netCDF4
import numcodecs
import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io
from dl4ds_core.errors import DataError
from dl4ds_core.io import opening, reading
from dl4ds_core.io.classic import required_length

ERA5 = Path("era5-uk/era5_t2m_hourly_2019-03_uk.nc")
GRIB = Path("era5-uk/era5-2mt-2019-03-01_03_uk.grib")


class TestDatasets:
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

    def test_several_fill_values_are_no_warning(self, tmp_path, field_of):
        path = tmp_path / "a.nc"
        field_of().to_netcdf(path, encoding={"tas": {"_FillValue": np.float32(-1)}})
        with netCDF4.Dataset(path, "a") as raw:
            raw["tas"].missing_value = np.float32(280.0)
            raw["tas"][0, 0, 0] = 280.0
        with io.open_dataset(path) as found:
            assert np.isnan(found["tas"].values[0, 0, 0])

    def test_filters_of_a_grib_file(self, data_dir):
        found = io.open_dataset(data_dir / "quirks/nam_awip_lambert_multi-level.grib2", {"typeOfLevel": "meanSea"})
        assert set(found.data_vars) == {"prmsl", "mslet"}

    def test_a_grib_file_of_several_kinds_of_levels_is_refused_whole(self, data_dir):
        with pytest.raises(DataError, match="typeOfLevel"):
            io.open_dataset(data_dir / "quirks/nam_awip_lambert_multi-level.grib2")


class TestLaziness:
    def test_values_stay_on_disk(self, tmp_path, field_of):
        field_of().to_netcdf(tmp_path / "a.nc")
        assert isinstance(io.open_variable(tmp_path / "a.nc", "tas", "degC", minimum=0.0).data, dask.array.Array)

    def test_chunks_along_time_are_bounded(self, tmp_path, field_of, monkeypatch):
        monkeypatch.setattr(reading, "CHUNK_VALUES", 3 * 8 * 12)
        field_of(steps=7).to_netcdf(tmp_path / "a.nc")
        assert io.open_variable(tmp_path / "a.nc", "tas").chunks == ((3, 3, 1), (8,), (12,))

    def test_chunks_do_not_cut_through_those_of_the_file(self, tmp_path, field_of, monkeypatch):
        monkeypatch.setattr(reading, "CHUNK_VALUES", 7 * 8 * 12)
        field_of(steps=20).to_netcdf(tmp_path / "a.nc", encoding={"tas": {"chunksizes": (3, 8, 12)}})
        assert io.open_variable(tmp_path / "a.nc", "tas").chunks[0] == (6, 6, 6, 2)

    def test_a_large_file_is_opened_without_reading_it(self, tmp_path):
        # A century of days, 40 GB, of which one step is stored: reading much of it would take minutes.
        with netCDF4.Dataset(tmp_path / "a.nc", "w") as raw:
            sizes = {"time": 36500, "lat": 500, "lon": 550}
            for name, size in sizes.items():
                raw.createDimension(name, size)
                raw.createVariable(name, "f8", (name,))[:] = np.arange(size) * (1.0 if name == "time" else 0.1)
            raw["time"].units = "days since 1900-01-01"
            raw.createVariable("tas", "f4", tuple(sizes), chunksizes=(1, 500, 550)).units = "K"
            raw["tas"][-1, -1, -1] = 281.5
        start = time.monotonic()
        field = io.open_variable(tmp_path / "a.nc", "tas")
        assert time.monotonic() - start < 20
        assert field.shape == (36500, 500, 550)
        assert float(field[-1, -1, -1]) == 281.5

    def test_only_the_level_chosen_is_read(self, tmp_path, field_of):
        field = xr.concat([field_of(seed=seed) for seed in (1, 2)], "lev").assign_coords(lev=[850.0, 500.0])
        field.transpose("time", "lev", "lat", "lon").to_netcdf(tmp_path / "a.nc")
        found = io.open_variable(tmp_path / "a.nc", "tas", level=500)
        np.testing.assert_array_equal(found.values, field_of(seed=2).values)
        assert found.data.npartitions == 1

    def test_a_dataset_that_is_open_can_be_read_after_others_were(self, tmp_path, field_of):
        for number in range(3):
            (field_of(seed=number)).to_netcdf(tmp_path / f"{number}.nc")
        fields = [io.open_variable(tmp_path / f"{number}.nc", "tas") for number in range(3)]
        for number, field in enumerate(fields):
            np.testing.assert_array_equal(field.values, field_of(seed=number).values)


class TestFormats:
    @pytest.mark.parametrize("version", [2, 3])
    def test_zarr(self, tmp_path, field_of, version):
        pytest.importorskip("zarr")
        field = field_of(calendar="360_day")
        field.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
        found = io.open_variable(tmp_path / "a.zarr", "tas")
        np.testing.assert_array_equal(found.values, field.values)
        np.testing.assert_array_equal(found["time"].values, field["time"].values)

    @pytest.mark.parametrize("version", [2, 3])
    def test_zarr_with_blosc(self, tmp_path, field_of, version):
        codecs = pytest.importorskip("zarr.codecs")
        field = field_of()
        codec = numcodecs.Blosc() if version == 2 else codecs.BloscCodec(cname="lz4")
        options = {"zarr_format": version, "consolidated": False}
        field.to_dataset().to_zarr(tmp_path / "a.zarr", encoding={"tas": {"compressors": codec}}, **options)
        opened = xr.open_dataset(tmp_path / "a.zarr", engine="zarr", consolidated=False)
        found = io.open_variable(tmp_path / "a.zarr", "tas")
        np.testing.assert_array_equal(found.values, field.values)
        # What is written with the codecs that reading has put in place has the same bytes.
        opened.to_zarr(tmp_path / "b.zarr", **options)
        chunks = [sorted((tmp_path / name / "tas").rglob("*0*")) for name in ("a.zarr", "b.zarr")]
        assert [path.read_bytes() for path in chunks[0] if path.is_file()] == [
            path.read_bytes() for path in chunks[1] if path.is_file()
        ]

    @pytest.mark.parametrize(
        "form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA", "NETCDF4_CLASSIC", "NETCDF4"]
    )
    @pytest.mark.parametrize("unlimited", [True, False])
    def test_netcdf(self, tmp_path, field_of, form, unlimited):
        field = field_of(steps=5, rows=3, columns=3).astype(np.float32)
        path = tmp_path / "a.dat"
        with netCDF4.Dataset(path, "w", format=form) as raw:
            for name in field.dims:
                raw.createDimension(name, None if name == "time" and unlimited else field.sizes[name])
                raw.createVariable(name, "f8", (name,))[:] = np.arange(5) if name == "time" else field[name].values
            raw["time"].units = "days since 2000-01-01"
            raw.createVariable("tas", "f4", field.dims)[:] = field.values
            raw["tas"].units = "K"
            raw.createVariable("flag", "i2", ("time",))[:] = 1
        np.testing.assert_array_equal(io.open_variable(path, "tas").values, field.values)
        if form.startswith("NETCDF3"):
            assert path.stat().st_size - 4 < required_length(path) <= path.stat().st_size

    def test_grib_gives_the_values_of_the_netcdf(self, data_dir):
        grib = io.open_variable(data_dir / GRIB, "t2m")
        netcdf = io.open_variable(data_dir / ERA5, "t2m").isel(time=slice(0, 72))
        np.testing.assert_array_equal(grib["time"], netcdf["time"])
        np.testing.assert_allclose(grib["lat"], netcdf["lat"], atol=1e-9)
        np.testing.assert_allclose(grib["lon"], netcdf["lon"], atol=1e-9)
        np.testing.assert_array_equal(grib.values, netcdf.values)
        assert grib.attrs["units"] == netcdf.attrs["units"] == "K"
        assert set(grib.coords) == {"time", "lat", "lon"}

    @pytest.mark.parametrize(
        ("head", "least"),
        [
            ("00000d24 01", (3364, True)),
            ("00895440 01", (9_000_000, False)),  # 9 MB, or 120 times as much
            ("00800100 01", (255 * 120, False)),
            ("00000000 02", (2**33, True)),
            ("00000d24 03", (0, True)),
        ],
    )
    def test_lengths_of_grib_fields(self, head, least):
        head = b"GRIB" + bytes.fromhex(head)[1:] + (2**33).to_bytes(8, "big")
        assert opening._field_length(head) == least

    def test_reading_grib_leaves_no_index_beside_it(self, data_dir, tmp_path):
        copy = tmp_path / "readonly" / "a.grib"
        copy.parent.mkdir()
        shutil.copyfile(data_dir / GRIB, copy)
        io.open_variable(copy, "t2m").load()
        assert [path.name for path in copy.parent.iterdir()] == ["a.grib"]

    def test_fields_of_grib_may_have_other_bytes_between_them(self, data_dir, tmp_path):
        content = (data_dir / GRIB).read_bytes()
        (tmp_path / "a.grib").write_bytes(content[:3360] + b"\r\r\n\x03" + content[3360:6720] + bytes(5000))
        found = io.open_variable(tmp_path / "a.grib", "t2m")
        np.testing.assert_array_equal(found.values, io.open_variable(data_dir / GRIB, "t2m")[:2].values)
