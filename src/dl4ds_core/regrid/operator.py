"""Weights at work: sums over the source cells that have values, the nearest one where there are none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from dl4ds_core.regrid.sphere import nearest
from dl4ds_core.regrid.weights import Weights

#: Values (of the larger grid) that are multiplied at once: keeps working arrays, in double precision, small.
BLOCK_VALUES = 1_000_000

#: Rounding of shares that is forgiven.
SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class Operator:
    """Weights made ready to be applied to arrays (..., Y, X).

    Attributes
    ----------
    weights : Weights
        Where they come from.
    matrix, positive : scipy.sparse.csr_matrix
        Shape (target cells, source cells); rows sum to one or are empty. The second is without negative weights, for
        cells of which some source is missing: with those, sums of the remaining weights could be tiny.
    parts : numpy.ndarray
        Part of each target cell that the source covers, shape (target cells,).
    outside : numpy.ndarray
        Numbers of the target cells that the source doesn't cover enough.
    nearest : numpy.ndarray
        Number of the nearest source cell of each cell outside, shape (outside cells,).
    min_valid_fraction : float
        Cells have a value where at least this part of the weights meets values.
    """

    weights: Weights
    matrix: sparse.csr_matrix
    positive: sparse.csr_matrix
    parts: np.ndarray
    outside: np.ndarray
    nearest: np.ndarray
    min_valid_fraction: float

    @classmethod
    def of(cls, found: Weights, min_valid_fraction: float) -> Operator:
        """Prepare weights."""
        outside = np.flatnonzero(found.covered < min_valid_fraction - SLACK)
        inside = np.ones(found.covered.size)
        inside[outside] = 0.0
        kept = _normalised(sparse.diags(inside) @ found.matrix)
        positive = kept if kept.nnz == 0 or kept.data.min() >= 0 else _normalised(kept.maximum(0))
        closest = _closest(found, np.ones(found.source_lat.size, dtype=bool), outside)
        return cls(found, kept, positive, found.covered, outside, closest, min_valid_fraction)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return remapped values, float32, shape (..., Y, X) of the target."""
        leading = values.shape[:-2]
        steps = int(np.prod(leading))
        flat = values.reshape(steps, -1)
        result = np.empty((steps, self.matrix.shape[0]), dtype=np.float32)
        block = max(1, BLOCK_VALUES // max(self.matrix.shape))
        for start in range(0, steps, block):
            part = slice(start, start + block)
            result[part] = self._remapped(flat[part])
        return result.reshape(*leading, *self.weights.target_shape)

    def _remapped(self, values: np.ndarray) -> np.ndarray:
        """Return values of shape (steps, target cells) for values of shape (steps, source cells)."""
        columns = np.ascontiguousarray(values.T, dtype=np.float64)
        missing = np.isnan(columns)
        if not missing.any():
            result = self.matrix @ columns
            result[self.outside] = columns[self.nearest]
            return result.T
        result = self._over_valid(columns, ~missing)
        if self.outside.size:
            for steps, valid in _equal_masks(~missing):
                result[np.ix_(self.outside, steps)] = self._nearest_valid(columns[:, steps], valid)
        return result.T

    def _over_valid(self, columns: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return means over the cells that have a value, NaN where these are too few."""
        filled = np.where(valid, columns, 0.0)
        constant = valid[:, :1] if (valid == valid[:, :1]).all() else valid
        share = self.positive @ constant.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            result = (self.positive @ filled) / share
        if self.positive is not self.matrix:
            complete = abs(self.matrix) @ (~constant).astype(np.float64) == 0
            result = np.where(complete, self.matrix @ filled, result)
        result[np.broadcast_to(share * self.parts[:, None] < self.min_valid_fraction - SLACK, result.shape)] = np.nan
        return result

    def _nearest_valid(self, columns: np.ndarray, valid: np.ndarray) -> np.ndarray:
        if valid[self.nearest].all():
            return columns[self.nearest]
        if not valid.any():
            return np.full((self.outside.size, columns.shape[1]), np.nan)
        return columns[_closest(self.weights, valid, self.outside)]


def _closest(found: Weights, usable: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the number of the nearest usable source cell for each target cell outside."""
    if outside.size == 0:
        return outside
    cells = np.flatnonzero(usable)
    index, _ = nearest(
        found.source_lat[cells], found.source_lon[cells], found.target_lat[outside], found.target_lon[outside]
    )
    return cells[index]


def _normalised(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    total = np.asarray(matrix.sum(axis=1)).ravel()
    result = (sparse.diags(np.divide(1.0, total, out=np.zeros_like(total), where=total != 0)) @ matrix).tocsr()
    result.eliminate_zeros()
    return result


def _equal_masks(valid: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group the columns of a boolean array (cells, steps) by their content."""
    if (valid == valid[:, :1]).all():
        return [(np.arange(valid.shape[1]), valid[:, 0])]
    packed = np.packbits(valid, axis=0)
    _, first, group = np.unique(packed, axis=1, return_index=True, return_inverse=True)
    return [(np.flatnonzero(group.ravel() == number), valid[:, column]) for number, column in enumerate(first)]
