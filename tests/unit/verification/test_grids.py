"""Verification on every kind of grid: the same numbers, weighted by the grid's own areas, and maps that are CF."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on
from score_rows import of_the_whole

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.verification import METRICS, Index, Structure, verify
from dl4ds_core.verification.distribution import PERCENTILES

OPTIONS: dict[str, Any] = {
    "data_ranges": {"tas": 30.0},
    "block": "4d",
    "samples": 20,
    "confidence": 0.9,
    "seed": 1,
    "scale": 2,
}


def both(kind: str) -> tuple[xr.Dataset, xr.Dataset]:
    """Prediction and truth, of which a corner and some steps of another are missing."""
    truth = field_on(kind)
    values = truth.values.copy()
    values[:, :2, :3] = np.nan
    values[3:9, -2:, -1] = np.nan
    error = np.random.default_rng(2).normal(size=values.shape)
    return truth.copy(data=truth.values + error).to_dataset(), truth.copy(data=values).to_dataset()


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_weighted_by_the_areas_of_the_grid(kind: str) -> None:
    prediction, truth = both(kind)
    grid = Grid.of(truth)
    maps, rows = verify(prediction, truth, area=grid.area, **OPTIONS)
    error = np.ma.masked_invalid(np.where(np.isnan(truth["tas"]), np.nan, prediction["tas"] - truth["tas"]))
    weights = np.broadcast_to(grid.area.values, error.shape)
    found = of_the_whole(rows)["value"]
    assert found["rmse"] == pytest.approx(np.sqrt(np.ma.average(error**2, weights=weights)), rel=1e-11)
    assert found["bias"] == pytest.approx(np.ma.average(error, weights=weights), rel=1e-11)
    assert rows["value"].notna().all()
    np.testing.assert_allclose(maps["tas_mae"], abs(error).mean(axis=0).filled(np.nan), rtol=1e-11)
    single = {name: metric for name, metric in METRICS.items() if not metric.members}
    expected = {f"tas_{name}" for name, metric in single.items() if not isinstance(metric.source, Structure | Index)}
    expected |= {f"tas_quantile_bias_{percentile:g}" for percentile in PERCENTILES}
    with_maps = {str(name) for name, field in maps.data_vars.items() if grid.dims[0] in field.dims}
    assert with_maps - {"lat", "lon"} == expected - {"tas_quantile_bias"}


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_on_the_grid_of_the_truth(kind: str) -> None:
    prediction, truth = both(kind)
    grid = Grid.of(truth)
    maps, _ = verify(prediction, truth, area=grid.area, **OPTIONS)
    assert maps["tas_rmse"].dims == grid.dims
    assert Grid.of(maps).kind == kind
    assert Grid.of(maps).same(grid)
    for name, coordinate in grid.coordinates().items():
        xr.testing.assert_equal(maps[name].drop_vars(maps[name].coords), coordinate.drop_vars(coordinate.coords))
    expected = "crs" if kind in ("rotated", "projected") else None
    assert maps["tas_rmse"].attrs.get("grid_mapping") == expected
    on_cells = [name for name, field in maps.data_vars.items() if field.dims == grid.dims]
    assert all("time" not in maps[name].coords for name in on_cells)


def test_the_kind_of_grid_changes_nothing_but_areas_and_wavelengths() -> None:
    area = Grid.of(field_on("latlon")).area.values
    tables = []
    for kind in KINDS:
        prediction, truth = both(kind)
        given = xr.DataArray(area, dims=truth["tas"].dims[1:])
        rows = verify(prediction, truth, area=given, **OPTIONS)[1].set_index("metric")
        of_waves = [
            "spectral_distance",
            "short_spectral_distance",
            "power_ratio",
            "subgrid_power_ratio",
            "correlation_length_bias",
        ]
        tables.append(rows.drop(of_waves))
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], check_exact=True)


def test_predictions_on_another_grid_are_refused() -> None:
    prediction, truth = both("curvilinear")
    area = Grid.of(truth).area
    moved = prediction.assign_coords(lat=prediction["lat"] + 0.1)
    with pytest.raises(DataError, match="equal lat of truth and the prediction"):
        verify(moved, truth, area=area, **OPTIONS)
    with pytest.raises(DataError, match="equal x of truth and the prediction; found 20 from"):
        verify(prediction.isel(x=slice(1, None)), truth, area=area, **OPTIONS)
    with pytest.raises(DataError, match=r"positive cell areas \(y, x\); found dimensions \('lat', 'lon'\)"):
        verify(prediction, truth, area=area.rename(y="lat", x="lon"), **OPTIONS)
    prediction, truth = both("projected")
    with pytest.raises(DataError, match="equal y of truth and the prediction"):
        verify(prediction.assign_coords(y=prediction["y"] + 5000), truth, area=Grid.of(truth).area, **OPTIONS)
