"""Sub-pixel convolution against a rearrangement written out in numpy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.layers import SubpixelUpsampling
from dl4ds_core.layers.subpixel import _channels_to_cells, prime_factors


def depth_to_space(x: np.ndarray, factor: int) -> np.ndarray:
    """Cell (i, j) of a block takes the channels from (i * factor + j) * channels on."""
    batch, height, width, depth = x.shape
    channels = depth // factor**2
    result = np.empty((batch, height * factor, width * factor, channels), x.dtype)
    for i in range(factor):
        for j in range(factor):
            first = (i * factor + j) * channels
            result[:, i::factor, j::factor] = x[..., first : first + channels]
    return result


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3 x 3 cross-correlation with zeros beyond the border."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    shifted = [padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)]
    return np.sum(shifted, axis=0) + bias


@pytest.mark.parametrize("number", range(2, 17))
def test_prime_factors(number):
    factors = prime_factors(number)
    assert np.prod(factors) == number
    assert factors == sorted(factors)
    assert all(factor in (2, 3, 5, 7, 11, 13) for factor in factors)


@pytest.mark.parametrize(("scale", "weights"), [(2, 2), (3, 2), (4, 4), (5, 2), (6, 4), (8, 6)])
def test_what_every_layer_must_pass(check_layer, scale, weights):
    arguments = {"filters": 3, "scale": scale, "activation": "relu"}
    check_layer(SubpixelUpsampling, arguments, (2, 3, 4, 2), (2, 3 * scale, 4 * scale, 3), weights=weights)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_rearrangement(factor):
    x = np.random.default_rng(1).normal(size=(2, 3, 4, factor**2 * 2)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(_channels_to_cells(x, factor)), depth_to_space(x, factor))


@pytest.mark.parametrize("scale", [2, 3, 4, 6])
def test_the_numbers_of_numpy(keras_reset, scale):
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 2)).astype(np.float32)
    layer = SubpixelUpsampling(3, scale)
    found = np.asarray(layer(x))
    expected = x
    for number, factor in enumerate(prime_factors(scale)):
        kernel, bias = layer.weights[2 * number : 2 * number + 2]
        expected = np.maximum(expected, 0.0) if number else expected
        expected = depth_to_space(convolve(expected, kernel.numpy(), bias.numpy()), factor)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_stage_has_a_kernel_of_its_own(keras_reset):
    layer = SubpixelUpsampling(3, 4)
    layer.build((None, 3, 4, 2))
    first, second = (weight for weight in layer.weights if len(weight.shape) == 4)
    assert first.shape == (3, 3, 2, 12)
    assert second.shape == (3, 3, 3, 12)


def test_a_grid_of_unknown_size():
    symbol = keras.Input((None, None, 2))
    layer = SubpixelUpsampling(3, 2)
    model = keras.Model(symbol, layer(symbol))
    assert model(np.zeros((1, 5, 7, 2), np.float32)).shape == (1, 10, 14, 3)
