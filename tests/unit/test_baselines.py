"""Baselines against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.baselines import QUANTILES, fit_baseline
from dl4ds_core.config import BASELINES
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.interpolation import interpolate

SCALE = 4
CORRECTED = ("bilinear-corrected", "bicubic-corrected", "regression", "bilinear-qm")


@pytest.fixture(params=["standard", "360_day"])
def pair(request, field_of) -> tuple[xr.DataArray, xr.DataArray]:
    """Coarse and fine fields with a static pattern and a wave in time."""
    fine = field_of(steps=120, calendar=request.param)
    wave = 8 * np.sin(np.arange(120) / 7)[:, None, None]
    pattern = 6 * np.random.default_rng(4).normal(size=fine.shape[1:])
    fine = fine.copy(data=(fine.values + wave * (1 + pattern / 20) + pattern).astype(np.float32))
    return coarsen(fine, Grid.of(fine), SCALE), fine


def quantile_mapped(field: np.ndarray, model: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Additive empirical quantile mapping of one cell, written out."""
    nodes = (np.arange(QUANTILES) + 0.5) / QUANTILES
    of_model, of_truth = np.quantile(model, nodes), np.quantile(truth, nodes)
    return field + np.interp(field, of_model, of_truth - of_model)  # constant beyond the ends


def test_there_is_a_test_of_each():
    assert {*CORRECTED, "nearest", "bilinear", "bicubic"} == set(BASELINES)


@pytest.mark.parametrize("name", BASELINES)
def test_form_of_a_prediction(pair, name):
    coarse, fine = pair
    found = fit_baseline(name, coarse[:80], fine[:80], SCALE)(coarse[80:])
    assert found.dims == ("time", "lat", "lon")
    assert found.dtype == np.float32
    assert found.shape == (40, *fine.shape[1:])
    assert np.isfinite(found.values).all()
    for axis in ("time", "lat", "lon"):
        np.testing.assert_array_equal(found[axis].values, fine[80:][axis].values)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
def test_bare_interpolation(pair, name):
    coarse, fine = pair
    found = fit_baseline(name, coarse[:80], fine[:80], SCALE)(coarse[80:])
    np.testing.assert_array_equal(found.values, interpolate(coarse[80:], Grid.of(fine), name, SCALE).values)


def test_each_cells_mean_error_is_removed(pair):
    coarse, fine = pair
    predict = fit_baseline("bilinear-corrected", coarse[:80], fine[:80], SCALE)
    bilinear = interpolate(coarse, Grid.of(fine), "bilinear", SCALE).values.astype(np.float64)
    error = (bilinear[:80] - fine.values[:80]).mean(axis=0)
    np.testing.assert_allclose(predict(coarse[80:]).values, bilinear[80:] - error, rtol=1e-6)
    np.testing.assert_allclose((predict(coarse[:80]).values - fine.values[:80]).mean(axis=0), 0.0, atol=1e-4)


def test_regression_per_cell(pair):
    coarse, fine = pair
    found = fit_baseline("regression", coarse[:80], fine[:80], SCALE)(coarse[80:]).values
    bilinear = interpolate(coarse, Grid.of(fine), "bilinear", SCALE).values.astype(np.float64)
    for row, column in ((0, 0), (3, 7), (7, 11)):
        slope, intercept = np.polyfit(bilinear[:80, row, column], fine.values[:80, row, column].astype(np.float64), 1)
        expected = intercept + slope * bilinear[80:, row, column]
        np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-6)


def test_quantile_mapping_per_cell(pair):
    coarse, fine = pair
    found = fit_baseline("bilinear-qm", coarse[:80], fine[:80], SCALE)(coarse[80:]).values
    bilinear = interpolate(coarse, Grid.of(fine), "bilinear", SCALE).values
    for row, column in ((0, 0), (3, 7), (7, 11)):
        cell = (slice(None), row, column)
        expected = quantile_mapped(bilinear[80:][cell], bilinear[:80][cell], fine.values[:80][cell])
        np.testing.assert_allclose(found[cell], expected, atol=2e-4)


def test_quantile_mapping_keeps_a_warmer_climate_warmer(pair):
    coarse, fine = pair
    predict = fit_baseline("bilinear-qm", coarse, fine, SCALE)
    hot = float(coarse.max()) + 10.0
    steps = coarse[:3].copy(
        data=np.broadcast_to(np.array([hot, hot + 1, hot + 5])[:, None, None], (3, *coarse.shape[1:]))
    )
    found = predict(steps).values
    np.testing.assert_allclose(found[1] - found[0], 1.0, atol=1e-3)
    np.testing.assert_allclose(found[2] - found[0], 5.0, atol=1e-3)


@pytest.mark.parametrize("name", CORRECTED)
@pytest.mark.parametrize("value", [0.0, 0.1, 273.15])
def test_a_cell_that_never_changed_in_training_stays_sane(field_of, name, value):
    fine = field_of(steps=31)
    fine[:] = value
    coarse = coarsen(fine, Grid.of(fine), SCALE)
    found = fit_baseline(name, coarse, fine, SCALE)(coarse + 1.0).values
    assert np.isfinite(found).all()
    assert np.abs(found - value).max() < 2.0


@pytest.mark.parametrize("name", CORRECTED)
def test_one_step_gives_what_all_steps_give(pair, name):
    coarse, fine = pair
    predict = fit_baseline(name, coarse[:80], fine[:80], SCALE)
    together = predict(coarse[80:]).values
    np.testing.assert_array_equal(predict(coarse[85:86]).values, together[5:6])


def test_an_unknown_name_lists_those_there_are(pair):
    with pytest.raises(ValueError, match=r"expected one of nearest, .* found 'kriging'"):
        fit_baseline("kriging", *pair, SCALE)
