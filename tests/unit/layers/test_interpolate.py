"""Interpolation as a layer: the numbers of the matrices."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.interpolation import interpolation_matrix
from dl4ds_core.layers import Interpolate

METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "area")
SCALES = (2, 3, 4, 7)


@pytest.mark.parametrize("method", METHODS)
def test_what_every_layer_must_pass(check_layer, method):
    check_layer(Interpolate, {"method": method, "scale": 3}, (2, 4, 3, 2), (2, 12, 9, 2))


def test_what_every_layer_must_pass_with_context(check_layer):
    arguments = {"method": "bicubic", "scale": 3, "context": 2}
    check_layer(Interpolate, arguments, (2, 6, 5, 2), (2, 6, 3, 2))


def test_what_every_layer_must_pass_with_a_window(check_layer):
    check_layer(Interpolate, {"method": "lanczos", "scale": 2}, (2, 3, 4, 5, 2), (2, 3, 8, 10, 2))


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


@pytest.mark.parametrize("method", METHODS)
def test_each_step_of_a_window_is_a_field(method):
    fields = np.random.default_rng(3).normal(size=(2, 3, 4, 6, 2)).astype(np.float32)
    found = np.asarray(Interpolate(method, 3)(fields))
    for step in range(3):
        np.testing.assert_allclose(found[:, step], np.asarray(Interpolate(method, 3)(fields[:, step])), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_one_layer_serves_grids_of_any_size(method):
    symbol = keras.Input((None, None, 1))
    model = keras.Model(symbol, Interpolate(method, 3)(symbol))
    assert model.output_shape == (None, None, None, 1)
    for rows, columns in ((2, 5), (7, 3), (2, 5)):
        field = np.random.default_rng(rows).normal(size=(1, rows, columns, 1)).astype(np.float32)
        expected = interpolation_matrix(method, rows, 3) @ field[0, ..., 0] @ interpolation_matrix(method, columns, 3).T
        np.testing.assert_allclose(np.asarray(model(field))[0, ..., 0], expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 4), (4, 1), (1, 1)])
def test_a_single_cell_is_repeated(method, size):
    fields = np.random.default_rng(4).normal(size=(2, *size, 3)).astype(np.float32)
    found = np.asarray(Interpolate(method, 2)(fields))
    expected = fields
    for axis, length in zip((1, 2), size, strict=True):
        matrix = np.ones((2, 1)) if length == 1 else interpolation_matrix(method, length, 2)
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_context_that_leaves_no_cell_is_refused():
    for rows in (1, 2):
        with pytest.raises(ValueError, match=r"at least two coarse cells|leaves none of 2 coarse cells"):
            Interpolate("bilinear", 2, 1)(np.zeros((1, rows, 4, 1), np.float32))
