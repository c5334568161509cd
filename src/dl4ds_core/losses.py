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
        ``loss(truth, prediction, area)`` with fields of shape (batch, height, width, channels) in normalised units and
        relative cell areas of shape (height, width, 1) whose mean is one; returns one value per sample, shape (batch,).

    Raises
    ------
    ValueError
        For an unknown name.
    """
    unknown = [name for name in terms if name not in POINTWISE]
    if unknown:
        raise ValueError(f"expected losses among {', '.join(POINTWISE)}, found {unknown[0]!r}")

    def loss(truth: Any, prediction: Any, area: Any) -> Any:
        error = prediction - truth
        total = sum(weight * POINTWISE[name](error) for name, weight in terms.items())
        return ops.mean(total * area, axis=(1, 2, 3))

    return loss
