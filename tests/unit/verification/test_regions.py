"""Cells of regions: boxes, the date line, classes of a static field, and regions without a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.verification import cells_of_regions

NOTHING = dict.fromkeys(("lat", "lon", "field", "min", "below"))


def field(west: float = 0.0) -> xr.DataArray:
    """Elevation that rises to the east, on 4 x 6 cells of one degree from 40 N."""
    axes = {
        "lat": ("lat", 40.5 + np.arange(4), {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", west + 0.5 + np.arange(6), {"units": "degrees_east", "standard_name": "longitude"}),
    }
    return xr.DataArray(np.tile(200.0 * np.arange(6), (4, 1)), axes, ("lat", "lon"), "elevation", {"units": "m"})


def cells(west: float = 0.0, **region: Any) -> np.ndarray:
    elevation = field(west)
    found = cells_of_regions(Grid.of(elevation), {"here": NOTHING | region}, elevation.to_dataset())
    return found["here"].transpose("lat", "lon").values


def test_a_box_has_the_cells_whose_centres_lie_in_it() -> None:
    found = cells(lat=[41, 42.5], lon=[0.5, 2])
    assert found.sum() == 2 * 2
    assert found[1:3, :2].all()


@pytest.mark.parametrize(("west", "lon"), [(177.0, [179, -179]), (-183.0, [179, 181]), (357.0, [-1, 1])])
def test_a_box_across_the_date_line_or_greenwich(west: float, lon: list[float]) -> None:
    np.testing.assert_array_equal(cells(west, lon=lon).all(axis=0), [False, False, True, True, False, False])


def test_classes_of_a_field_leave_no_cell_out_and_have_none_twice() -> None:
    low, middle, high = (
        cells(field="elevation", **limits) for limits in ({"below": 400}, {"min": 400, "below": 800}, {"min": 800})
    )
    assert (low.astype(int) + middle + high == 1).all()
    np.testing.assert_array_equal(middle[0], [False, False, True, True, False, False])


def test_all_that_is_given_must_hold() -> None:
    found = cells(lat=[43, 44], field="elevation", min=1000)
    assert found.sum() == 1
    assert found[3, 5]


def test_a_region_without_a_cell_is_refused() -> None:
    with pytest.raises(DataError, match=r"verification\.regions\.here: expected cells of the domain.*min: 5000"):
        cells(field="elevation", min=5000)
