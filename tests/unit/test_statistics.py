"""Moments and quantiles of fields read in blocks, against numpy on whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dl4ds_core import statistics
from dl4ds_core.statistics import Moments, blocks, cell_quantiles, quantiles

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def identity(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def as_field(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("time", "y", "x"), name="v")


FLOATS = {
    dtype: hnp.arrays(
        dtype,
        st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 3)),
        elements=st.one_of(
            st.floats(width=width, allow_infinity=False, allow_nan=False),
            st.sampled_from([0.0, -0.0, 1e-9, 1e5, float("nan")]).map(dtype),
        ),
    )
    for dtype, width in ((np.float32, 32), (np.float64, 64))
}


@pytest.fixture(params=[1, 7, 1000], ids=lambda values: f"blocks of {values}")
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK_VALUES", request.param)
    monkeypatch.setattr(statistics.blocks, "__defaults__", (request.param,))


@given(st.one_of(FLOATS[np.float32], FLOATS[np.float64]))
@settings(deadline=None, max_examples=60)
def test_values_of_any_rank_are_exact(values):
    valid = np.sort(values[~np.isnan(values)])
    found = statistics._of_rank(as_field(values), np.arange(valid.size))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, valid)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantiles_over_the_domain_are_those_of_numpy(dtype):
    random = np.random.default_rng(3)
    values = np.where(random.random((50, 4, 5)) < 0.6, 0.0, random.gamma(0.5, 5, (50, 4, 5))).astype(dtype)
    values[random.random(values.shape) < 0.2] = np.nan
    found = quantiles(as_field(values), LEVELS, identity, int((~np.isnan(values)).sum()))
    np.testing.assert_allclose(found, np.nanquantile(values.astype(np.float64), LEVELS), rtol=1e-14)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_quantiles_of_cells_are_those_of_numpy():
    values = np.random.default_rng(3).normal(size=(50, 4, 5)).astype(np.float32)
    values[values > 1] = np.nan
    values[:, 0, 0] = np.nan
    values[1:, 1, 1] = np.nan
    found = cell_quantiles(as_field(values).chunk(time=9), LEVELS, identity)
    np.testing.assert_allclose(found, np.nanquantile(values.astype(np.float64), LEVELS, axis=0), rtol=1e-14)


def test_quantiles_of_changed_values():
    values = np.random.default_rng(3).gamma(0.5, 5, (50, 4, 5)).astype(np.float32)
    expected = np.quantile(np.log1p(values.astype(np.float64)), LEVELS)
    log1p = lambda part: np.log1p(part.astype(np.float64))  # noqa: E731
    np.testing.assert_allclose(quantiles(as_field(values), LEVELS, log1p, values.size), expected, rtol=1e-13)
    by_cell = np.quantile(np.log1p(values.astype(np.float64)), LEVELS, axis=0)
    np.testing.assert_allclose(cell_quantiles(as_field(values), LEVELS, log1p), by_cell, rtol=1e-13)


@pytest.mark.parametrize("shape", [(), (3, 4)])
@pytest.mark.parametrize("magnitude", [(0.0, 1.0), (101_325.0, 1e-3), (0.0, 1e-9), (1e5, 1e3)])
def test_moments_dont_depend_on_the_blocks(shape, magnitude):
    values = magnitude[0] + magnitude[1] * np.random.default_rng(2).normal(size=(40, 3, 4))
    values[:11] = np.nan
    values[25, 1:] = np.nan
    axis = 0 if shape else None
    for size in (1, 7, 40):
        moments = Moments(shape)
        for start in range(0, 40, size):
            moments.add(values[start : start + size])
        np.testing.assert_array_equal(moments.count, (~np.isnan(values)).sum(axis=axis))
        np.testing.assert_allclose(moments.mean, np.nanmean(values, axis=axis), rtol=1e-13, atol=1e-12 * magnitude[1])
        np.testing.assert_allclose(moments.deviation, np.nanstd(values, axis=axis), rtol=1e-8)
        np.testing.assert_array_equal(moments.lowest, np.nanmin(values, axis=axis))
        np.testing.assert_array_equal(moments.highest, np.nanmax(values, axis=axis))


def test_cells_without_values():
    values = np.ones((5, 2, 2))
    values[:, 0, 1] = np.nan
    moments = Moments((2, 2))
    moments.add(values)
    assert moments.count.tolist() == [[5, 0], [5, 5]]
    np.testing.assert_array_equal(moments.deviation, 0.0)


def test_blocks_hold_every_step_once():
    field = as_field(np.arange(60.0).reshape(10, 2, 3))
    parts = list(blocks(field, 13))
    assert [part.shape for part in parts] == [(2, 2, 3)] * 5
    np.testing.assert_array_equal(np.concatenate(parts), field.values)
    assert [part.shape for part in blocks(field, 1)] == [(1, 2, 3)] * 10
    assert next(blocks(field[0])).shape == (1, 2, 3)
