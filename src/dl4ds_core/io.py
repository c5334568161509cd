"""Reading fields from files as users have them, and writing CF netCDF that is whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.config.schema import Domain
from dl4ds_core.errors import DataError
from dl4ds_core.files import atomic as atomic

#: Chunks of about this many values per read keep memory bounded whatever the length of the record.
CHUNK_VALUES = 8_000_000


def open_dataset(path: str | Path) -> xr.Dataset:
    """Open a netCDF, GRIB or Zarr file; nothing but headers is read.

    Raises
    ------
    DataError
        If the file is missing or can't be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        if path.is_dir():
            return xr.open_dataset(path, engine="zarr", chunks={})
        with path.open("rb") as stream:
            magic = stream.read(4)
        if magic == b"GRIB":
            # cfgrib would write an index beside the file, which may be read-only.
            return xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}, chunks={})
        return xr.open_dataset(path, engine="netcdf4", chunks={})
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, ImportError) as error:
        raise DataError(f"{path}: can't be read as netCDF, GRIB or Zarr: {error}") from error


def open_variable(path: str | Path, variable: str, units: str | None = None) -> xr.DataArray:
    """Open one variable in the form all stages use.

    Parameters
    ----------
    path : str or Path
        The file.
    variable : str
        Name of the variable in the file.
    units : str, optional
        Units to convert to.

    Returns
    -------
    xarray.DataArray
        Lazy, shape (time, lat, lon) or (lat, lon), both coordinates ascending, with ``units``.

    Raises
    ------
    DataError
        If there is no such variable, its grid isn't one of rectangular latitude-longitude cells, or its units
        can't be converted.
    """
    dataset = open_dataset(path)
    if variable not in dataset.data_vars:
        names = ", ".join(sorted(str(name) for name in dataset.data_vars))
        raise DataError(f"{path}: there is no variable {variable!r}; the file has: {names}")
    field = _canonical(dataset[variable], path)
    if "time" in field.dims:
        step = max(1, CHUNK_VALUES // int(np.prod([field.sizes["lat"], field.sizes["lon"]])))
        field = field.chunk({"time": step, "lat": -1, "lon": -1})
    return convert_units(field, units, f"{path}: {variable}")


#: Names that are understood where a coordinate has no CF attributes.
_USUAL_NAMES = {
    "latitude": ("lat", "latitude", "nav_lat"),
    "longitude": ("lon", "longitude", "nav_lon"),
    "time": ("time",),
}


def _canonical(field: xr.DataArray, path: str | Path) -> xr.DataArray:
    """Rename dimensions to time, lat, lon, order them, drop what is scalar."""
    axes = {short: _axis(field, key) for key, short in (("latitude", "lat"), ("longitude", "lon"), ("time", "time"))}
    dims = {short: field[name].dims[0] for short, name in axes.items() if name is not None}
    if not {"lat", "lon"} <= set(dims) or len(set(dims.values())) < len(dims):
        raise DataError(
            f"{path}: {field.name}: expected one-dimensional latitude and longitude coordinates, found the dimensions "
            f"{', '.join(str(dim) for dim in field.dims)}; other grids are not available in this version"
        )
    field = field.squeeze([dim for dim in field.dims if dim not in dims.values() and field.sizes[dim] == 1])
    further = [str(dim) for dim in field.dims if dim not in dims.values()]
    if further:
        raise DataError(f"{path}: {field.name}: expected time, latitude and longitude, found also {', '.join(further)}")
    coordinates = {short: (short, field[axes[short]].values, field[axes[short]].attrs) for short in dims}
    bare = field.reset_coords(drop=True).drop_vars(list(dims.values()), errors="ignore")
    field = bare.rename({dim: short for short, dim in dims.items()}).assign_coords(coordinates)
    return field.transpose(*(dim for dim in ("time", "lat", "lon") if dim in dims)).sortby(["lat", "lon"])


def _axis(field: xr.DataArray, key: str) -> str | None:
    """Return the one-dimensional coordinate of a kind: by CF attributes, else by its name.

    It need not be named like its dimension: GRIB has its times of validity as ``valid_time`` along ``time``.
    """
    import cf_xarray  # noqa: F401 - registers the accessor; here because it is slow to import

    described = [str(name) for name in field.cf.coordinates.get(key, []) if field[name].ndim == 1]
    usual = [name for name in _USUAL_NAMES[key] if name in field.coords and field[name].ndim == 1]
    names = described or usual
    return next((name for name in names if name in field.dims), names[0] if names else None)


def convert_units(field: xr.DataArray, units: str | None, where: str) -> xr.DataArray:
    """Convert a field to other units.

    Raises
    ------
    DataError
        If the field has no units, or they can't be converted.
    """
    found = str(field.attrs.get("units", ""))
    if not found:
        raise DataError(f"{where}: the variable has no units attribute; expected {units or 'one'}")
    if units is None or units == found:
        return field
    factor, offset = unit_conversion(found, units, where)
    converted = (field * np.float32(factor) + np.float32(offset)).astype(np.float32)
    converted.attrs = {**field.attrs, "units": units}
    return converted.rename(field.name)


def difference_units(units: str) -> str:
    """Return the units of a difference of two values: kelvin for temperatures in degrees Celsius."""
    celsius = ("degc", "deg_c", "celsius", "degree_celsius", "degrees_celsius", "degreec", "degreesc")
    return "K" if units.lower() in celsius else units


def unit_conversion(found: str, wanted: str, where: str) -> tuple[float, float]:
    """Return factor and offset from one unit to another.

    Raises
    ------
    DataError
        If a unit is unknown or the two don't measure the same quantity.
    """
    import pint
    from cf_xarray.units import units as registry  # here because it is slow to import

    try:
        zero, one = (registry.Quantity(value, found).to(wanted).magnitude for value in (0.0, 1.0))
    except (pint.errors.PintError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: units {found!r} of the file can't be converted to {wanted!r}: {error}") from error
    return float(one - zero), float(zero)


def crop(field: xr.DataArray, domain: Domain | None) -> xr.DataArray:
    """Keep the cells whose centres lie in the domain; rounding of coordinates to 1e-6 degrees is forgiven.

    Raises
    ------
    DataError
        If fewer than two cells are left along an axis.
    """
    if domain is None:
        return field
    for axis, (lower, upper) in (("lat", domain.lat), ("lon", domain.lon)):
        centres = field[axis].values
        inside = (centres >= lower - 1e-6) & (centres <= upper + 1e-6)
        if inside.sum() < 2:
            raise DataError(
                f"data.domain.{axis}: [{lower}, {upper}] holds {inside.sum()} cells of {field.name}, whose {axis} "
                f"goes from {centres.min():g} to {centres.max():g}"
            )
        field = field.isel({axis: np.flatnonzero(inside)})
    return field


def write(dataset: xr.Dataset, path: str | Path, attributes: Mapping[str, Any]) -> None:
    """Write a dataset as CF netCDF-4: float32, compressed, atomically.

    Dask arrays are written chunk by chunk.

    Parameters
    ----------
    dataset : xarray.Dataset
        Every variable with ``units`` where it has any.
    path : str or Path
        Final name.
    attributes : mapping
        Global attributes, such as ``provenance.attributes`` returns.
    """
    dataset = dataset.assign_attrs({"Conventions": "CF-1.8", **attributes})
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        variable.encoding = {}
        if name in dataset.data_vars and np.issubdtype(variable.dtype, np.floating):
            encoding[str(name)] = {"dtype": "float32", "zlib": True, "complevel": 1, "shuffle": True}
            encoding[str(name)] |= {
                "_FillValue": np.float32(9.96921e36),
                "chunksizes": _chunk_sizes(variable),
            }
        elif np.issubdtype(variable.dtype, np.floating):
            encoding[str(name)] = {"dtype": "float64", "_FillValue": None}
    if "time" in dataset.dims:
        encoding["time"] = {"units": _time_units(dataset["time"]), "dtype": "float64", "_FillValue": None}
        if dataset["time"].dtype.kind == "M":
            encoding["time"]["calendar"] = "standard"
    with atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)


def _chunk_sizes(variable: xr.Variable) -> tuple[int, ...]:
    """Return chunks of about a megabyte, along time only: good for single steps and for whole series."""
    cells = int(np.prod([size for dim, size in variable.sizes.items() if dim != "time"]))
    steps = max(1, 262_144 // max(cells, 1))
    return tuple(min(size, steps) if dim == "time" else size for dim, size in variable.sizes.items())


def _time_units(time: xr.DataArray) -> str:
    """Return units in which every time step is a whole number, so that it is read back exactly."""
    whole_hours = not (time.dt.minute.values.any() or time.dt.second.values.any())
    first = time.values[0]
    year = first.astype("datetime64[Y]").astype(int) + 1970 if isinstance(first, np.datetime64) else first.year
    return f"{'hours' if whole_hours else 'seconds'} since {year:04d}-01-01 00:00:00"
