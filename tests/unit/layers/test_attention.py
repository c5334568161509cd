"""Channel attention against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.layers import ChannelAttention

SHAPES = [(3, 4, 5, 8), (2, 3, 4, 5, 8)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_every_layer_must_pass(check_layer, shape):
    check_layer(ChannelAttention, {"reduction": 2}, shape, shape, weights=4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_numbers_of_numpy(shape, keras_reset):
    random = np.random.default_rng(1)
    x = random.normal(size=shape).astype(np.float32)
    layer = ChannelAttention(reduction=4)
    layer.build(shape)
    first, first_bias, second, second_bias = (random.normal(size=size) for size in ((8, 2), (2,), (2, 8), (8,)))
    layer.set_weights([first, first_bias, second, second_bias])
    means = x.mean(axis=(-3, -2))  # of each sample, and of each step of a window
    hidden = np.maximum(means @ first + first_bias, 0)
    weights = 1 / (1 + np.exp(-(hidden @ second + second_bias)))
    np.testing.assert_allclose(np.asarray(layer(x)), x * weights[..., None, None, :], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("channels", "hidden"), [(3, 1), (8, 2), (17, 4)])
def test_the_hidden_layer_is_never_empty(channels, hidden):
    layer = ChannelAttention()
    layer.build((None, 4, 5, channels))
    assert [weight.shape for weight in layer.weights] == [
        (channels, hidden),
        (hidden,),
        (hidden, channels),
        (channels,),
    ]
