"""Losses that look at each cell by itself: functions of the error, prediction minus truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from dl4ds_core.losses.cells import error_where_valid


def of_error(function: Callable[[Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Return the loss that is the mean over a sample's cells of weights times a function of the error."""

    def loss(truth: Any, prediction: Any, weights: Any) -> Any:
        return ops.mean(function(error_where_valid(truth, prediction, weights)) * weights, axis=(1, 2, 3))

    return loss


def huber(error: Any) -> Any:
    """Quadratic below one normalised unit, linear above (Huber 1964, doi:10.1214/aoms/1177703732)."""
    size = ops.abs(error)
    return ops.where(size <= 1.0, 0.5 * ops.square(error), size - 0.5)


def pinball(quantile: float) -> Callable[[Any], Any]:
    """Return the loss whose mean a quantile minimises (Koenker and Bassett 1978, doi:10.2307/1913643).

    The error's size times ``quantile`` where the truth is above the prediction, times ``1 - quantile`` where it is
    below. With 0.5 it is half the absolute error.
    """

    def loss(error: Any) -> Any:
        return ops.abs(error) * ops.where(error < 0, quantile, 1.0 - quantile)

    return loss
