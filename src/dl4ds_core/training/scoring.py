"""Scores of the validation period, in physical units: sums that ranks add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dl4ds_core.errors import TrainingError
from dl4ds_core.losses import error_where_valid
from dl4ds_core.scaling import Scaler
from dl4ds_core.training.ranges import NO_TRUTH


def physical_error(scalers: Sequence[Scaler]) -> Callable[[Any, Any, Any], Any]:
    """Return a function that gives errors in physical units.

    Parameters
    ----------
    scalers : sequence of Scaler
        One per predictand.

    Returns
    -------
    callable
        Of truth and prediction in normalised units, and weights as for a loss: prediction minus truth, (batch, Y, X,
        predictand), zero where the truth is missing.
    """
    factors = np.stack(np.broadcast_arrays(*[scaler.factor for scaler in scalers]), axis=-1).astype(np.float32)
    curved = [number for number, scaler in enumerate(scalers) if scaler.transform != "none"]

    def error(truth: Any, prediction: Any, weights: Any) -> Any:
        # Without the offsets, which cancel: they would cost digits.
        errors = (prediction - truth) * factors
        if curved:
            columns = tf.unstack(errors, axis=-1)
            for number in curved:
                of_prediction, of_truth = (
                    scalers[number].inverse(field[..., number], keras.ops) for field in (prediction, truth)
                )
                columns[number] = of_prediction - of_truth
            errors = tf.stack(columns, axis=-1)
        return error_where_valid(tf.zeros_like(errors), errors, weights)

    return error


def score_sums(losses: Any, errors: Any, cells: Any, weights: Any) -> tuple[Any, ...]:
    """Return sums over samples: of the loss; and by predictand of squared and absolute errors, and of valid area.

    Parameters
    ----------
    losses : tensor
        Shape (batch,).
    errors : tensor
        Shape (batch, Y, X, predictand).
    cells : tensor
        Relative areas, zero where the truth is missing, in a shape that can be broadcast to that of the errors.
    weights : tensor
        Shape (batch,): one for a sample, zero for padding.
    """
    valid = cells * tf.ones_like(errors)
    parts = [tf.reduce_mean(values, axis=(1, 2)) for values in (errors**2 * valid, tf.abs(errors) * valid, valid)]
    return tf.reduce_sum(losses * weights), *(tf.reduce_sum(part * weights[:, None], axis=0) for part in parts)


def scores(loss: np.ndarray, squares: np.ndarray, sizes: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Return loss, RMSE and MAE from the sums of all ranks, by their columns in the history.

    RMSE and MAE are over all valid area of all steps, in physical units; of several predictands, the mean.

    Raises
    ------
    TrainingError
        If there is no truth.
    """
    if not valid.all():
        raise TrainingError(NO_TRUTH.format("validation"))
    return {
        "validation_loss": float(loss / valid.mean()),
        "validation_rmse": float(np.sqrt(squares / valid).mean()),
        "validation_mae": float((sizes / valid).mean()),
    }
