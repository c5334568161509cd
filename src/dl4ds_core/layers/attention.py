"""Channel attention."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class ChannelAttention(keras.layers.Layer):
    """Weigh each channel by a function of the means of all channels over the domain.

    Parameters
    ----------
    reduction : int
        The function has one hidden layer of so many times fewer channels, at least one.

    Input shape
    -----------
    (batch, ..., height, width, channels)

    Output shape
    ------------
    (batch, ..., height, width, channels)

    References
    ----------
    Hu, J., Shen, L. and Sun, G. (2018). Squeeze-and-excitation networks. doi:10.1109/CVPR.2018.00745
    Woo, S. et al. (2018). CBAM: convolutional block attention module. doi:10.1007/978-3-030-01234-2_1
    """

    def __init__(self, reduction: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reduction = reduction

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the two dense layers."""
        channels = input_shape[-1] or 0
        hidden = max(channels // self.reduction, 1)
        self.squeeze = keras.layers.Dense(hidden, activation="relu", name="squeeze", dtype=self.dtype_policy)
        self.excite = keras.layers.Dense(channels, activation="sigmoid", name="excite", dtype=self.dtype_policy)
        self.squeeze.build((*input_shape[:-3], 1, 1, channels))
        self.excite.build((*input_shape[:-3], 1, 1, hidden))

    def call(self, inputs: Any) -> Any:
        """Multiply by the weights."""
        return inputs * self.excite(self.squeeze(ops.mean(inputs, axis=(-3, -2), keepdims=True)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "reduction": self.reduction}
