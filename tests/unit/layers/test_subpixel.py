"""Channels become cells, as a rearrangement written out in numpy says."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.layers import PixelShuffle


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


@pytest.mark.parametrize("factor", [2, 3])
def test_what_every_layer_must_pass(check_layer, factor):
    check_layer(PixelShuffle, {"factor": factor}, (2, 3, 4, 5 * factor**2), (2, 3 * factor, 4 * factor, 5))


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 7, 11, 13])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_numbers_of_numpy(factor, channels):
    x = np.random.default_rng(1).normal(size=(2, 3, 4, factor**2 * channels)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(PixelShuffle(factor)(x)), depth_to_space(x, factor))


def test_channels_that_do_not_fill_the_blocks_are_refused():
    with pytest.raises(ValueError, match="expected a multiple of 9 channels, found 12"):
        PixelShuffle(3)(np.zeros((1, 2, 2, 12), np.float32))
