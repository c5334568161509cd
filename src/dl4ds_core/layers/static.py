"""Joining static fields to a batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class ConcatenateStatic(keras.layers.Layer):
    """Append static fields to the channels of every sample of a batch.

    Where they are the same for all samples, they come as a batch of one and are repeated here; patches have their own.

    Input shape
    -----------
    [(batch, height, width, channels), (1 or batch, height, width, fields)]

    Output shape
    ------------
    (batch, height, width, channels + fields)
    """

    def call(self, inputs: list[Any]) -> Any:
        """Repeat the static fields and append them."""
        x, static = inputs
        static = ops.broadcast_to(static, (ops.shape(x)[0], *static.shape[1:]))
        return ops.concatenate([x, ops.cast(static, x.dtype)], axis=-1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (batch, height, width, channels + fields)."""
        (batch, height, width, channels), static = input_shape
        return (batch, height, width, (channels or 0) + (static[-1] or 0))
