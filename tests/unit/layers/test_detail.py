"""Detail: what a field has beyond the means of its blocks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from dl4ds_core.layers import Detail


@pytest.mark.parametrize(("scale", "widths"), [(2, [3]), (3, [3]), (4, [3, 5]), (10, [3, 5, 9])])
def test_what_every_layer_must_pass(check_layer, scale, widths):
    shape = (2, 2 * scale, 3 * scale, 2)
    check_layer(Detail, {"scale": scale}, shape, (*shape[:-1], 2 * (1 + len(widths))), 1)
    assert Detail(scale).widths == widths


def test_it_is_what_blocks_and_neighbourhoods_do_not_have():
    field = np.random.default_rng(1).normal(size=(3, 6, 9, 2)).astype(np.float32)
    deviations = [0.5, 2.0, 0.25, 4.0]
    layer = Detail(3)
    layer.build(field.shape)
    layer.set_deviations(deviations)
    blocks = field.reshape(3, 2, 3, 3, 3, 2).mean(axis=(2, 4)).repeat(3, axis=1).repeat(3, axis=2)
    # At the edge the mean is that of the cells there are.
    wide = np.pad(field, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=np.nan)
    around = np.nanmean([wide[:, row : row + 6, column : column + 9] for row, column in np.ndindex(3, 3)], axis=0)
    expected = np.concatenate([field - blocks, field - around], axis=-1) / deviations
    np.testing.assert_allclose(layer(field), expected, atol=1e-5)


def test_means_are_those_of_valid_cells():
    random = np.random.default_rng(1)
    field = random.normal(loc=100.0, size=(3, 6, 9, 2)).astype(np.float32)
    valid = random.uniform(size=field.shape) > 0.4
    valid[0, :3, :3] = False
    layer = Detail(3)
    layer.build(field.shape)
    given = np.where(valid, field, 0.0).astype(np.float32)
    known = np.where(valid, field, np.nan)
    wide = np.pad(known, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=np.nan)
    with warnings.catch_warnings(action="ignore"):  # where there is no valid cell
        blocks = np.nanmean(known.reshape(3, 2, 3, 3, 3, 2), axis=(2, 4)).repeat(3, axis=1).repeat(3, axis=2)
        around = np.nanmean([wide[:, row : row + 6, column : column + 9] for row, column in np.ndindex(3, 3)], axis=0)
    expected = np.concatenate([field - blocks, field - around], axis=-1)
    expected = np.where(np.concatenate([valid, valid], axis=-1), expected, 0.0)
    np.testing.assert_allclose(layer(given, valid.astype(np.float32)), expected, atol=1e-4)
