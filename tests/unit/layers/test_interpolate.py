"""Interpolation as a layer: the numbers of the matrices."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.interpolation import interpolation_matrix
from dl4ds_core.layers import Interpolate

METHODS = ("nearest", "bilinear", "bicubic")
SCALES = (2, 3, 4, 5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [2, 3])
def test_what_every_layer_must_pass(check_layer, method, scale):
    check_layer(Interpolate, {"method": method, "scale": scale}, (2, 4, 3, 2), (2, 4 * scale, 3 * scale, 2))


@pytest.mark.parametrize("method", METHODS)
def test_what_every_layer_must_pass_with_context(check_layer, method):
    arguments = {"method": method, "scale": 3, "context": 2}
    check_layer(Interpolate, arguments, (2, 6, 5, 2), (2, 6, 3, 2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", [1, 2])
def test_context_is_the_inner_part_of_a_larger_field(method, context):
    fields = np.random.default_rng(3).normal(size=(2, 7, 8, 3)).astype(np.float32)
    cells = 4 * context
    expected = np.asarray(Interpolate(method, 4)(fields))[:, cells:-cells, cells:-cells]
    np.testing.assert_allclose(np.asarray(Interpolate(method, 4, context)(fields)), expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_numbers_of_the_matrices(method, scale):
    fields = np.random.default_rng(3).normal(size=(3, 4, 6, 2)).astype(np.float32)
    found = np.asarray(Interpolate(method, scale)(fields))
    rows, columns = interpolation_matrix(method, 4, scale), interpolation_matrix(method, 6, scale)
    expected = np.einsum("ij,bjkc,lk->bilc", rows, fields, columns)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
def test_nearest_repeats_bit_by_bit(scale):
    fields = np.random.default_rng(3).normal(size=(2, 3, 4, 1)).astype(np.float32)
    expected = np.repeat(np.repeat(fields, scale, axis=1), scale, axis=2)
    np.testing.assert_array_equal(np.asarray(Interpolate("nearest", scale)(fields)), expected)


def test_channels_and_samples_do_not_mix():
    fields = np.zeros((2, 3, 4, 3), np.float32)
    fields[1, :, :, 2] = 1.0
    found = np.array(Interpolate("bicubic", 4)(fields))
    np.testing.assert_allclose(found[1, :, :, 2], 1.0, atol=1e-6)
    found[1, :, :, 2] = 0.0
    assert not found.any()


def test_a_grid_of_unknown_size_is_refused():
    with pytest.raises(ValueError, match="expected a fixed height and width"):
        Interpolate("bilinear", 2)(keras.Input((None, 4, 1)))
