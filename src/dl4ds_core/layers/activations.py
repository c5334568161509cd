"""Activations that Keras has no name for."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class ConcatenatedReLU(keras.layers.Layer):
    """Keep positive and negative parts as channels of their own, so that there are twice as many.

    Input shape
    -----------
    (batch, ..., channels)

    Output shape
    ------------
    (batch, ..., 2 * channels)

    References
    ----------
    Shang, W. et al. (2016). Understanding and improving convolutional neural networks via concatenated rectified linear
    units. doi:10.48550/arXiv.1603.05201
    """

    def call(self, inputs: Any) -> Any:
        """Concatenate both parts."""
        return ops.concatenate([ops.relu(inputs), ops.relu(-inputs)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, ..., 2 * channels)."""
        return (*input_shape[:-1], 2 * (input_shape[-1] or 0))
