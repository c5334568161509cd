"""What remapping must do with any values."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dl4ds_core.config.schema import Regrid
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import to_grid

pytestmark = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed")
METHODS = ("conservative", "bilinear", "bicubic", "nearest")
SHAPE = (30, 30)
TARGET = (34, 36, 0.43)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Remap = Callable[[np.ndarray, str, str], np.ndarray]


def field_of(seed: int, largest: float) -> np.ndarray:
    """Values of either sign that single precision holds."""
    values = largest * np.random.default_rng(seed).uniform(-1, 1, SHAPE)
    return values.astype(np.float32).astype(np.float64)


def mask_of(seed: int, share: float, size: int) -> np.ndarray:
    """Squares of so many cells to a side, each missing at this probability."""
    squares = np.random.default_rng(seed).random([-(-length // size) for length in SHAPE]) < share
    return np.kron(squares, np.ones((size, size), dtype=bool))


# Random numbers from seeds: nearly all cells of the arrays that hypothesis makes are alike.
seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0.02, 0.98)
values = st.builds(field_of, seeds, st.floats(1e-3, 1e4))
masks = st.builds(mask_of, seeds, shares, st.sampled_from([1, 3, 10]))
methods = st.sampled_from(METHODS)
kinds = st.sampled_from(["latlon", "rotated", "curvilinear"])


@pytest.fixture(scope="module")
def remap(wide, field_on, tmp_path_factory: pytest.TempPathFactory) -> Remap:
    """Remap values to a grid that lies partly outside, with weights that are made once."""
    folder = tmp_path_factory.mktemp("weights")
    target = Grid.of(field_on("latlon", *TARGET))

    def run(given_values: np.ndarray, kind: str, method: str, least: float = 0.5) -> np.ndarray:
        field: xr.DataArray = wide(kind).copy(data=given_values)
        chosen = Regrid(method=method, min_valid_fraction=least)
        return to_grid(field, target, chosen, folder, "x").values.astype(np.float64)

    return run


@quick
@given(constant=st.floats(-1e6, 1e6, width=32), mask=masks, kind=kinds, method=methods)
def test_a_constant_stays_itself(remap, constant, mask, kind, method):
    for given_values in (np.full(SHAPE, constant), np.where(mask, np.nan, constant)):
        found = remap(given_values, kind, method)
        np.testing.assert_allclose(found[np.isfinite(found)], constant, rtol=1e-6, atol=1e-6)
    assert np.isfinite(remap(np.full(SHAPE, constant), kind, method)).all()


@quick
@given(one=values, other=values, factor=st.floats(-10, 10, width=32), kind=kinds, method=methods)
def test_linear_in_the_source(remap, one, other, factor, kind, method):
    found = remap(one + factor * other, kind, method)
    expected = remap(one, kind, method) + factor * remap(other, kind, method)
    np.testing.assert_allclose(found, expected, atol=0.1)  # of 1e5, in single precision


@quick
@given(field=values, mask=masks, kind=kinds, method=methods)
def test_bounds_are_kept(remap, field, mask, kind, method):
    """All methods keep them beside missing cells, and all but the bicubic one elsewhere."""
    for given_values in (field, np.where(mask, np.nan, field)):
        found = remap(given_values, kind, method)
        if method == "bicubic":
            complete = remap(field, kind, method)
            found = found[found != complete]
        found, known = found[np.isfinite(found)], given_values[np.isfinite(given_values)]
        if found.size:
            slack = 1e-3
            assert known.min() - slack <= found.min()
            assert found.max() <= known.max() + slack


@quick
@given(field=values, mask=masks, kind=kinds, method=st.sampled_from(["conservative", "bilinear", "nearest"]))
def test_missing_cells_have_no_influence(remap, field, mask, kind, method):
    """Where no source is missing the value is as if there were no missing cells at all."""
    found = remap(np.where(mask, np.nan, field), kind, method)
    untouched = remap(mask.astype(np.float64), kind, method) == 0
    complete = remap(field, kind, method)
    np.testing.assert_allclose(found[untouched], complete[untouched], rtol=1e-6, atol=1e-3)


@quick
@given(field=values, mask=masks, method=methods)
def test_a_higher_share_leaves_out_more_and_changes_nothing_else(remap, field, mask, method):
    given_values = np.where(mask, np.nan, field)
    low, high = (remap(given_values, "latlon", method, least) for least in (0.3, 0.8))
    inside = np.s_[4:-4, 4:-4]
    both = np.isfinite(low[inside]) & np.isfinite(high[inside])
    assert np.array_equal(np.isfinite(high[inside]), both)
    np.testing.assert_array_equal(low[inside][both], high[inside][both])


@quick
@given(mask=masks, least=st.floats(0.05, 0.6))
def test_values_are_needed_over_a_share_of_the_whole_cell(remap, wide, field_on, mask, least):
    """Also of cells that lie partly outside of the source, where there are none."""
    source, target = Grid.of(wide()), Grid.of(field_on("latlon", *TARGET))
    rows = covered_parts(*(np.sin(np.deg2rad(grid.y_bounds)) for grid in (source, target)))
    columns = covered_parts(source.x_bounds, target.x_bounds)
    whole, valid = (rows @ cells.astype(np.float64) @ columns.T for cells in (np.ones(SHAPE), ~mask))
    found = remap(np.where(mask, np.nan, 1.0), "latlon", "conservative", least)
    # Cells that the source covers less have the value of the nearest one; with rounding, others may be on either side.
    clear = (whole >= least) & (np.abs(whole - least) > 1e-4) & (np.abs(valid - least) > 1e-4)
    np.testing.assert_array_equal(np.isfinite(found)[clear], (valid >= least)[clear])


def covered_parts(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Parts of target intervals that source intervals cover, shape (target, source), from ascending edges."""
    lower = np.maximum(source[None, :-1], target[:-1, None])
    upper = np.minimum(source[None, 1:], target[1:, None])
    return np.maximum(upper - lower, 0) / np.diff(target)[:, None]
