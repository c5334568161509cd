"""One weight and bias per cell."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.layers import LocalizedAffine


@pytest.mark.parametrize(("use_scale", "weights"), [(True, 2), (False, 1)])
def test_what_every_layer_must_pass(check_layer, use_scale, weights):
    check_layer(LocalizedAffine, {"use_scale": use_scale}, (2, 4, 3, 2), (2, 4, 3, 2), weights=weights)


@pytest.mark.parametrize("use_scale", [True, False])
def test_it_begins_as_the_identity(use_scale):
    fields = np.random.default_rng(1).normal(size=(3, 4, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(LocalizedAffine(use_scale)(fields)), fields)


@pytest.mark.parametrize("use_scale", [True, False])
def test_the_numbers_of_numpy(use_scale):
    random = np.random.default_rng(2)
    fields, scale, bias = (random.normal(size=size).astype(np.float32) for size in ((3, 4, 5, 2), (4, 5, 2), (4, 5, 2)))
    layer = LocalizedAffine(use_scale)
    layer.build(fields.shape)
    layer.set_weights([scale, bias] if use_scale else [bias])
    expected = (fields * scale if use_scale else fields) + bias
    np.testing.assert_allclose(np.asarray(layer(fields)), expected, rtol=1e-6)


def test_a_grid_of_unknown_size_is_refused():
    with pytest.raises(ValueError, match="expected a fixed height and width"):
        LocalizedAffine()(keras.Input((4, None, 1)))
