"""Weights of their own for every cell."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("dl4ds_core")
class LocalizedAffine(keras.layers.Layer):
    """Multiply by one weight and add one bias per cell and channel.

    Convolutions treat all places alike; orography and coasts don't. The weights start at one and the biases at zero,
    so that the layer begins as the identity.

    Parameters
    ----------
    use_scale : bool
        Whether to learn weights besides the biases.

    Input shape
    -----------
    (batch, height, width, channels)

    Output shape
    ------------
    (batch, height, width, channels)

    References
    ----------
    González, C. A. G. (2023). DL4DS: deep learning for empirical downscaling. doi:10.1017/eds.2022.37
    (the idea of a localized layer before the output).
    """

    def __init__(self, use_scale: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_scale = use_scale

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights, shape (height, width, channels)."""
        shape = tuple(input_shape[1:])
        if None in shape:
            raise ValueError(f"expected a fixed height and width, found the input shape {input_shape}")
        self.scale_weights = self.add_weight(shape=shape, initializer="ones", name="scale") if self.use_scale else None
        self.bias = self.add_weight(shape=shape, initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Apply weights and biases."""
        scaled = inputs * self.scale_weights if self.scale_weights is not None else inputs
        return scaled + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "use_scale": self.use_scale}
