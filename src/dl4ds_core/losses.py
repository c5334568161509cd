"""Losses per sample, written with ``keras.ops``; summed with weights as the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

Loss = Callable[[Any], Any]


def _absolute(error: Any) -> Any:
    return ops.abs(error)


def _squared(error: Any) -> Any:
    return ops.square(error)


def _huber(error: Any) -> Any:
    """Quadratic below one normalised unit, linear above (Huber 1964, doi:10.1214/aoms/1177703732)."""
    size = ops.abs(error)
    return ops.where(size <= 1.0, 0.5 * ops.square(error), size - 0.5)


POINTWISE: dict[str, Loss] = {"mae": _absolute, "mse": _squared, "huber": _huber}


def weighted_loss(terms: Mapping[str, float]) -> Callable[[Any, Any, Any], Any]:
    """Return a weighted sum of losses as one function.

    Parameters
    ----------
    terms : mapping
        Weight by name of the loss (a key of ``POINTWISE``).

    Returns
    -------
    callable
        ``loss(truth, prediction, weights)`` with fields of shape (batch, height, width, channels) in normalised units
        and weights that can be broadcast to it: relative cell areas whose mean is one, (height, width, 1), or these
        times zeros where the truth is missing, (batch, height, width, channels). It returns the mean of weights times
        loss for each sample, shape (batch,). Sums of these, divided by the sums of the samples' `mean_weight`, are
        means over the valid area.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    unknown = [name for name in terms if name not in POINTWISE]
    if unknown:
        raise ValueError(f"expected losses among {', '.join(POINTWISE)}, found {unknown[0]!r}")

    def loss(truth: Any, prediction: Any, weights: Any) -> Any:
        error = error_where_valid(truth, prediction, weights)
        total = sum(weight * POINTWISE[name](error) for name, weight in terms.items())
        return ops.mean(total * weights, axis=(1, 2, 3))

    return loss


def error_where_valid(truth: Any, prediction: Any, weights: Any) -> Any:
    """Return prediction minus truth; zero, whatever the truth is, where weights per sample are zero.

    Multiplying by a weight of zero isn't enough: it leaves NaN where the truth is NaN or infinite.
    """
    error = prediction - truth
    return error if len(weights.shape) < 4 else ops.where(weights > 0, error, 0.0)


def mean_weight(weights: Any) -> Any:
    """Return the mean weight of each sample, shape (batch,), of weights of shape (batch, height, width, channels)."""
    return ops.mean(weights, axis=(1, 2, 3))
