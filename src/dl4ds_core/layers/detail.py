"""What a field has beyond the coarse grid."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class Detail(keras.layers.Layer):
    """Departures of a field from the means of its blocks, in units of their standard deviation.

    Detail is small beside the field itself: a network that is to judge it would have to find out first.

    Parameters
    ----------
    scale : int
        Cells of a block along each axis.

    Input shape
    -----------
    (batch, height, width, channels); height and width are multiples of the scale

    Output shape
    ------------
    (batch, height, width, channels)
    """

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make a place for the standard deviations, which `set_deviations` gives."""
        self.deviations = self.add_weight(
            name="deviations", shape=(input_shape[-1],), initializer="ones", trainable=False
        )

    def set_deviations(self, deviations: Any) -> None:
        """Give the standard deviation of the detail of each channel, (channels,); saved with the network."""
        self.deviations.assign(deviations)

    def call(self, inputs: Any) -> Any:
        """Take off the means of the blocks."""
        means = ops.average_pool(inputs, self.scale, self.scale, padding="valid")
        blocks = ops.repeat(ops.repeat(means, self.scale, axis=1), self.scale, axis=2)
        return (inputs - blocks) / ops.cast(self.deviations, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}
