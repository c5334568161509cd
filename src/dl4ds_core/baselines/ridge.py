"""Ridge regression of each fine cell on all coarse cells of all fields at once, in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.linalg import eigh

from dl4ds_core.baselines.cells import Pairs, Predict
from dl4ds_core.channels import filled
from dl4ds_core.regression import regressors

logger = logging.getLogger(__name__)

#: Penalties, as parts of the largest variance that a pattern of the coarse fields explains; the largest first.
PENALTIES = tuple(10.0 ** (-exponent / 2) for exponent in range(17))
#: Patterns of the coarse fields that are regressed on, at most: those of most variance.
PATTERNS = 500
#: Steps that are learned from, at most, where there are more coarse values than this.
STEPS = 3000
#: Memory for each of: the coarse values of the steps learned from; patterns and coefficients; predictions and truth of
#: the cells fitted at once.
BYTES = 1_000_000_000
#: Patterns with a smaller part of the largest variance are rounding.
CUTOFF = 1e-12
#: Numbers per cell, for the least number of valid steps: intercept and penalty.
NUMBERS = 2


def fit_ridge(pairs: Pairs) -> Predict:
    """Fit a ridge regression of the predictand on all coarse fields, and return what predicts by it.

    Regressors are the values of all coarse cells, those of the context included, in units of their standard deviation.
    The penalty of each fine cell is the one of ``PENALTIES`` with the least generalised cross-validation (Golub et al.
    1979), among those that leave at least as many steps as effective numbers. Each cell is fitted on its valid steps.

    The regression is one on the patterns (principal components) of the coarse fields. With all of them it is the same
    as on the cells themselves; of more than ``PATTERNS``, or than memory has room for, those of least variance are
    left out. Memory beyond the samples, and a mask of them, is about four times ``BYTES``, whatever the size of the
    grids and the length of the record: if need be, steps drawn at random stand for all. The log says what was left out.

    References
    ----------
    Hoerl, A. E. and Kennard, R. W. (1970). Ridge regression: biased estimation for nonorthogonal problems.
    doi:10.1080/00401706.1970.10488634
    Golub, G. H., Heath, M. and Wahba, G. (1979). Generalized cross-validation as a method for choosing a good ridge
    parameter. doi:10.1080/00401706.1979.10489751
    """
    names = regressors(pairs.coarse)
    size = sum(pairs.coarse[name][0].size for name in names)
    steps = _steps(pairs.coarse.sizes["time"], size)
    patterns = _fit_patterns(_flat(pairs.coarse.isel(time=steps), names), pairs.grid.size)
    scores = patterns.scores(_flat(pairs.coarse.isel(time=steps), names))
    truth = pairs.fine.values.reshape(len(pairs.fine), -1)
    slopes = np.zeros((scores.shape[1], truth.shape[1]))
    intercept = pairs.mean().ravel()
    for valid, cells in _alike(truth, steps, scores.shape[1]):
        slopes[:, cells], intercept[cells] = _ridge(scores[valid], truth[np.ix_(steps[valid], cells)])
    correct = pairs.where_enough(NUMBERS)

    def predict(fields: xr.Dataset) -> xr.DataArray:
        values = patterns.scores(_flat(fields, names)) @ slopes + intercept
        return pairs.prediction(correct(values.reshape(-1, *pairs.grid.shape)), fields)

    return predict


def _flat(fields: xr.Dataset, names: list[str]) -> np.ndarray:
    """Return the values of all coarse cells of all fields, filled, shape (time, value), float64."""
    parts = [filled(fields[name]).values.reshape(fields.sizes["time"], -1) for name in names]
    return np.concatenate(parts, axis=1, dtype=np.float64)


def _steps(number: int, size: int) -> np.ndarray:
    """Return which steps of so many with ``size`` coarse values each are learned from: all, unless they are too many.

    They are drawn at random: evenly spaced ones may all be of the same hour of the day.
    """
    most = max(1, BYTES // (8 * size))
    if size > STEPS:
        most = min(most, STEPS)
    if number <= most:
        return np.arange(number)
    logger.info("ridge: %d of %d training steps are learned from, drawn at random, to bound memory", most, number)
    return np.sort(np.random.default_rng(0).choice(number, most, replace=False))


@dataclass(frozen=True, eq=False)
class _Patterns:
    """Patterns of the coarse fields.

    Attributes
    ----------
    mean : numpy.ndarray
        Of each coarse value, shape (value,).
    vectors : numpy.ndarray
        What gives the scores, of departures from the mean, shape (value, pattern).
    """

    mean: np.ndarray
    vectors: np.ndarray

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return how strong each pattern is in coarse values (time, value), shape (time, pattern)."""
        return (values - self.mean) @ self.vectors


def _fit_patterns(values: np.ndarray, cells: int) -> _Patterns:
    """Fit the patterns of coarse values (time, value), which are changed, for so many fine cells."""
    mean = values.mean(axis=0)
    values -= mean
    spread = np.sqrt(np.einsum("tv,tv->v", values, values) / len(values))
    # Rounding leaves a trace of variance in a value that never changes.
    changes = spread > 1e-9 * np.abs(mean)
    unit = np.where(changes, 1.0 / np.where(changes, spread, 1.0), 0.0)
    values *= unit
    steps, size = values.shape
    wide = size > steps
    most = min(steps, size)
    number = max(1, min(most, PATTERNS, BYTES // (8 * (size + cells))))
    found, vectors = eigh(
        values @ values.T if wide else values.T @ values,
        subset_by_index=(most - number, most - 1),
        overwrite_a=True,
        check_finite=False,
    )
    kept = found > CUTOFF * found[-1]
    if number < most and kept.all():
        logger.info("ridge: the %d patterns of most variance, of %d, are regressed on", number, most)
    vectors = vectors[:, kept]
    if wide:
        vectors = values.T @ (vectors / np.sqrt(found[kept]))
    return _Patterns(mean, unit[:, None] * vectors)


def _alike(truth: np.ndarray, steps: np.ndarray, patterns: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield valid steps, as numbers among ``steps``, and the fine cells valid at just these, not too many at once."""
    known = ~np.isnan(truth)
    if len(steps) < len(truth):
        known = known[steps]
    same: dict[bytes, list[int]] = {}
    for cell, packed in enumerate(np.packbits(known, axis=0).T):
        same.setdefault(packed.tobytes(), []).append(cell)
    most = max(1, BYTES // (8 * (2 * len(steps) + 3 * patterns + len(PENALTIES))))
    for packed_bytes, cells in same.items():
        packed_steps = np.frombuffer(packed_bytes, dtype=np.uint8)
        valid = np.flatnonzero(np.unpackbits(packed_steps, count=len(steps)))
        for start in range(0, len(cells) if valid.size else 0, most):
            yield valid, np.array(cells[start : start + most])


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slopes (pattern, cell) and intercepts (cell,) for scores (time, pattern) and truth (time, cell)."""
    steps = len(x)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0, dtype=np.float64)
    x, y = x - x_mean, y - y_mean
    variance, axes = eigh(x.T @ x, overwrite_a=True, check_finite=False) if x.size else (np.zeros(0), np.eye(0))
    largest = variance.max(initial=0.0)
    kept = variance > CUTOFF * largest
    variance, axes = variance[kept], axes[:, kept]
    along = axes.T @ (x.T @ y)
    explained = along**2 / variance[:, None]
    unexplained = (y**2).sum(axis=0) - explained.sum(axis=0)
    penalties = largest * np.array(PENALTIES)
    shrunk = penalties[:, None] / (variance + penalties[:, None])  # shape (penalty, axis)
    free = steps - 1.0 - (1.0 - shrunk).sum(axis=1)
    # With few steps left over, cross-validation by formula is a quotient of two small numbers.
    sane = free >= steps / 2
    sane[0] = True
    score = (np.maximum(unexplained, 0.0) + shrunk[sane] ** 2 @ explained) / np.maximum(free[sane, None], 1e-3) ** 2
    chosen = penalties[sane][score.argmin(axis=0)]
    slopes = axes @ (along / (variance[:, None] + chosen))
    return slopes, y_mean - x_mean @ slopes
