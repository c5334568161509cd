"""Scores of seasons and regions: those of the months and cells alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from score_rows import of_the_whole

from dl4ds_core.verification import METRICS, Moments, block_weights, verify
from dl4ds_core.verification.table import SEASONS

Datasets = tuple[xr.Dataset, xr.Dataset]

ROWS, COLUMNS = 12, 14
OPTIONS: dict[str, Any] = {"data_ranges": {"tas": 20.0}, "block": "15d", "samples": 30, "seed": 1}
VALUES = ["value", "lower", "upper"]


def days(missing: bool, periods: int = 80) -> Datasets:
    """Prediction and truth of every fifth day, with errors that differ by month and place; a coast and some gaps."""
    random = np.random.default_rng(3)
    time = pd.date_range("2001-01-03", periods=periods, freq="5D")
    coordinates = {"time": time, "lat": 36 + 0.5 * np.arange(ROWS), "lon": -9 + 0.5 * np.arange(COLUMNS)}
    shape = (periods, ROWS, COLUMNS)
    values = 15 + 8 * np.cos(np.arange(periods) / 73 * 2 * np.pi)[:, None, None] + 3 * random.normal(size=shape)
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    gaps = np.zeros(shape, dtype=bool)
    if missing:
        gaps |= rows + columns < 6
        gaps[3:20, 9:, 11:], gaps[7] = True, True
        gaps[:, 8, 2] = random.random(periods) < 0.3
    attributes = {"units": "degC", "long_name": "temperature"}
    truth = xr.DataArray(np.where(gaps, np.nan, values), coordinates, ("time", "lat", "lon"), "tas", attributes)
    error = 0.2 * time.month.values[:, None, None] + 0.1 * columns + random.normal(size=shape)
    return truth.copy(data=0.9 * values + error).to_dataset(), truth.to_dataset()


@pytest.fixture(params=[False, True], ids=["whole", "missing"])
def both(request: pytest.FixtureRequest) -> Datasets:
    return days(request.param)


@pytest.fixture(scope="module")
def area() -> xr.DataArray:
    """Cell areas that change much from cell to cell."""
    return xr.DataArray(np.random.default_rng(8).uniform(1, 9, (ROWS, COLUMNS)), dims=("lat", "lon"))


@pytest.fixture(scope="module")
def north_east() -> xr.DataArray:
    """A triangle of cells, some of the coast's among them."""
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    return xr.DataArray(rows + columns > 12, dims=("lat", "lon"))


# Seasons.


def test_a_season_is_a_record_cut_to_its_months(both: Datasets, area: xr.DataArray) -> None:
    rows = verify(*both, area=area, **OPTIONS)[1]
    seasonal = rows[rows["season"].notna()]
    assert set(seasonal["metric"]) == {"bias", "mae", "rmse", "ssim"}
    assert seasonal[["threshold", "scale", "region"]].isna().all(axis=None)
    assert (seasonal["lower"] < seasonal["upper"]).all()
    for season, months in SEASONS.items():
        cut = [data.sel(time=data["time"].dt.month.isin(months)) for data in both]
        expected = of_the_whole(verify(*cut, area=area, **(OPTIONS | {"samples": 2}))[1])
        found = seasonal[seasonal["season"] == season].set_index("metric")
        assert list(found.index) == ["bias", "mae", "rmse", "ssim"]
        for name, row in found.iterrows():
            assert row["value"] == pytest.approx(expected.loc[name, "value"], rel=1e-11)
            assert row["unit"] == expected.loc[name, "unit"]


def test_intervals_of_a_season_are_from_its_steps_of_each_resample(both: Datasets, area: xr.DataArray) -> None:
    rows = verify(*both, area=area, **OPTIONS)[1]
    found = rows[(rows["season"] == "MAM") & (rows["metric"] == "rmse")].iloc[0]
    counts = block_weights(both[1]["time"], block_steps=3, samples=30, seed=1)
    spring = both[1]["time"].dt.month.isin([3, 4, 5]).values
    error = np.ma.masked_invalid(np.where(both[1]["tas"].isnull(), np.nan, both[0]["tas"] - both[1]["tas"]))
    weights = np.broadcast_to(area.values, error.shape)
    resampled = []
    for row in counts:
        drawn = np.repeat(np.arange(spring.size), row * spring)
        resampled.append(float(np.sqrt(np.ma.average(error[drawn] ** 2, weights=weights[drawn]))))
    np.testing.assert_allclose([found["lower"], found["upper"]], np.quantile(resampled, [0.05, 0.95]), rtol=1e-9)


def test_the_months_of_the_seasons_are_all_months() -> None:
    assert sorted(month for months in SEASONS.values() for month in months) == list(range(1, 13))
    assert all(len(months) == 3 for months in SEASONS.values())


def test_a_record_of_one_season_has_no_rows_of_seasons(area: xr.DataArray) -> None:
    both = days(True)
    summer = [data.sel(time=data["time"].dt.month.isin([6, 7, 8])) for data in both]
    assert verify(*summer, area=area, **OPTIONS)[1]["season"].isna().all()
    two = [data.sel(time=data["time"].dt.month.isin([7, 8, 9])) for data in both]
    assert verify(*two, area=area, **OPTIONS)[1]["season"].dropna().unique().tolist() == ["JJA", "SON"]


def test_seasons_in_a_calendar_of_360_days(area: xr.DataArray) -> None:
    time = xr.date_range("2040-01-03", periods=72, freq="5D", calendar="360_day", use_cftime=True)
    both = [data.assign_coords(time=time) for data in days(False, 72)]
    rows = verify(*both, area=area, **OPTIONS)[1]
    error = (both[0]["tas"] - both[1]["tas"]).sel(time=both[1]["time"].dt.month.isin([12, 1, 2]))
    found = rows[(rows["season"] == "DJF") & (rows["metric"] == "bias")]["value"].item()
    assert found == pytest.approx(float(error.weighted(area).mean()), rel=1e-11)


# Regions.


def test_pooled_scores_of_a_region(both: Datasets, area: xr.DataArray, north_east: xr.DataArray) -> None:
    rows = verify(*both, area=area, regions={"north east": north_east}, **OPTIONS)[1]
    found = rows[rows["region"] == "north east"].set_index("metric")
    error = np.where(both[1]["tas"].isnull() | ~north_east, np.nan, both[0]["tas"] - both[1]["tas"])
    error = np.ma.masked_invalid(error)
    weights = np.broadcast_to(area.values, error.shape)
    for name, values in {"bias": error, "mae": abs(error), "rmse": error**2}.items():
        pooled = float(np.ma.average(values, weights=weights))
        assert found.loc[name, "value"] == pytest.approx(np.sqrt(pooled) if name == "rmse" else pooled, rel=1e-11)
        resampled = []
        for row in block_weights(both[1]["time"], block_steps=3, samples=30, seed=1):
            drawn = np.repeat(np.arange(row.size), row)
            pooled = float(np.ma.average(values[drawn], weights=weights[drawn]))
            resampled.append(np.sqrt(pooled) if name == "rmse" else pooled)
        ends = found.loc[name, ["lower", "upper"]].astype(float)
        np.testing.assert_allclose(ends, np.quantile(resampled, [0.05, 0.95]), rtol=1e-9)


def test_scores_of_cells_in_a_region(both: Datasets, area: xr.DataArray, north_east: xr.DataArray) -> None:
    maps, rows = verify(*both, area=area, regions={"north east": north_east}, **OPTIONS)
    found = rows[rows["region"] == "north east"].set_index("metric")
    by_cells = [name for name, each in METRICS.items() if each.domain == "cells" and isinstance(each.source, Moments)]
    assert len(by_cells) == 6
    for name in by_cells:
        expected = maps[f"tas_{name}"].where(north_east).weighted(area).mean()
        assert found.loc[name, "value"] == pytest.approx(float(expected), rel=1e-11)
        assert found.loc[name, "lower"] < found.loc[name, "upper"]


def test_ssim_of_a_region(area: xr.DataArray, north_east: xr.DataArray) -> None:
    maps, rows = verify(*days(False), area=area, regions={"north east": north_east}, **OPTIONS)
    found = rows[(rows["region"] == "north east") & (rows["metric"] == "ssim")]["value"].item()
    # Without missing cells, the mean over steps and cells is that of the map.
    assert found == pytest.approx(float(maps["tas_ssim"].where(north_east).weighted(area).mean()), rel=1e-11)


def test_the_interval_of_cells_in_a_box_is_that_of_the_box_alone(area: xr.DataArray) -> None:
    both = days(True)
    box = {"lat": slice(6, None), "lon": slice(5, None)}
    inside = xr.zeros_like(area, dtype=bool)
    inside[box] = True
    rows = verify(*both, area=area, regions={"box": inside}, **OPTIONS)[1]
    alone = of_the_whole(verify(*(data.isel(box) for data in both), area=area[box], **OPTIONS)[1])
    found = rows[rows["region"] == "box"].set_index("metric")
    for name in found.index.drop("ssim"):  # whose windows look beyond the box
        np.testing.assert_allclose(
            found.loc[name, VALUES].astype(float), alone.loc[name, VALUES].astype(float), rtol=1e-9
        )


def test_the_whole_domain_as_a_region(both: Datasets, area: xr.DataArray) -> None:
    everywhere = xr.ones_like(area, dtype=bool)
    plain = verify(*both, area=area, **OPTIONS)[1]
    rows = verify(*both, area=area, regions={"all": everywhere}, **OPTIONS)[1]
    found = rows[rows["region"] == "all"].set_index("metric")
    whole = of_the_whole(rows).loc[found.index]
    pd.testing.assert_frame_equal(found[VALUES], whole[VALUES], check_exact=True)
    assert (found["unit"] == whole["unit"]).all()
    # The rest of the table is as without regions.
    rest = rows[rows["region"].isna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest.drop(columns="region"), plain.drop(columns="region"), rtol=1e-12)


def test_which_scores_have_regions(area: xr.DataArray, north_east: xr.DataArray) -> None:
    turned = north_east.transpose("lon", "lat")
    regions = {"one": turned, "other": ~north_east}
    rows = verify(*days(True), area=area, regions=regions, **OPTIONS)[1]
    expected = [
        name for name, each in METRICS.items() if not each.members and (each.fields or isinstance(each.source, Moments))
    ]
    for region in regions:
        found = rows[rows["region"] == region]
        assert found["metric"].tolist() == expected
        assert found[["threshold", "scale", "season"]].isna().all(axis=None)
    values = rows[rows["region"].notna()].pivot(index="metric", columns="region", values="value")
    whole = of_the_whole(rows)["value"]
    for name in expected:  # the two regions make up the domain
        assert values.loc[name].min() < whole[name] < values.loc[name].max()


def test_a_region_without_any_truth_is_undefined(area: xr.DataArray) -> None:
    sea = xr.zeros_like(area, dtype=bool)
    sea[:2, :2] = True
    rows = verify(*days(True), area=area, regions={"sea": sea, "nothing": sea & False}, **OPTIONS)[1]
    assert rows.loc[rows["region"].notna(), VALUES].isna().all(axis=None)
    assert rows.loc[rows["region"].isna(), "value"].notna().any()
