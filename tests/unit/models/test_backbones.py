"""Backbones: blocks against a plain composition."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from dl4ds_core.models.backbones import BACKBONES

pytestmark = pytest.mark.usefixtures("keras_reset")


@pytest.mark.parametrize("name", list(BACKBONES))
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_features_on_the_same_grid(name, blocks):
    symbol = keras.Input((5, 7, 2))
    features = BACKBONES[name](symbol, filters=4, blocks=blocks)
    assert features.shape == (None, 5, 7, 4)


@pytest.mark.parametrize("blocks", [1, 3])
def test_residual_blocks_add_to_what_comes_in(blocks):
    symbol = keras.Input((5, 7, 2))
    model = keras.Model(symbol, BACKBONES["resnet"](symbol, filters=4, blocks=blocks))
    fields = np.random.default_rng(1).normal(size=(2, 5, 7, 2)).astype(np.float32)
    expected = model.get_layer("stem")(fields)
    for block in range(1, blocks + 1):
        first, second = (model.get_layer(f"block{block}_{part}") for part in "ab")
        inner = second(keras.ops.relu(keras.ops.conv(expected, first.kernel, padding="same") + first.bias))
        expected = expected + inner
    np.testing.assert_allclose(np.asarray(model(fields)), np.asarray(expected), atol=1e-5)
    assert len(model.weights) == 2 * (1 + 2 * blocks)
    assert model.get_layer(f"block{blocks}_b").activation is keras.activations.linear


def test_each_level_of_a_unet_has_its_skip_connection():
    symbol = keras.Input((8, 12, 1))
    model = keras.Model(symbol, BACKBONES["unet"](symbol, filters=4, blocks=2))
    for level, channels in ((1, 4), (2, 8)):
        skipped, repeated = model.get_layer(f"up{level}_skip").input
        assert skipped.shape[-1] == channels
        assert repeated is model.get_layer(f"down{level}_b").output
