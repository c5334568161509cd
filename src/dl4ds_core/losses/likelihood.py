r"""Negative log likelihoods of distributions in each cell, whose parameters a network gives.

Predictions are what ``layers.DistributionParameters`` returns: (batch, height, width, channels), of each parameter the
channels of all predictands, the means first. Truth and weights are those of other losses, see `cells`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from dl4ds_core.losses.cells import error_where_valid
from dl4ds_core.losses.pointwise import pinball

DRY = 1e-5
"""Values above zero by no more than this, in normalised units, are zero."""

_STIRLING = (1 / 12, -1 / 360, 1 / 1260)
_SHIFT = 6


def likelihood(kind: str, *, zeros: Sequence[float] = (), levels: Sequence[float] = ()) -> Callable[..., Any]:
    """Return the loss of a kind of distribution.

    Parameters
    ----------
    kind : {"gaussian", "bernoulli-gamma", "quantiles"}
        As of ``layers.DistributionParameters``.
    zeros : sequence of float
        With bernoulli-gamma: what zero is of each predictand, in normalised units.
    levels : sequence of float
        With quantiles: of which.

    Returns
    -------
    callable
        ``loss(truth, prediction, weights)``, the mean of weights times loss for each sample, (batch,). Of quantiles it
        is the mean of their losses (Koenker and Bassett 1978), which is half the CRPS where they are many and evenly
        spread (Laio and Tamea 2007, doi:10.5194/hess-11-1267-2007).

    Raises
    ------
    ValueError
        For an unknown kind, and without zeros or levels where they are needed.
    """
    if kind == "gaussian":
        return gaussian
    if kind == "bernoulli-gamma" and len(zeros):
        return bernoulli_gamma(zeros)
    if kind == "quantiles" and len(levels):
        return quantiles(levels)
    raise ValueError(f"expected gaussian, bernoulli-gamma with zeros, or quantiles with levels; found {kind!r}")


def gaussian(truth: Any, prediction: Any, weights: Any) -> Any:
    """Negative log likelihood of a normal distribution with mean and standard deviation."""
    mean, deviation = ops.split(prediction, 2, axis=-1)
    ratio = error_where_valid(truth, mean, weights) / deviation
    each = 0.5 * ratio * ratio + ops.log(deviation) + 0.5 * math.log(2 * math.pi)
    return ops.mean(each * weights, axis=(1, 2, 3))


def bernoulli_gamma(zeros: Sequence[float]) -> Callable[[Any, Any, Any], Any]:
    """Return the negative log likelihood of values that are zero, or above it by a gamma distribution.

    Williams, P. M. (1998). Modelling seasonality and trends in daily rainfall data. Advances in Neural Information
    Processing Systems, 10, 985-991. Cannon, A. J. (2008). doi:10.1175/2008JHM960.1
    """

    def loss(truth: Any, prediction: Any, weights: Any) -> Any:
        _, probability, shape, scale = ops.split(prediction, 4, axis=-1)
        amount = error_where_valid(ops.convert_to_tensor(list(zeros), "float32"), truth, weights)
        wet = amount > DRY
        amount = ops.where(wet, amount, 1.0)
        density = (shape - 1.0) * ops.log(amount) - amount / scale - log_gamma(shape) - shape * ops.log(scale)
        each = ops.where(wet, ops.log(probability) + density, ops.log(1.0 - probability))
        return -ops.mean(each * weights, axis=(1, 2, 3))

    return loss


def quantiles(levels: Sequence[float]) -> Callable[[Any, Any, Any], Any]:
    """Return the mean of the losses of quantiles of some levels."""

    def loss(truth: Any, prediction: Any, weights: Any) -> Any:
        parts = ops.split(prediction, len(levels) + 1, axis=-1)[1:]
        each = [
            pinball(level)(error_where_valid(truth, part, weights)) for level, part in zip(levels, parts, strict=True)
        ]
        return ops.mean(sum(each) * weights, axis=(1, 2, 3)) / len(levels)

    return loss


def log_gamma(x: Any) -> Any:
    """Return the logarithm of the gamma function of positive numbers, which ``keras.ops`` lacks, to float32 accuracy.

    Stirling's series at ``x + 6``, brought back by the recurrence (Abramowitz and Stegun 1964, 6.1.15 and 6.1.41).
    """
    product: Any = 1.0
    for step in range(_SHIFT):
        product = product * (x + step)
    y = x + _SHIFT
    series = sum(factor / y ** (2 * number + 1) for number, factor in enumerate(_STIRLING))
    return (y - 0.5) * ops.log(y) - y + 0.5 * math.log(2 * math.pi) + series - ops.log(product)
