r"""Losses from the structural similarity of fields, on one scale and on several.

.. math::
    SSIM = l c, \quad
    l = \frac{2 \mu_t \mu_p + c_1}{\mu_t^2 + \mu_p^2 + c_1}, \quad
    c = \frac{2 \sigma_{tp} + c_2}{\sigma_t^2 + \sigma_p^2 + c_2}

with means, variances and the covariance of truth and prediction under a Gaussian window around each cell,
:math:`c_1 = (0.01 L)^2`, :math:`c_2 = (0.03 L)^2` and the data range :math:`L`.

*Zero.* The luminance :math:`l` compares means relative to zero, which in normalised units is arbitrary. Here both
fields are taken relative to the lower end of the data range, a number fixed before training.

*Borders and missing cells.* A window's weights are those of its valid cells inside the grid, divided by their sum
(normalised convolution; Knutsson and Westin 1993, doi:10.1109/CVPR.1993.341081). So no value is made up, and grids may
be smaller than the window.

Here fields are (batch, channels, height, width), see `cells.planes`.

References
----------
Wang, Z., Bovik, A. C., Sheikh, H. R. and Simoncelli, E. P. (2004). Image quality assessment: from error visibility to
structural similarity. IEEE Transactions on Image Processing, 13, 600-612. doi:10.1109/TIP.2003.819861

Wang, Z., Simoncelli, E. P. and Bovik, A. C. (2003). Multiscale structural similarity for image quality assessment.
Asilomar Conference on Signals, Systems and Computers, 1398-1402. doi:10.1109/ACSSC.2003.1292216
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from dl4ds_core.losses.cells import cell_mean, one_for_zero, per_sample, planes

WINDOW = 11
"""Width in cells of the Gaussian window."""

SIGMA = 1.5
"""Standard deviation in cells of that window."""

K1, K2 = 0.01, 0.03
"""Share of the data range that keeps luminance and contrast finite."""

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the similarities on the scales, the finest first."""

SMALLEST = 1e-3
"""Least similarity that is raised to a power, for smaller and negative ones too: at zero the slope is infinite."""


class _Pair(NamedTuple):
    """Two fields on one scale."""

    truth: Any
    """Relative to the mean of the truth over the sample, as is the prediction; zero where it is missing."""

    prediction: Any

    valid: Any
    """Valid share of each cell."""

    weights: Any


class _Zero(NamedTuple):
    """What luminance and contrast need besides the fields."""

    offset: Any
    """Mean of the truth over the sample minus the lower end of the data range, (batch, channels, 1, 1)."""

    span: Any
    """Data range, (channels, 1, 1)."""


def dssim(truth: Any, prediction: Any, weights: Any, *, data_range: Sequence[tuple[float, float]]) -> Any:
    """Structural dissimilarity ``(1 - SSIM) / 2``, between 0 (identical) and 1; mean over a sample's cells.

    Parameters
    ----------
    truth, prediction : tensor
        (batch, height, width, channels) in normalised units.
    weights : tensor
        See `cells`.
    data_range : sequence of tuple of float
        Lowest and highest truth of each channel, normalised.

    Returns
    -------
    tensor
        Mean of weights times dissimilarity for each sample, (batch,).

    Raises
    ------
    ValueError
        Without exactly one range per channel.
    """
    pair, zero = _pair(truth, prediction, weights, data_range)
    luminance, contrast = _similarity(pair, zero)
    return ops.mean(pair.weights * 0.5 * (1.0 - luminance * contrast), axis=(1, 2, 3))


def ms_dssim(truth: Any, prediction: Any, weights: Any, *, data_range: Sequence[tuple[float, float]]) -> Any:
    """Structural dissimilarity on several scales, ``(1 - MS-SSIM) / 2``, between 0 (identical) and 0.5.

    MS-SSIM is the product, over the scales, of powers of the mean contrast over the cells, and on the coarsest of the
    mean SSIM. From scale to scale blocks of 2 x 2 cells are averaged over their valid part. There are as many scales as
    `scale_count` says; the exponents of fewer than five are divided by their sum. With one scale this is `dssim`, but
    for means below ``SMALLEST``, which count as that.

    Parameters, returned values and exceptions are those of `dssim`.
    """
    pair, zero = _pair(truth, prediction, weights, data_range)
    exponents = EXPONENTS[: scale_count(*pair.truth.shape[2:])]
    similarity: Any = 1.0
    fine_weights = pair.weights
    for scale, exponent in enumerate(exponents, 1):
        luminance, contrast = _similarity(pair, zero)
        coarsest = scale == len(exponents)
        mean = cell_mean(luminance * contrast if coarsest else contrast, pair.weights)
        similarity = similarity * ops.power(ops.maximum(mean, SMALLEST), exponent / sum(exponents))
        pair = pair if coarsest else _halved(pair)
    return per_sample(0.5 * (1.0 - similarity), fine_weights)


def scale_count(height: int, width: int) -> int:
    """Return the number of scales of MS-SSIM: up to five, as long as the coarsest is 11 cells high and wide."""
    shorter, count = min(height, width), 1
    while count < len(EXPONENTS) and -(-shorter // 2) >= WINDOW:
        shorter, count = -(-shorter // 2), count + 1
    return count


def _pair(truth: Any, prediction: Any, weights: Any, data_range: Sequence[tuple[float, float]]) -> tuple[_Pair, _Zero]:
    channels = truth.shape[-1]
    if len(data_range) != channels:
        raise ValueError(f"expected a data range for each of {channels} channels, found {len(data_range)}")
    lowest, highest = np.asarray(data_range, np.float32).T[..., None, None]
    truth, prediction, weights = planes(truth, prediction, weights)
    # Variances don't depend on it, but come out as differences of larger numbers the farther the fields are from zero:
    # too large for GPUs that multiply matrices with 10 bits.
    middle = cell_mean(truth, weights)
    truth, prediction = (ops.where(weights > 0, field - middle, 0.0) for field in (truth, prediction))
    pair = _Pair(truth, prediction, ops.cast(weights > 0, "float32"), weights)
    return pair, _Zero(middle - lowest, highest - lowest)


def _similarity(pair: _Pair, zero: _Zero) -> tuple[Any, Any]:
    """Return luminance and contrast of the window around each cell."""
    truth, prediction, valid = pair.truth, pair.prediction, pair.valid
    products = [truth, prediction, truth * truth, prediction * prediction, truth * prediction]
    sums = _smooth(ops.stack(products, axis=1) * valid[:, None])
    means = sums / one_for_zero(_smooth(valid))[:, None]
    mean_t, mean_p, square_t, square_p, product = (means[:, number] for number in range(5))
    variances = square_t - mean_t * mean_t + square_p - mean_p * mean_p
    c2 = (K2 * zero.span) ** 2
    contrast = (2.0 * (product - mean_t * mean_p) + c2) / (variances + c2)
    mean_t, mean_p = mean_t + zero.offset, mean_p + zero.offset
    c1 = (K1 * zero.span) ** 2
    luminance = (2.0 * mean_t * mean_p + c1) / (mean_t * mean_t + mean_p * mean_p + c1)
    return luminance, contrast


def _smooth(fields: Any) -> Any:
    """Return sums under the window around each cell, of fields (..., height, width); outside of them is zero.

    Products with band matrices: on a CPU faster than convolutions, at 32 x 48 cells as at 256 x 256.
    """
    rows, columns = fields.shape[-2:]
    return ops.matmul(ops.matmul(_window(rows), fields), _window(columns))


def _window(cells: int) -> np.ndarray:
    """Return the window's weights, (cells, cells), along one axis of a grid."""
    distance = np.abs(np.subtract.outer(np.arange(cells), np.arange(cells)))
    gauss = np.exp(-0.5 * (np.arange(WINDOW // 2 + 1) / SIGMA) ** 2)
    gauss /= gauss[0] + 2 * gauss[1:].sum()
    inside = distance < len(gauss)
    return np.where(inside, gauss[np.where(inside, distance, 0)], 0.0).astype(np.float32)


def _halved(pair: _Pair) -> _Pair:
    """Return means over blocks of 2 x 2 cells, of the fields over their valid part."""
    share = _block_mean(pair.valid)
    truth, prediction = (
        _block_mean(field * pair.valid) / one_for_zero(share) for field in (pair.truth, pair.prediction)
    )
    return _Pair(truth, prediction, share, _block_mean(pair.weights))


def _block_mean(field: Any) -> Any:
    """Return means over blocks of 2 x 2 cells; blocks that reach over the edge are filled with zeros."""
    channels, rows, columns = field.shape[1:]
    field = ops.pad(field, ((0, 0), (0, 0), (0, rows % 2), (0, columns % 2)))
    blocks = ops.reshape(field, (-1, channels, (rows + 1) // 2, 2, (columns + 1) // 2, 2))
    return ops.mean(blocks, axis=(3, 5))
