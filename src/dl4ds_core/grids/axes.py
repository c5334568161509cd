"""One-dimensional axes of cells: edges from bounds or from centres, further cells at the ends."""

from __future__ import annotations

import logging

import numpy as np

from dl4ds_core.errors import DataError

logger = logging.getLogger(__name__)

#: Bounds of neighbouring cells may differ by this share of a cell and still be one edge.
_SHARED = 1e-3


def middles(edges: np.ndarray) -> np.ndarray:
    """Return the middle of each cell."""
    return 0.5 * (edges[:-1] + edges[1:])


def checked(centres: np.ndarray, name: str) -> np.ndarray:
    """Return cell centres of an axis, in double precision.

    Raises
    ------
    DataError
        If there are fewer than two, or they aren't finite and strictly ascending.
    """
    centres = np.asarray(centres, dtype=np.float64)
    if centres.ndim != 1 or centres.size < 2:
        raise DataError(f"expected at least two cells along {name}, found {centres.size}")
    if not np.all(np.isfinite(centres)) or np.any(np.diff(centres) <= 0):
        raise DataError(f"expected finite, ascending values of {name}")
    return centres


def halfway(centres: np.ndarray) -> np.ndarray:
    """Return edges half way between centres; the outermost cells reach as far on both sides of their centres."""
    inner = middles(centres)
    return np.concatenate([[centres[0] - (inner[0] - centres[0])], inner, [centres[-1] + (centres[-1] - inner[-1])]])


def edges(centres: np.ndarray, pairs: np.ndarray | None, name: str, period: float | None = None) -> np.ndarray:
    """Return the edges of cells, shape (cells + 1,).

    Parameters
    ----------
    centres : numpy.ndarray
        Ascending, shape (cells,).
    pairs : numpy.ndarray, optional
        Bounds as files have them, shape (cells, 2), in either order. Where they don't hold the centres or leave
        gaps between cells, they are no edges of cells, and are not used.
    name : str
        Of the axis, for messages.
    period : float, optional
        Bounds may be off by multiples of this: 360 for longitudes.
    """
    if pairs is None:
        return halfway(centres)
    pairs = np.array(pairs, dtype=np.float64)
    if pairs.shape == (centres.size, 2) and np.all(np.isfinite(pairs)):
        if period is not None:
            pairs = near(pairs, centres[:, np.newaxis], period)
        pairs = np.sort(pairs, axis=1)
        slack = _SHARED * np.diff(centres)
        shared = np.all(np.abs(pairs[1:, 0] - pairs[:-1, 1]) <= slack)
        inside = np.all((pairs[:, 0] <= centres) & (centres <= pairs[:, 1]) & (pairs[:, 0] < pairs[:, 1]))
        if shared and inside:
            return np.append(pairs[:, 0], pairs[-1, 1])
    logger.warning("the bounds of %s are no edges of adjoining cells around the centres: they are not used", name)
    return halfway(centres)


def near(values: np.ndarray, reference: np.ndarray, period: float = 360.0) -> np.ndarray:
    """Return angles shifted by whole periods so that they lie within half a period of the reference."""
    turns = np.round((np.asarray(reference) - values) / period)
    return np.where(turns == 0, values, values + period * turns)


def extended(edges: np.ndarray, count: int) -> np.ndarray:
    """Return edges with ``count`` more cells at each end, as wide as the outermost ones."""
    steps = np.arange(1, count + 1)
    before = edges[0] - (edges[1] - edges[0]) * steps[::-1]
    after = edges[-1] + (edges[-1] - edges[-2]) * steps
    return np.concatenate([before, edges, after])


def spacing(centres: np.ndarray) -> tuple[float, bool]:
    """Return the mean spacing of centres and whether all are equal to it, to float32 rounding."""
    steps = np.diff(centres)
    mean = float((centres[-1] - centres[0]) / max(centres.size - 1, 1))
    rounding = 4 * float(np.finfo(np.float32).eps) * float(np.abs(centres).max())
    return mean, bool(np.all(np.abs(steps - mean) <= 1e-3 * mean + rounding))


def turned(lon: np.ndarray, west: float) -> np.ndarray:
    """Return longitudes from ``west`` to ``west + 360``, excluding the end; those there already keep every bit."""
    turns = np.floor((lon - west) / 360.0)
    return np.where(turns == 0, lon, lon - 360.0 * turns)
