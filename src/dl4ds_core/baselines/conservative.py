"""Conservative remapping to nested cells: the mean over each coarse cell stays what it is."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dl4ds_core.baselines.cells import Pairs, Predict
from dl4ds_core.channels import filled


def fit_conservative(pairs: Pairs) -> Predict:
    """Return second-order conservative remapping; nothing is fitted.

    A fine cell has the value of its coarse cell plus the gradient there times its distance from the centroid of the
    coarse cell (Jones 1999, equation 9). Gradients are differences between the centroids of the cells on either side,
    one-sided at the edge of what there is. As each coarse cell is divided into whole fine ones, first order would be
    `nearest`.

    Distances are counted in coarse cells, and centroids are means of the places of the fine cells, weighted by their
    areas; so the area-weighted mean over a coarse cell is its value to rounding, whatever the shape of the cells.
    Where values can't be negative, the gradient is as much smaller as it must be for the fine values to be so too,
    which keeps the mean.

    References
    ----------
    Jones, P. W. (1999). First- and second-order conservative remapping schemes for grids in spherical coordinates.
    doi:10.1175/1520-0493(1999)127<2204:FASOCR>2.0.CO;2
    """
    scale, context = pairs.scale, pairs.context
    areas = pairs.grid.cell_areas
    places = [_places(size, scale, axis) for axis, size in enumerate(areas.shape)]
    centroids = [_block_means(np.broadcast_to(place, areas.shape), areas, scale) for place in places]
    distances = [place - _spread(centroid, scale) for place, centroid in zip(places, centroids, strict=True)]

    def predict(fields: xr.Dataset) -> xr.DataArray:
        coarse = filled(fields[pairs.name]).values.astype(np.float64)
        change = np.zeros((len(coarse), *areas.shape))
        for axis, (centroid, distance) in enumerate(zip(centroids, distances, strict=True)):
            step = _spread(_gradient(coarse, centroid, context, axis - 2), scale)
            change += np.multiply(step, distance, out=step)
        inner = coarse[..., context : coarse.shape[-2] - context, context : coarse.shape[-1] - context]
        if pairs.non_negative:
            change *= _spread(_part(inner, change, scale), scale)
        change += _spread(inner, scale)
        return pairs.prediction(change, fields)

    return predict


def _places(size: int, scale: int, axis: int) -> np.ndarray:
    """Return the centres of fine cells along an axis as seen from the centre of their coarse cell, in coarse cells."""
    within = (np.arange(scale) + 0.5) / scale - 0.5
    return np.expand_dims(np.tile(within, size // scale), 1 - axis)


def _block_means(values: np.ndarray, weights: np.ndarray, scale: int) -> np.ndarray:
    rows, columns = weights.shape[0] // scale, weights.shape[1] // scale
    total, weight = (part.reshape(rows, scale, columns, scale).sum(axis=(1, 3)) for part in (values * weights, weights))
    return np.asarray(total / weight)


def _spread(values: np.ndarray, scale: int) -> np.ndarray:
    """Return coarse values (..., Y, X) in each of their fine cells."""
    return values.repeat(scale, axis=-2).repeat(scale, axis=-1)


def _gradient(values: np.ndarray, centroid: np.ndarray, context: int, axis: int) -> np.ndarray:
    """Return differences per coarse cell along an axis (-2 or -1), of values with context, in the cells without it."""
    size = values.shape[axis]
    # Of cells of the context no fine ones are known; centroids differ little between neighbours.
    position = np.pad(centroid, context, mode="edge") + np.expand_dims(np.arange(size), -3 - axis)
    before = np.maximum(np.arange(size) - 1, 0)
    after = np.minimum(np.arange(size) + 1, size - 1)
    rise, run = (np.take(part, after, axis) - np.take(part, before, axis) for part in (values, position))
    gradient = rise / run
    return gradient[..., context : gradient.shape[-2] - context, context : gradient.shape[-1] - context]


def _part(values: np.ndarray, change: np.ndarray, scale: int) -> np.ndarray:
    """Return which part of the changes of fine cells each coarse value, 0 or more, allows without going below 0."""
    rows, columns = values.shape[-2:]
    fall = -change.reshape(*change.shape[:-2], rows, scale, columns, scale).min(axis=(-3, -1))
    return np.divide(np.maximum(values, 0.0), fall, out=np.ones_like(fall), where=fall > np.maximum(values, 0.0))
