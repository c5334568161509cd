"""Nearest cells on the sphere."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import vectors


def nearest(lat: np.ndarray, lon: np.ndarray, at_lat: np.ndarray, at_lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of some points for each of others.

    Parameters
    ----------
    lat, lon : numpy.ndarray
        The points to choose from, degrees, shape (points,).
    at_lat, at_lon : numpy.ndarray
        The places, degrees, shape (places,).

    Returns
    -------
    tuple of numpy.ndarray
        Number of the nearest point and its distance as a chord of the unit sphere; shape (places,) each.
    """
    chord, index = cKDTree(vectors(lat, lon)).query(vectors(at_lat, at_lon))
    return index, chord


def beyond_cells(source: Grid, target: Grid) -> np.ndarray:
    """Tell which target centres lie beyond the source's cells; boolean, shape (target cells,).

    A centre counts as beyond where it is farther from the nearest source centre than that cell's farthest corner.
    """
    index, chord = nearest(source.lat.ravel(), source.lon.ravel(), target.lat.ravel(), target.lon.ravel())
    corners = vectors(*(part.reshape(-1, 4)[index] for part in source.corners))
    centres = vectors(source.lat.ravel()[index], source.lon.ravel()[index])
    reach = np.linalg.norm(corners - centres[:, None, :], axis=-1).max(axis=1)
    return np.asarray(chord > reach * (1 + 1e-6))
