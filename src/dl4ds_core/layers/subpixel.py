"""Upsampling by sub-pixel convolution."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def prime_factors(number: int) -> list[int]:
    """Return the prime factors in ascending order, such as [2, 2, 3] for 12."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


@keras.saving.register_keras_serializable("dl4ds_core")
class SubpixelUpsampling(keras.layers.Layer):
    """Upsample by convolutions whose channels are rearranged into cells.

    One stage per prime factor of the scale, each with a kernel of its own: scale 4 is two stages of factor 2.

    Parameters
    ----------
    filters : int
        Channels of the output.
    scale : int
        Fine cells per coarse cell, along each axis.
    activation : str
        After each stage but the last.

    Input shape
    -----------
    (batch, height, width, channels)

    Output shape
    ------------
    (batch, height * scale, width * scale, filters)

    References
    ----------
    Shi, W. et al. (2016). Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network. doi:10.1109/CVPR.2016.207
    """

    def __init__(self, filters: int, scale: int, activation: str = "relu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.scale = scale
        self.activation = activation
        self.factors = prime_factors(scale)
        self.convolutions = [
            keras.layers.Conv2D(filters * factor**2, 3, padding="same", name=f"stage{number}", dtype=self.dtype_policy)
            for number, factor in enumerate(self.factors, 1)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build one convolution per stage."""
        shape = input_shape
        for convolution, factor in zip(self.convolutions, self.factors, strict=True):
            convolution.build(shape)
            shape = _enlarged(shape, factor, self.filters)

    def call(self, inputs: Any) -> Any:
        """Convolve and rearrange, stage by stage."""
        x = inputs
        for number, (convolution, factor) in enumerate(zip(self.convolutions, self.factors, strict=True)):
            x = x if number == 0 else keras.activations.get(self.activation)(x)
            x = _channels_to_cells(convolution(x), factor)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, height * scale, width * scale, filters)."""
        return _enlarged(input_shape, self.scale, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "scale": self.scale,
            "activation": self.activation,
        }


def _enlarged(shape: tuple[int | None, ...], factor: int, channels: int) -> tuple[int | None, ...]:
    batch, height, width, _ = shape
    return (
        batch,
        None if height is None else height * factor,
        None if width is None else width * factor,
        channels,
    )


def _channels_to_cells(x: Any, factor: int) -> Any:
    """Rearrange (batch, height, width, factor**2 * filters) into (batch, height * factor, width * factor, filters)."""
    _, height, width, channels = x.shape
    if height is None or width is None:
        _, height, width, _ = ops.shape(x)
    channels //= factor**2
    x = ops.reshape(x, (-1, height, width, factor, factor, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height * factor, width * factor, channels))
