"""Fields in canonical form on a grid of every kind, made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyproj
import xarray as xr

KINDS = ("latlon", "rotated", "projected", "curvilinear")
LAEA = {
    "grid_mapping_name": "lambert_azimuthal_equal_area",
    "longitude_of_projection_origin": 10.0,
    "latitude_of_projection_origin": 52.0,
    "false_easting": 4321000.0,
    "false_northing": 3210000.0,
    "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257222101,
}
ROTATED = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 39.25,
    "grid_north_pole_longitude": -162.0,
    "earth_radius": 6371229.0,
}


def field_on(kind: str, steps: int = 40, rows: int = 16, columns: int = 20, seed: int = 1) -> xr.DataArray:
    """A temperature (time, Y, X) in degC, float64, without missing cells.

    The curvilinear grid is the projected one, without its axes and mapping.
    """
    dims = {"latlon": ("lat", "lon"), "rotated": ("rlat", "rlon")}.get(kind, ("y", "x"))
    coordinates: dict[str, Any] = {"time": pd.date_range("2001-01-01", periods=steps)}
    if kind == "latlon":
        coordinates |= {"lat": 40 + 0.25 * np.arange(rows), "lon": -5 + 0.5 * np.arange(columns)}
    else:
        first, step, mapping = ((-8.0, -12.0), 0.5, ROTATED) if kind == "rotated" else ((2.4e6, 4.1e6), 2e4, LAEA)
        axes = [start + step * np.arange(size) for start, size in zip(first, (rows, columns), strict=True)]
        lat, lon = _places(mapping, *np.meshgrid(*axes, indexing="ij"))
        coordinates |= {"lat": (dims, lat), "lon": (dims, lon)}
        if kind != "curvilinear":
            units = "degrees" if kind == "rotated" else "m"
            coordinates |= {dim: (dim, axis, {"units": units}) for dim, axis in zip(dims, axes, strict=True)}
            coordinates["crs"] = xr.DataArray(np.int32(0), attrs=mapping)
    values = 10 + 5 * np.random.default_rng(seed).normal(size=(steps, rows, columns))
    attributes = {"units": "degC", "long_name": "temperature"}
    attributes |= {"grid_mapping": "crs"} if "crs" in coordinates else {}
    return xr.DataArray(values, coordinates, ("time", *dims), "tas", attributes)


def _places(mapping: dict[str, Any], y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude: by pyproj, or by turning the sphere."""
    if mapping is ROTATED:
        tilt = np.deg2rad(90 - ROTATED["grid_north_pole_latitude"])
        across, along = np.deg2rad(x), np.deg2rad(y)
        front, side, up = np.cos(along) * np.cos(across), np.cos(along) * np.sin(across), np.sin(along)
        turned = front * np.cos(tilt) - up * np.sin(tilt), front * np.sin(tilt) + up * np.cos(tilt)
        lon = ROTATED["grid_north_pole_longitude"] + 180 + np.rad2deg(np.arctan2(side, turned[0]))
        return np.rad2deg(np.arcsin(turned[1])), lon
    lon, lat = pyproj.Proj(pyproj.CRS.from_cf(mapping))(x, y, inverse=True)
    return lat, lon
