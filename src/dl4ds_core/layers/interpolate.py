"""Interpolation to the fine grid as a layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from dl4ds_core.interpolation import interpolation_matrix


@keras.saving.register_keras_serializable("dl4ds_core")
class Interpolate(keras.layers.Layer):
    """Interpolate a coarse field to the fine grid with fixed weights.

    The weights are those of the interpolation baselines (``dl4ds_core.interpolation``), in every backend.

    Parameters
    ----------
    method : {"nearest", "bilinear", "bicubic"}
        Interpolation method.
    scale : int
        Fine cells per coarse cell, along each axis.
    context : int
        Coarse cells on each side that are used but have no fine cells in the output.

    Input shape
    -----------
    (batch, height, width, channels)

    Output shape
    ------------
    (batch, (height - 2 * context) * scale, (width - 2 * context) * scale, channels)
    """

    def __init__(self, method: str, scale: int, context: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.method = method
        self.scale = scale
        self.context = context

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the matrices of both axes."""
        _, height, width, _ = input_shape
        if height is None or width is None:
            raise ValueError(f"expected a fixed height and width, found the input shape {input_shape}")
        self._rows = interpolation_matrix(self.method, height, self.scale, self.context)
        self._columns = interpolation_matrix(self.method, width, self.scale, self.context)

    def call(self, inputs: Any) -> Any:
        """Apply the matrices along both axes."""
        rows = ops.convert_to_tensor(self._rows, dtype=self.compute_dtype)
        columns = ops.convert_to_tensor(self._columns, dtype=self.compute_dtype)
        # Along the second axis first: a product with the last axis but one, which needs no transposition.
        wide = ops.matmul(columns, inputs)
        shape = ops.shape(wide)
        flat = ops.reshape(wide, (-1, shape[1], shape[2] * shape[3]))
        return ops.reshape(ops.matmul(rows, flat), (-1, rows.shape[0], shape[2], shape[3]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the output."""
        batch, *sizes, channels = input_shape
        height, width = (None if size is None else (size - 2 * self.context) * self.scale for size in sizes)
        return (batch, height, width, channels)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "method": self.method, "scale": self.scale, "context": self.context}
