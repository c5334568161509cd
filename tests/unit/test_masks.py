"""Missing cells: filling from the nearest, and counting."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dl4ds_core.masks import count_missing, ever_valid, fill_nearest

NAN = np.nan


def test_cells_take_the_value_of_the_nearest():
    field = np.array([[1.0, NAN, NAN, NAN, 5.0], [NAN, NAN, NAN, NAN, NAN], [NAN, NAN, 7.0, NAN, NAN]])
    expected = [[1.0, 1.0, None, 5.0, 5.0], [1.0, None, 7.0, None, 5.0], [None, 7.0, 7.0, 7.0, None]]
    found = fill_nearest(field)
    for row, wanted in zip(found, expected, strict=True):
        for value, cell in zip(row, wanted, strict=True):
            assert cell is None or value == cell  # None: several are equally near
    np.testing.assert_array_equal(field, field.copy())


MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)))


@given(MASKS, st.sampled_from([np.float32, np.float64]))
@settings(deadline=None)
def test_the_distance_to_the_value_taken_is_the_smallest(mask, dtype):
    """Against a search over all pairs: values are the numbers of their cells."""
    _, rows, columns = mask.shape
    numbers = np.arange(rows * columns, dtype=dtype).reshape(rows, columns)
    values = np.where(mask, dtype(NAN), numbers)
    found = fill_nearest(values)
    assert found.dtype == dtype
    y, x = np.divmod(np.arange(rows * columns), columns)
    for step in range(mask.shape[0]):
        if mask[step].all():
            assert np.isnan(found[step]).all()
            continue
        np.testing.assert_array_equal(found[step][~mask[step]], numbers[~mask[step]])
        taken = found[step].astype(int).ravel()
        valid = np.flatnonzero(~mask[step].ravel())
        distances = (y[:, None] - y[valid]) ** 2 + (x[:, None] - x[valid]) ** 2
        np.testing.assert_array_equal((y - y[taken]) ** 2 + (x - x[taken]) ** 2, distances.min(axis=1))
        # The choice depends on the mask of the step alone.
        alone = fill_nearest(np.where(mask[step], NAN, -3.0 * numbers))
        np.testing.assert_array_equal(alone, -3.0 * found[step])


def test_the_input_is_not_changed_and_complete_fields_are_not_copied():
    values = np.ones((2, 3, 4), dtype=np.float32)
    assert fill_nearest(values) is values
    values[0, 1, 1] = NAN
    before = values.copy()
    fill_nearest(values)
    np.testing.assert_array_equal(values, before)


def test_more_dimensions():
    values = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    values[values > 0.5] = NAN
    found = fill_nearest(values)
    np.testing.assert_array_equal(found[1, 2], fill_nearest(values[1, 2]))


@pytest.fixture
def holes(field_of):
    field = field_of(steps=10, rows=3, columns=4)
    field[:, 0, 0] = NAN
    field[:4, 1, 1] = NAN
    field[2] = NAN
    return field


@pytest.mark.parametrize("lazy", [False, True])
def test_counts(holes, lazy):
    field = holes.chunk(time=3) if lazy else holes
    missing = np.isnan(holes.values)
    np.testing.assert_array_equal(count_missing(field).values, missing.sum(axis=(1, 2)))
    np.testing.assert_array_equal(ever_valid(field).values, ~missing.all(axis=0))
    assert ever_valid(field).sum() == 11


def test_infinite_values_count_as_missing(holes):
    holes[9, 2, 2] = np.inf
    assert count_missing(holes).values[9] == 2


def test_the_changing_mask_of_a_real_record(data_dir):
    """The README of the data: of 2501 cells, 1008 are always missing, 49 sometimes and 1444 never."""
    with xr.open_dataset(data_dir / "eobs-iberia" / "eobs_tas_0.25deg_djf_1990-2000.nc", chunks={}) as dataset:
        field = dataset["tas"]
        part = field.notnull().mean("time").values
        assert [(part == 0).sum(), ((part > 0) & (part < 1)).sum(), (part == 1).sum()] == [1008, 49, 1444]
        assert int(count_missing(field).sum()) == int(np.isnan(field.values).sum())
        assert not np.isnan(fill_nearest(field[:30].values)).any()
