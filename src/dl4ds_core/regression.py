"""Multiple linear regression of each fine cell on interpolated coarse fields, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dl4ds_core.channels import field_names
from dl4ds_core.interpolation import interpolated
from dl4ds_core.scaling import VALID_FRACTION

#: Memory for the interpolated fields of the cells that are fitted at once.
BLOCK_BYTES = 128_000_000
#: Directions whose variance is less than this part of the largest one are collinear and not used.
CUTOFF = 1e-10
METHOD = "bilinear"


def regressors(coarse: xr.Dataset) -> list[str]:
    """Return the names of the coarse fields that are regressed on: all but the valid parts of cells."""
    return [name for name in field_names(coarse) if not name.endswith(VALID_FRACTION)]


@dataclass(frozen=True)
class Regression:
    """Fitted coefficients.

    Attributes
    ----------
    slopes : numpy.ndarray
        Shape (field, Y, X), unit of the predictand per unit of the field.
    intercept : numpy.ndarray
        Shape (Y, X), unit of the predictand.
    scale, context : int
        Fine cells per coarse cell, and coarse cells around the domain.
    """

    slopes: np.ndarray
    intercept: np.ndarray
    scale: int
    context: int

    def predict(self, fields: Sequence[np.ndarray]) -> np.ndarray:
        """Return the prediction (time, Y, X), float64, of the coarse fields, each (time, Y, X)."""
        total = np.broadcast_to(self.intercept, (len(fields[0]), *self.intercept.shape)).copy()
        for slope, values in zip(self.slopes, fields, strict=True):
            total += slope * interpolated(values, METHOD, self.scale, self.context)
        return total


def fit_regression(fields: Sequence[np.ndarray], truth: np.ndarray, scale: int, context: int) -> Regression:
    """Fit ordinary least squares in each cell, over the steps at which it is valid.

    Collinear fields share what they explain: of all solutions this is the one of the smallest coefficients in
    standardised units. A field that never changes in a cell has no slope there.

    Parameters
    ----------
    fields : sequence of numpy.ndarray
        Coarse fields with context, each (time, Y, X), nothing missing.
    truth : numpy.ndarray
        Shape (time, Y, X) on the fine grid; NaN where missing.
    scale, context : int
        Fine cells per coarse cell, and coarse cells around the domain.

    Returns
    -------
    Regression
        NaN in cells without a valid step.
    """
    slopes = np.zeros((len(fields), *truth.shape[1:]))
    intercept = np.zeros(truth.shape[1:])
    height, width = truth.shape[1:]
    for block in _blocks((height, width), 8 * 3 * len(fields) * len(truth)):
        x = np.stack([interpolated(values, METHOD, scale, context, block) for values in fields], axis=-1)
        chosen = truth[(slice(None), *block)]
        # Cells first: a batch of small problems.
        x, y = (np.moveaxis(part.reshape(len(truth), chosen[0].size, -1), 0, 1) for part in (x, chosen))
        found, constant = _least_squares(x, y[..., 0].astype(np.float64))
        slopes[(slice(None), *block)] = found.T.reshape(-1, *chosen.shape[1:])
        intercept[block] = constant.reshape(chosen.shape[1:])
    return Regression(slopes, intercept, scale, context)


def _least_squares(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slopes (cell, field) and intercepts (cell,) for x (cell, time, field) and y (cell, time) with NaN."""
    valid = ~np.isnan(y)
    count = valid.sum(axis=1)
    share = np.divide(valid, count[:, None], out=np.zeros(valid.shape), where=count[:, None] > 0)[..., None]
    x_mean = (x * share).sum(axis=1, keepdims=True)
    y = np.where(valid, y, 0.0)[..., None]
    y_mean = (y * share).sum(axis=1, keepdims=True)
    x, y = x - x_mean, y - y_mean
    weighted = np.swapaxes(x * share, 1, 2)
    covariance, with_truth = weighted @ x, weighted @ y
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    # Rounding leaves a trace of variance in a field that never changes.
    changes = spread > 1e-9 * np.abs(x_mean[:, 0])
    unit = np.where(changes, 1.0 / np.where(changes, spread, 1.0), 0.0)
    correlation = covariance * unit[:, :, None] * unit[:, None, :]
    slopes = (np.linalg.pinv(correlation, rcond=CUTOFF, hermitian=True) @ (with_truth * unit[:, :, None]))[
        ..., 0
    ] * unit
    intercept = y_mean[:, 0, 0] - (slopes * x_mean[:, 0]).sum(axis=1)
    return slopes, np.where(count > 0, intercept, np.nan)


def _blocks(shape: tuple[int, int], bytes_per_cell: int) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of rows and columns, each of which needs no more than ``BLOCK_BYTES``, or is one cell."""
    cells = max(1, BLOCK_BYTES // bytes_per_cell)
    columns = min(shape[1], cells)
    rows = min(shape[0], max(1, cells // columns))
    for first_row in range(0, shape[0], rows):
        for first_column in range(0, shape[1], columns):
            yield slice(first_row, first_row + rows), slice(first_column, first_column + columns)
