"""The part of a source's grid that is needed for a target's, so that regridding reads no more."""

from __future__ import annotations

import numpy as np

from dl4ds_core.grids import sphere
from dl4ds_core.grids.axes import turned
from dl4ds_core.grids.grid import Grid

Box = tuple[slice, slice]


def needed_box(source: Grid, target: Grid, margin_cells: int = 2) -> Box:
    """Return the rows and columns of a source grid that lie around the cells of a target grid.

    Parameters
    ----------
    source, target : Grid
        Of any kinds.
    margin_cells : int
        Further cells of the source on each side, where it has any.

    Returns
    -------
    tuple of slice
        Rows and columns. Where the target lies on both ends of the source's longitudes, no single box holds the
        cells it needs, and all columns are returned.
    """
    lat, lon = _outline(target)
    if source.kind == "latlon":
        rows, columns = _of_axes(source, lat, lon)
    else:
        rows, columns = _nearest(source, lat, lon)
    return _widened(rows, margin_cells, source.shape[0]), _widened(columns, margin_cells, source.shape[1])


def _outline(target: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return centres, corners and middles of the sides of all cells, degrees, flat."""
    if target.kind == "latlon":
        parts = (np.concatenate(pair) for pair in zip(target.centres, target.edges, strict=True))
        lat, lon = np.meshgrid(*parts, indexing="ij")
        return lat.ravel(), lon.ravel()
    centres, corners = sphere.vectors(target.lat, target.lon), sphere.vectors(*target.corners)
    sides = sphere.normalised(corners + np.roll(corners, 1, axis=2))
    points = np.concatenate([part.reshape(-1, 3) for part in (centres, corners, sides)])
    return sphere.degrees(points)


def _of_axes(source: Grid, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last needed row and column of a latitude-longitude grid."""
    y, x = source.edges
    south, north = float(lat.min()), float(lat.max())
    every_column = np.array([0, source.shape[1] - 1])
    middle = x[0] + 0.5 * (x[-1] - x[0])
    moved = np.sort(turned(lon, middle - 180.0))
    gaps = np.diff(moved, append=moved[0] + 360.0)
    if gaps.max() < 90.0:
        # The target goes round the globe, and so may hold a pole, which no outline shows.
        south, north = (-90.0, north) if south + north < 0 else (south, 90.0)
        columns = every_column
    elif int(np.argmax(gaps)) != gaps.size - 1:
        columns = every_column
    else:
        columns = _holding(x, moved[0], moved[-1])
    return _holding(y, south, north), columns


def _holding(edges: np.ndarray, lower: float, upper: float) -> np.ndarray:
    # Rounding adds no cell.
    slack = 1e-6 * float(np.diff(edges).min())
    found = np.array([np.searchsorted(edges, lower + slack), np.searchsorted(edges, upper - slack)]) - 1
    return np.clip(found, 0, edges.size - 2)


def _nearest(source: Grid, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last row and column of the source's cells that are nearest to the points."""
    from scipy.spatial import cKDTree  # here because it is slow to import

    tree = cKDTree(sphere.vectors(source.lat, source.lon).reshape(-1, 3))
    _, cells = tree.query(sphere.vectors(lat, lon))
    rows, columns = np.unravel_index(cells, source.shape)
    return np.array([rows.min(), rows.max()]), np.array([columns.min(), columns.max()])


def _widened(ends: np.ndarray, margin: int, size: int) -> slice:
    return slice(max(0, int(ends[0]) - margin), min(size, int(ends[1]) + 1 + margin))
