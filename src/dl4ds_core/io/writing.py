"""Writing CF netCDF that is whole or not there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.ensembles import MEMBER
from dl4ds_core.files import atomic

#: Values of a chunk in the files that are written: about a megabyte.
STORED_VALUES = 262_144


def write(dataset: xr.Dataset, path: str | Path, attributes: Mapping[str, Any]) -> None:
    """Write a dataset as CF netCDF-4: float32, compressed, atomically.

    Dask arrays are written chunk by chunk. Bounds, corners and the grid mapping become variables that others name, as
    CF wants it; further coordinates, such as ``lat(y, x)``, are named in the ``coordinates`` of the fields along them.

    Parameters
    ----------
    dataset : xarray.Dataset
        Every variable with ``units`` where it has any.
    path : str or Path
        Final name.
    attributes : mapping
        Global attributes, such as ``provenance.attributes`` returns.
    """
    fields = {str(name) for name in dataset.data_vars} - _related(dataset)
    dataset = _flat(dataset.assign_attrs({"Conventions": "CF-1.8", **attributes}), fields)
    encoding: dict[Hashable, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        variable.encoding = {}
        if name in fields and np.issubdtype(variable.dtype, np.floating):
            encoding[name] = {"dtype": "float32", "zlib": True, "complevel": 1, "shuffle": True}
            encoding[name] |= {"_FillValue": np.float32(9.96921e36), "chunksizes": _chunk_sizes(variable)}
        elif np.issubdtype(variable.dtype, np.floating):
            encoding[name] = {"dtype": "float64", "_FillValue": None}
            if variable.ndim > 1:  # coordinates of each cell of a large grid
                encoding[name] |= {"zlib": True, "complevel": 1, "shuffle": True}
        elif name in dataset.dims and variable.dtype == np.int64:
            encoding[name] = {"dtype": "int32"}  # CF 1.8 knows no longer ones
    if "time" in dataset.dims:
        encoding["time"] = {"units": _time_units(dataset["time"]), "dtype": "float64", "_FillValue": None}
        if dataset["time"].dtype.kind == "M":
            encoding["time"]["calendar"] = "standard"
    with atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)


def _related(dataset: xr.Dataset) -> set[str]:
    """Return the variables that others name as their bounds or grid mapping."""
    named = {str(variable.attrs.get(key, "")) for variable in dataset.variables.values() for key in ("bounds",)}
    named |= {str(variable.attrs.get("grid_mapping", "")) for variable in dataset.data_vars.values()}
    return {name for name in named if name in dataset.variables} | ({"crs"} & set(map(str, dataset.coords)))


def _flat(dataset: xr.Dataset, fields: set[str]) -> xr.Dataset:
    """Return a dataset whose only coordinates are its dimensions; attributes say what belongs together."""
    related = _related(dataset)
    further = [str(name) for name in dataset.coords if name not in dataset.dims and name not in related]
    dataset = dataset.reset_coords()
    for name in fields:
        variable = dataset.variables[name]
        own = {key: value for key, value in variable.attrs.items() if key != "coordinates"}
        along = [other for other in further if set(dataset.variables[other].dims) <= set(variable.dims)]
        if along:
            own["coordinates"] = " ".join(sorted(along))
        # Latitudes and longitudes of the cells tell which fields lie on the grid that the mapping is about.
        if "crs" in related and "lat" in along:
            own.setdefault("grid_mapping", "crs")
        variable.attrs = own
    return dataset


def _chunk_sizes(variable: xr.Variable) -> tuple[int, ...]:
    """Return chunks of about a megabyte, along time only and of one member: good for single steps and whole series."""
    whole = {dim: 1 if dim == MEMBER else size for dim, size in variable.sizes.items()}
    cells = int(np.prod([size for dim, size in whole.items() if dim != "time"]))
    steps = max(1, STORED_VALUES // max(cells, 1))
    return tuple(min(size, steps) if dim == "time" else size for dim, size in whole.items())


def _time_units(time: xr.DataArray) -> str:
    """Return units in which every time step is a whole number, so that it is read back exactly."""
    whole_hours = not (time.dt.minute.values.any() or time.dt.second.values.any())
    first = time.values[0]
    year = first.astype("datetime64[Y]").astype(int) + 1970 if isinstance(first, np.datetime64) else first.year
    return f"{'hours' if whole_hours else 'seconds'} since {year:04d}-01-01 00:00:00"
