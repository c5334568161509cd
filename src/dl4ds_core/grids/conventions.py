"""Grids as CF coordinates, read and written; as text for people and for cdo."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import axes, projections, sphere

if TYPE_CHECKING:
    from dl4ds_core.grids.grid import Grid

logger = logging.getLogger(__name__)

#: Name of the variable with the grid mapping in files of ours.
MAPPING = "crs"
#: Pairs of dimensions that a canonical field may have; a dataset has the first pair that is found.
PAIRS = (("rlat", "rlon"), ("y", "x"), ("lat", "lon"))
#: A grid mapping must reproduce latitudes and longitudes to this share of a cell.
_MISPLACED = 0.1
_AXES = {
    "lat": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
    "rlat": {
        "standard_name": "grid_latitude",
        "long_name": "latitude in rotated pole grid",
        "units": "degrees",
        "axis": "Y",
    },
    "rlon": {
        "standard_name": "grid_longitude",
        "long_name": "longitude in rotated pole grid",
        "units": "degrees",
        "axis": "X",
    },
    "y": {"standard_name": "projection_y_coordinate", "long_name": "y coordinate of projection", "units": "m"}
    | {"axis": "Y"},
    "x": {"standard_name": "projection_x_coordinate", "long_name": "x coordinate of projection", "units": "m"}
    | {"axis": "X"},
}
Placed = TypeVar("Placed", xr.DataArray, xr.Dataset)
Variables = Mapping[Hashable, Any]


def geometry(field: xr.DataArray | xr.Dataset) -> dict[str, Any]:
    """Return what a ``Grid`` is made of.

    Raises
    ------
    DataError
        If the coordinates describe no grid.
    """
    dims = _pair(field)
    variables: Variables = field.variables if isinstance(field, xr.Dataset) else field.coords
    if dims == ("lat", "lon"):
        return {"kind": "latlon", "dims": dims} | _axes(variables, dims, {"lat": 1.0, "lon": 1.0})
    attributes = _mapping(variables)
    if attributes is None or not all(dim in variables for dim in dims):
        return _curvilinear(variables, dims)
    mapping = projections.cleaned(attributes)
    rotated = mapping["grid_mapping_name"] == projections.ROTATED
    factors = dict.fromkeys(dims, 1.0)
    if not rotated:
        factors = {dim: projections.metres(str(variables[dim].attrs.get("units", "")), dim) for dim in dims}
        mapping = projections.in_metres(mapping, factors[dims[1]])
    parts = {"kind": "rotated" if rotated else "projected", "dims": dims, "mapping": mapping}
    parts |= _axes(variables, dims, factors)
    return _curvilinear(variables, dims) if _misplaced(parts, variables) else parts


def _pair(field: xr.DataArray | xr.Dataset) -> tuple[str, str]:
    names = [tuple(map(str, field.dims[-2:]))] if isinstance(field, xr.DataArray) else list(PAIRS)
    for pair in PAIRS:
        if pair in names and set(pair) <= set(field.dims):
            return pair
    raise DataError(f"expected the horizontal dimensions lat and lon, rlat and rlon, or y and x, found {field.dims}")


def _mapping(variables: Variables) -> Mapping[str, Any] | None:
    for name in [MAPPING, *variables]:
        if name in variables and {"grid_mapping_name", "crs_wkt", "spatial_ref"} & set(variables[name].attrs):
            return variables[name].attrs
    return None


def _axes(variables: Variables, dims: tuple[str, str], factors: Mapping[str, float]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for letter, dim in zip("yx", dims, strict=True):
        if dim not in variables:
            raise DataError(f"expected a coordinate {dim} along the dimension {dim}, found none")
        centres = axes.checked(variables[dim].values, dim) * factors[dim]
        pairs = _bounds(variables, f"{dim}_bnds")
        scaled = None if pairs is None else pairs * factors[dim]
        edges = axes.edges(centres, scaled, dim, 360.0 if dim.endswith("lon") else None)
        parts[letter] = centres
        parts[f"{letter}_bounds"] = np.clip(edges, -90.0, 90.0) if dim.endswith("lat") else edges
    return parts


def _misplaced(parts: Mapping[str, Any], variables: Variables) -> bool:
    """Tell whether latitudes and longitudes that are there too lie elsewhere than the grid mapping puts them."""
    if not {"lat", "lon"} <= set(variables) or variables["lat"].ndim != 2:
        return False
    rows, columns = (np.unique(np.linspace(0, parts[axis].size - 1, 9).astype(int)) for axis in ("y", "x"))
    cells = np.ix_(rows, columns)
    lat, lon = (np.asarray(variables[name].values, dtype=np.float64)[cells] for name in ("lat", "lon"))
    expected = projections.geographic(parts["mapping"], parts["y"][rows][:, np.newaxis], parts["x"][columns])
    distance = np.linalg.norm(sphere.vectors(lat, lon) - sphere.vectors(*expected), axis=-1).max()
    side = float(np.diff(parts["y"]).min())
    cell = np.deg2rad(side) if parts["kind"] == "rotated" else side / 6.371e6
    if distance <= _MISPLACED * cell:
        return False
    logger.warning(
        "the grid mapping %s puts cells up to %.2g cells away from their latitudes and longitudes, which are used "
        "instead: it is wrong, or doesn't say the shape of the earth",
        parts["mapping"]["grid_mapping_name"],
        distance / cell,
    )
    return True


def _curvilinear(variables: Variables, dims: tuple[str, str]) -> dict[str, Any]:
    centres = []
    for name in ("lat", "lon"):
        if name not in variables or variables[name].ndim != 2:
            raise DataError(
                f"expected {name}({dims[0]}, {dims[1]}), or axes {dims[0]} and {dims[1]} with a grid mapping"
            )
        values = np.asarray(variables[name].values, dtype=np.float64)
        if not np.all(np.isfinite(values)):
            raise DataError(f"expected finite values of {name}, found {np.sum(~np.isfinite(values))} that are not")
        if min(values.shape) < 2:
            raise DataError(f"expected at least two cells along both axes, found {values.shape}")
        centres.append(values)
    lat, lon = centres
    points = sphere.vectors(lat, lon)
    corners = _vertices(variables, points)
    if corners is None:
        corners = sphere.degrees(sphere.grid_corners(sphere.estimated_corners(points)))
    vertices = corners[0], sphere.near_centres(corners[1], lon)
    return {"kind": "curvilinear", "dims": dims, "points": (lat, lon), "vertices": vertices}


def _vertices(variables: Variables, points: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the corners that are in the file, in the order of rows and columns."""
    lat, lon = (_bounds(variables, f"{name}_vertices") for name in ("lat", "lon"))
    if lat is None or lon is None:
        return None
    if lat.shape != (*points.shape[:2], 4) or lon.shape != lat.shape:
        logger.warning("lat_vertices and lon_vertices aren't four corners of each cell: they are not used")
        return None
    if not (np.all(np.isfinite(lat)) and np.all(np.isfinite(lon))):
        logger.warning("lat_vertices and lon_vertices aren't finite: they are not used")
        return None
    order = sphere.in_grid_order(sphere.vectors(lat, lon), points)
    return lat[..., order], lon[..., order]


def with_bounds(field: xr.DataArray, bounds: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Return a field that carries the bounds or corners of its cells.

    xarray lets a field have no coordinate with a dimension of its own, so ``lat_bnds(lat, bnds)`` becomes
    ``lat_bnds_0(lat)`` and ``lat_bnds_1(lat)``, ``lat_vertices(Y, X, vertices)`` four coordinates. They are cut and
    sorted with the field, ``Grid.of`` knows them, and ``Grid.placed`` makes proper bounds of them in a dataset.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (..., Y, X).
    bounds : mapping
        By name: ``<axis>_bnds``, ``lat_vertices``, ``lon_vertices``; their last dimension is that of the corners.
    """
    split = {}
    for name, values in bounds.items():
        for corner in range(values.shape[-1]):
            split[f"{name}_{corner}"] = (values.dims[:-1], values.values[..., corner])
    return field.assign_coords(split)


def _bounds(variables: Variables, name: str) -> np.ndarray | None:
    """Return bounds or corners, the last dimension theirs, whether they are in one variable or in several."""
    if name in variables:
        return np.asarray(variables[name].values, dtype=np.float64)
    count = sum(1 for key in variables if re.fullmatch(rf"{name}_\d", str(key)))
    if count == 0:
        return None
    return np.stack([np.asarray(variables[f"{name}_{k}"].values, dtype=np.float64) for k in range(count)], axis=-1)


def coordinates(grid: Grid) -> dict[str, xr.DataArray]:
    """Return CF coordinates of a grid; see ``Grid.coordinates``."""
    made: dict[str, xr.DataArray] = {}
    if grid.kind != "curvilinear":
        for dim, centres, edges in zip(grid.dims, grid.centres, grid.edges, strict=True):
            pairs = np.stack([edges[:-1], edges[1:]], axis=1)
            made[dim] = xr.DataArray(centres, dims=dim, attrs=_AXES[dim] | {"bounds": f"{dim}_bnds"})
            made[f"{dim}_bnds"] = xr.DataArray(pairs, dims=(dim, "bnds"))
    if grid.kind == "latlon":
        return made
    for name, values, corners in zip(("lat", "lon"), (grid.lat, grid.lon), grid.corners, strict=True):
        attributes = {key: value for key, value in _AXES[name].items() if key != "axis"}
        made[name] = xr.DataArray(values, dims=grid.dims, attrs=attributes)
        # The corners of the others follow from their axes and would only make files larger.
        if grid.kind == "curvilinear":
            made[name].attrs["bounds"] = f"{name}_vertices"
            made[f"{name}_vertices"] = xr.DataArray(corners, dims=(*grid.dims, "vertices"))
    if grid.mapping:
        made[MAPPING] = xr.DataArray(np.int32(0), attrs=dict(grid.mapping))
    return made


def placed(grid: Grid, field: Placed) -> Placed:
    """Return a field or dataset with the coordinates of a grid; see ``Grid.placed``."""
    found = tuple(field.sizes.get(dim) for dim in grid.dims)
    if found != grid.shape:
        raise DataError(f"expected {grid.shape[0]} x {grid.shape[1]} cells along {grid.dims}, found {found}")
    old = [name for name in field.coords if name == MAPPING or set(grid.dims) & set(field[name].dims)]
    new = grid.coordinates()
    if isinstance(field, xr.DataArray):
        bounds = {name: values for name, values in new.items() if set(values.dims) - set(grid.dims)}
        plain = {name: values for name, values in new.items() if name not in bounds}
        field = with_bounds(field.drop_vars(old).assign_coords(plain), bounds)
    else:
        field = field.drop_vars(old).assign_coords(new)
    for variable in [field] if isinstance(field, xr.DataArray) else field.data_vars.values():
        if set(grid.dims) <= set(variable.dims):
            attributes = {
                key: value for key, value in variable.attrs.items() if key not in ("coordinates", "grid_mapping")
            }
            variable.attrs = attributes | ({"grid_mapping": MAPPING} if grid.mapping else {})
    return field


def describe(grid: Grid) -> str:
    """Return number, kind and size of the cells, as one short text."""
    start = f"{grid.shape[0]} x {grid.shape[1]} {grid.kind}"
    if grid.kind == "curvilinear":
        sides = sphere.mean_spacing(grid.lat, grid.lon)
        return f"{start}, about {sides[0]:.3g} x {sides[1]:.3g} km"
    (height, even), (width, as_even) = (axes.spacing(centres) for centres in grid.centres)
    unit = "deg"
    if grid.kind == "projected":
        height, width, unit = height / 1000, width / 1000, "km"
    return f"{start}{'' if even and as_even else ', about'} {height:.4g} x {width:.4g} {unit}"


def cdo_description(grid: Grid) -> str:
    """Return the grid as text that cdo reads, with the corners of the cells."""
    rows, columns = grid.shape
    if grid.kind == "latlon":
        head = ["gridtype = lonlat", f"xsize = {columns}", f"ysize = {rows}"]
        parts: dict[str, np.ndarray] = {}
        for letter, centres, edges in zip("yx", grid.centres, grid.edges, strict=True):
            parts |= {f"{letter}vals": centres, f"{letter}bounds": np.stack([edges[:-1], edges[1:]], axis=1)}
    else:
        head = ["gridtype = curvilinear", f"gridsize = {grid.size}", f"xsize = {columns}", f"ysize = {rows}"]
        lat_corners, lon_corners = grid.corners
        parts = {"xvals": grid.lon, "xbounds": lon_corners, "yvals": grid.lat, "ybounds": lat_corners}
    lines = [f"{name} = {_numbers(values)}" for name, values in parts.items()]
    return "\n".join(head + lines) + "\n"


def _numbers(values: np.ndarray) -> str:
    """Return numbers as text, some to each line: cdo reads lines of limited length."""
    words = [f"{value:.12g}" for value in np.ravel(values)]
    return "\n  ".join(" ".join(words[start : start + 8]) for start in range(0, len(words), 8))
