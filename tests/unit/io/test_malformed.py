"""Malformed files: each ends with one ``DataError`` of one line that names the file and the cause.

No other exception, no warning (pytest makes them errors), no message of a library on standard error, no waiting.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr

from dl4ds_core import io
from dl4ds_core.errors import DataError

GRIB = "era5-uk/era5-2mt-2019-03-01_03_uk.grib"
CASES: dict[str, tuple[Callable[..., Path], str, dict[str, Any], str]] = {}


def case(cause: str, variable: str = "tas", **options: Any) -> Callable[[Callable[..., Path]], Callable[..., Path]]:
    """Enter a function that makes a file, with what the message must say."""

    def enter(make: Callable[..., Path]) -> Callable[..., Path]:
        CASES[make.__name__.strip("_")] = (make, variable, options, cause)
        return make

    return enter


def netcdf(folder: Path, dataset: xr.Dataset | xr.DataArray, **options: Any) -> Path:
    """Write a dataset, values and attributes as they are."""
    path = folder / "odd file.nc"
    dataset = dataset.to_dataset() if isinstance(dataset, xr.DataArray) else dataset
    dataset.to_netcdf(path, engine="netcdf4", **options)
    return path


def raw(field: xr.DataArray) -> xr.DataArray:
    """A field whose times are numbers with units, so that both can be spoilt."""
    days = np.arange(field.sizes["time"], dtype=np.float64)
    return field.assign_coords(time=("time", days, {"standard_name": "time", "units": "days since 2000-01-01"}))


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def curvilinear(field: xr.DataArray, **attributes: Any) -> xr.DataArray:
    """The same cells, turned a little, with two-dimensional coordinates and projected axes."""
    rows, columns = np.meshgrid(field["lat"], field["lon"], indexing="ij")
    turned = field.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    named = {"lat": ("latitude", "degrees_north", rows + 0.1 * columns), "lon": ("longitude", "degrees_east", columns)}
    coordinates = {
        name: (("y", "x"), values, {"standard_name": standard, "units": units})
        for name, (standard, units, values) in named.items()
    }
    turned.attrs.update(attributes)
    return turned.assign_coords(coordinates)


def projected(field: xr.DataArray, **mapping: Any) -> xr.Dataset:
    """A field on projected axes, without latitudes and longitudes, with a grid mapping."""
    flat = field.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    flat = flat.assign_coords(
        y=("y", 1e4 * np.arange(flat.sizes["y"]), {"standard_name": "projection_y_coordinate", "units": "m"}),
        x=("x", 1e4 * np.arange(flat.sizes["x"]), {"standard_name": "projection_x_coordinate", "units": "m"}),
    )
    flat.attrs["grid_mapping"] = "crs"
    dataset = flat.to_dataset()
    return dataset.assign(crs=((), np.int32(0), mapping)) if mapping else dataset


# Files that are no files


@case("no such file$")
def _missing(folder, field):
    return folder / "nowhere.nc"


@case(r"no such file: it is a link to gone\.nc, which is missing")
def _dangling_link(folder, field):
    (folder / "link.nc").symlink_to("gone.nc")
    return folder / "link.nc"


@case("found a pipe, socket or device")
def _pipe(folder, field):
    os.mkfifo(folder / "pipe.nc")
    return folder / "pipe.nc"


@case("it is a folder, but no Zarr store")
def _folder(folder, field):
    (folder / "some.zarr").mkdir()
    return folder / "some.zarr"


@case("the file is empty")
def _empty(folder, field):
    (folder / "empty.nc").touch()
    return folder / "empty.nc"


@case(r"it begins with b'lat,lon,'")
def _text(folder, field):
    (folder / "table.nc").write_text("lat,lon,tas\n50,0,280\n")
    return folder / "table.nc"


@case(r"it begins with b'\\x00HDF")
def _wrong_magic(folder, field):
    path = netcdf(folder, field)
    content = path.read_bytes()
    path.write_bytes(b"\x00" + content[1:])
    return path


@case("it begins with b'<!DOCTYP'")
def _web_page(folder, field):
    (folder / "download.nc").write_text("<!DOCTYPE html><title>404 Not Found</title>")
    return folder / "download.nc"


@case("it begins with b'PK")
def _archive(folder, field):
    shutil.make_archive(str(folder / "packed"), "zip", netcdf(folder, field).parent)
    return folder / "packed.zip"


# Files that are cut off or damaged


@case("can't be read as netCDF, GRIB or Zarr: .*HDF error")
def _truncated_netcdf4(folder, field):
    return cut(netcdf(folder, field), 0.6)


@case(r"it is truncated and has \d+ of \d+ bytes")
def _truncated_netcdf3(folder, field):
    return cut(netcdf(folder, field, format="NETCDF3_64BIT"), 0.7)


@case(r"it is truncated and has \d+ of \d+ bytes")
def _truncated_netcdf3_with_unlimited_time(folder, field):
    return cut(netcdf(folder, field, format="NETCDF3_CLASSIC", unlimited_dims=["time"]), 0.9)


@case("the header is truncated or damaged")
def _netcdf3_header_only(folder, field):
    path = netcdf(folder, field, format="NETCDF3_CLASSIC")
    path.write_bytes(path.read_bytes()[:100])
    return path


@case("field 37 of it is cut off", "t2m")
def _truncated_grib(folder, field, data_dir):
    shutil.copyfile(data_dir / GRIB, folder / "part.grib")
    (folder / "part.grib").chmod(0o644)
    return cut(folder / "part.grib", 0.51)


@case("field 1 of it is damaged", "t2m")
def _damaged_grib(folder, field, data_dir):
    content = bytearray((data_dir / GRIB).read_bytes()[:3360])
    content[8:40] = b"\xff" * 32
    (folder / "damaged.grib").write_bytes(content)
    return folder / "damaged.grib"


@case("field 1 of it is damaged", "t2m")
def _grib_with_bytes_lost(folder, field, data_dir):
    content = (data_dir / GRIB).read_bytes()
    (folder / "lost.grib").write_bytes(content[:500] + content[600:])
    return folder / "lost.grib"


@case("field 1 of it is cut off")
def _grib_word_only(folder, field):
    (folder / "a.grib").write_bytes(b"GRIB broken")
    return folder / "a.grib"


@case("can't be read as netCDF, GRIB or Zarr")
def _truncated_zarr_metadata(folder, field):
    field.to_dataset().to_zarr(folder / "a.zarr", zarr_format=2, consolidated=False)
    cut(folder / "a.zarr" / "tas" / ".zarray", 0.5)
    return folder / "a.zarr"


# Blosc by itself reads beyond the end of a chunk, and may find numbers there.
@case(r"values can't be read: a chunk is truncated and has \d+ of \d+ bytes; fetch it again")
def _truncated_zarr_chunk(folder, field):
    field.to_dataset().to_zarr(folder / "a.zarr", zarr_format=2, encoding={"tas": {"compressors": numcodecs.Blosc()}})
    cut(folder / "a.zarr" / "tas" / "0.0.0", 0.5)
    return folder / "a.zarr"


@case(r"values can't be read: a chunk is truncated and has 10 bytes, fewer than its header; fetch it again")
def _zarr_chunk_without_whole_header(folder, field):
    field.to_dataset().to_zarr(folder / "a.zarr", zarr_format=2, encoding={"tas": {"compressors": numcodecs.Blosc()}})
    chunk = folder / "a.zarr" / "tas" / "0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:10])
    return folder / "a.zarr"


@case(r"values can't be read: a chunk is truncated and has \d+ of \d+ bytes; fetch it again")
def _truncated_zarr_chunk_of_format_3(folder, field):
    encoding = {"tas": {"compressors": zarr.codecs.BloscCodec(cname="lz4")}}
    field.to_dataset().to_zarr(folder / "a.zarr", zarr_format=3, consolidated=False, encoding=encoding)
    cut(folder / "a.zarr" / "tas" / "c" / "0" / "0" / "0", 0.5)
    return folder / "a.zarr"


@case("values can't be read")
def _truncated_zarr_chunk_of_zstandard(folder, field):
    field.to_dataset().to_zarr(folder / "a.zarr", zarr_format=2, encoding={"tas": {"compressors": numcodecs.Zstd()}})
    cut(folder / "a.zarr" / "tas" / "0.0.0", 0.5)
    return folder / "a.zarr"


@case("values can't be read")
def _damaged_chunk_of_netcdf4(folder, field):
    path = netcdf(folder, field, encoding={"tas": {"zlib": True, "fletcher32": True}})
    content = bytearray(path.read_bytes())
    place = max(range(0, len(content) - 400, 16), key=lambda start: len(set(content[start : start + 400])))
    content[place : place + 400] = bytes(400)
    path.write_bytes(content)
    return path


# Variables


@case(r"there is no variable 't2m'; the file has: tas", "t2m")
def _other_variable(folder, field):
    return netcdf(folder, field)


@case(r"there is no variable 'tas'; the file has: none")
def _no_variables(folder, field):
    return netcdf(folder, xr.Dataset(attrs={"title": "nothing"}))


@case("two variables match 'air_temperature': tas, tasmax; name one of them", "air_temperature")
def _two_variables(folder, field):
    return netcdf(
        folder, xr.Dataset({"tas": field, "tasmax": field + 5.0}).map(lambda part: part.assign_attrs(field.attrs))
    )


@case("expected numbers, found text")
def _text_variable(folder, field):
    return netcdf(folder, field.astype(str).assign_attrs(field.attrs))


@case("1 values are infinite")
def _infinite_values(folder, field):
    field = field.copy()
    field[2, 3, 4] = np.inf
    return netcdf(folder, field)


@case(r"tas: expected latitude and longitude.*found the dimensions \(none\)")
def _scalar(folder, field):
    return netcdf(folder, field.mean(keep_attrs=True))


@case(r"found the dimensions time \(6\)")
def _series_only(folder, field):
    return netcdf(folder, field.mean(["lat", "lon"], keep_attrs=True))


# Units


@case("the variable has no units attribute; expected K", units="K")
def _no_units(folder, field):
    return netcdf(folder, field.assign_attrs(units=""))


@case("units 'mm d-1' of the file can't be converted to 'K'", units="K")
def _other_quantity(folder, field):
    return netcdf(folder, field.assign_attrs(units="mm d-1"))


@case("units 'furlongs per fortnite' of the file can't be converted to 'K'", units="K")
def _unknown_unit(folder, field):
    return netcdf(folder, field.assign_attrs(units="furlongs per fortnite"))


@case("units 'K' of the file can't be converted to 'nonsense'", units="nonsense")
def _unknown_unit_wanted(folder, field):
    return netcdf(folder, field)


# Times


@case(r"the dimension time has no coordinate with the times of its 6 steps")
def _no_times(folder, field):
    return netcdf(folder, field.drop_vars("time"))


@case("the time coordinate has no units")
def _times_without_units(folder, field):
    field = raw(field)
    del field["time"].attrs["units"]
    return netcdf(folder, field)


@case("'parsecs since 2000-01-01'.*can't be understood")
def _times_with_odd_units(folder, field):
    field = raw(field)
    field["time"].attrs["units"] = "parsecs since 2000-01-01"
    return netcdf(folder, field)


@case("'days since the flood'.*can't be understood")
def _times_since_no_date(folder, field):
    field = raw(field)
    field["time"].attrs["units"] = "days since the flood"
    return netcdf(folder, field)


@case("the calendar 'mayan' can't be understood")
def _unknown_calendar(folder, field):
    field = raw(field)
    field["time"].attrs["calendar"] = "mayan"
    return netcdf(folder, field)


@case("the time coordinate has 2 missing values")
def _missing_times(folder, field):
    field = raw(field)
    values = field["time"].values.copy()
    values[2:4] = np.nan
    return netcdf(folder, field.assign_coords(time=("time", values, field["time"].attrs)))


def days_as_dates(field: xr.DataArray, first: float, calendar: str) -> xr.DataArray:
    """A field whose times are dates written with digits."""
    field = raw(field)
    field["time"].attrs |= {"units": "day as %Y%m%d.%f", "calendar": calendar}
    return field.assign_coords(time=("time", first + np.arange(6.0), field["time"].attrs))


@case("expected times as dates .* found 20001345: .*month.*; mend the time coordinate")
def _a_thirteenth_month(folder, field):
    return netcdf(folder, days_as_dates(field, 20001345.0, "standard"))


@case("in the calendar 'noleap', found 20000229: .*day")
def _a_leap_day_without_leap_years(folder, field):
    return netcdf(folder, days_as_dates(field, 20000229.0, "noleap"))


@case("expected times as dates .* found 0: ")
def _date_nought(folder, field):
    return netcdf(folder, days_as_dates(field, 0.0, "standard"))


@case("expected times as dates .* found 1000000")
def _a_date_of_thirty_digits(folder, field):
    return netcdf(folder, days_as_dates(field, 1e30, "standard"))


@case("in the calendar 'mayan', found 20000101: .*calendar")
def _dates_of_an_unknown_calendar(folder, field):
    return netcdf(folder, days_as_dates(field, 20000101.0, "mayan"))


@case("the time axis is empty")
def _empty_time_axis(folder, field):
    return netcdf(folder, raw(field).isel(time=slice(0)), unlimited_dims=["time"])


@case("two coordinates match time: time_of_day, valid")
def _two_times(folder, field):
    field = raw(field)
    other = ("time", field["time"].values, field["time"].attrs)
    return netcdf(folder, field.drop_vars("time").assign_coords(valid=other, time_of_day=other).rename(time="t"))


# Horizontal coordinates


@case("lat has 1 values that are missing or infinite")
def _missing_latitude(folder, field):
    lat = field["lat"].values.copy()
    lat[3] = np.nan
    return netcdf(folder, field.assign_coords(lat=("lat", lat, field["lat"].attrs)))


@case("lon has 12 values that are missing or infinite")
def _infinite_longitudes(folder, field):
    return netcdf(folder, field.assign_coords(lon=("lon", np.full(12, np.inf), field["lon"].attrs)))


@case("expected values of lat that rise or fall throughout")
def _latitudes_to_and_fro(folder, field):
    return netcdf(folder, field.isel(lat=[0, 2, 1, 3, 4, 5, 6, 7]))


@case("expected values of lat that rise or fall throughout")
def _latitude_twice(folder, field):
    return netcdf(folder, field.isel(lat=[0, 1, 1, 2, 3]))


@case("expected values of lon that rise or fall throughout")
def _longitudes_in_disorder(folder, field):
    return netcdf(folder, field.isel(lon=[3, 1, 2, 0, 5, 4]))


@case("expected latitudes from -90 to 90 degrees in lat, found 91.5")
def _latitude_beyond_the_pole(folder, field):
    return netcdf(folder, field.assign_coords(lat=("lat", field["lat"].values + 48.0, field["lat"].attrs)))


@case("expected at least two cells along lat, found 1")
def _one_row(folder, field):
    return netcdf(folder, field.isel(lat=[3]))


@case("expected latitude and longitude, or the axes of a grid mapping")
def _one_cell(folder, field):
    return netcdf(folder, field.isel(lat=3, lon=3))


@case(
    "expected latitude and longitude, or the axes of a grid mapping; found the dimensions time .6., lat .8., lon .12."
)
def _no_coordinates(folder, field):
    return netcdf(folder, field.drop_vars(["lat", "lon"]))


@case("two coordinates match latitude: south, true_lat")
def _two_latitudes(folder, field):
    lat = ("j", field["lat"].values, field["lat"].attrs)
    return netcdf(folder, field.drop_vars("lat").rename(lat="j").assign_coords(true_lat=lat, south=lat))


@case("both run along place: expected rows and columns")
def _places_in_a_row(folder, field):
    return netcdf(folder, field.stack(place=["lat", "lon"]).reset_index("place"))


@case(r"expected latitude and longitude.*found the dimensions time \(6\), y \(8\), x \(12\)")
def _coordinates_of_another_shape(folder, field):
    flat = curvilinear(field)
    other = xr.Dataset({name: flat[name].rename(y="v", x="u").drop_vars(["lat", "lon"]) for name in ("lat", "lon")})
    return netcdf(folder, xr.merge([flat.drop_vars(["lat", "lon"]).to_dataset(), other.isel(u=slice(5))]))


@case("lat has 2 values that are missing or infinite")
def _missing_corner_of_curvilinear(folder, field):
    flat = curvilinear(field)
    lat = flat["lat"].values.copy()
    lat[0, :2] = np.nan
    return netcdf(folder, flat.assign_coords(lat=(("y", "x"), lat, flat["lat"].attrs)))


@case("expected latitudes from -90 to 90 degrees in lat")
def _curvilinear_beyond_the_pole(folder, field):
    flat = curvilinear(field)
    return netcdf(folder, flat.assign_coords(lat=(("y", "x"), flat["lat"].values + 60, flat["lat"].attrs)))


@case("expected numbers, found values of type")
def _latitudes_as_text(folder, field):
    texts = [f"{value}N" for value in field["lat"].values]
    return netcdf(folder, field.assign_coords(lat=("lat", texts, {"standard_name": "latitude"})))


# Grid mappings


@case("the grid mapping 'crs' that the variable names is missing")
def _missing_grid_mapping(folder, field):
    return netcdf(folder, projected(field))


@case("the grid mapping 'flat_earth' can't be used")
def _unknown_grid_mapping(folder, field):
    return netcdf(folder, projected(field, grid_mapping_name="flat_earth"))


@case("the grid mapping 'lambert_conformal_conic' can't be used: .*standard_parallel")
def _incomplete_grid_mapping(folder, field):
    return netcdf(folder, projected(field, grid_mapping_name="lambert_conformal_conic"))


@case("has neither grid_mapping_name nor crs_wkt")
def _empty_grid_mapping(folder, field):
    return netcdf(folder, projected(field, long_name="nothing"))


@case("expected the unit m or km, found 'yards'")
def _axes_in_yards(folder, field):
    dataset = projected(field, grid_mapping_name="lambert_azimuthal_equal_area", latitude_of_projection_origin=52.0)
    dataset["x"].attrs["units"] = "yards"
    return netcdf(folder, dataset)


# Levels and other dimensions


def on_levels(field: xr.DataArray, levels: list[float], units: str) -> xr.DataArray:
    """A field on pressure levels."""
    attributes = {"standard_name": "air_pressure", "units": units, "positive": "down", "axis": "Z"}
    return field.expand_dims(plev=levels).assign_coords(plev=("plev", levels, attributes))


@case("there is no level 700; plev has 100000, 85000, 50000 Pa", level=700)
def _no_such_level(folder, field):
    return netcdf(folder, on_levels(field, [1e5, 8.5e4, 5e4], "Pa"))


@case("the level 500 may be 500 Pa or 500 hPa, and the file has both", level=500)
def _level_of_two_meanings(folder, field):
    return netcdf(folder, on_levels(field, [5e4, 1e3, 5e2], "Pa"))


@case(r"found also plev \(1000, 850\): choose by `level`")
def _level_not_chosen(folder, field):
    return netcdf(folder, on_levels(field, [1000.0, 850.0], "hPa"))


@case("there is no level 850: the variable has no vertical coordinate", level=850)
def _level_of_a_surface_field(folder, field):
    return netcdf(folder, field)


@case(r"found also member \(0 to 1\): choose by `select: \{member: ...\}`")
def _members(folder, field):
    return netcdf(folder, xr.concat([field, field], "member"))


@case("select: there is no dimension 'run'; the variable has: time, lat, lon", select={"run": 1})
def _unknown_dimension(folder, field):
    return netcdf(folder, field)


@case("select: member has no label 'r3i1p1'; it has: r1i1p1, r2i1p1", select={"member": "r3i1p1"})
def _unknown_label(folder, field):
    return netcdf(folder, field.expand_dims(member=["r1i1p1", "r2i1p1"]))


@case("select: member has no labels; expected an index from 0 to 1, found 2", select={"member": 2})
def _index_too_large(folder, field):
    return netcdf(folder, xr.concat([field, field], "member"))


@case("`filter` chooses fields of GRIB files, and this is none", filters={"typeOfLevel": "surface"})
def _filter_of_netcdf(folder, field):
    return netcdf(folder, field)


def stop(*_: object) -> None:
    raise TimeoutError("reading takes too long")


@pytest.mark.parametrize("name", CASES)
def test_one_line_names_file_and_cause(name, tmp_path, field_of, request, capfd, caplog):
    make, variable, options, cause = CASES[name]
    further = [request.getfixturevalue("data_dir")] if make.__code__.co_argcount == 3 else []
    path = make(tmp_path, field_of(), *further)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    try:
        with caplog.at_level(logging.WARNING), pytest.raises(DataError, match=cause) as raised:
            io.open_variable(path, variable, **options).load()
    finally:
        signal.alarm(0)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 600
    assert caplog.text == ""
    # ecCodes can't be kept from adding lines of its own about damage inside a section, see test_grib.py.
    assert capfd.readouterr() == ("", "")


def test_there_are_at_least_forty():
    assert len(CASES) >= 40


def test_what_may_not_be_read_is_said_so(tmp_path, field_of, monkeypatch):
    path = netcdf(tmp_path, field_of())
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything
        monkeypatch.setattr(os, "access", lambda asked, mode: Path(asked) != path)
    with pytest.raises(DataError, match=r"odd file\.nc: may not be read; ask its owner for permission"):
        io.open_variable(path, "tas")


@pytest.mark.parametrize(
    "name",
    ["it's.nc", 'a "b".nc', "a;touch x.nc", "$(touch x).nc", "`touch x`.nc", "Größe ü.nc", "a*b?.nc", "new\nline.nc"],
)
def test_odd_names_of_files_simply_work(tmp_path, field_of, name):
    field_of().to_netcdf(tmp_path / name, engine="netcdf4")
    assert io.open_variable(tmp_path / name, "tas").shape == (6, 8, 12)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["2T", "air temperature", "t;2", "$(touch x)", "größe", 'a"b'])
def test_odd_names_of_variables_simply_work(tmp_path, field_of, name):
    field = field_of().rename(name)
    # A Zarr store, as netCDF allows fewer names.
    field.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2)
    np.testing.assert_array_equal(io.open_variable(tmp_path / "a.zarr", name).values, field.values)
    with pytest.raises(DataError, match="there is no variable"):
        io.open_variable(tmp_path / "a.zarr", name + "x")


def test_a_field_without_times_can_be_refused(tmp_path, field_of):
    field = io.open_variable(netcdf(tmp_path, field_of(None)), "tas")
    with pytest.raises(DataError, match="here: expected a time axis, found the dimensions lat, lon only"):
        io.require_time(field, "here")
    io.require_time(field_of(), "here")
