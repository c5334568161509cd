"""The blocks of the networks written out in numpy, from their definitions, for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf

Array = np.ndarray
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "crelu": lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=-1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "none": lambda x: x,
}


def convolve(x: Array, kernel: Array, bias: Array | float = 0.0) -> Array:
    """Cross-correlation of (..., Y, X, in) with a kernel (odd, odd, in, out), zeros beyond the border."""
    rows, columns = (size // 2 for size in kernel.shape[:2])
    padded = np.pad(x, [(0, 0)] * (x.ndim - 3) + [(rows, rows), (columns, columns), (0, 0)])
    windows = sliding_window_view(padded, kernel.shape[:2], axis=(-3, -2))  # (..., Y, X, in, i, j)
    return np.einsum("...cij,ijcf->...f", windows, kernel, optimize=True) + bias


def convolve_each(x: Array, kernel: Array, bias: Array) -> Array:
    """Convolve each channel by its own kernel (odd, odd, channel, 1)."""
    return np.stack([convolve(x[..., [c]], kernel[:, :, [c]], bias[c])[..., 0] for c in range(x.shape[-1])], axis=-1)


def transposed(x: Array, kernel: Array, bias: Array, stride: int) -> Array:
    """Put zeros between the cells, then convolve with the flipped kernel (size, size, out, in), size = 2 * stride."""
    batch, rows, columns, channels = x.shape
    spread = np.zeros((batch, (rows - 1) * stride + 1, (columns - 1) * stride + 1, channels))
    spread[:, ::stride, ::stride] = x
    size = kernel.shape[0]
    padded = np.pad(spread, ((0, 0), (size - 1, size - 1), (size - 1, size - 1), (0, 0)))
    windows = sliding_window_view(padded, (size, size), axis=(1, 2))
    full = np.einsum("byxcij,ijfc->byxf", windows, kernel[::-1, ::-1], optimize=True)
    first = (size - stride) // 2
    return full[:, first : first + rows * stride, first : first + columns * stride] + bias


def shuffled(x: Array, factor: int) -> Array:
    """Cell (i, j) of a block takes the channels from (i * factor + j) * filters on."""
    filters = x.shape[-1] // factor**2
    result = np.empty((len(x), x.shape[1] * factor, x.shape[2] * factor, filters))
    for number in range(factor**2):
        i, j = divmod(number, factor)
        result[:, i::factor, j::factor] = x[..., number * filters : (number + 1) * filters]
    return result


def nearest(x: Array, factor: int) -> Array:
    return np.repeat(np.repeat(x, factor, axis=-3), factor, axis=-2)


def padded_to(x: Array, multiple: int) -> Array:
    rows, columns = (-size % multiple for size in x.shape[1:3])
    return np.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")


class Reference:
    """The networks of one model section, with the weights of one Keras model, found by the names of its layers.

    Interpolation is `nearest`; dropout, which does nothing at prediction, is left out.
    """

    def __init__(self, settings: Any, model: Any) -> None:
        self.settings = settings
        convnext = settings.backbone == "convnext"
        self.activation = settings.activation or ("gelu" if convnext else "relu")
        self.norm = settings.norm or ("layer" if convnext else "none")
        self.weights = {layer.name: [np.asarray(w, np.float64) for w in layer.get_weights()] for layer in model.layers}
        self.used: set[str] = set()

    def of(self, name: str) -> list[Array]:
        self.used.add(name)
        return self.weights[name]

    @property
    def unused(self) -> set[str]:
        """Layers with weights that the reference knows nothing of."""
        return {name for name, weights in self.weights.items() if weights} - self.used

    def filters(self, block: int) -> int:
        return self.settings.filters * (block if self.settings.widen else 1)

    def act(self, x: Array) -> Array:
        return ACTIVATIONS[self.activation](x)

    def normal(self, x: Array, name: str) -> Array:
        if self.norm == "none":
            return x
        if self.norm == "batch":
            gamma, beta, mean, variance = self.of(f"{name}_norm")
            return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
        gamma, beta = self.of(f"{name}_norm")
        centred = x - x.mean(axis=-1, keepdims=True)
        return gamma * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) + beta

    def attend(self, x: Array, name: str) -> Array:
        if not self.settings.attention:
            return x
        first, first_bias, second, second_bias = self.of(f"{name}_attention")
        hidden = np.maximum(x.mean(axis=(-3, -2)) @ first + first_bias, 0)
        return x / (1 + np.exp(-(hidden @ second + second_bias)))[..., None, None, :]

    def conv_norm_act(self, x: Array, name: str) -> Array:
        return self.act(self.normal(convolve(x, *self.of(name)), name))

    def double(self, x: Array, name: str) -> Array:
        return self.attend(self.conv_norm_act(self.conv_norm_act(x, f"{name}_a"), f"{name}_b"), name)

    def add(self, x: Array, y: Array, filters: int, name: str) -> Array:
        return y + (x if x.shape[-1] == filters else convolve(x, *self.of(f"{name}_projection")))

    def convnet(self, x: Array) -> Array:
        x = self.conv_norm_act(x, "stem")
        for block in range(1, self.settings.blocks + 1):
            x = self.double(x, f"block{block}")
        return x

    def resnet(self, x: Array) -> Array:
        x = convolve(x, *self.of("stem"))
        for block in range(1, self.settings.blocks + 1):
            name = f"block{block}"
            y = self.conv_norm_act(x, f"{name}_a")
            y = self.normal(convolve(y, *self.of(f"{name}_b")), f"{name}_b")
            x = self.add(x, self.attend(y, name), self.filters(block), name)
        return x

    def densenet(self, x: Array) -> Array:
        stem = x = convolve(x, *self.of("stem"))
        for block in range(1, self.settings.blocks + 1):
            name = f"block{block}"
            y = convolve(self.act(self.normal(x, f"{name}_a")), *self.of(f"{name}_a"))
            y = convolve(self.act(self.normal(y, f"{name}_b")), *self.of(f"{name}_b"))
            x = np.concatenate([self.attend(y, name), x], axis=-1)
            x = self.conv_norm_act(x, f"{name}_transition")
        return self.conv_norm_act(np.concatenate([x, stem], axis=-1), "transition")

    def convnext(self, x: Array) -> Array:
        x = convolve(x, *self.of("stem"))
        for block in range(1, self.settings.blocks + 1):
            name = f"block{block}"
            y = self.normal(convolve_each(x, *self.of(f"{name}_depthwise")), name)
            (first, first_bias), (second, second_bias) = self.of(f"{name}_a"), self.of(f"{name}_b")
            y = self.act(y @ first + first_bias) @ second + second_bias
            x = self.add(x, self.attend(y, name), self.filters(block), name)
        return x

    def unet(self, x: Array) -> Array:
        rows, columns = x.shape[1:3]
        levels, skips = self.settings.blocks, []
        x = padded_to(x, 2**levels)
        for level in range(1, levels + 1):
            x = self.double(x, f"down{level}")
            skips.append(x)
            x = np.max([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=0)
        x = self.double(x, "bottom")
        for level in range(levels, 0, -1):
            x = self.upsample(x, self.settings.decoder, [2], f"up{level}_doubled")
            x = self.double(np.concatenate([x, skips[level - 1]], axis=-1), f"up{level}")
        return x[:, :rows, :columns]

    def lstm(self, x: Array, name: str) -> Array:
        """All states (batch, window, Y, X, filters)."""
        kernel, recurrent, bias = self.of(name)
        states, cell, state = [], 0.0, np.zeros((len(x), *x.shape[2:4], bias.size // 4))
        for step in range(x.shape[1]):
            gates = convolve(x[:, step], kernel, bias) + convolve(state, recurrent)
            i, f, c, o = np.split(gates, 4, axis=-1)
            cell = cell / (1 + np.exp(-f)) + np.tanh(c) / (1 + np.exp(-i))
            state = np.tanh(cell) / (1 + np.exp(-o))
            states.append(state)
        return np.stack(states, axis=1)

    def recurrent(self, x: Array) -> Array:
        stem = None
        for name in ("stem", *(f"block{block}" for block in range(1, self.settings.blocks + 1))):
            for part in "ab":
                x = self.act(self.normal(self.lstm(x, f"{name}_{part}"), f"{name}_{part}"))
            stem = x if stem is None else stem
        x = self.attend(x[:, -1], "last")
        if self.settings.backbone == "convnet":
            return x
        stem = convolve(stem[:, -1], *self.of("stem_projection"))
        if self.settings.backbone == "resnet":
            return x + stem
        return self.conv_norm_act(np.concatenate([x, stem], axis=-1), "transition")

    def backbone(self, x: Array) -> Array:
        return self.recurrent(x) if self.settings.time_window else getattr(self, self.settings.backbone)(x)

    def upsample(self, x: Array, method: str, factors: list[int], name: str) -> Array:
        for number, factor in enumerate(factors, 1):
            stage = f"{name}{number}"
            if method == "spc":
                x = shuffled(convolve(x, *self.of(stage)), factor)
            elif method == "rc":
                x = convolve(nearest(x, factor), *self.of(stage))
            else:
                x = transposed(x, *self.of(stage), factor)
            x = self.act(x)
        return x

    def network(self, coarse: Array, static: Array | None, factors: list[int]) -> Array:
        """The whole network without context: for channels that are the coarse predictands."""
        settings = self.settings
        scale = int(np.prod(factors))
        last = coarse[:, -1] if settings.time_window else coarse
        early = static is not None and not settings.static_branch and settings.time_window is None
        if static is not None:
            static = np.broadcast_to(static, (len(coarse), *static.shape[1:]))
        if settings.upsampling == "pin":
            x = nearest(coarse, scale)
            x = self.backbone(np.concatenate([x, static], axis=-1) if early else x)
            static = None if early else static
        else:
            x = self.upsample(self.backbone(coarse), settings.upsampling, factors, "upsampling")
        x = self.own_fields(x, static)
        x = convolve(x, *self.of("output"))
        if settings.localized == "affine":
            scales, biases = self.of("localized")
            x = x * scales + biases
        if settings.localized == "regression":
            x = x + self.regression(last, scale)
        return x if settings.residual is False else x + nearest(last, scale)

    def regression(self, coarse: Array, scale: int) -> Array:
        """Each coarse cell's own linear map from the cells around it to the fine cells in it."""
        kernel, bias = self.of("localized")
        size = self.settings.neighbourhood
        around = np.pad(coarse, [(0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)], mode="edge")
        windows = np.moveaxis(sliding_window_view(around, (size, size), axis=(1, 2)), 3, -1)  # (b, y, x, i, j, c)
        inputs = 5.0 * (windows - coarse[:, :, :, None, None])
        inputs[:, :, :, size // 2, size // 2] = coarse
        results = np.einsum("byxn,yxnf->byxf", inputs.reshape(*coarse.shape[:3], -1), kernel) + bias
        return shuffled(results, scale)

    def own_fields(self, x: Array, static: Array | None) -> Array:
        parts = [x]
        if self.settings.localized == "convolution":
            local = self.conv_norm_act(x, "localized_reduced")
            kernel, bias = self.of("localized")
            parts.append(np.einsum("byxc,yxcf->byxf", local, kernel) + bias)
        if static is not None:
            parts.append(self.double(static, "static_branch") if self.settings.static_branch else static)
        return x if len(parts) == 1 else self.conv_norm_act(np.concatenate(parts, axis=-1), "mix")
