"""Weights of their own for every cell."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.layers import LocalizedAffine, LocalizedConvolution, LocalizedRegression
from dl4ds_core.layers.localized import DIFFERENCES


@pytest.mark.parametrize(("use_scale", "weights"), [(True, 2), (False, 1)])
def test_what_every_layer_must_pass(check_layer, use_scale, weights):
    check_layer(LocalizedAffine, {"use_scale": use_scale}, (2, 4, 3, 2), (2, 4, 3, 2), weights, any_grid=False)


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


@pytest.mark.parametrize("layer", [LocalizedAffine(), LocalizedConvolution(2)], ids=lambda layer: layer.name)
def test_a_grid_of_unknown_size_is_refused(layer):
    with pytest.raises(ValueError, match=r"expected a fixed height and width, found the input shape \(None, 4, None"):
        layer(keras.Input((4, None, 1)))


def test_the_convolution_passes_too(check_layer):
    check_layer(LocalizedConvolution, {"filters": 3}, (2, 4, 3, 2), (2, 4, 3, 3), weights=2, any_grid=False)


def test_each_cell_has_a_kernel_and_biases_of_its_own():
    random = np.random.default_rng(3)
    fields, kernel, bias = (random.normal(size=size).astype("f") for size in ((2, 3, 4, 2), (3, 4, 2, 5), (3, 4, 5)))
    layer = LocalizedConvolution(5)
    layer.build(fields.shape)
    layer.set_weights([kernel, bias])
    expected = np.empty((2, 3, 4, 5))
    for sample, row, column in np.ndindex(2, 3, 4):
        expected[sample, row, column] = fields[sample, row, column] @ kernel[row, column] + bias[row, column]
    np.testing.assert_allclose(np.asarray(layer(fields)), expected, atol=1e-5)


def test_all_cells_start_alike_and_as_a_convolution_would(keras_reset):
    layer = LocalizedConvolution(4)
    layer.build((None, 9, 8, 3))
    kernel, bias = layer.get_weights()
    np.testing.assert_array_equal(kernel, np.broadcast_to(kernel[0, 0], (9, 8, 3, 4)))
    assert not bias.any()
    # Glorot's limit for 3 channels in and 4 out; with the grid taken for a kernel it would be eight times smaller.
    limit = np.sqrt(6 / (3 + 4))
    assert limit / 4 < np.abs(kernel).max() <= limit


@pytest.mark.parametrize(("size", "context", "shape"), [(3, 0, (3, 4)), (5, 1, (4, 5)), (3, 2, (6, 7)), (1, 0, (2, 3))])
def test_the_regression_passes_too(check_layer, size, context, shape):
    arguments = {"outputs": 2, "scale": 3, "size": size, "context": context}
    fine = tuple(3 * (cells - 2 * context) for cells in shape)
    check_layer(LocalizedRegression, arguments, (2, *shape, 3), (2, *fine, 2), weights=2, any_grid=False)


@pytest.mark.parametrize(("size", "context"), [(1, 0), (3, 0), (5, 0), (5, 1), (3, 2)])
def test_each_fine_cell_is_a_regression_on_the_coarse_cells_around_it(size, context):
    random = np.random.default_rng(4)
    scale, outputs, fields = 2, 3, random.normal(size=(2, 6, 7, 2)).astype("f")
    layer = LocalizedRegression(outputs, scale, size, context)
    layer.build(fields.shape)
    kernel, bias = (random.normal(size=weight.shape).astype("f") for weight in layer.weights)
    layer.set_weights([kernel, bias])
    half = size // 2
    rows, columns = 6 - 2 * context, 7 - 2 * context
    expected = np.empty((2, rows * scale, columns * scale, outputs))
    for sample, row, column in np.ndindex(2, rows, columns):
        middle = fields[sample, row + context, column + context]
        inputs = []
        for down in range(-half, half + 1):
            for right in range(-half, half + 1):
                y, x = np.clip(row + context + down, 0, 5), np.clip(column + context + right, 0, 6)
                value = fields[sample, y, x]
                inputs.append(middle if down == right == 0 else DIFFERENCES * (value - middle))
        results = np.concatenate(inputs) @ kernel[row, column] + bias[row, column]
        block = results.reshape(scale, scale, outputs)
        expected[sample, row * scale : (row + 1) * scale, column * scale : (column + 1) * scale] = block
    np.testing.assert_allclose(np.asarray(layer(fields)), expected, rtol=1e-4, atol=1e-4)


def test_a_regression_begins_at_zero_and_needs_a_middle():
    fields = np.random.default_rng(1).normal(size=(2, 4, 5, 1)).astype("f")
    assert not np.asarray(LocalizedRegression(1, 4)(fields)).any()
    with pytest.raises(ValueError, match="expected an odd size, found 4"):
        LocalizedRegression(1, 4, size=4)
