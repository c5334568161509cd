"""What all losses share: weights of cells, and cells without truth.

Weights are relative cell areas whose mean is one, (height, width, 1), or these times zeros where the truth is missing,
(batch, height, width, channels); the last axis may be one long.
"""

from __future__ import annotations

from typing import Any

from keras import ops


def error_where_valid(truth: Any, prediction: Any, weights: Any) -> Any:
    """Return prediction minus truth; zero, whatever the truth is, where weights per sample are zero.

    Multiplying by a weight of zero isn't enough: it leaves NaN where the truth is NaN or infinite.
    """
    error = prediction - truth
    return error if len(weights.shape) < 4 else ops.where(weights > 0, error, 0.0)


def mean_weight(weights: Any) -> Any:
    """Return the mean weight of each sample, shape (batch,), of weights of shape (batch, height, width, channels)."""
    return ops.mean(weights, axis=(1, 2, 3))


def planes(truth: Any, prediction: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Return the three with the cells as last axes, for what works on whole fields.

    Parameters
    ----------
    truth, prediction : tensor
        (batch, height, width, channels).
    weights : tensor
        See the module.

    Returns
    -------
    tuple of tensor
        Each (batch, channels, height, width), of the weights the first two may be one long. Both fields are zero,
        whatever they were, where weights are zero.
    """
    weights = weights if len(weights.shape) == 4 else weights[None]
    truth, prediction, weights = (ops.transpose(field, (0, 3, 1, 2)) for field in (truth, prediction, weights))
    return ops.where(weights > 0, truth, 0.0), ops.where(weights > 0, prediction, 0.0), weights


def cell_mean(field: Any, weights: Any) -> Any:
    """Return the weighted mean over the cells, (batch, channels, 1, 1), of planes; zero where all weights are."""
    total = ops.sum(weights, axis=(2, 3), keepdims=True)
    return ops.sum(weights * field, axis=(2, 3), keepdims=True) / one_for_zero(total)


def one_for_zero(divisor: Any) -> Any:
    """Return a divisor that isn't negative, with ones for its zeros."""
    return ops.where(divisor > 0, divisor, 1.0)


def per_sample(losses: Any, weights: Any) -> Any:
    """Return the loss of each sample, (batch,), times its mean weight.

    Parameters
    ----------
    losses : tensor
        Of each channel, (batch, channels, 1, 1).
    weights : tensor
        As `planes` returns them.
    """
    return ops.mean(losses * ops.mean(weights, axis=(2, 3), keepdims=True), axis=(1, 2, 3))
