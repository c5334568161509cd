"""Points and polygons on the unit sphere, as vectors: the date line and the poles are no special places there."""

from __future__ import annotations

import itertools

import numpy as np

from dl4ds_core.grids.axes import near

#: Mean radius of the earth in kilometres (IUGG).
EARTH_RADIUS = 6371.0088
#: Positions of the corners of a cell (below or above along y, along x), in the order of ``grid_corners``.
_POSITIONS = ((0, 0), (0, 1), (1, 1), (1, 0))


def vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Return unit vectors, shape (..., 3), of points in degrees."""
    latitude, longitude = np.broadcast_arrays(np.deg2rad(lat), np.deg2rad(lon))
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=-1
    )


def degrees(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude (-180 to 180) in degrees of vectors of any length, shape (..., 3)."""
    lat = np.arctan2(points[..., 2], np.hypot(points[..., 0], points[..., 1]))
    return np.rad2deg(lat), np.rad2deg(np.arctan2(points[..., 1], points[..., 0]))


def kilometres(chord: np.ndarray) -> np.ndarray:
    """Return the length on the earth's surface of chords of the unit sphere."""
    return 2 * EARTH_RADIUS * np.arcsin(np.clip(chord / 2, 0, 1))


def mean_spacing(lat: np.ndarray, lon: np.ndarray) -> tuple[float, float]:
    """Return the mean distance of neighbouring rows and columns of points ``(Y, X)`` in degrees, km."""
    points = vectors(lat, lon)
    rows, columns = (float(kilometres(np.linalg.norm(np.diff(points, axis=axis), axis=-1)).mean()) for axis in (0, 1))
    return rows, columns


def normalised(points: np.ndarray) -> np.ndarray:
    """Return vectors of length one."""
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def signed_areas(corners: np.ndarray) -> np.ndarray:
    """Return areas of quadrilaterals with great-circle sides, steradians; negative where corners go clockwise.

    Each is two triangles, whose solid angle is that of Van Oosterom and Strackee (1983,
    doi:10.1109/TBME.1983.325207). The triple product is taken of differences, so small cells keep their digits.

    Parameters
    ----------
    corners : numpy.ndarray
        Unit vectors, shape (..., 4, 3).
    """
    first, second, third, fourth = (corners[..., k, :] for k in range(4))
    return _triangle(first, second, third) + _triangle(first, third, fourth)


def _triangle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    volume = np.sum(a * np.cross(b - a, c - a), axis=-1)
    return 2.0 * np.arctan2(volume, 1.0 + np.sum(a * b + b * c + c * a, axis=-1))


def estimated_corners(centres: np.ndarray) -> np.ndarray:
    """Return the corners of cells known by their centres: the mean of the four centres around each.

    Parameters
    ----------
    centres : numpy.ndarray
        Unit vectors, shape (Y, X, 3).

    Returns
    -------
    numpy.ndarray
        Unit vectors, shape (Y + 1, X + 1, 3). At the edges of the grid the centres are continued linearly.
    """
    padded = centres
    for axis in (0, 1):
        first, second = (np.take(padded, [k], axis) for k in (0, 1))
        last, before = (np.take(padded, [k], axis) for k in (-1, -2))
        padded = np.concatenate([2 * first - second, padded, 2 * last - before], axis)
    return normalised(padded[:-1, :-1] + padded[:-1, 1:] + padded[1:, 1:] + padded[1:, :-1])


def grid_corners(corners: np.ndarray) -> np.ndarray:
    """Return the four corners of each cell, shape (Y, X, 4, ...), of a mesh of points (Y + 1, X + 1, ...).

    Their order is that of rising y and x: lower left, lower right, upper right, upper left.
    """
    rows, columns = corners.shape[0] - 1, corners.shape[1] - 1
    return np.stack([corners[j : j + rows, i : i + columns] for j, i in _POSITIONS], axis=2)


def in_grid_order(vertices: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return corners as files have them, in the order of ``grid_corners``.

    Files begin at any corner and go either way round: of the eight orders, the nearest to the corners estimated from
    the centres is taken.

    Parameters
    ----------
    vertices : numpy.ndarray
        Unit vectors, shape (Y, X, 4, 3).
    centres : numpy.ndarray
        Unit vectors, shape (Y, X, 3).
    """
    expected = grid_corners(estimated_corners(centres))
    orders = [np.roll(way, shift) for way, shift in itertools.product(([0, 1, 2, 3], [3, 2, 1, 0]), range(4))]
    # Of orders that are as near as each other the first is taken, so ordered corners stay as they are.
    return np.asarray(min(orders, key=lambda order: float(np.sum((vertices[:, :, order] - expected) ** 2))))


def counter_clockwise(corners: np.ndarray) -> np.ndarray:
    """Return the order in which corners go counter-clockwise, seen from outside; the first one stays the first."""
    upright = float(np.sum(signed_areas(corners))) >= 0
    return np.array([0, 1, 2, 3] if upright else [0, 3, 2, 1])


def near_centres(lon: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return longitudes of corners, shape (Y, X, 4), within 180 degrees of those of the centres, shape (Y, X)."""
    return near(lon, centres[..., np.newaxis])
