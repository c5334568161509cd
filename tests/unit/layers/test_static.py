"""Static fields are joined to every sample."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.layers import ConcatenateStatic


@pytest.mark.parametrize("batch", [1, 3])
def test_what_every_layer_must_pass(check_layer, batch):
    check_layer(ConcatenateStatic, {}, [(batch, 4, 5, 2), (1, 4, 5, 3)], (batch, 4, 5, 5))


@pytest.mark.parametrize("batch", [1, 4])
def test_the_numbers_of_numpy(batch):
    random = np.random.default_rng(1)
    fields = random.normal(size=(batch, 4, 5, 2)).astype(np.float32)
    static = random.normal(size=(1, 4, 5, 3)).astype(np.float32)
    found = np.asarray(ConcatenateStatic()([fields, static]))
    np.testing.assert_array_equal(found, np.concatenate([fields, np.repeat(static, batch, axis=0)], axis=-1))
