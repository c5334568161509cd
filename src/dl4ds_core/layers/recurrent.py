"""Convolutional LSTM for grids of any size."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("dl4ds_core")
class ConvolutionalLSTM(keras.layers.Layer):
    """A ConvLSTM whose weights are those of ``keras.layers.ConvLSTM2D``, which takes grids of one fixed size only.

    All steps of the window are convolved at once, and the short loop over them is written out, which is faster too.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int
        Cells of the kernels along each axis.
    return_sequences : bool
        Whether to return all steps, or the last one only.

    Input shape
    -----------
    (batch, window, height, width, channels)

    Output shape
    ------------
    (batch, window, height, width, filters), or (batch, height, width, filters) for the last step only

    References
    ----------
    Shi, X. et al. (2015). Convolutional LSTM network: a machine learning approach for precipitation nowcasting.
    doi:10.48550/arXiv.1506.04214
    """

    def __init__(self, filters: int, kernel_size: int, return_sequences: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.return_sequences = return_sequences

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernels for input and state, and biases, of the input, forget, cell and output gates."""
        window, channels = input_shape[1], input_shape[-1]
        if window is None:
            raise ValueError(f"expected a fixed number of time steps, found the input shape {input_shape}")
        size, gates = (self.kernel_size, self.kernel_size), 4 * self.filters
        self.kernel = self.add_weight(shape=(*size, channels, gates), initializer="glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(*size, self.filters, gates), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(gates,), initializer=_remembering, name="bias")

    def call(self, inputs: Any) -> Any:
        """Go through the steps, from a state of zeros."""
        _, window, height, width, channels = inputs.shape
        flat = ops.reshape(inputs, (-1, height, width, channels))
        driven = ops.conv(flat, self.kernel, padding="same") + self.bias
        driven = ops.reshape(driven, (-1, window, height, width, 4 * self.filters))
        state = cell = None
        states = []
        for step in range(window):
            gates = driven[:, step]
            if state is not None:
                gates = gates + ops.conv(state, self.recurrent_kernel, padding="same")
            kept, forgotten, new, shown = ops.split(gates, 4, axis=-1)
            fresh = ops.sigmoid(kept) * ops.tanh(new)
            cell = fresh if cell is None else ops.sigmoid(forgotten) * cell + fresh
            state = ops.sigmoid(shown) * ops.tanh(cell)
            states.append(state)
        return ops.stack(states, axis=1) if self.return_sequences else state

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the output."""
        batch, window, height, width, _ = input_shape
        steps = (window,) if self.return_sequences else ()
        return (batch, *steps, height, width, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "return_sequences": self.return_sequences,
        }
        return {**super().get_config(), **own}


def _remembering(shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Return biases of one for the forget gate, so that states last at first, and zero for the others."""
    part = (shape[0] // 4,)
    zeros, ones = ops.zeros(part, dtype), ops.ones(part, dtype)
    return ops.concatenate([zeros, ones, zeros, zeros])
