"""A loss from the spatial spectra of fields."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from dl4ds_core.losses.cells import cell_mean, one_for_zero, per_sample, planes

SMALLEST = 1e-6
"""Amplitudes are rounded off below it, in normalised units: at zero their slope isn't defined."""


def spectral(truth: Any, prediction: Any, weights: Any) -> Any:
    r"""Mean over the wavenumbers of the absolute difference of the amplitudes of truth and prediction.

    .. math::
        \frac{1}{N} \sum_k \left| |F_t(k)| - |F_p(k)| \right|

    with the two-dimensional orthonormal Fourier transforms :math:`F` of the :math:`N` cells. From each field its
    weighted mean is subtracted. A Hann window along each axis tapers the rest, so that the jump from one edge of the
    domain to the other doesn't leak into all wavenumbers; missing cells are zero in both fields. The taper's mean
    square over the valid cells is one, so the mean square of the amplitudes is about the variance of the field, and
    the loss is comparable to a mean absolute error in normalised units.

    It knows neither means nor phases: a shifted or biased field may have the right spectrum. So it belongs beside a
    loss that compares cells.

    Parameters
    ----------
    truth, prediction : tensor
        (batch, height, width, channels) in normalised units.
    weights : tensor
        See `cells`.

    Returns
    -------
    tensor
        For each sample, times its mean weight, (batch,).
    """
    truth, prediction, weights = planes(truth, prediction, weights)
    valid = ops.cast(weights > 0, "float32")
    taper = valid * _hann(*truth.shape[2:])
    taper = taper / ops.sqrt(one_for_zero(ops.mean(taper * taper, axis=(2, 3), keepdims=True)))
    of_truth, of_prediction = (
        _amplitudes((field - cell_mean(field, weights)) * taper) for field in (truth, prediction)
    )
    return per_sample(ops.mean(ops.abs(of_prediction - of_truth), axis=(2, 3), keepdims=True), weights)


def _hann(rows: int, columns: int) -> np.ndarray:
    """Return the Hann window (rows, columns), taken at the middle of the cells: nowhere zero."""
    along_y, along_x = (np.sin(np.pi * (np.arange(cells) + 0.5) / cells) ** 2 for cells in (rows, columns))
    return np.outer(along_y, along_x).astype(np.float32)


def _amplitudes(field: Any) -> Any:
    """Return the amplitudes of the orthonormal transform over the last two axes."""
    real, imaginary = ops.fft2((field, ops.zeros_like(field)))
    rows, columns = field.shape[2:]
    return ops.sqrt((real * real + imaginary * imaginary) / (rows * columns) + SMALLEST**2)
