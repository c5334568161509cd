"""Bias correction and spatial disaggregation: written out, and what it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.baselines import QUANTILES, disaggregation, fit_baseline
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.interpolation import interpolated

SCALE = 4
YEARS = 4


@pytest.fixture(params=["noleap", "360_day"])
def pair(request, field_of) -> tuple[xr.Dataset, xr.DataArray]:
    """Four years of days with a yearly cycle, and a coarse model of them that is too warm and too lively."""
    fine = field_of(steps=YEARS * 360, calendar=request.param)
    pattern = 6 * np.random.default_rng(4).normal(size=fine.shape[1:])
    cycle = np.cos(2 * np.pi * np.arange(YEARS * 360) / 360)[:, None, None]
    fine = fine.copy(data=(fine.values + cycle * (8 + pattern) + pattern).astype(np.float32))
    model = coarsen(fine, Grid.of(fine), SCALE)[0]
    noise = np.random.default_rng(5).normal(size=model.shape)
    return (5 + 280 + 1.5 * (model - 280) + noise).to_dataset(name="tas"), fine


@pytest.fixture
def rain(pair) -> tuple[xr.Dataset, xr.DataArray]:
    """As precipitation: mostly dry, with a pattern of totals, one dry coarse cell, and a model that drizzles."""
    fine = pair[1]
    totals = np.random.default_rng(6).gamma(2.0, size=fine.shape[1:])
    totals[:SCALE, :SCALE] = 0
    wet = fine.copy(data=(np.maximum(fine.values - 285, 0) ** 1.5 * totals).astype(np.float32))
    model = coarsen(wet, Grid.of(wet), SCALE)[0]
    drizzle = 0.2 * np.random.default_rng(7).uniform(size=model.shape)  # no two alike
    return (0.5 * model + drizzle).to_dataset(name="tas"), wet


def by_month(fine: xr.DataArray) -> xr.DataArray:
    return fine.astype(np.float64).groupby("time.month").mean()


@pytest.mark.parametrize("non_negative", [False, True])
def test_the_monthly_climatology_of_the_truth_is_reproduced(pair, rain, non_negative):
    coarse, fine = rain if non_negative else pair
    found = fit_baseline("bcsd", coarse, fine, SCALE, non_negative=non_negative)(coarse)
    np.testing.assert_allclose(by_month(found).values, by_month(fine).values, rtol=1e-5, atol=1e-4)
    if non_negative:
        assert found.values.min() >= 0


def test_the_climatology_of_valid_steps_is_reproduced(pair):
    coarse, fine = pair
    random = np.random.default_rng(9)
    gaps = fine.where(random.uniform(size=fine.shape) > 0.3)
    gaps[: 2 * 360, 3, 3] = np.nan
    found = fit_baseline("bcsd", coarse, gaps, SCALE)(coarse)
    valid = gaps.notnull().values
    np.testing.assert_allclose(by_month(found.where(valid)).values, by_month(gaps).values, atol=1e-4)


@pytest.mark.parametrize("non_negative", [False, True])
def test_written_out(pair, rain, non_negative):
    coarse, fine = rain if non_negative else pair
    train = slice(0, (YEARS - 1) * 360)
    predict = fit_baseline("bcsd", coarse.isel(time=train), fine[train], SCALE, non_negative=non_negative)
    found = predict(coarse.isel(time=slice(train.stop, None))).values
    months, truth = fine["time"].dt.month.values, coarsen(fine, Grid.of(fine), SCALE)[0].values
    past, model = np.arange(len(fine)) < train.stop, coarse["tas"].values
    nodes = (np.arange(QUANTILES) + 0.5) / QUANTILES
    for month in (1, 8):
        then, later = past & (months == month), ~past & (months == month)
        corrected = np.empty((2, *model.shape))
        for cell in np.ndindex(model.shape[1:]):
            x, y = (np.quantile(part[(then, *cell)], nodes) for part in (model, truth))
            for place, steps in enumerate((then, later)):
                field = model[(steps, *cell)]
                corrected[(place, steps, *cell)] = field + np.interp(field, x, y - x)
        if non_negative:
            corrected = np.maximum(corrected, 0)
        mean, mean_fine = corrected[0][then].mean(axis=0), fine.values[then].astype(np.float64).mean(axis=0)
        inner = (slice(None), slice(2, 6), slice(6, 10))  # where the dry cell and the edges have no part
        if non_negative:
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = interpolated(np.nan_to_num(corrected[1][later] / mean), "bilinear", SCALE)
            expected = (mean_fine * ratio)[inner]
        else:
            expected = (mean_fine + interpolated(corrected[1][later] - mean, "bilinear", SCALE))[inner]
        np.testing.assert_allclose(found[months[~past] == month][inner], expected, rtol=1e-3, atol=2e-3)


def test_a_shower_in_a_dry_place_stays_sane(rain):
    coarse, fine = rain
    shower = coarse.isel(time=slice(0, 3)).copy(deep=True)
    shower["tas"][:, 0, 0] = 10.0
    found = fit_baseline("bcsd", coarse, fine, SCALE, non_negative=True)(shower).values
    assert (found[:, :2, :2] == 0).all()
    assert np.isfinite(found).all()
    wettest = float(fine.values.mean(axis=0).max())
    assert found.max() < wettest * 12 / (disaggregation.LEAST * float(coarse["tas"].mean()))


def test_months_that_the_training_lacks_have_the_mapping_and_means_of_all(pair):
    coarse, fine = pair
    winter = np.isin(fine["time"].dt.month.values, (12, 1, 2))
    train, july = np.flatnonzero(winter), fine["time"].dt.month.values == 7
    predict = fit_baseline("bcsd", coarse.isel(time=train), fine[train], SCALE)
    found = predict(coarse.isel(time=july))
    # A field of July is treated as in a record whose months are not told apart, to what 50 quantiles leave: in means
    # of all months, each of them has its own mapping.
    years = xr.date_range("1000-07-01", periods=train.size, freq="YS", calendar="noleap", use_cftime=True)
    alike = [part.assign_coords(time=years) for part in (coarse.isel(time=train), fine[train])]
    expected = fit_baseline("bcsd", *alike, SCALE)(coarse.isel(time=july))
    np.testing.assert_allclose(found.values, expected.values, atol=0.05)


def test_with_few_steps_in_a_month_all_are_mapped_together(pair):
    short = [part.isel(time=slice(0, 130)) for part in pair]
    months = short[1]["time"].dt.month.values
    model = disaggregation._bare(short[0]["tas"].values)
    assert list(disaggregation._fit_mappings(model, model, months)) == [disaggregation.ALL]
    found = fit_baseline("bcsd", *short, SCALE)(short[0])
    np.testing.assert_allclose(by_month(found).values[:3], by_month(short[1]).values[:3], atol=1e-4)


def test_a_bias_of_cells_without_truth_changes_nothing(field_of):
    """Those of the context, and those whose fine cells are missing, count by their own anomalies."""
    larger = field_of(steps=120, rows=16, columns=20)
    fine = larger[:, 4:-4, 4:-4]
    fine = fine.where(np.arange(fine.shape[2]) >= SCALE)
    coarse = coarsen(larger, Grid.of(larger), SCALE)[0].to_dataset()
    biased = coarse + 7.0
    biased["tas"][:, 1:-1, 2:-1] -= 7.0
    found, expected = (
        fit_baseline("bcsd", inputs, fine, SCALE, context=1)(inputs).values for inputs in (biased, coarse)
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.isnan(found[:, :, :SCALE]).all()
    assert np.isfinite(found[:, :, SCALE:]).all()


def test_of_implicit_pairs_it_is_interpolation_without_mean_errors_by_month(pair):
    fine = pair[1]
    coarse = coarsen(fine, Grid.of(fine), SCALE)[0].to_dataset()
    field = interpolated(coarse["tas"].values, "bilinear", SCALE)
    error = by_month(fine.copy(data=field)) - by_month(fine).values
    expected = field - error.sel(month=fine["time"].dt.month.values).values
    found = fit_baseline("bcsd", coarse, fine, SCALE)(coarse).values
    np.testing.assert_allclose(found, expected, atol=2e-3)
