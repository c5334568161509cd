"""Horizontal coordinates in canonical form: ascending axes, latitudes and longitudes of all cells."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import projections
from dl4ds_core.io.axes import Roles
from dl4ds_core.io.opening import numbers

logger = logging.getLogger(__name__)

#: A grid mapping must reproduce the latitudes and longitudes of the file to this share of a cell.
_MISPLACED = 0.1
#: Rounding in float32 may put a pole this far beyond 90 degrees.
_BEYOND_POLE = 1e-4
_NAMES = {"latlon": ("lat", "lon"), "rotated": ("rlat", "rlon")}
_ATTRIBUTES = {
    "lat": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
    "lon": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
    "rlat": {"standard_name": "grid_latitude", "units": "degrees", "axis": "Y"},
    "rlon": {"standard_name": "grid_longitude", "units": "degrees", "axis": "X"},
    "y": {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"},
    "x": {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"},
}
_LETTERS = {"lat": "Y", "lon": "X"}


@dataclass
class Horizontal:
    """What the horizontal dimensions of a field become.

    Attributes
    ----------
    names : tuple of str
        Canonical names of Y and X.
    order : dict
        Positions to take along each dimension of the file, where not all of them in their order.
    coordinates : dict
        Canonical coordinates by name, in canonical order.
    bounds : dict
        Bounds and corners of cells as ``grids.with_bounds`` wants them.
    """

    names: tuple[str, str]
    order: dict[str, slice] = field(default_factory=dict)
    coordinates: dict[str, xr.Variable] = field(default_factory=dict)
    bounds: dict[str, xr.DataArray] = field(default_factory=dict)


@dataclass
class _Axis:
    values: np.ndarray
    pairs: np.ndarray | None
    order: slice


def canonical(source: xr.Dataset, found: xr.DataArray, roles: Roles, where: str) -> Horizontal:
    """Return the canonical horizontal coordinates of a field.

    Parameters
    ----------
    source : xarray.Dataset
        The file, for bounds and grid mappings.
    found : xarray.DataArray
        The field, with the coordinates that ``roles`` names.

    Raises
    ------
    DataError
        If coordinates aren't finite, monotonic and on the globe, or don't say where the cells are.
    """
    for dim in roles.dims:
        if found.sizes[dim] < 2:
            raise DataError(f"{where}: expected at least two cells along {dim}, found {found.sizes[dim]}")
    if roles.lat is not None and roles.lon is not None:
        if found[roles.lat].ndim == 1:
            return _rectilinear(source, found, (roles.lat, roles.lon), where)
        axes = _axes_of_rectangles(found, roles)
        if axes is not None:
            return _from_axes(axes, roles.dims, where)
    return _projected(source, found, roles, where) or _curvilinear(source, found, roles, where)


def _rectilinear(source: xr.Dataset, found: xr.DataArray, names: tuple[str, str], where: str) -> Horizontal:
    axes = []
    for name, kind in zip(names, ("lat", "lon"), strict=True):
        values = _degrees(found[name], f"{where}: {name}")
        pairs = _bounds(source, name, values.size)
        pairs = pairs if pairs is None else pairs * _factor(found[name])
        axes.append(_ascending(values, pairs, name, kind, where))
    return _horizontal(("lat", "lon"), (str(found[names[0]].dims[0]), str(found[names[1]].dims[0])), axes)


def _from_axes(axes: tuple[np.ndarray, np.ndarray], dims: tuple[str, str], where: str) -> Horizontal:
    pair = [_ascending(values, None, kind, kind, where) for kind, values in zip(("lat", "lon"), axes, strict=True)]
    return _horizontal(("lat", "lon"), dims, pair)


def _axes_of_rectangles(found: xr.DataArray, roles: Roles) -> tuple[np.ndarray, np.ndarray] | None:
    """Return latitudes and longitudes along the axes, where two-dimensional ones say no more than that."""
    pair = [found[name].transpose(*roles.dims) for name in (roles.lat, roles.lon)]
    if {part.dtype.kind for part in pair} - set("iuf"):
        return None
    lat, lon = (part.values.astype(np.float64) * _factor(part) for part in pair)
    if np.ptp(lat, axis=1).max() <= 1e-9 and np.ptp(lon, axis=0).max() <= 1e-9:
        return lat[:, 0], lon[0]
    return None


def _projected(source: xr.Dataset, found: xr.DataArray, roles: Roles, where: str) -> Horizontal | None:
    """Return axes and grid mapping; None where there are none but latitudes and longitudes are there to go by."""
    placed = roles.lat is not None
    try:
        mapping = _mapping(source, found, where)
        if mapping is None or roles.axes[0] is None or roles.axes[1] is None:
            if placed:
                return None
            missing = "a grid mapping" if mapping is None else "coordinates along both dimensions"
            raise DataError(f"{where}: expected latitude and longitude or {missing}, found the dimensions {roles.dims}")
        kind = "rotated" if mapping["grid_mapping_name"] == projections.ROTATED else "projected"
        names = _NAMES.get(kind, ("y", "x"))
        axes = []
        for name, canonical_name in zip(roles.axes, names, strict=True):
            values = numbers(found[name], f"{where}: {name}")
            factor = 1.0 if kind == "rotated" else projections.metres(found[name].attrs.get("units", ""), where)
            pairs = _bounds(source, str(name), values.size)
            pairs = pairs if pairs is None else pairs * factor
            axes.append(_ascending(values * factor, pairs, str(name), canonical_name, where))
        mapping = mapping if kind == "rotated" else projections.in_metres(mapping, factor)
        lat, lon = projections.geographic(mapping, axes[0].values[:, np.newaxis], axes[1].values[np.newaxis, :])
    except DataError as error:
        message = str(error) if str(error).startswith(where) else f"{where}: {error}"
        if not placed:
            raise DataError(message) from error
        logger.warning("%s: the latitudes and longitudes of the file are used alone", message)
        return None
    result = _horizontal(names, roles.dims, axes)
    if placed:
        theirs = [_two_dimensional(found, name, roles.dims, result.order, where) for name in (roles.lat, roles.lon)]
        if not _agree((lat, lon), (theirs[0], theirs[1])):
            logger.warning(
                "%s: the grid mapping %s puts cells elsewhere than the latitudes and longitudes of the file, "
                "which are used alone",
                where,
                mapping["grid_mapping_name"],
            )
            return None
        lat, lon = theirs
    for name, values in (("lat", lat), ("lon", lon)):
        result.coordinates[name] = xr.Variable(names, values, _ATTRIBUTES[name])
    _add_vertices(result, source, roles)
    result.coordinates["crs"] = xr.Variable((), np.int32(0), mapping)
    return result


def _curvilinear(source: xr.Dataset, found: xr.DataArray, roles: Roles, where: str) -> Horizontal:
    result = Horizontal(("y", "x"))
    for name, values in (("lat", roles.lat), ("lon", roles.lon)):
        degrees = _two_dimensional(found, str(values), roles.dims, {}, where)
        result.coordinates[name] = xr.Variable(result.names, degrees, _ATTRIBUTES[name])
    _add_vertices(result, source, roles)
    return result


def _mapping(source: xr.Dataset, found: xr.DataArray, where: str) -> dict[str, Any] | None:
    """Return the grid mapping that the field names, or the only one in the file.

    Raises
    ------
    DataError
        If the one named is missing or can't be used.
    """
    named = [word.rstrip(":") for word in str(found.attrs.get("grid_mapping", "")).split()]
    if ":" in str(found.attrs.get("grid_mapping", "")):
        # The extended form, "crs: x y other: lat lon": names of mappings end with a colon.
        named = [word[:-1] for word in str(found.attrs["grid_mapping"]).split() if word.endswith(":")]
    missing = [name for name in named if name not in source.variables]
    if named and len(missing) == len(named):
        raise DataError(f"{where}: the grid mapping {missing[0]!r} that the variable names is missing")
    known = ("grid_mapping_name", "crs_wkt", "spatial_ref")
    if not named:
        named = [str(name) for name, other in source.variables.items() if set(known) & set(other.attrs)]
        named = named if len(named) == 1 else []
    for name in named:
        attributes = source.variables[name].attrs if name in source.variables else {}
        if attributes.get("grid_mapping_name") != "latitude_longitude":
            mapping = projections.cleaned(attributes)
            if mapping["grid_mapping_name"] != projections.ROTATED:
                projections.crs(mapping)
            return mapping
    return None


def _horizontal(names: tuple[str, str], dims: tuple[str, str], axes: list[_Axis]) -> Horizontal:
    result = Horizontal(names)
    for name, dim, axis in zip(names, dims, axes, strict=True):
        attributes = dict(_ATTRIBUTES[name]) | ({"axis": _LETTERS[name]} if name in _LETTERS else {})
        if axis.order != slice(None):
            result.order[dim] = axis.order
        if axis.pairs is not None:
            result.bounds[f"{name}_bnds"] = xr.DataArray(axis.pairs, dims=(name, "bnds"))
        result.coordinates[name] = xr.Variable(name, axis.values, attributes)
    return result


def _ascending(values: np.ndarray, pairs: np.ndarray | None, name: str, kind: str, where: str) -> _Axis:
    """Return an axis in ascending order; longitudes that jump by 360 degrees are made to go on.

    Raises
    ------
    DataError
        If it isn't finite, goes to and fro, or latitudes lie beyond the poles.
    """
    if not np.all(np.isfinite(values)):
        raise DataError(f"{where}: {name} has {np.sum(~np.isfinite(values))} values that are missing or infinite")
    centres = values.copy()
    if kind == "lat":
        centres = _checked_latitudes(centres, name, where)
    elif kind == "lon":
        centres = _continuous(centres)
    order = slice(None, None, -1) if centres[0] > centres[-1] else slice(None)
    centres = centres[order]
    pairs = None if pairs is None else pairs[order]
    if kind == "lon" and centres.size > 2 and abs(centres[-1] - centres[0] - 360.0) < 1e-3:
        # The first meridian is there twice, for drawing; as a cell it would count twice.
        order = slice(None, -1) if order == slice(None) else slice(None, 0, -1)
        # Reversed, the file's first column is the one that is left out at the end.
        centres, pairs = (centres[:-1], None if pairs is None else pairs[:-1])
    if centres.size < 2 or np.any(np.diff(centres) <= 0):
        raise DataError(f"{where}: expected values of {name} that rise or fall throughout, found others")
    return _Axis(centres, _matching_pairs(centres, pairs, 360.0 if kind in ("lon", "rlon") else None), order)


def _checked_latitudes(values: np.ndarray, name: str, where: str) -> np.ndarray:
    if np.abs(values).max() > 90.0 + _BEYOND_POLE:
        worst = values.ravel()[np.abs(values).argmax()]
        raise DataError(f"{where}: expected latitudes from -90 to 90 degrees in {name}, found {worst:g}")
    return np.clip(values, -90.0, 90.0)


def _continuous(lon: np.ndarray) -> np.ndarray:
    """Return longitudes without jumps of 360 degrees: 350, 355, 0, 5 is -10, -5, 0, 5."""
    steps = np.diff(lon)
    if np.all(steps > 0) or np.all(steps < 0):
        return lon
    unwrapped = lon[0] + np.concatenate([[0.0], np.cumsum((steps + 180.0) % 360.0 - 180.0)])
    return unwrapped - 360.0 if unwrapped.max() > 180.0 and unwrapped.min() - 360.0 >= -180.0 - 1e-6 else unwrapped


def _bounds(source: xr.Dataset, name: str, size: int) -> np.ndarray | None:
    """Return the bounds of the cells along an axis as they are in the file, shape (size, 2); None if there are none."""
    for candidate in (source[name].attrs.get("bounds"), f"{name}_bnds", f"{name}_bounds", f"bounds_{name}"):
        if candidate not in source.variables or source[candidate].shape != (size, 2):
            continue
        if source[candidate].dtype.kind in "iuf":
            return numbers(source[candidate], str(candidate))
    return None


def _matching_pairs(centres: np.ndarray, pairs: np.ndarray | None, period: float | None) -> np.ndarray | None:
    """Return bounds in ascending order within the convention of the centres; None if they don't enclose these."""
    if pairs is None or not np.all(np.isfinite(pairs)):
        return None
    if period is not None:
        pairs = pairs + period * np.round((centres[:, np.newaxis] - pairs) / period)
    pairs = np.sort(pairs, axis=1)
    tolerance = 1e-6 * np.abs(np.diff(centres)).max()
    inside = (pairs[:, 0] <= centres + tolerance) & (pairs[:, 1] >= centres - tolerance)
    joined = np.abs(pairs[1:, 0] - pairs[:-1, 1]) <= 1e3 * tolerance
    return pairs if np.all(inside) and np.all(joined) and np.all(np.diff(pairs, axis=1) > 0) else None


def _two_dimensional(
    found: xr.DataArray, name: str | None, dims: tuple[str, str], order: Mapping[str, slice], where: str
) -> np.ndarray:
    """Return two-dimensional latitudes or longitudes in degrees, in canonical order.

    Raises
    ------
    DataError
        If they aren't finite, or latitudes lie beyond the poles.
    """
    coordinate = found[name].transpose(*dims).isel(dict(order))
    values = _degrees(coordinate, f"{where}: {name}")
    if not np.all(np.isfinite(values)):
        raise DataError(f"{where}: {name} has {np.sum(~np.isfinite(values))} values that are missing or infinite")
    standard, units = (str(coordinate.attrs.get(key, "")) for key in ("standard_name", "units"))
    if standard == "latitude" or units.lower().replace(" ", "_") in ("degrees_north", "degree_north"):
        return _checked_latitudes(values, str(name), where)
    return values


def _add_vertices(result: Horizontal, source: xr.Dataset, roles: Roles) -> None:
    """Add corners of cells, where the file has four for each."""
    parts = {}
    for kind, name in (("lat", roles.lat), ("lon", roles.lon)):
        if name is None:
            return
        candidates = (source[name].attrs.get("bounds"), f"{name}_vertices", f"{name}_bnds", f"{name}_bounds")
        for candidate in candidates:
            if candidate in source.variables and source[candidate].ndim == 3:
                corners = source[candidate]
                further = [dim for dim in corners.dims if dim not in roles.dims]
                if set(roles.dims) <= set(corners.dims) and corners.sizes[further[0]] == 4:
                    ordered = corners.transpose(*roles.dims, *further).isel(dict(result.order))
                    parts[kind] = _degrees(ordered, str(candidate), like=source[name])
                    break
    if len(parts) == 2 and all(np.all(np.isfinite(values)) for values in parts.values()):
        for kind, values in parts.items():
            result.bounds[f"{kind}_vertices"] = xr.DataArray(values, dims=(*result.names, "vertices"))


def _agree(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    """Tell whether two sets of places are the same, to a tenth of a cell."""
    points = [_vectors(*pair) for pair in (one, other)]
    cell = min(np.median(np.linalg.norm(np.diff(points[1], axis=axis), axis=-1)) for axis in (0, 1))
    return bool(np.linalg.norm(points[0] - points[1], axis=-1).max() <= _MISPLACED * cell)


def _vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    lat, lon = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _degrees(coordinate: xr.DataArray, where: str, like: xr.DataArray | None = None) -> np.ndarray:
    return numbers(coordinate, where) * _factor(coordinate if like is None else like)


def _factor(coordinate: xr.DataArray) -> float:
    return 180.0 / np.pi if str(coordinate.attrs.get("units", "")).lower().startswith("rad") else 1.0
