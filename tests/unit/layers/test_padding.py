"""Padding and cropping undo each other."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.layers import CropLike, PadToMultiple, RepeatEdges


@pytest.mark.parametrize(("size", "padded"), [((5, 7), (8, 8)), ((4, 8), (4, 8)), ((1, 9), (4, 12))])
def test_what_every_layer_must_pass(check_layer, size, padded):
    check_layer(PadToMultiple, {"multiple": 4}, (2, *size, 3), (2, *padded, 3))


def test_cropping_passes_too(check_layer):
    check_layer(CropLike, {}, [(2, 8, 4, 3), (2, 5, 3, 1)], (2, 5, 3, 3))


@pytest.mark.parametrize("multiple", [2, 4, 8])
@pytest.mark.parametrize("size", [(5, 7), (3, 8), (1, 1), (8, 8)])
def test_the_numbers_of_numpy(multiple, size):
    fields = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
    rows, columns = (-length % multiple for length in size)
    expected = np.pad(fields, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")
    padded = np.asarray(PadToMultiple(multiple)(fields))
    np.testing.assert_array_equal(padded, expected)
    np.testing.assert_array_equal(np.asarray(CropLike()([padded, fields[..., :1]])), fields)


@pytest.mark.parametrize("cells", [0, 1, 3])
def test_repeated_edges_pass_too(check_layer, cells):
    check_layer(RepeatEdges, {"cells": cells}, (1, 4, 5, 3), (1, 4 + 2 * cells, 5 + 2 * cells, 3))


@pytest.mark.parametrize("cells", [0, 1, 4])
@pytest.mark.parametrize("size", [(5, 7), (1, 3)])
def test_repeated_edges_are_those_of_numpy(cells, size):
    fields = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
    expected = np.pad(fields, ((0, 0), (cells, cells), (cells, cells), (0, 0)), mode="edge")
    np.testing.assert_array_equal(np.asarray(RepeatEdges(cells)(fields)), expected)
