"""Second-order conservative remapping: means of coarse cells, and fields for which it is exact."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.baselines import fit_baseline
from dl4ds_core.grids import Grid, coarsen

SCALE = 4


@pytest.fixture(params=["latlon", "curvilinear"])
def larger(request, field_of) -> xr.DataArray:
    """A field far north, where areas of cells differ much, on axes or with a turned two-dimensional latitude."""
    field = field_of(steps=5, rows=16, columns=24, south=60.0, step=1.5)
    if request.param == "latlon":
        return field
    lat, lon = np.meshgrid(field["lat"].values, field["lon"].values, indexing="ij")
    attributes = [dict(field[name].attrs) for name in ("lat", "lon")]
    return xr.DataArray(
        field.values,
        {
            "time": field["time"],
            "lat": (("y", "x"), lat + 0.05 * lon, attributes[0]),
            "lon": (("y", "x"), lon - 0.1 * (lat - 60), attributes[1]),
        },
        ("time", "y", "x"),
        "tas",
        field.attrs,
    )


def coarsened(fine: xr.DataArray) -> xr.Dataset:
    return coarsen(fine, Grid.of(fine), SCALE)[0].to_dataset()


@pytest.mark.parametrize("context", [0, 1])
@pytest.mark.parametrize("non_negative", [False, True])
def test_the_mean_over_each_coarse_cell_is_its_value(larger, context, non_negative):
    cut = slice(context * SCALE, -context * SCALE or None)
    fine = larger[:, cut, cut]
    if non_negative:
        larger = larger.copy(data=np.maximum(larger.values - 281, 0) ** 2)
    coarse = coarsened(larger)
    found = fit_baseline("conservative", coarse, fine, SCALE, context, non_negative=non_negative)(coarse)
    means = coarsened(found.astype(np.float64))["tas"].values
    inner = slice(context, -context or None)
    np.testing.assert_allclose(means, coarse["tas"].values[:, inner, inner], rtol=2e-7, atol=1e-6)
    assert not np.array_equal(found, fit_baseline("nearest", coarse, fine, SCALE, context)(coarse))
    if non_negative:
        assert found.values.min() >= -1e-6
        assert fit_baseline("conservative", coarse, fine, SCALE, context)(coarse).values.min() < -1


def test_missing_coarse_cells_keep_what_they_are_filled_with(larger):
    coarse = coarsened(larger)
    coarse["tas"][:, 0, 0] = np.nan
    coarse["tas"][:, 1, 0] = coarse["tas"][:, 0, 1]
    found = fit_baseline("conservative", coarse, larger, SCALE)(coarse)
    means = coarsened(found.astype(np.float64))["tas"].values
    np.testing.assert_allclose(means[:, 0, 0], coarse["tas"].values[:, 0, 1], rtol=2e-7)


def test_a_plane_is_reproduced_up_to_the_edge(larger):
    rows, columns = np.indices(larger.shape[1:])
    plane = larger.copy(data=np.broadcast_to(3.0 * rows - 2.0 * columns, larger.shape))
    found = fit_baseline("conservative", coarsened(plane), plane, SCALE)(coarsened(plane))
    # Centroids of cells that are turned are not one above the other.
    np.testing.assert_allclose(found.values, plane.values, atol=1e-4 if "lat" in larger.dims else 0.1)


def test_increments_written_out(field_of):
    """Of one cell in the middle, with areas that differ by row alone."""
    fine = field_of(steps=3, rows=12, columns=12, south=60.0, step=2.0)
    coarse = coarsened(fine)
    found = fit_baseline("conservative", coarse, fine, SCALE)(coarse).values
    values = coarse["tas"].values
    edges = np.deg2rad(59.0 + 2.0 * np.arange(13))
    weight = np.diff(np.sin(edges)).reshape(3, 4)
    place = (np.arange(12).reshape(3, 4) + 0.5) / 4
    centroid = (place * weight).sum(axis=1) / weight.sum(axis=1)
    north = (values[:, 2, 1] - values[:, 0, 1]) / (centroid[2] - centroid[0])
    east = (values[:, 1, 2] - values[:, 1, 0]) / 2
    expected = values[:, 1, 1] + north * (place[1, 3] - centroid[1]) + east * (0.125 - 0.5)
    np.testing.assert_allclose(found[:, 7, 4], expected, rtol=1e-6)
