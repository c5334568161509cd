"""The recurrent convolution: Keras' own numbers, and those of its equations."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.signal import correlate2d

from dl4ds_core.layers import ConvolutionalLSTM


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate one field (height, width, channels) with a kernel, zeros beyond the border."""
    pairs = [
        [correlate2d(x[..., i], kernel[..., i, o], mode="same") for i in range(kernel.shape[2])]
        for o in range(kernel.shape[3])
    ]
    return np.stack([np.sum(each, axis=0) for each in pairs], axis=-1)


def states(x: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """All states for one sample (window, height, width, channels), from the equations of Shi et al. (2015)."""

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    hidden = cell = np.zeros((*x.shape[1:3], bias.size // 4))
    result = []
    for field in x:
        i, f, c, o = np.split(convolved(field, kernel) + convolved(hidden, recurrent) + bias, 4, axis=-1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        hidden = sigmoid(o) * np.tanh(cell)
        result.append(hidden)
    return np.stack(result)


def random_weights(layer: ConvolutionalLSTM, shape: tuple[int, ...]) -> list[np.ndarray]:
    layer.build(shape)
    random = np.random.default_rng(5)
    layer.set_weights([0.3 * random.normal(size=weight.shape) for weight in layer.weights])
    return layer.get_weights()


@pytest.mark.parametrize("sequences", [True, False])
def test_what_every_layer_must_pass(check_layer, sequences):
    arguments = {"filters": 3, "kernel_size": 3, "return_sequences": sequences}
    expected = (2, 3, 4, 5, 3) if sequences else (2, 4, 5, 3)
    check_layer(ConvolutionalLSTM, arguments, (2, 3, 4, 5, 2), expected, weights=3)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_the_equations_in_numpy(window, size):
    x = np.random.default_rng(1).normal(size=(2, window, 4, 6, 2)).astype(np.float32)
    layer = ConvolutionalLSTM(3, size, return_sequences=True)
    weights = random_weights(layer, x.shape)
    expected = np.stack([states(sample, *weights) for sample in x.astype(np.float64)])
    np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=1e-5)
    last = ConvolutionalLSTM(3, size)
    last.build(x.shape)
    last.set_weights(weights)
    np.testing.assert_allclose(np.asarray(last(x)), expected[:, -1], atol=1e-5)


@pytest.mark.parametrize("sequences", [True, False])
def test_the_numbers_of_keras(sequences):
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 6, 2)).astype(np.float32)
    layer = ConvolutionalLSTM(3, 5, sequences)
    weights = random_weights(layer, x.shape)
    theirs = keras.layers.ConvLSTM2D(3, 5, padding="same", return_sequences=sequences)
    theirs.build(x.shape)
    theirs.set_weights(weights)
    np.testing.assert_allclose(np.asarray(layer(x)), np.asarray(theirs(x)), atol=1e-5)


def test_it_starts_as_that_of_keras_does(keras_reset):
    layer, theirs = ConvolutionalLSTM(4, 3), keras.layers.ConvLSTM2D(4, 3, padding="same")
    for each in (layer, theirs):
        each.build((None, 2, 5, 6, 3))
    for found, expected in zip(layer.get_weights(), theirs.get_weights(), strict=True):
        assert found.shape == expected.shape
        assert found.std() == pytest.approx(expected.std(), rel=0.1)
    np.testing.assert_array_equal(layer.get_weights()[2], theirs.get_weights()[2])
    # Orthogonal: rows of the flattened kernel are orthonormal.
    flat = layer.get_weights()[1].reshape(-1, 16)
    np.testing.assert_allclose(flat.T @ flat, np.eye(16), atol=1e-5)


def test_later_steps_do_not_reach_earlier_ones():
    x = np.random.default_rng(1).normal(size=(1, 3, 4, 5, 1)).astype(np.float32)
    layer = ConvolutionalLSTM(2, 3, return_sequences=True)
    random_weights(layer, x.shape)
    before, changed = np.asarray(layer(x)), x.copy()
    changed[:, 1] += 1.0
    after = np.asarray(layer(changed))
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert (np.abs(after - before)[:, 1:].max(axis=(0, 2, 3, 4)) > 1e-3).all()


def test_a_window_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="expected a fixed number of time steps"):
        ConvolutionalLSTM(2, 3)(keras.Input((None, 4, 5, 1)))
