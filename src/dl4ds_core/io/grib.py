"""One variable of a GRIB file: the index finds its fields among those of other variables and kinds of levels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import xarray as xr
from dask.utils import SerializableLock

from dl4ds_core.errors import DataError
from dl4ds_core.io.levels import matching_level
from dl4ds_core.io.problems import told

if TYPE_CHECKING:
    import cfgrib

#: Keys that name a variable, in the order in which they are tried.
_NAMES = ("cfVarName", "shortName", "cfName")
#: Keys that all fields of one variable must share; a `filter` chooses where they don't.
_COMMON = ("stepType", "dataType", "gridType", "numberOfPoints", "paramId", "edition", "md5GridSection")
_PRESSURE = {"isobaricInhPa": "hPa", "isobaricInPa": "Pa"}
#: Under this name, which no key of GRIB has, rows of the index say how many messages have their keys.
_COPIES = "dl4ds: copies"
_CELL_METHODS = {"accum": "sum", "avg": "mean", "max": "maximum", "min": "minimum"}
#: ecCodes is not to be called from two threads at once.
_LOCK = SerializableLock("dl4ds-grib")


def open_grib(path: Path, variable: str, level: float | None, filters: Mapping[str, Any] | None) -> xr.Dataset:
    """Open one variable of a GRIB file; times are numbers with units, as in a netCDF file.

    Parameters
    ----------
    path : Path
        The file.
    variable : str
        ``cfVarName`` (t2m), ``shortName`` (2t) or ``cfName`` (air_temperature).
    level : float, optional
        Tells between kinds of levels, where only one of them has it.
    filters : mapping, optional
        Keys and values that the fields must have.

    Returns
    -------
    xarray.Dataset
        The variable, under the name given, and its coordinates. Forecasts whose times of validity are all different
        are laid along ``valid_time``, others along ``time`` and ``step``.

    Raises
    ------
    DataError
        If there is no such variable, or it is there several times; the values of ``filter`` to choose from are named.
        If the file is damaged.
    """
    with _told(f"{path}: can't be read as GRIB"):
        index = _index(str(path), os.stat(path).st_mtime_ns, tuple(sorted((filters or {}).keys())))
    with _told(f"{path}: {variable}: can't be read as GRIB; the file may be damaged, fetch it again"):
        return _chosen(index, path, variable, level, filters or {})


def _chosen(
    index: cfgrib.FieldsetIndex, path: Path, variable: str, level: float | None, filters: Mapping[str, Any]
) -> xr.Dataset:
    """Return the variable of a file whose headers were read."""
    where = f"{path}: {variable}"
    rows = [
        dict(zip(index.index_keys, values, strict=True)) | {_COPIES: len(messages)}
        for values, messages in index.iter_index()
    ]
    name, rows = _rows_of(rows, variable, path)
    rows = _filtered(rows, filters, where)
    rows = _one_kind(rows, level, where)
    for key in _COMMON:
        _one_value(rows, key, where)
    _refuse_copies(rows, where)
    chosen = {key: rows[0][key] for key in (name, "typeOfLevel", *_COMMON, *filters)}
    each = {(row["level:float"], row["number"], row["valid_time"]) for row in rows}
    time_dims = ("valid_time",) if len(each) == len(rows) else ("time", "step")
    return _dataset(index, chosen, time_dims, variable, where)


@contextmanager
def _told(start: str) -> Iterator[None]:
    """Turn what ecCodes raises, too, into a ``DataError`` of one line."""
    # ecCodes brings another PROJ library; the one of pyproj only works where it was loaded first.
    import pyproj  # noqa: F401, I001
    import eccodes

    with told(start):
        try:
            yield
        except eccodes.CodesInternalError as error:
            raise ValueError(error) from error


@lru_cache(maxsize=8)
def _index(path: str, changed: int, filters: tuple[str, ...]) -> cfgrib.FieldsetIndex:  # noqa: ARG001
    """Read all headers once; ``changed`` makes a new index for a new file of the same name."""
    import cfgrib

    keys = {*cfgrib.compute_index_keys(("time", "step", "valid_time")), *_NAMES, *filters}
    stream = cfgrib.FileStream(path, errors="raise")
    return cfgrib.FieldsetIndex.from_fieldset(stream, sorted(keys), cfgrib.COMPUTED_KEYS)


def _rows_of(rows: list[dict[str, Any]], variable: str, path: Path) -> tuple[str, list[dict[str, Any]]]:
    for name in _NAMES:
        found = [row for row in rows if row[name] == variable]
        if found:
            return name, found
    names = ", ".join(sorted({str(row["cfVarName"]) for row in rows}))
    raise DataError(f"{path}: there is no variable {variable!r}; the file has: {names}")


def _filtered(rows: list[dict[str, Any]], filters: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    for key, value in filters.items():
        values = _distinct(rows, key)
        rows = [row for row in rows if str(row[key]) == str(value)]
        if not rows:
            raise DataError(f"{where}: there is no field with `filter: {{{key}: {value}}}`; there are: {values}")
    return rows


def _one_kind(rows: list[dict[str, Any]], level: float | None, where: str) -> list[dict[str, Any]]:
    """Choose the kind of level; where a level is given, only one kind may have it."""
    kinds = {
        row["typeOfLevel"]: [other for other in rows if other["typeOfLevel"] == row["typeOfLevel"]] for row in rows
    }
    if level is not None and len(kinds) > 1:
        having = {
            kind: members
            for kind, members in kinds.items()
            if matching_level([row["level:float"] for row in members], _PRESSURE.get(kind, ""), level, where)
            is not None
        }
        kinds = having or kinds
    if len(kinds) > 1:
        choice = "; ".join(f"{kind} (level {_distinct(members, 'level:float')})" for kind, members in kinds.items())
        raise DataError(
            f"{where} is on several kinds of levels: choose one with `filter: {{typeOfLevel: ...}}`: {choice}"
        )
    return next(iter(kinds.values()))


def _one_value(rows: list[dict[str, Any]], key: str, where: str) -> None:
    if len({row[key] for row in rows}) > 1:
        raise DataError(
            f"{where} is there with several values of {key}: choose one with `filter: {{{key}: ...}}`: "
            f"{_distinct(rows, key)}"
        )


def _refuse_copies(rows: list[dict[str, Any]], where: str) -> None:
    """Refuse several fields of one time (and level, member), of which cfgrib would take one without a word."""
    copies: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        copies[tuple(row[key] for key in ("time", "step", "valid_time", "level:float", "number"))] += row[_COPIES]
    several = [(keys, count) for keys, count in copies.items() if count > 1]
    if several:
        (_, _, valid, level, _), count = several[0]
        moment = np.datetime64(valid, "s") if isinstance(valid, int) else valid
        raise DataError(
            f"{where}: expected one field for each time, found {count} for {moment} (level {level}), and several for "
            f"{len(several)} of {len(copies)}: choose with `filter` by a key in which they differ, such as expver or "
            "startStep, or leave all but one out of the file"
        )


def _distinct(rows: list[dict[str, Any]], key: str) -> str:
    values = sorted({row[key] for row in rows}, key=lambda value: (isinstance(value, str), value))
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return ", ".join(texts[:12]) + (f" and {len(texts) - 12} more" if len(texts) > 12 else "")


def _dataset(
    index: cfgrib.FieldsetIndex, chosen: Mapping[str, Any], time_dims: tuple[str, ...], variable: str, where: str
) -> xr.Dataset:
    import cfgrib

    opened = cfgrib.open_from_index(
        index.subindex(chosen), read_keys=["projString"], time_dims=time_dims, errors="raise"
    )
    names = set(opened.variables) - set(opened.dimensions)
    name = next(name for name in names if "GRIB_paramId" in opened.variables[name].attributes)
    variables: dict[str, xr.Variable] = {}
    for coordinate, found in opened.variables.items():
        if coordinate != name:
            variables[coordinate] = xr.Variable(found.dimensions, found.data, dict(found.attributes))
    field = opened.variables[name]
    attributes = dict(field.attributes)
    attributes.pop("coordinates", None)
    if attributes.get("standard_name") in ("unknown", "undef"):
        del attributes["standard_name"]
    if attributes.get("GRIB_stepType") in _CELL_METHODS:
        attributes["cell_methods"] = f"time: {_CELL_METHODS[attributes['GRIB_stepType']]}"
    variables |= _projected(variables, attributes)
    # One field after the other: that is how they lie in the file.
    headers = len(field.dimensions) - 2 if "y" in field.dimensions or "latitude" in field.dimensions else 0
    chunks = (1,) * headers + field.data.shape[headers:]
    data = dask.array.from_array(_Fields(field.data, where), chunks=chunks, name=False, lock=_LOCK, asarray=False)
    return xr.Dataset({variable: (field.dimensions, data, attributes)}, coords=variables)


class _Fields:
    """Values of a variable, read field by field."""

    def __init__(self, values: Any, where: str) -> None:
        self._values = values
        self._where = where
        self.shape = tuple(values.shape)
        self.dtype = np.dtype(values.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        with _told(f"{self._where}: values can't be read"):
            return np.asarray(self._values[key])


def _projected(variables: Mapping[str, xr.Variable], attributes: dict[str, Any]) -> dict[str, xr.Variable]:
    """Return axes and grid mapping of a projected or rotated grid, of which GRIB gives latitudes and longitudes only.

    Nothing where there is no projection, or the points don't lie in straight rows and columns of it.
    """
    from dl4ds_core.grids import projections

    latitude = variables.get("latitude")
    if latitude is None or latitude.dims != ("y", "x"):
        return {}
    try:
        mapping = _mapping(attributes)
        y, x = projections.projected(mapping, latitude.values, variables["longitude"].values)
    except DataError:
        return {}
    rows, columns = y.mean(axis=1), x.mean(axis=0)
    step = min(np.abs(np.diff(rows)).min(), np.abs(np.diff(columns)).min())
    if max(np.abs(y - rows[:, np.newaxis]).max(), np.abs(x - columns).max()) > 1e-2 * step:
        return {}
    rotated = mapping["grid_mapping_name"] == projections.ROTATED
    names = ("grid_latitude", "grid_longitude") if rotated else ("projection_y_coordinate", "projection_x_coordinate")
    units = "degrees" if rotated else "m"
    attributes["grid_mapping"] = "crs"
    return {
        "y": xr.Variable("y", rows, {"standard_name": names[0], "units": units, "axis": "Y"}),
        "x": xr.Variable("x", columns, {"standard_name": names[1], "units": units, "axis": "X"}),
        "crs": xr.Variable((), np.int32(0), mapping),
    }


def _mapping(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CF grid mapping of a GRIB field.

    Raises
    ------
    DataError
        If it has none, or one that pyproj doesn't know.
    """
    import pyproj

    from dl4ds_core.grids import projections

    if attributes.get("GRIB_gridType") == "rotated_ll":
        south = attributes["GRIB_latitudeOfSouthernPoleInDegrees"], attributes["GRIB_longitudeOfSouthernPoleInDegrees"]
        return {
            "grid_mapping_name": projections.ROTATED,
            "grid_north_pole_latitude": -south[0],
            "grid_north_pole_longitude": (south[1] + 360.0) % 360.0 - 180.0,
            "north_pole_grid_longitude": -float(attributes.get("GRIB_angleOfRotationInDegrees", 0.0)),
        }
    if "GRIB_projString" not in attributes:
        raise DataError("no projection")
    with told("GRIB projection"):
        found = pyproj.CRS.from_user_input(attributes["GRIB_projString"]).to_cf()
    return projections.cleaned({key: value for key, value in found.items() if key != "crs_wkt"})
