"""Concatenated ReLU."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.layers import ConcatenatedReLU


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 2, 5)], ids=str)
def test_what_every_layer_must_pass(check_layer, shape):
    check_layer(ConcatenatedReLU, {}, shape, (*shape[:-1], 10))


def test_positive_and_negative_parts_are_channels_of_their_own():
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    found = np.asarray(ConcatenatedReLU()(x))
    np.testing.assert_array_equal(found, np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=-1))
    np.testing.assert_array_equal(found[..., :5] - found[..., 5:], x)
