"""The coastline of Natural Earth, where it is installed: in the folders in which cartopy keeps and looks for it."""

from __future__ import annotations

import logging
import os
import struct
import sys
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np

from dl4ds_core.grids import sphere

logger = logging.getLogger(__name__)

_BELOW = Path("shapefiles", "natural_earth", "physical")
# The scale of the map that suits a domain whose corners are so many degrees from its middle, from large to small.
_SCALES = ((30.0, "110m"), (6.0, "50m"), (0.0, "10m"))
_MARGIN = 1.1


def coastline(lat: np.ndarray, lon: np.ndarray) -> list[np.ndarray]:
    """Return the pieces of the coastline near some points; none where Natural Earth isn't installed.

    Parameters
    ----------
    lat, lon : numpy.ndarray
        Latitude and longitude of the cells of a map, degrees, of one shape.

    Returns
    -------
    list of numpy.ndarray
        Lines ``(point, 2)`` of latitude and longitude, degrees.
    """
    points = sphere.vectors(lat.ravel(), lon.ravel())
    middle = points.mean(axis=0)
    length = float(np.linalg.norm(middle))
    if length < 1e-6:  # the whole earth: any point is the middle
        middle, length = points[0], 1.0
    middle /= length
    radius = float(np.rad2deg(np.arccos(np.clip((points @ middle).min(), -1.0, 1.0))))
    path = _file(radius)
    if path is None:
        return []
    least = np.cos(np.deg2rad(min(_MARGIN * radius + 1.0, 180.0))) - 1e-9
    pieces = []
    for line in _lines(path, path.stat().st_mtime_ns):
        near = np.flatnonzero(sphere.vectors(line[:, 0], line[:, 1]) @ middle >= least)
        runs = np.split(near, np.flatnonzero(np.diff(near) > 1) + 1)
        pieces += [line[run] for run in runs if run.size > 1]
    return pieces


def _file(radius: float) -> Path | None:
    """Return the file whose scale is nearest to what suits a domain; None where there is none."""
    names = [name for _, name in _SCALES]
    wanted = names.index(next(name for least, name in _SCALES if radius >= least))
    for name in sorted(names, key=lambda each: abs(names.index(each) - wanted)):
        for folder in _folders():
            path = folder / _BELOW / f"ne_{name}_coastline.shp"
            if path.is_file():
                return path
    return None


def _folders() -> list[Path]:
    """Return where cartopy looks: a folder that is chosen, that of the environment, and that of the user."""
    chosen = os.environ.get("CARTOPY_DATA_DIR")
    own = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return [*([Path(chosen)] if chosen else []), Path(sys.prefix, "share", "cartopy"), Path(own, "cartopy")]


@lru_cache(maxsize=2)
def _lines(path: Path, changed: int) -> tuple[np.ndarray, ...]:  # noqa: ARG001
    """Read the lines of a file, latitude and longitude; none of a broken file: a map without is still a map."""
    import shapefile

    try:
        with warnings.catch_warnings(action="error"), path.open("rb") as file, shapefile.Reader(shp=file) as reader:
            shapes = [(np.asarray(shape.points, dtype=np.float64), shape.parts) for shape in reader.shapes()]
    except (OSError, ValueError, IndexError, struct.error, shapefile.ShapefileException, Warning) as error:
        logger.warning("%s: expected a shapefile, found none (%s); maps have no coastline", path, error)
        return ()
    return tuple(line[:, ::-1] for points, parts in shapes for line in np.split(points, parts[1:]) if len(line) > 1)
