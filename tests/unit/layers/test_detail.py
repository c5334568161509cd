"""Detail: what a field has beyond the means of its blocks."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.layers import Detail


@pytest.mark.parametrize("scale", [2, 3])
def test_what_every_layer_must_pass(check_layer, scale):
    shape = (2, 2 * scale, 3 * scale, 2)
    check_layer(Detail, {"scale": scale}, shape, shape, 1)


def test_it_is_what_the_blocks_do_not_have():
    field = np.random.default_rng(1).normal(size=(3, 6, 9, 2)).astype(np.float32)
    layer = Detail(3)
    layer.build(field.shape)
    layer.set_deviations([0.5, 2.0])
    means = field.reshape(3, 2, 3, 3, 3, 2).mean(axis=(2, 4))
    expected = (field - means.repeat(3, axis=1).repeat(3, axis=2)) / [0.5, 2.0]
    np.testing.assert_allclose(layer(field), expected, atol=1e-5)
