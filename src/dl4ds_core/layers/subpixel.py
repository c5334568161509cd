"""Rearranging channels into cells."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class PixelShuffle(keras.layers.Layer):
    """Rearrange channels into blocks of cells: after a convolution, this is sub-pixel convolution.

    Cell (i, j) of a block takes the channels from (i * factor + j) * filters on.

    Parameters
    ----------
    factor : int
        Cells of a block along each axis.

    Input shape
    -----------
    (batch, height, width, factor**2 * filters)

    Output shape
    ------------
    (batch, height * factor, width * factor, filters)

    References
    ----------
    Shi, W. et al. (2016). Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network. doi:10.1109/CVPR.2016.207
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check the number of channels."""
        if (input_shape[-1] or 0) % self.factor**2:
            raise ValueError(f"expected a multiple of {self.factor**2} channels, found {input_shape[-1]}")

    def call(self, inputs: Any) -> Any:
        """Split the channels, and put the parts between the axes they belong to."""
        _, height, width, channels = inputs.shape
        factor, filters = self.factor, channels // self.factor**2
        x = ops.reshape(inputs, (-1, height, width, factor, factor, filters))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height * factor, width * factor, filters))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, height * factor, width * factor, filters)."""
        batch, *sizes, channels = input_shape
        height, width = (None if size is None else size * self.factor for size in sizes)
        return (batch, height, width, (channels or 0) // self.factor**2)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "factor": self.factor}
