"""Weights of their own for every cell."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from dl4ds_core.layers.padding import RepeatEdges
from dl4ds_core.layers.subpixel import PixelShuffle

#: Differences between neighbours are roughly so many times smaller than values: this brings both to one size.
DIFFERENCES = 5.0


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
        shape = _fixed(input_shape)
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


@keras.saving.register_keras_serializable("dl4ds_core")
class LocalizedConvolution(keras.layers.Layer):
    """Convolve with a 1 x 1 kernel and biases of their own for every cell.

    Parameters
    ----------
    filters : int
        Channels of the output.

    Input shape
    -----------
    (batch, height, width, channels)

    Output shape
    ------------
    (batch, height, width, filters)

    References
    ----------
    González, C. A. G. (2023). DL4DS: deep learning for empirical downscaling. doi:10.1017/eds.2022.37
    """

    def __init__(self, filters: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernels, shape (height, width, channels, filters), and biases, shape (height, width, filters)."""
        height, width, channels = _fixed(input_shape)
        # All cells start alike: an initialiser would take height and width for the size of a kernel.
        start = self.kernel_initializer((channels, self.filters))
        self.kernel = self.add_weight(
            shape=(height, width, channels, self.filters),
            initializer=lambda shape, dtype=None: ops.broadcast_to(ops.cast(start, dtype or "float32"), shape),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(height, width, self.filters), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Multiply the channels of each cell by its own kernel."""
        return ops.einsum("bhwc,hwcf->bhwf", inputs, self.kernel) + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, height, width, filters)."""
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), "filters": self.filters, "kernel_initializer": initializer}


@keras.saving.register_keras_serializable("dl4ds_core")
class LocalizedRegression(keras.layers.Layer):
    """Predict each fine cell by a linear regression of its own on the coarse cells around it.

    Coarse cells beyond the field are those at its edge. Weights and biases start at zero. All but the middle cell come
    in as differences from it, which are less alike than the values themselves, so that training converges sooner.

    Parameters
    ----------
    outputs : int
        Predictands.
    scale : int
        Fine cells per coarse cell, along each axis.
    size : int
        Coarse cells of the neighbourhood along each axis; odd.
    context : int
        Coarse cells on each side that have no fine cells.

    Input shape
    -----------
    (batch, height, width, channels)

    Output shape
    ------------
    (batch, (height - 2 * context) * scale, (width - 2 * context) * scale, outputs)
    """

    def __init__(self, outputs: int, scale: int, size: int = 5, context: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if size % 2 == 0:
            raise ValueError(f"expected an odd size, found {size}")
        self.outputs = outputs
        self.scale = scale
        self.size = size
        self.context = context
        self.edges = RepeatEdges(max(size // 2 - context, 0), dtype=self.dtype_policy)
        self.cells = PixelShuffle(scale, dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights, shape (rows, columns, neighbours * channels, scale**2 * outputs), and biases."""
        height, width, channels = _fixed(input_shape)
        rows, columns = height - 2 * self.context, width - 2 * self.context
        results = self.scale**2 * self.outputs
        shape = (rows, columns, self.size**2 * channels, results)
        self.kernel = self.add_weight(shape=shape, initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=(rows, columns, results), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Gather the neighbours, regress, and put the results where they belong."""
        rows, columns = self.kernel.shape[:2]
        around = self.edges(inputs)
        first = max(self.context - self.size // 2, 0)
        moved = [
            around[:, first + row : first + row + rows, first + column : first + column + columns]
            for row in range(self.size)
            for column in range(self.size)
        ]
        middle = moved[len(moved) // 2]
        moved = [part if part is middle else (part - middle) * DIFFERENCES for part in moved]
        results = ops.einsum("byxn,yxnf->byxf", ops.concatenate(moved, axis=-1), self.kernel) + self.bias
        return self.cells(results)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape on the fine grid."""
        batch, *sizes, _ = input_shape
        height, width = (None if size is None else (size - 2 * self.context) * self.scale for size in sizes)
        return (batch, height, width, self.outputs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"outputs": self.outputs, "scale": self.scale, "size": self.size, "context": self.context}
        return {**super().get_config(), **own}


def _fixed(input_shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return height, width and channels.

    Raises
    ------
    ValueError
        If one of them isn't known.
    """
    sizes = tuple(size for size in input_shape[1:] if size is not None)
    if len(sizes) < len(input_shape) - 1:
        raise ValueError(f"expected a fixed height and width, found the input shape {input_shape}")
    return sizes
