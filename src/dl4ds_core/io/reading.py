"""Reading one variable in the form that all stages use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import with_bounds
from dl4ds_core.io import horizontal, times
from dl4ds_core.io.axes import Roles, find_horizontal, find_time, find_vertical, with_candidates
from dl4ds_core.io.grib import open_grib
from dl4ds_core.io.levels import choose, choose_level, listed
from dl4ds_core.io.missing import Marks, marks_of, masked
from dl4ds_core.io.opening import file_kind, open_raw
from dl4ds_core.io.problems import told
from dl4ds_core.io.units import convert_units

#: Chunks of about this many values per read keep memory bounded whatever the length of the record.
CHUNK_VALUES = 500_000
#: Chunks of a file are read whole up to this size, rather than once for each part of them.
WHOLE_VALUES = 2_000_000
_KEPT = ("standard_name", "long_name", "units", "cell_methods")
#: Words that may follow a standard name (CF conventions 1.8, appendix C).
_MODIFIERS = ("detection_minimum", "number_of_observations", "standard_error", "status_flag")


def open_variable(
    path: str | Path,
    variable: str,
    units: str | None = None,
    *,
    level: float | None = None,
    select: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    minimum: float | None = None,
) -> xr.DataArray:
    """Open one variable in the form that all stages use; only headers and coordinates are read.

    Parameters
    ----------
    path : str or Path
        A netCDF or GRIB file, or a Zarr store.
    variable : str
        Name of the variable in the file, or its standard name where only one variable has it; in GRIB files
        ``t2m`` and ``2t`` are the same.
    units : str, optional
        Units to convert to.
    level : float, optional
        Vertical level, in the file's unit; also in hPa where the file has Pa, and the other way round.
    select : mapping, optional
        One value of other dimensions, by label, or by index from 0 where the dimension has no labels.
    filters : mapping, optional
        GRIB only: keys and values that the fields must have.
    minimum : float, optional
        Smaller values are set to it; in ``units``.

    Returns
    -------
    xarray.DataArray
        Lazy, shape (time, Y, X), or (Y, X) where the file has no time. Y and X are named ``lat`` and ``lon``, ``rlat``
        and ``rlon``, or ``y`` and ``x`` (metres; without coordinates on curvilinear grids); axes are ascending. On all
        grids but the first, ``lat(Y, X)`` and ``lon(Y, X)`` are there too, and ``crs`` has the grid mapping. Bounds and
        corners of the file are kept as ``grids.with_bounds`` does. Missing values are NaN: those of fill values,
        netCDF's default ones too, and those outside of the valid range. Times are in the order of the file. Infinite
        values raise a ``DataError`` when they are read.

    Raises
    ------
    DataError
        With one line that names the file and what is wrong.
    """
    path = Path(path)
    source, name = _open(path, variable, level, filters)
    where = f"{path}: {variable}"
    field = with_candidates(source, name)
    _check_type(field, where)
    field = choose(field, select, where)
    field = _without_steps(field)
    roles = find_horizontal(field, where)
    time = find_time(field, where)
    vertical = find_vertical(field, (roles.lat, roles.lon, *roles.axes, time), where)
    field = choose_level(field, vertical, level, where)
    field, time_dim = _only_time(field, roles, time, vertical, where)
    coordinates = {"time": times.decoded(_along(field[time]), where)} if time is not None else {}
    grid = horizontal.canonical(source, field, roles, where)
    # A folder is a Zarr store, which has its own default.
    marks = marks_of(source[name].variable, where, defaults=path.is_file())
    field = _lazy(field, time_dim, where, marks)
    field = field.isel(grid.order).rename(_new_names(roles, time_dim, grid.names))
    if time is not None and time_dim is None:
        field = field.expand_dims("time")
    field = field.transpose(..., *grid.names).assign_coords(coordinates | grid.coordinates)
    field.attrs = _attributes(source[name].attrs, time_dim) | ({"grid_mapping": "crs"} if "crs" in field.coords else {})
    field.encoding = {}
    field = with_bounds(field, grid.bounds)
    field = convert_units(field.rename(name), units, where)
    return field if minimum is None else _raised(field, minimum)


def _open(path: Path, variable: str, level: float | None, filters: Mapping[str, Any] | None) -> tuple[xr.Dataset, str]:
    """Return the file and the name of the variable in it."""
    if file_kind(path) == "grib":
        return open_grib(path, variable, level, filters), variable
    dataset = open_raw(path, filters)
    if variable in dataset.variables and variable not in dataset.dims:
        return dataset, variable
    described = [str(name) for name in dataset.data_vars if dataset[name].attrs.get("standard_name") == variable]
    if len(described) == 1:
        return dataset, described[0]
    if described:
        raise DataError(f"{path}: two variables match {variable!r}: {', '.join(sorted(described))}; name one of them")
    names = ", ".join(sorted(str(name) for name in dataset.data_vars)) or "none"
    raise DataError(f"{path}: there is no variable {variable!r}; the file has: {names}")


def _check_type(field: xr.DataArray, where: str) -> None:
    if field.dtype.kind not in "iufb":
        kind = "text" if field.dtype.kind in "SUOT" else str(field.dtype)
        raise DataError(f"{where}: expected numbers, found {kind}")
    if 0 in field.sizes.values():
        empty = [str(dim) for dim, size in field.sizes.items() if size == 0]
        what = "the time axis" if "time" in empty else f"the dimension {empty[0]}"
        raise DataError(f"{where}: {what} is empty")


def _without_steps(field: xr.DataArray) -> xr.DataArray:
    """Take the first of latitudes and longitudes that some models write at every step, though they never change."""
    for name, coordinate in field.coords.items():
        if coordinate.ndim == 3 and str(coordinate.attrs.get("units", "")).lower().startswith("degree"):
            field = field.assign_coords({name: coordinate.isel({coordinate.dims[0]: 0}, drop=True)})
    return field


def _only_time(
    field: xr.DataArray, roles: Roles, time: str | None, vertical: str | None, where: str
) -> tuple[xr.DataArray, str | None]:
    """Squeeze dimensions of one value; refuse others beside time and the horizontal ones."""
    time_dim = str(field[time].dims[0]) if time is not None and field[time].ndim else None
    further = [dim for dim in field.dims if dim not in (*roles.dims, time_dim)]
    field = field.squeeze([dim for dim in further if field.sizes[dim] == 1])
    for dim in (str(dim) for dim in further if field.sizes.get(dim, 1) > 1):
        if time is None and re.match(r"t$|time|date", dim.lower()) and dim not in field.coords:
            raise DataError(
                f"{where}: the dimension {dim} has no coordinate with the times of its {field.sizes[dim]} steps"
            )
        labels = listed(field[dim].values) if dim in field.coords else f"0 to {field.sizes[dim] - 1}"
        key = "`level`" if vertical in field.coords and field[vertical].dims == (dim,) else f"`select: {{{dim}: ...}}`"
        raise DataError(
            f"{where}: expected time and the horizontal dimensions, found also {dim} ({labels}): choose by {key}"
        )
    return field, time_dim


def _along(time: xr.DataArray) -> xr.Variable:
    return xr.Variable("time", np.atleast_1d(time.values), time.attrs)


def _new_names(roles: Roles, time_dim: str | None, names: tuple[str, str]) -> dict[str, str]:
    new = dict(zip(roles.dims, names, strict=True)) | ({time_dim: "time"} if time_dim else {})
    return {old: name for old, name in new.items() if old != name}


def _lazy(field: xr.DataArray, time_dim: str | None, where: str, marks: Marks | None) -> xr.DataArray:
    """Return the values alone, in chunks along time, with what goes wrong in reading told in one line."""
    chunks = dict.fromkeys(field.dims, -1)
    if time_dim is not None:
        cells = field.size // field.sizes[time_dim]
        chunks[time_dim] = _steps(max(1, CHUNK_VALUES // max(cells, 1)), field, time_dim)
    if isinstance(field.variable._data, dask.array.Array):
        data = field.data.rechunk({field.get_axis_num(dim): size for dim, size in chunks.items()})
    else:
        values = _Values(field.variable, where)
        data = dask.array.from_array(values, tuple(chunks[dim] for dim in field.dims), name=False, asarray=False)
    kind = np.dtype(np.float64) if data.dtype.itemsize > 4 or data.dtype in ("i4", "u4") else np.dtype(np.float32)
    data = data.map_blocks(_finite, where=where, marks=marks, dtype=kind, meta=np.empty((0,) * data.ndim, kind))
    return xr.DataArray(data, dims=field.dims)


def _steps(steps: int, field: xr.DataArray, time_dim: str) -> int:
    """Return a number of steps per read that doesn't cut through chunks of the file, unless these are very large."""
    stored = (field.encoding.get("preferred_chunks") or {}).get(time_dim, 1)
    stored = stored if isinstance(stored, int) else 1
    if steps < stored and stored * (field.size // field.sizes[time_dim]) <= WHOLE_VALUES:
        return stored
    return steps // stored * stored or steps


class _Values:
    """Values of a variable of an open file."""

    def __init__(self, variable: xr.Variable, where: str) -> None:
        self._variable = variable
        self._where = where
        self.shape, self.dtype, self.ndim = variable.shape, variable.dtype, variable.ndim

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        with told(f"{self._where}: values can't be read"):
            return np.asarray(self._variable[key].data)


def _finite(block: np.ndarray, where: str, marks: Marks | None) -> np.ndarray:
    kind = np.float64 if block.dtype.itemsize > 4 or block.dtype in ("i4", "u4") else np.float32
    block = masked(block.astype(kind, copy=False), marks)
    infinite = int(np.isinf(block).sum())
    if infinite:
        raise DataError(f"{where}: {infinite} values are infinite; expected numbers, or missing values marked as such")
    return block


def _attributes(found: Mapping[str, Any], time_dim: str | None) -> dict[str, Any]:
    kept = {key: " ".join(str(found[key]).split()) for key in _KEPT if key in found}
    words = kept.get("standard_name", "").split()
    if len(words) > 1 and words[1] not in _MODIFIERS:
        kept["standard_name"] = words[0]  # "air_temperature maximum": cell_methods say that
    if time_dim not in (None, "time") and "cell_methods" in kept:
        kept["cell_methods"] = re.sub(rf"\b{re.escape(str(time_dim))}:", "time:", kept["cell_methods"])
    return kept


def _raised(field: xr.DataArray, minimum: float) -> xr.DataArray:
    raised = field.copy(data=np.maximum(field.data, field.dtype.type(minimum)))
    raised.attrs = dict(field.attrs)
    return raised
