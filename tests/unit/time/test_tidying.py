"""Unsorted and duplicated steps."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.time import take_steps, tidy

pytestmark = pytest.mark.parametrize("calendar", ["standard", "360_day"])


@pytest.fixture(params=["loaded", "lazy"])
def messy(request, field_of, calendar):
    """Steps 3 0 1 1 2 4 3 of five days, and the five days."""
    days = field_of(steps=7, rows=2, columns=3, calendar=calendar)
    order = np.array([3, 0, 1, 1, 2, 4, 3])
    field = days.assign_coords(time=days["time"].values[order])
    return field.chunk(time=2) if request.param == "lazy" else field


def test_tidy_fields_are_left_alone(field_of, calendar):
    field = field_of(calendar=calendar)
    same, notes = tidy(field)
    assert same is field
    assert notes == []


def test_refusal_is_the_default(messy):
    with pytest.raises(
        DataError, match=r"x: the time step 2000-01-01 comes after 2000-01-04.*data\.time\.unsorted: sort"
    ):
        tidy(messy, where="x")
    with pytest.raises(
        DataError, match=r"x: the time step 2000-01-02 comes twice, and 2 of 5 do.*data\.time\.duplicates"
    ):
        tidy(messy, unsorted="sort", where="x")


# Values of the days 0 1 2 3 4 by their position in the file: 1 and 3 come twice.
@pytest.mark.parametrize(("how", "positions"), [("first", [1, 2, 4, 0, 5]), ("last", [1, 3, 4, 6, 5])])
def test_first_and_last(messy, how, positions):
    found, notes = tidy(messy, how, "sort", "x")
    np.testing.assert_array_equal(found.values, messy.values[positions])
    np.testing.assert_array_equal(found["time"].values, np.unique(messy["time"].values))
    assert notes == [
        "x: time steps were sorted; 2000-01-01 came after 2000-01-04",
        f"x: 2 of 5 time steps came more than once, the first at 2000-01-02; taken: the {how}",
    ]


def test_mean(messy):
    messy = messy.copy(data=np.array(messy.values))
    messy[2, 0, 0] = np.nan
    found, _ = tidy(messy, "mean", "sort")
    values = messy.values.astype(np.float64)
    expected = np.stack([values[1], values[2:4].mean(0), values[4], values[[0, 6]].mean(0), values[5]])
    np.testing.assert_array_equal(found.values, expected.astype(np.float32))
    assert np.isnan(found.values[1, 0, 0])
    assert found.dtype == np.float32
    assert found.attrs == messy.attrs
    assert found.name == messy.name


def test_mean_of_a_dataset_with_three_of_a_kind(field_of, calendar):
    field = field_of(steps=4, rows=2, columns=2, calendar=calendar)
    times = field["time"].values[[0, 0, 0, 1]]
    dataset = xr.Dataset({"a": field.assign_coords(time=times), "b": 2 * field.assign_coords(time=times)})
    found, _ = tidy(dataset.chunk(time=1), "mean")
    expected = field.values[:3].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(found["a"].values[0], expected, rtol=1e-7)
    np.testing.assert_allclose(found["b"].values[0], 2 * expected, rtol=1e-7)
    np.testing.assert_array_equal(found["a"].values[1], field.values[3])
    assert found["a"].attrs["units"] == "K"


@pytest.mark.parametrize("how", ["first", "last", "mean"])
def test_lazy_fields_stay_lazy(messy, how):
    assert (tidy(messy, how, "sort")[0].chunks is None) is (messy.chunks is None)


STEPS = {
    "all": range(30),
    "one run": range(5, 20),
    "runs": [*range(3, 9), *range(12, 20), *range(25, 30)],
    "scattered": range(0, 30, 3),
    "backwards": range(29, -1, -1),
    "one": [4],
    "none": [],
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("which", list(STEPS))
def test_steps_are_taken(field_of, calendar, which, lazy):
    steps = np.array(STEPS[which], dtype=int)
    field = field_of(steps=30, calendar=calendar)
    for given in (field, xr.Dataset({"tas": field, "area": field[0].drop_vars("time")})):
        found = take_steps(given.chunk(time=7) if lazy else given, steps)
        values = found if isinstance(found, xr.DataArray) else found["tas"]
        np.testing.assert_array_equal(values.values, field.values[steps])
        np.testing.assert_array_equal(found["time"].values, field["time"].values[steps])
        assert (values.chunks is not None) is lazy
        assert values.attrs == field.attrs
        assert found["time"].attrs == field["time"].attrs
        assert isinstance(found, xr.DataArray) or found["area"].dims == ("lat", "lon")
