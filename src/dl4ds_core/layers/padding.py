"""Padding: to sizes that can be halved, and back; and all around."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class PadToMultiple(keras.layers.Layer):
    """Repeat the last row and column until both sizes are multiples of a number.

    Parameters
    ----------
    multiple : int
        What height and width of the output are multiples of.

    Input shape
    -----------
    (batch, height, width, channels)

    Output shape
    ------------
    (batch, height + rows, width + columns, channels)
    """

    def __init__(self, multiple: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, inputs: Any) -> Any:
        """Pad at the bottom and at the right."""
        rows, columns = (-size % self.multiple for size in inputs.shape[1:3])
        x = inputs
        if rows:
            x = ops.concatenate([x, ops.repeat(x[:, -1:], rows, axis=1)], axis=1)
        if columns:
            x = ops.concatenate([x, ops.repeat(x[:, :, -1:], columns, axis=2)], axis=2)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the padded shape."""
        batch, height, width, channels = input_shape
        padded = [None if size is None else size + -size % self.multiple for size in (height, width)]
        return (batch, *padded, channels)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable("dl4ds_core")
class CropLike(keras.layers.Layer):
    """Keep the first rows and columns, as many as another field has: undoes ``PadToMultiple``.

    Input shape
    -----------
    [(batch, padded height, padded width, channels), (batch, height, width, any)]

    Output shape
    ------------
    (batch, height, width, channels)
    """

    def call(self, inputs: list[Any]) -> Any:
        """Crop at the bottom and at the right."""
        padded, like = inputs
        return padded[:, : like.shape[1], : like.shape[2]]

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (batch, height, width, channels)."""
        padded, like = input_shape
        return (*like[:-1], padded[-1])


@keras.saving.register_keras_serializable("dl4ds_core")
class RepeatEdges(keras.layers.Layer):
    """Repeat the outermost rows and columns on all four sides.

    Parameters
    ----------
    cells : int
        How often.

    Input shape
    -----------
    (batch, height, width, channels)

    Output shape
    ------------
    (batch, height + 2 * cells, width + 2 * cells, channels)
    """

    def __init__(self, cells: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = cells

    def call(self, inputs: Any) -> Any:
        """Pad rows, then columns."""
        x = inputs
        if self.cells:
            first, last = (ops.repeat(row, self.cells, axis=1) for row in (x[:, :1], x[:, -1:]))
            x = ops.concatenate([first, x, last], axis=1)
            first, last = (ops.repeat(column, self.cells, axis=2) for column in (x[:, :, :1], x[:, :, -1:]))
            x = ops.concatenate([first, x, last], axis=2)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, height + 2 * cells, width + 2 * cells, channels)."""
        batch, *sizes, channels = input_shape
        height, width = (None if size is None else size + 2 * self.cells for size in sizes)
        return (batch, height, width, channels)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "cells": self.cells}
