"""A number as many: sines and cosines of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class Waves(keras.layers.Layer):
    """Sines and cosines of a number at several frequencies, by which a network can tell its values apart.

    Parameters
    ----------
    frequencies : int
        How many, from 1 to ``highest``, evenly spread in their logarithm.
    highest : float
        The highest frequency, in radians per unit.

    Input shape
    -----------
    (batch, 1)

    Output shape
    ------------
    (batch, 2 * frequencies)

    References
    ----------
    Vaswani, A. et al. (2017). Attention is all you need. doi:10.48550/arXiv.1706.03762 (of positions)
    """

    def __init__(self, frequencies: int, highest: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frequencies, self.highest = frequencies, highest

    def call(self, inputs: Any) -> Any:
        """Multiply by the frequencies."""
        frequencies = np.geomspace(1.0, self.highest, self.frequencies)
        angles = inputs * ops.convert_to_tensor(frequencies[None], dtype=self.compute_dtype)
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, 2 * frequencies)."""
        return (*input_shape[:-1], 2 * self.frequencies)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "frequencies": self.frequencies, "highest": self.highest}
