"""The part of a field that an experiment uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids.axes import turned
from dl4ds_core.grids.grid import horizontal

if TYPE_CHECKING:
    from dl4ds_core.config.inputs import Domain

#: Rounding of coordinates that is forgiven: degrees, and metres.
_DEGREES, _METRES = 1e-6, 1e-3
Limits = tuple[float, float]


def crop(field: xr.DataArray, domain: Domain | None) -> xr.DataArray:
    """Keep the cells whose centres lie in the domain; rounding of coordinates is forgiven.

    On a grid with latitude and longitude as axes, longitudes get the convention of the domain: the field is turned
    round to begin at its west, and a western limit above the eastern one means across the date line. Other grids keep
    the smallest box of rows and columns with all cells inside the limits.

    Parameters
    ----------
    field : xarray.DataArray
        In canonical form, shape (..., Y, X).
    domain : Domain, optional
        Limits in ``lat`` and ``lon`` (degrees), or in ``y`` and ``x`` (units of the axes); without it all is kept.

    Raises
    ------
    DataError
        If fewer than two cells are left along an axis, or the grid has no axes for such limits.
    """
    if domain is None:
        return field
    dims = horizontal(field)
    for key, axis in (("y", dims[0]), ("x", dims[1])):
        limits = getattr(domain, key)
        if limits is not None:
            if dims == ("lat", "lon") or axis not in field.coords:
                raise DataError(f"data.domain.{key}: {field.name} has no axis {key}: give limits in lat and lon")
            field = _along(field, axis, limits, f"data.domain.{key}", _METRES if axis == key else _DEGREES)
    if dims != ("lat", "lon"):
        return field if domain.lat is None and domain.lon is None else _box(field, domain)
    if domain.lat is not None:
        field = _along(field, "lat", domain.lat, "data.domain.lat", _DEGREES)
    if domain.lon is not None:
        field = _along(_beginning_at(field, domain.lon[0]), "lon", _eastward(domain.lon), "data.domain.lon", _DEGREES)
    return field


def _along(field: xr.DataArray, axis: str, limits: Limits, key: str, slack: float) -> xr.DataArray:
    centres = field[axis].values
    inside = np.flatnonzero((centres >= limits[0] - slack) & (centres <= limits[1] + slack))
    if inside.size < 2:
        raise DataError(
            f"{key}: [{limits[0]:g}, {limits[1]:g}] holds {inside.size} cells of {field.name}, whose {axis} "
            f"goes from {centres.min():g} to {centres.max():g}"
        )
    return field.isel({axis: slice(int(inside[0]), int(inside[-1]) + 1)})


def _eastward(limits: Limits) -> Limits:
    west, east = limits
    return west, east if east >= west else east + 360.0


def _beginning_at(field: xr.DataArray, west: float) -> xr.DataArray:
    """Turn a field round the globe so that its longitudes ascend from ``west``."""
    lon = field["lon"]
    moved = turned(lon.values, west - _DEGREES)
    if np.array_equal(moved, lon.values):
        return field
    order = np.argsort(moved, kind="stable")
    changed: dict[str, Any] = {"lon": ("lon", moved, lon.attrs)}
    for name in ("lon_bnds_0", "lon_bnds_1"):
        if name in field.coords:
            changed[name] = ("lon", field[name].values + (moved - lon.values), field[name].attrs)
    return field.assign_coords(changed).isel(lon=order)


def _box(field: xr.DataArray, domain: Domain) -> xr.DataArray:
    """Return the smallest box of rows and columns that holds all cells inside the limits."""
    dims = horizontal(field)
    inside = np.ones(field.shape[-2:], dtype=bool)
    if domain.lat is not None:
        lat = field["lat"].values
        inside &= (lat >= domain.lat[0] - _DEGREES) & (lat <= domain.lat[1] + _DEGREES)
    if domain.lon is not None:
        west, east = _eastward(domain.lon)
        inside &= turned(field["lon"].values, west - _DEGREES) <= east + _DEGREES
    box = {}
    for axis, dim in enumerate(dims):
        found = np.flatnonzero(inside.any(axis=1 - axis))
        if found.size == 0 or found[-1] == found[0]:
            raise DataError(
                f"data.domain: lat {_shown(domain.lat)}, lon {_shown(domain.lon)} holds {found.size} "
                f"{'rows' if axis == 0 else 'columns'} of {field.name}, which goes from "
                f"{field['lat'].values.min():g} to {field['lat'].values.max():g} degrees north and from "
                f"{field['lon'].values.min():g} to {field['lon'].values.max():g} degrees east"
            )
        box[dim] = slice(int(found[0]), int(found[-1]) + 1)
    return field.isel(box)


def _shown(limits: Limits | None) -> str:
    return "any" if limits is None else f"[{limits[0]:g}, {limits[1]:g}]"
