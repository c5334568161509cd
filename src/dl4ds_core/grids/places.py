"""The cells in which places lie."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dl4ds_core.errors import DataError
from dl4ds_core.grids.grid import Grid
from dl4ds_core.grids.sphere import kilometres, mean_spacing, vectors


def nearest_cells(
    grid: Grid, places: Mapping[str, tuple[float, float]], valid: np.ndarray | None = None
) -> dict[str, tuple[int, int]]:
    """Return row and column of the cell whose centre is nearest to each place.

    Parameters
    ----------
    grid : Grid
        Of the fields.
    places : mapping of str to tuple of float
        Latitude and longitude in degrees, by name.
    valid : numpy.ndarray, optional
        Cells that may be chosen, shape (Y, X), bool: a place at the coast may lie in one of the sea. By default all.

    Raises
    ------
    DataError
        If a place lies further from all centres than two cells, or no cell may be chosen.
    """
    points = vectors(grid.lat, grid.lon)
    size = max(mean_spacing(grid.lat, grid.lon))
    barred = np.zeros(grid.shape) if valid is None else np.where(valid, 0.0, np.inf)
    if not np.isfinite(barred).any():
        raise DataError("expected cells with values near the places, found none in the whole domain")
    found = {}
    for name, (lat, lon) in places.items():
        distances = kilometres(np.linalg.norm(points - vectors(np.asarray(lat), np.asarray(lon)), axis=-1))
        if distances.min() > 2 * size:
            raise DataError(
                f"verification.places.{name}: expected a place in the domain, found {lat:g} degrees north, "
                f"{lon:g} degrees east, {distances.min():.0f} km from the nearest cell; correct or remove it"
            )
        found[name] = divmod(int(np.argmin(distances + barred)), grid.shape[1])
    return found
