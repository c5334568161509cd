"""Target cells that are among those of the source, so that nothing need be remapped."""

from __future__ import annotations

import numpy as np

from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import vectors

#: Rounding of coordinates that is forgiven, degrees or metres; files often have them in single precision.
SLACK = {"latlon": 4e-5, "rotated": 4e-5, "projected": 1.0}

#: For each row and each column of the target its number in the source, -1 for those beyond the source's edges.
Places = tuple[np.ndarray, np.ndarray]


def same_cells(source: Grid, target: Grid) -> Places | None:
    """Return where the target's rows and columns are in the source, or None if its cells are others.

    Rows and columns may lie beyond the source's edges, but not all of them. Longitudes may follow another convention.
    Centres are compared: of two files with one grid, often only one has bounds.
    """
    if source.kind == target.kind != "curvilinear" and source.mapping == target.mapping:
        return _along_axes(source, target)
    return None if "latlon" in (source.kind, target.kind) else _by_place(source, target)


def _along_axes(source: Grid, target: Grid) -> Places | None:
    slack = SLACK[source.kind]
    period = 360.0 if source.kind == "latlon" else None
    rows = _positions(source.centres[0], source.edges[0], target.centres[0], slack, None)
    columns = _positions(source.centres[1], source.edges[1], target.centres[1], slack, period)
    return None if rows is None or columns is None else (rows, columns)


def _positions(
    centres: np.ndarray, edges: np.ndarray, wanted: np.ndarray, slack: float, period: float | None
) -> np.ndarray | None:
    """Return where the wanted values stand in ascending centres, -1 beyond the edges.

    None unless all others are neighbours there: centres of a finer grid can coincide with those wanted, but its cells
    are smaller.
    """
    lowest = edges[0] - slack
    shifted = wanted if period is None else lowest + np.mod(wanted - lowest, period)
    after = np.clip(np.searchsorted(centres, shifted), 1, centres.size - 1)
    index = after - (shifted - centres[after - 1] < centres[after] - shifted)
    found = np.abs(centres[index] - shifted) <= slack
    beyond = (shifted < edges[0] - slack) | (shifted > edges[-1] + slack)
    if not found.any() or not np.all(found | beyond):
        return None
    there = index[found]
    adjoin = (np.diff(there) == 1) & (np.diff(np.flatnonzero(found)) == 1)
    if period is not None:
        adjoin |= (there[:-1] == centres.size - 1) & (there[1:] == 0)
    return np.where(found, index, -1) if adjoin.all() else None


def _by_place(source: Grid, target: Grid) -> Places | None:
    """Look for the target as a box of rows and columns of the source, by the places on the sphere."""
    here = vectors(source.lat, source.lon)
    wanted = vectors(target.lat, target.lon)
    row, column = np.unravel_index(int(np.argmax(here @ wanted[0, 0])), source.shape)
    rows, columns = row + np.arange(target.shape[0]), column + np.arange(target.shape[1])
    if rows[-1] >= source.shape[0] or columns[-1] >= source.shape[1]:
        return None
    distance = np.abs(here[row : rows[-1] + 1, column : columns[-1] + 1] - wanted).max()
    return (rows, columns) if distance <= np.deg2rad(SLACK["latlon"]) else None


def compact(index: np.ndarray) -> slice | np.ndarray:
    """Return a slice for adjoining cells: cheaper than a list, and no copy of the values."""
    return slice(int(index[0]), int(index[-1]) + 1) if np.all(np.diff(index) == 1) else index
