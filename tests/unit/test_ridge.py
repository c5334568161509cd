"""Ridge regression against scikit-learn and the normal equations; limits of memory."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.baselines import fit_baseline, ridge
from dl4ds_core.grids import Grid, coarsen

SCALE = 4
TRAIN, ALL = 100, 140
CELLS = ((0, 0), (3, 7), (7, 11))


@pytest.fixture
def pair(field_of) -> tuple[xr.Dataset, xr.DataArray]:
    """Fine fields, and coarse ones of it and of two predictors, of which one has a cell that never changes."""
    fine = field_of(steps=ALL)
    wave = np.sin(np.arange(ALL) / 7)[:, None, None] * np.random.default_rng(2).normal(size=fine.shape[1:])
    fine = fine.copy(data=(fine.values + 6 * wave).astype(np.float32))
    coarse = coarsen(fine, Grid.of(fine), SCALE)[0].to_dataset()
    random, dims = np.random.default_rng(8), ("time", "lat", "lon")
    flat = 1e-3 * random.uniform(size=coarse["tas"].shape)
    flat[:, 0, 0] = 7e-4
    return coarse.assign(z=(dims, 5e4 + 300 * random.normal(size=flat.shape)), hus=(dims, flat)), fine


@pytest.fixture
def gaps(pair) -> xr.DataArray:
    """The fine field with many patterns of missing steps, and a cell that is missing at all."""
    fine = pair[1].copy(deep=True)
    missing = np.random.default_rng(3).uniform(size=fine.shape) < 0.2
    missing[:, :4] = False
    fine.values[missing] = np.nan
    fine.values[:, 2, 3] = np.nan
    return fine


def standardised(coarse: xr.Dataset, steps: slice) -> np.ndarray:
    """All coarse values that change in some steps, in units of their deviation there, shape (time, value)."""
    values = np.concatenate([coarse[name].values.reshape(ALL, -1) for name in ("tas", "z", "hus")], axis=1)
    values = values[:, np.ptp(values[steps], axis=0) > 0].astype(np.float64)
    return (values - values[steps].mean(axis=0)) / values[steps].std(axis=0)


def fit(coarse: xr.Dataset, fine: xr.DataArray) -> np.ndarray:
    return fit_baseline("ridge", coarse.isel(time=slice(TRAIN)), fine[:TRAIN], SCALE)(coarse).values


@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 1.0])
def test_scikit_learn_gives_the_same(pair, gaps, monkeypatch, penalty):
    """With one penalty, in cells that are complete and in cells that are not."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    monkeypatch.setattr(ridge, "PENALTIES", (penalty,))
    found, x = fit(pair[0], gaps), standardised(pair[0], slice(TRAIN))
    for cell in (*CELLS, (6, 6)):
        y = gaps.values[(slice(None), *cell)].astype(np.float64)
        valid = np.flatnonzero(np.isfinite(y[:TRAIN]))
        largest = np.linalg.svd(x[valid] - x[valid].mean(axis=0), compute_uv=False)[0] ** 2
        expected = linear_model.Ridge(alpha=penalty * largest).fit(x[valid], y[valid]).predict(x)
        np.testing.assert_allclose(found[(slice(None), *cell)], expected, atol=1e-4)


def test_the_penalty_has_the_least_cross_validation(pair):
    """Leaving out each step in turn gives, on average, what the formula gives; so the best penalties are close."""
    x, y = standardised(pair[0], slice(TRAIN))[:TRAIN], pair[1].values[:TRAIN].astype(np.float64)
    found = fit(pair[0], pair[1])
    largest = np.linalg.svd(x, compute_uv=False)[0] ** 2
    for cell in CELLS:
        truth = y[(slice(None), *cell)]
        scores, predictions = [], []
        for penalty in ridge.PENALTIES:
            hat = x @ np.linalg.solve(x.T @ x + penalty * largest * np.eye(x.shape[1]), x.T) + 1 / TRAIN
            error, left = truth - hat @ truth, TRAIN - np.trace(hat)
            scores.append((error**2).sum() / left**2 if left >= TRAIN / 2 else np.inf)
            predictions.append(hat @ truth)
        expected = predictions[int(np.argmin(scores))]
        np.testing.assert_allclose(found[(slice(TRAIN), *cell)], expected, atol=1e-3)


def test_a_linear_truth_is_found(pair):
    coarse, fine = pair
    weights = np.random.default_rng(1).normal(size=(6, *fine.shape[1:])) / 3
    values = 280 + np.einsum("tc,cyx->tyx", coarse["tas"].values.reshape(ALL, -1) - 280, weights)
    found = fit(coarse[["tas"]], fine.copy(data=values.astype(np.float32)))
    np.testing.assert_allclose(found, values, atol=1e-2)


def test_more_values_than_steps(pair):
    coarse, fine = (part.isel(time=slice(12)) for part in pair)
    found = fit_baseline("ridge", coarse, fine, SCALE)(coarse).values
    assert np.isfinite(found).all()
    mean = fine.values.mean(axis=0)
    assert np.abs(found - mean).max() <= np.abs(fine.values - mean).max()


def test_cells_fitted_at_once_change_nothing(pair, gaps, monkeypatch):
    expected = fit(pair[0], gaps)
    monkeypatch.setattr(ridge, "BYTES", 8 * 300 * 40)
    np.testing.assert_allclose(fit(pair[0], gaps), expected, atol=1e-4)


def test_memory_limits_the_steps_and_patterns(pair, monkeypatch, caplog):
    monkeypatch.setattr(ridge, "STEPS", 8)
    monkeypatch.setattr(ridge, "PATTERNS", 5)
    with caplog.at_level(logging.INFO):
        found = fit(*pair)
    assert "8 of 100 training steps are learned from" in caplog.text
    assert "the 5 patterns of most variance, of 8, are regressed on" in caplog.text
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, fit(*pair))


def test_a_cell_without_a_value_in_the_steps_that_are_drawn_predicts_its_mean(pair, monkeypatch):
    coarse, fine = pair[0], pair[1].copy(deep=True)
    monkeypatch.setattr(ridge, "STEPS", 8)
    drawn = ridge._steps(TRAIN, 18)
    fine.values[drawn, 1, 1] = np.nan
    expected = np.nanmean(fine.values[:TRAIN, 1, 1].astype(np.float64))
    np.testing.assert_allclose(fit(coarse, fine)[:, 1, 1], expected, rtol=1e-6)


def test_without_a_coarse_predictand(pair):
    coarse, fine = pair
    assert np.isfinite(fit_baseline("ridge", coarse[["z"]], fine, SCALE)(coarse[["z"]]).values).all()


def test_real_temperatures(data_dir):
    """ERA5 over the UK: half the error of a regression on the interpolated field."""
    with xr.open_dataset(data_dir / "era5-uk" / "era5_t2m_hourly_2019-03_uk.nc") as dataset:
        field = dataset["t2m"].isel(latitude=slice(0, 32), longitude=slice(0, 48)).load()
    fine = field.rename(latitude="lat", longitude="lon").sortby("lat")
    coarse = coarsen(fine, Grid.of(fine), SCALE)[0].to_dataset(name="t2m")
    errors = {}
    for name in ("multiple-regression", "ridge"):
        predict = fit_baseline(name, coarse.isel(time=slice(480)), fine[:480], SCALE)
        found = predict(coarse.isel(time=slice(600, None))).values
        errors[name] = float(np.sqrt(((found - fine.values[600:]) ** 2).mean()))
    assert errors["ridge"] == pytest.approx(0.33, abs=0.01)
    assert errors["multiple-regression"] > 0.45
