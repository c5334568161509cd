"""Interpolation to the fine grid as a layer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import keras
import numpy as np
from keras import ops

from dl4ds_core.interpolation import interpolation_matrix


@keras.saving.register_keras_serializable("dl4ds_core")
class Interpolate(keras.layers.Layer):
    """Interpolate a coarse field to the fine grid with fixed weights.

    The weights are those of the interpolation baselines (``dl4ds_core.interpolation``), in every backend. A grid of a
    single cell along an axis is repeated.

    Parameters
    ----------
    method : {"nearest", "bilinear", "bicubic", "lanczos", "area"}
        Interpolation method.
    scale : int
        Fine cells per coarse cell, along each axis.
    context : int
        Coarse cells on each side that are used but have no fine cells in the output.

    Input shape
    -----------
    (batch, ..., height, width, channels), of any height and width

    Output shape
    ------------
    (batch, ..., (height - 2 * context) * scale, (width - 2 * context) * scale, channels)
    """

    def __init__(self, method: str, scale: int, context: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.method = method
        self.scale = scale
        self.context = context

    def call(self, inputs: Any) -> Any:
        """Apply the matrices along both axes."""
        *_, height, width, channels = inputs.shape
        rows, columns = (
            ops.convert_to_tensor(_matrix(self.method, size, self.scale, self.context), dtype=self.compute_dtype)
            for size in (height, width)
        )
        # Along the second axis first: a product with the last axis but one, which needs no transposition.
        wide = ops.matmul(columns, ops.reshape(inputs, (-1, height, width, channels)))
        flat = ops.reshape(wide, (-1, height, columns.shape[0] * channels))
        shape = (-1, *inputs.shape[1:-3], rows.shape[0], columns.shape[0], channels)
        return ops.reshape(ops.matmul(rows, flat), shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the output."""
        *leading, height, width, channels = input_shape
        sizes = (None if size is None else (size - 2 * self.context) * self.scale for size in (height, width))
        return (*leading, *sizes, channels)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "method": self.method, "scale": self.scale, "context": self.context}


@lru_cache(maxsize=64)
def _matrix(method: str, size: int, scale: int, context: int) -> np.ndarray:
    return np.ones((scale, 1)) if size == 1 and not context else interpolation_matrix(method, size, scale, context)
