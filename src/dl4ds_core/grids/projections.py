"""Grid mappings: between the axes of a grid and latitude and longitude."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dl4ds_core.errors import DataError
from dl4ds_core.grids import sphere

if TYPE_CHECKING:
    import pyproj

ROTATED = "rotated_latitude_longitude"
#: Projections on which a cell's area is the product of its sides.
EQUAL_AREA = (
    "albers_conical_equal_area",
    "lambert_azimuthal_equal_area",
    "lambert_cylindrical_equal_area",
    "sinusoidal",
)
#: Attributes of grid mappings in the CF conventions 1.8, appendix F; others are of no use to anybody else.
_KNOWN = (
    "azimuth_of_central_line",
    "crs_wkt",
    "earth_radius",
    "false_easting",
    "false_northing",
    "fixed_angle_axis",
    "geographic_crs_name",
    "grid_mapping_name",
    "grid_north_pole_latitude",
    "grid_north_pole_longitude",
    "horizontal_datum_name",
    "inverse_flattening",
    "latitude_of_projection_origin",
    "longitude_of_central_meridian",
    "longitude_of_prime_meridian",
    "longitude_of_projection_origin",
    "north_pole_grid_longitude",
    "perspective_point_height",
    "prime_meridian_name",
    "projected_crs_name",
    "reference_ellipsoid_name",
    "scale_factor_at_central_meridian",
    "scale_factor_at_projection_origin",
    "semi_major_axis",
    "semi_minor_axis",
    "standard_parallel",
    "straight_vertical_longitude_from_pole",
    "sweep_angle_axis",
    "towgs84",
)
_METRES = {"": 1.0, "m": 1.0, "meter": 1.0, "meters": 1.0, "metre": 1.0, "metres": 1.0}
_METRES |= {"km": 1000.0, "kilometer": 1000.0, "kilometers": 1000.0, "kilometre": 1000.0, "kilometres": 1000.0}


def cleaned(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CF attributes of a grid mapping as text, numbers and lists of numbers, the same after any file.

    Raises
    ------
    DataError
        If they don't name a mapping.
    """
    mapping = {key: _plain(value) for key, value in attributes.items() if key in _KNOWN}
    if "crs_wkt" not in mapping and attributes.get("spatial_ref"):
        mapping["crs_wkt"] = str(attributes["spatial_ref"])
    if "grid_mapping_name" not in mapping:
        if "crs_wkt" not in mapping:
            raise DataError("the grid mapping has neither grid_mapping_name nor crs_wkt")
        # What has only well-known text gets the CF attributes that say the same.
        from_text = crs(mapping).to_cf()
        mapping |= {key: _plain(value) for key, value in from_text.items() if key in _KNOWN and key != "crs_wkt"}
    return dict(sorted(mapping.items()))


def _plain(value: Any) -> Any:
    if isinstance(value, str | bytes):
        return value.decode() if isinstance(value, bytes) else value
    numbers = np.asarray(value, dtype=np.float64).ravel()
    return float(numbers[0]) if numbers.size == 1 else [float(number) for number in numbers]


def metres(units: str, where: str) -> float:
    """Return how many metres a unit of a projection's axis has.

    Raises
    ------
    DataError
        If it is no unit of length.
    """
    factor = _METRES.get(units.strip().lower())
    if factor is None:
        raise DataError(f"{where}: expected the unit m or km, found {units!r}")
    return factor


def in_metres(mapping: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return the mapping of axes in metres, of the mapping of axes in another unit, which its offsets are in too."""
    offsets = ("false_easting", "false_northing")
    return {key: value * factor if key in offsets else value for key, value in mapping.items()}


def crs(mapping: Mapping[str, Any]) -> pyproj.CRS:
    """Return the coordinate reference system of a grid mapping.

    Raises
    ------
    DataError
        If pyproj doesn't know it, or attributes are missing.
    """
    return _crs(tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in mapping.items()))


@cache
def library() -> ModuleType:
    """Return pyproj, imported so that it works beside eccodes.

    The wheels of both bring a PROJ library, that of eccodes with names seen by everybody: pyproj, loaded after it,
    would call the wrong one, and crash. So it is told to look for names in its own libraries first.
    """
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | getattr(os, "RTLD_DEEPBIND", 0))
    try:
        import pyproj
    finally:
        sys.setdlopenflags(flags)
    return pyproj


@lru_cache(maxsize=16)
def _crs(mapping: tuple[tuple[str, Any], ...]) -> pyproj.CRS:
    pyproj = library()
    attributes = {key: list(value) if isinstance(value, tuple) else value for key, value in mapping}
    try:
        return pyproj.CRS.from_cf(attributes)
    except (pyproj.exceptions.CRSError, KeyError, TypeError, ValueError) as error:
        name = attributes.get("grid_mapping_name", "crs_wkt")
        raise DataError(f"the grid mapping {name!r} can't be used: {error or type(error).__name__}") from error


def geographic(mapping: Mapping[str, Any], y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude of points, degrees, on the mapping's own ellipsoid.

    Parameters
    ----------
    mapping : mapping
        CF attributes.
    y, x : numpy.ndarray
        Degrees of a rotated pole, metres of a projection; shapes that broadcast to each other.

    Raises
    ------
    DataError
        If points lie beyond what the projection can show.
    """
    y, x = np.broadcast_arrays(y, x)
    if mapping["grid_mapping_name"] == ROTATED:
        return sphere.degrees(sphere.vectors(y, x) @ _rotation(mapping))
    system, unit = _plane(mapping)
    lon, lat = _transformer(system).transform(x / unit, y / unit)
    if not (np.all(np.isfinite(lat)) and np.all(np.isfinite(lon))):
        raise DataError(f"some cells lie outside what the projection {mapping['grid_mapping_name']} can show")
    return np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)


def projected(mapping: Mapping[str, Any], lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x of points in degrees, the inverse of ``geographic``; not finite where there is no such point."""
    if mapping["grid_mapping_name"] == ROTATED:
        return sphere.degrees(sphere.vectors(lat, lon) @ _rotation(mapping).T)
    system, unit = _plane(mapping)
    x, y = _transformer(system).transform(lon, lat, direction="INVERSE")
    return np.asarray(y) * unit, np.asarray(x) * unit


def authalic_radius(mapping: Mapping[str, Any]) -> float:
    """Return the radius, metres, of the sphere with the surface of the mapping's ellipsoid (Snyder 1987, eq. 3-13)."""
    ellipsoid = crs(mapping).ellipsoid
    if ellipsoid is None:
        raise DataError(f"the grid mapping {mapping['grid_mapping_name']} has no ellipsoid")
    major, minor = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
    squared = 1.0 - (minor / major) ** 2
    if squared < 1e-12:
        return float(major)
    eccentricity = np.sqrt(squared)
    return float(major * np.sqrt(0.5 * (1.0 + (1.0 - squared) / eccentricity * np.arctanh(eccentricity))))


def _rotation(mapping: Mapping[str, Any]) -> np.ndarray:
    """Return the matrix whose rows are the axes of the rotated grid, in geographic coordinates."""
    try:
        pole_lat, pole_lon = mapping["grid_north_pole_latitude"], mapping["grid_north_pole_longitude"]
    except KeyError as error:
        raise DataError(f"the grid mapping {ROTATED} has no attribute {error}") from error
    lat, lon = np.deg2rad(pole_lat), np.deg2rad(pole_lon)
    turn = np.deg2rad(mapping.get("north_pole_grid_longitude", 0.0))
    # The rotated origin lies a quarter of the way round from the pole, on the meridian through both north poles.
    origin = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    pole = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    axes = np.stack([origin, np.cross(pole, origin), pole])
    # That meridian has the rotated longitude `north_pole_grid_longitude`.
    about = np.array([[np.cos(turn), -np.sin(turn), 0.0], [np.sin(turn), np.cos(turn), 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(about @ axes)


def _plane(mapping: Mapping[str, Any]) -> tuple[pyproj.CRS, float]:
    system = crs(mapping)
    if not system.is_projected or not system.axis_info:
        return system, 1.0
    return system, float(system.axis_info[0].unit_conversion_factor)


@lru_cache(maxsize=16)
def _transformer(system: pyproj.CRS) -> pyproj.Transformer:
    return library().Transformer.from_crs(system, system.geodetic_crs, always_xy=True)
