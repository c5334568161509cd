"""What a field has beyond the coarse grid."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class Detail(keras.layers.Layer):
    """Departures of a field from its means over blocks and over neighbourhoods, in units of their standard deviation.

    Detail is small beside the field itself, and the finer the smaller: a network that is to judge it would have to find
    out first. Departures from means over few cells weigh waves about as the spectra of atmospheric fields fall off.

    Parameters
    ----------
    scale : int
        Cells of a block along each axis. Neighbourhoods are 3, 5, 9, 17 ... cells wide, up to ``scale + 1``.

    Input shape
    -----------
    (batch, height, width, channels); height and width are multiples of the scale

    Output shape
    ------------
    (batch, height, width, channels * (1 + neighbourhoods)), the blocks first
    """

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale
        self.widths = [2**power + 1 for power in range(1, scale.bit_length())]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make a place for the standard deviations, which `set_deviations` gives."""
        number = self.compute_output_shape(input_shape)[-1]
        self.deviations = self.add_weight(name="deviations", shape=(number,), initializer="ones", trainable=False)

    def set_deviations(self, deviations: Any) -> None:
        """Give the standard deviation of each channel of the output, (channels,); saved with the network."""
        self.deviations.assign(deviations)

    def call(self, inputs: Any, valid: Any = None) -> Any:
        """Take off the means; with ``valid`` (one, else zero) those of valid cells, of a field that is else zero."""
        return self.departures(inputs, valid) / ops.cast(self.deviations, inputs.dtype)

    def departures(self, inputs: Any, valid: Any = None) -> Any:
        """Return the departures in the units of the field, of the output's shape; zero in cells that aren't valid."""
        means = self._means(inputs)
        if valid is None:
            return ops.concatenate([inputs - mean for mean in means], axis=-1)
        # Where no cell is valid, the departure is multiplied by zero.
        means = [mean / ops.maximum(share, 1e-6) for mean, share in zip(means, self._means(valid), strict=True)]
        return ops.concatenate([(inputs - mean) * valid for mean in means], axis=-1)

    def _means(self, field: Any) -> list[Any]:
        blocks = ops.average_pool(field, self.scale, self.scale, padding="valid")
        blocks = ops.repeat(ops.repeat(blocks, self.scale, axis=1), self.scale, axis=2)
        return [blocks, *(ops.average_pool(field, width, 1, padding="same") for width in self.widths)]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape with the output's channels."""
        return (*input_shape[:-1], (input_shape[-1] or 0) * (1 + len(self.widths)))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}
