"""Opening netCDF, GRIB and Zarr: headers only, and one line about what is wrong with a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import dask
import netCDF4
import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.io.classic import required_length
from dl4ds_core.io.problems import check_path, told

_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_HDF5 = b"\x89HDF"
#: HDF5 files may begin with a block of a user's own, GRIB files with headers of a telecommunication system.
_HEAD = 4096
#: Chunks of fields that are worked on at the same time.
CHUNKS_AT_ONCE = 4


def open_dataset(path: str | Path, filters: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Open a netCDF, GRIB or Zarr file; nothing but headers and coordinates is read.

    Parameters
    ----------
    path : str or Path
        The file, or the folder of a Zarr store.
    filters : mapping, optional
        GRIB only: keys and values that the fields must have, such as ``{"typeOfLevel": "isobaricInhPa"}``.

    Returns
    -------
    xarray.Dataset
        Lazy, in chunks of dask; bounds and grid mappings are coordinates.

    Raises
    ------
    DataError
        If the file is missing or can't be read.
    """
    path = Path(path)
    kind = file_kind(path)
    _refuse_filters(path, kind, filters)
    return _with_related(_open(path, kind, chunks={}, backend_kwargs=_grib_options(kind, filters)))


@cache
def bound_memory() -> None:
    """Keep what this process holds of files small, whatever their number and that of the machine's cores.

    An open netCDF variable keeps up to 4 MiB of its file (the library's default of 64 MiB adds up), and no more than a
    few chunks of fields are worked on at once.
    """
    netCDF4.set_chunk_cache(4 * 2**20)
    dask.config.set(num_workers=min(CHUNKS_AT_ONCE, os.cpu_count() or 1))


def open_raw(path: Path, filters: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Open a netCDF file or a Zarr store with values unpacked when they are read, but times as the numbers they are.

    Raises
    ------
    DataError
        If the file is missing or can't be read.
    """
    kind = file_kind(path)
    _refuse_filters(path, kind, filters)
    return _with_related(_open(path, kind, cache=False, decode_times=False, decode_timedelta=False))


def file_kind(path: Path) -> str:
    """Return ``netcdf``, ``grib`` or ``zarr``, by what is in the file, whatever its name.

    Raises
    ------
    DataError
        If it is none of these, isn't there, or can't be read.
    """
    check_path(path)
    start = f"{path}: can't be read as netCDF, GRIB or Zarr"
    if path.is_dir():
        if not any((path / name).exists() for name in _ZARR_FILES):
            raise DataError(f"{start}: it is a folder, but no Zarr store")
        return "zarr"
    with told(start), path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head:
        raise DataError(f"{start}: the file is empty")
    if head[:4] in _CLASSIC:
        _check_length(path)
        return "netcdf"
    if _HDF5 in (head[:4], head[512:516], head[1024:1028], head[2048:2052]):
        return "netcdf"
    if b"GRIB" in head[:512]:
        _check_fields(path)
        return "grib"
    raise DataError(f"{start}: it begins with {head[:8]!r}")


def _check_length(path: Path) -> None:
    """Refuse a classic netCDF file that is shorter than its header says: the netCDF library gives zeros instead."""
    with told(f"{path}: can't be read as netCDF: the header is truncated or damaged; fetch the file again"):
        required, found = required_length(path), path.stat().st_size
    if found < required:
        raise DataError(
            f"{path}: can't be read as netCDF: it is truncated and has {found} of {required} bytes; fetch it again"
        )


def _check_fields(path: Path) -> None:
    """Refuse a GRIB file with a field that doesn't end where it says; the library would leave it out without a word."""
    start = f"{path}: can't be read as netCDF, GRIB or Zarr"
    with told(start), path.open("rb") as stream:
        size, place, count = stream.seek(0, 2), _next_field(stream, 0), 0
        while place is not None:
            stream.seek(place)
            length, exact = _field_length(stream.read(16))
            if place + length <= size and not exact:
                return  # the library will tell
            stream.seek(max(place, place + length - 4))
            if place + length > size or stream.read(4) != b"7777" or not _sections_fit(stream, place, place + length):
                what = "cut off" if place + length > size else "damaged"
                raise DataError(f"{start}: field {count + 1} of it is {what}; fetch the file again")
            place, count = _next_field(stream, place + length), count + 1


def _field_length(head: bytes) -> tuple[int, bool]:
    """Return the length of a field and whether it is exact, else the field is at least as long; 0 if it is damaged."""
    if len(head) < 16:
        return 16, True
    if head[7] not in (1, 2):
        return 0, True
    if head[7] == 2:
        return int.from_bytes(head[8:16], "big"), True
    length = int.from_bytes(head[4:7], "big")
    # With the first bit, it may be a number of 120 bytes; by how much the last are fewer stands further down.
    return (min(length, ((length & 0x7FFFFF) - 1) * 120), False) if length & 0x800000 else (length, True)


def _sections_fit(stream: BinaryIO, start: int, end: int) -> bool:
    """Tell whether the sections of a field fill it; where they don't, ecCodes may end the whole process."""
    stream.seek(start)
    head = stream.read(16)
    if head[7] == 2:
        place, width, left = start + 16, 4, None
    else:  # flags say whether there are a grid and a bitmap
        place, width, left = start + 8, 3, 2 + bool(head[15] & 0x80) + bool(head[15] & 0x40)
    while place < end - 4 and left != 0:
        stream.seek(place)
        length = int.from_bytes(stream.read(width), "big")
        if length <= width:
            return False
        place, left = place + length, None if left is None else left - 1
    return place == end - 4 if left is None else left == 0 and place <= end - 4


def _next_field(stream: BinaryIO, place: int) -> int | None:
    """Return where the next field begins; other bytes may lie between fields."""
    stream.seek(place)
    window = stream.read(_HEAD)
    while window:
        found = window.find(b"GRIB")
        if found >= 0:
            return place + found
        place += max(1, len(window) - 3)
        stream.seek(place)
        window = stream.read(_HEAD) if len(window) == _HEAD else b""
    return None


def _grib_options(kind: str, filters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if kind != "grib":
        return None
    # cfgrib would write an index beside the file, which may be read-only.
    return {"indexpath": "", "filter_by_keys": dict(filters or {}), "errors": "ignore"}


def _refuse_filters(path: Path, kind: str, filters: Mapping[str, Any] | None) -> None:
    if filters and kind != "grib":
        raise DataError(f"{path}: `filter` chooses fields of GRIB files, and this is none; use `select` or `level`")


def _open(path: Path, kind: str, **options: Any) -> xr.Dataset:
    engine = {"netcdf": "netcdf4", "grib": "cfgrib", "zarr": "zarr"}[kind]
    if kind == "grib":
        # ecCodes brings another PROJ library; the one of pyproj only works where it was loaded first.
        import pyproj  # noqa: F401
    else:
        options.pop("backend_kwargs", None)
    if kind == "zarr":
        from dl4ds_core.io.blosc import use_whole_blosc  # zarr is slow to import, and few files need it

        use_whole_blosc()
    bound_memory()
    with told(f"{path}: can't be read as netCDF, GRIB or Zarr"), warnings.catch_warnings():
        # About files, not about the program: several fill values, times outside datetime64, no consolidated metadata.
        warnings.simplefilter("ignore")
        return xr.open_dataset(path, engine=engine, **options)


def _with_related(dataset: xr.Dataset) -> xr.Dataset:
    """Make coordinates of the variables that others name as their bounds or grid mapping."""
    related: set[str] = set()
    for variable in dataset.variables.values():
        for attribute in ("bounds", "climatology", "grid_mapping"):
            value = variable.attrs.get(attribute)
            if isinstance(value, str):
                related |= {word.rstrip(":") for word in value.split()}
    return dataset.set_coords([name for name in related if name in dataset.data_vars])


def numbers(variable: xr.Variable | xr.DataArray, where: str) -> np.ndarray:
    """Return the values of a coordinate in float64.

    Raises
    ------
    DataError
        If they aren't numbers or can't be read.
    """
    if variable.dtype.kind not in "iuf":
        raise DataError(f"{where}: expected numbers, found values of type {variable.dtype}")
    with told(f"{where}: can't be read"):
        return np.asarray(variable.values, dtype=np.float64)
