"""Static fields are joined to every sample."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.layers import ConcatenateStatic


@pytest.mark.parametrize("batch", [1, 3])
def test_what_every_layer_must_pass(check_layer, batch):
    check_layer(ConcatenateStatic, {}, [(batch, 4, 5, 2), (1, 4, 5, 3)], (batch, 4, 5, 5))


def test_fields_of_each_sample_pass_too(check_layer):
    check_layer(ConcatenateStatic, {}, [(3, 4, 5, 2), (3, 4, 5, 3)], (3, 4, 5, 5))


@pytest.mark.parametrize("batch", [1, 4])
def test_the_numbers_of_numpy(batch):
    random = np.random.default_rng(1)
    fields = random.normal(size=(batch, 4, 5, 2)).astype(np.float32)
    static = random.normal(size=(1, 4, 5, 3)).astype(np.float32)
    found = np.asarray(ConcatenateStatic()([fields, static]))
    np.testing.assert_array_equal(found, np.concatenate([fields, np.repeat(static, batch, axis=0)], axis=-1))


def test_patches_have_static_fields_of_their_own():
    random = np.random.default_rng(1)
    fields, static = (random.normal(size=(4, 3, 5, size)).astype(np.float32) for size in (2, 3))
    found = np.asarray(ConcatenateStatic()([fields, static]))
    np.testing.assert_array_equal(found, np.concatenate([fields, static], axis=-1))
