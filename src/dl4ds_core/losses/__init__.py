"""Losses per sample, written with ``keras.ops``; summed with weights as the configuration says.

To add a loss, write one function in the form of its neighbours, one entry of `_by_name` and its name in the type of
``training.loss``.
"""

from dl4ds_core.losses.cells import error_where_valid, mean_weight
from dl4ds_core.losses.likelihood import likelihood
from dl4ds_core.losses.structural import scale_count
from dl4ds_core.losses.weighted import NAMES, NEED_DATA_RANGE, PROBABILISTIC, weighted_loss

__all__ = [
    "NAMES",
    "NEED_DATA_RANGE",
    "PROBABILISTIC",
    "error_where_valid",
    "likelihood",
    "mean_weight",
    "scale_count",
    "weighted_loss",
]
