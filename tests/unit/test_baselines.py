"""Baselines against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import regression
from dl4ds_core.baselines import NEEDS_PREDICTAND, QUANTILES, fit_baseline
from dl4ds_core.config import BASELINES
from dl4ds_core.config.schema import WITHOUT_COARSE
from dl4ds_core.errors import DataError, TrainingError
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.interpolation import interpolated

SCALE = 4
CORRECTED = ("bilinear-corrected", "bicubic-corrected", "regression", "bilinear-qm")


def coarsened(fine: xr.DataArray) -> xr.Dataset:
    """The coarse field, as a dataset on its own."""
    return coarsen(fine, Grid.of(fine), SCALE)[0].to_dataset()


@pytest.fixture(params=["standard", "360_day"])
def pair(request, field_of) -> tuple[xr.Dataset, xr.DataArray]:
    """Coarse and fine fields with a static pattern and a wave in time."""
    fine = field_of(steps=120, calendar=request.param)
    wave = 8 * np.sin(np.arange(120) / 7)[:, None, None]
    pattern = 6 * np.random.default_rng(4).normal(size=fine.shape[1:])
    fine = fine.copy(data=(fine.values + wave * (1 + pattern / 20) + pattern).astype(np.float32))
    return coarsened(fine), fine


@pytest.fixture
def gaps(pair) -> xr.DataArray:
    """The fine field with missing cells: one has never a value, one in four steps, some now and then."""
    values = pair[1].values.copy()
    values[np.random.default_rng(5).uniform(size=values.shape) < 0.3] = np.nan
    values[:, 2, 3] = np.nan
    values[4:, 5, 6] = np.nan
    values[:4, 5, 6] = [281.0, 282.0, 283.0, 286.0]
    return pair[1].copy(data=values)


def steps(coarse: xr.Dataset, first: int, last: int | None = None) -> xr.Dataset:
    return coarse.isel(time=slice(first, last))


def bilinear(coarse: xr.Dataset, fine: xr.DataArray, name: str = "tas") -> np.ndarray:
    return interpolated(coarse[name].values, "bilinear", SCALE)


def with_predictors(coarse: xr.Dataset) -> xr.Dataset:
    random = np.random.default_rng(8)
    shape = coarse["tas"].shape
    return coarse.assign(
        z=(("time", "lat", "lon"), 5e4 + 300 * random.normal(size=shape)),
        hus=(("time", "lat", "lon"), 1e-3 * random.uniform(size=shape)),
    )


def quantile_mapped(field: np.ndarray, model: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Additive empirical quantile mapping of one cell, written out."""
    nodes = (np.arange(QUANTILES) + 0.5) / QUANTILES
    of_model, of_truth = np.quantile(model, nodes), np.quantile(truth, nodes)
    return field + np.interp(field, of_model, of_truth - of_model)  # constant beyond the ends


def test_there_is_a_test_of_each():
    others = {"nearest", "bilinear", "bicubic", "climatology", "multiple-regression"}
    # test_conservative.py, test_bcsd.py, test_ridge.py, test_climatological_ensemble.py
    others |= {"conservative", "bcsd", "ridge", "climatological-ensemble"}
    assert {*CORRECTED, *others} == set(BASELINES)
    assert set(BASELINES) - set(WITHOUT_COARSE) == NEEDS_PREDICTAND


@pytest.mark.parametrize("name", BASELINES)
def test_form_of_a_prediction(pair, name):
    coarse, fine = pair
    found = fit_baseline(name, steps(coarse, 0, 80), fine[:80], SCALE)(steps(coarse, 80))
    members = ("member",) if name == "climatological-ensemble" else ()
    assert found.dims == (*members, "time", "lat", "lon")
    assert found.dtype == np.float32
    assert found.shape[-3:] == (40, *fine.shape[1:])
    assert np.isfinite(found.values).all()
    for axis in ("time", "lat", "lon"):
        np.testing.assert_array_equal(found[axis].values, fine[80:][axis].values)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
def test_bare_interpolation(pair, name):
    coarse, fine = pair
    found = fit_baseline(name, steps(coarse, 0, 80), fine[:80], SCALE)(steps(coarse, 80))
    np.testing.assert_array_equal(
        found.values, interpolated(steps(coarse, 80)["tas"].values, name, SCALE).astype(np.float32)
    )


def test_each_cells_mean_error_is_removed(pair):
    coarse, fine = pair
    predict = fit_baseline("bilinear-corrected", steps(coarse, 0, 80), fine[:80], SCALE)
    interpolated = bilinear(coarse, fine)
    error = (interpolated[:80] - fine.values[:80]).mean(axis=0)
    np.testing.assert_allclose(predict(steps(coarse, 80)).values, interpolated[80:] - error, rtol=1e-6)
    np.testing.assert_allclose((predict(steps(coarse, 0, 80)).values - fine.values[:80]).mean(axis=0), 0.0, atol=1e-4)


def test_regression_per_cell(pair):
    coarse, fine = pair
    found = fit_baseline("regression", steps(coarse, 0, 80), fine[:80], SCALE)(steps(coarse, 80)).values
    x = bilinear(coarse, fine)
    for row, column in ((0, 0), (3, 7), (7, 11)):
        slope, intercept = np.polyfit(x[:80, row, column], fine.values[:80, row, column].astype(np.float64), 1)
        expected = intercept + slope * x[80:, row, column]
        np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-6)


def test_quantile_mapping_per_cell(pair):
    coarse, fine = pair
    found = fit_baseline("bilinear-qm", steps(coarse, 0, 80), fine[:80], SCALE)(steps(coarse, 80)).values
    x = bilinear(coarse, fine)
    for row, column in ((0, 0), (3, 7), (7, 11)):
        cell = (slice(None), row, column)
        expected = quantile_mapped(x[80:][cell], x[:80][cell], fine.values[:80][cell])
        np.testing.assert_allclose(found[cell], expected, atol=2e-4)


def test_quantile_mapping_keeps_a_warmer_climate_warmer(pair):
    coarse, fine = pair
    predict = fit_baseline("bilinear-qm", coarse, fine, SCALE)
    hot = float(coarse["tas"].max()) + np.array([10.0, 11.0, 15.0])
    three = steps(coarse, 0, 3)
    three["tas"] = three["tas"].copy(data=np.broadcast_to(hot[:, None, None], three["tas"].shape))
    found = predict(three).values
    np.testing.assert_allclose(found[1] - found[0], 1.0, atol=1e-3)
    np.testing.assert_allclose(found[2] - found[0], 5.0, atol=1e-3)


@pytest.mark.parametrize("name", [*CORRECTED, "bcsd", "ridge"])
@pytest.mark.parametrize("value", [0.0, 0.1, 273.15])
def test_a_cell_that_never_changed_in_training_stays_sane(field_of, name, value):
    fine = field_of(steps=31)
    fine[:] = value
    coarse = coarsened(fine)
    found = fit_baseline(name, coarse, fine, SCALE)(coarse + 1.0).values
    assert np.isfinite(found).all()
    assert np.abs(found - value).max() < 2.0


@pytest.mark.parametrize("name", [*CORRECTED, "conservative", "bcsd"])
def test_one_step_gives_what_all_steps_give(pair, name):
    coarse, fine = pair
    predict = fit_baseline(name, steps(coarse, 0, 80), fine[:80], SCALE)
    together = predict(steps(coarse, 80)).values
    np.testing.assert_array_equal(predict(steps(coarse, 85, 86)).values, together[5:6])


def test_an_unknown_name_lists_those_there_are(pair):
    with pytest.raises(ValueError, match=r"expected one of climatology, nearest, .* found 'kriging'"):
        fit_baseline("kriging", *pair, SCALE)


def test_the_climatology_is_each_cells_mean(pair):
    coarse, fine = pair
    found = fit_baseline("climatology", steps(coarse, 0, 80)[[]], fine[:80], SCALE)(steps(coarse, 80)).values
    expected = fine.values[:80].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-6)


class TestMultipleRegression:
    def test_least_squares_per_cell(self, pair):
        coarse, fine = with_predictors(pair[0]), pair[1]
        found = fit_baseline("multiple-regression", steps(coarse, 0, 80), fine[:80], SCALE)(steps(coarse, 80)).values
        x = np.stack([bilinear(coarse, fine, name) for name in ("tas", "z", "hus")], axis=-1)
        for cell in ((0, 0), (3, 7), (7, 11)):
            columns = np.column_stack([np.ones(120), x[(slice(None), *cell)]])
            scale = np.abs(columns).max(axis=0)  # numpy's solver needs columns of like size
            solution = np.linalg.lstsq(columns[:80] / scale, fine.values[(slice(80), *cell)], rcond=None)[0]
            np.testing.assert_allclose(found[(slice(None), *cell)], columns[80:] / scale @ solution, rtol=1e-5)

    def test_collinear_and_constant_fields_change_nothing(self, pair):
        coarse, fine = with_predictors(pair[0]), pair[1]
        more = coarse.assign(
            twice=2 * coarse["z"] + 7, same=coarse["tas"].astype(np.float32), flat=coarse["hus"] * 0 + 1013.25
        )
        found, expected = (
            fit_baseline("multiple-regression", steps(inputs, 0, 80), fine[:80], SCALE)(steps(inputs, 80)).values
            for inputs in (more, coarse)
        )
        np.testing.assert_allclose(found, expected, atol=2e-3)

    def test_without_a_coarse_predictand(self, pair):
        coarse, fine = with_predictors(pair[0])[["z"]], pair[1]
        truth = fine.copy(data=(3 + 2e-3 * bilinear(coarse, fine, "z")).astype(np.float32))
        found = fit_baseline("multiple-regression", steps(coarse, 0, 80), truth[:80], SCALE)(steps(coarse, 80))
        np.testing.assert_allclose(found.values, truth.values[80:], rtol=1e-5)

    def test_valid_parts_of_cells_are_no_regressors(self, pair):
        coarse = with_predictors(pair[0])
        more = coarse.assign(tas_valid_fraction=coarse["hus"] * 500)
        assert regression.regressors(more) == ["tas", "z", "hus"]

    @pytest.mark.parametrize("size", [1, 40_000, 300_000])
    def test_blocks_of_cells_change_nothing(self, pair, monkeypatch, size):
        coarse, fine = with_predictors(pair[0]), pair[1]
        expected = fit_baseline("multiple-regression", coarse, fine, SCALE)(coarse).values
        monkeypatch.setattr(regression, "BLOCK_BYTES", size)
        np.testing.assert_allclose(fit_baseline("multiple-regression", coarse, fine, SCALE)(coarse).values, expected)


class TestMissingCells:
    @pytest.mark.parametrize("name", [*CORRECTED, "climatology", "multiple-regression"])
    def test_each_cell_is_fitted_on_its_valid_steps(self, pair, gaps, name):
        """The same as on a record that consists of these steps alone."""
        coarse = with_predictors(pair[0])
        found = fit_baseline(name, coarse, gaps, SCALE)(coarse).values
        row, column = 3, 7
        valid = np.flatnonzero(np.isfinite(gaps.values[:, row, column]))
        assert 60 < len(valid) < 110
        alone = fit_baseline(name, coarse.isel(time=valid), pair[1][valid], SCALE)(coarse).values
        np.testing.assert_allclose(found[:, row, column], alone[:, row, column], atol=1e-3)

    @pytest.mark.parametrize("name", [*CORRECTED, "climatology", "multiple-regression", "bcsd", "ridge"])
    def test_cells_with_too_few_steps_or_none(self, pair, gaps, name):
        coarse = pair[0]
        found = fit_baseline(name, coarse, gaps, SCALE)(coarse).values
        np.testing.assert_allclose(found[:, 5, 6], 283.0, rtol=1e-6)
        missing = np.isnan(found)
        assert missing[:, 2, 3].all()
        assert missing.sum() == 120

    @pytest.mark.parametrize("name", BASELINES)
    def test_missing_coarse_cells_are_filled_from_the_nearest(self, pair, name):
        coarse, fine = pair
        holes, full = coarse.copy(deep=True), coarse.copy(deep=True)
        holes["tas"][:, 0, 2] = np.nan
        full["tas"][:, 0, 2] = coarse["tas"][:, 0, 1]
        one, other = (fit_baseline(name, inputs, fine, SCALE)(inputs).values for inputs in (holes, full))
        # Of two equally near cells, the one beside or the one above is taken.
        full["tas"][:, 0, 2] = coarse["tas"][:, 1, 2]
        third = fit_baseline(name, full, fine, SCALE)(full).values
        assert np.array_equal(one, other) or np.array_equal(one, third)

    def test_infinite_values_are_named(self, pair):
        coarse, fine = pair
        with pytest.raises(TrainingError, match="'tas' has 1 infinite value"):
            fit_baseline("climatology", coarse, fine.where(fine != fine[3, 2, 1], np.inf), SCALE)
        broken = coarse.where(coarse["tas"] != coarse["tas"][3, 1, 1], np.inf)
        with pytest.raises(TrainingError, match="'tas' has 1 infinite value"):
            fit_baseline("regression", broken, fine, SCALE)

    def test_a_step_without_any_coarse_value_is_an_error(self, pair):
        coarse, fine = pair[0].copy(deep=True), pair[1]
        coarse["tas"][5] = np.nan
        with pytest.raises(DataError, match="'tas' is missing everywhere in 1 of 120 time steps"):
            fit_baseline("bilinear", coarse, fine, SCALE)(coarse)


@pytest.mark.parametrize("name", BASELINES)
def test_context_is_used_for_interpolation_only(field_of, name):
    larger = field_of(steps=60, rows=16, columns=20)
    fine = larger[:, 4:-4, 4:-4]
    coarse = coarsened(larger)
    found = fit_baseline(name, coarse, fine, SCALE, context=1)(coarse)
    expected = fit_baseline(name, coarse, larger, SCALE)(coarse)[..., 4:-4, 4:-4]
    np.testing.assert_allclose(found.values, expected.values, atol=1e-3)
    np.testing.assert_array_equal(found["lat"].values, fine["lat"].values)


def test_a_lacking_coarse_predictand_is_named(pair):
    with pytest.raises(ValueError, match="'regression' needs a coarse field of 'tas'"):
        fit_baseline("regression", pair[0].rename(tas="other"), pair[1], SCALE)


@pytest.fixture(scope="module")
def eobs_and_ncep(data_dir) -> tuple[xr.DataArray, xr.DataArray]:
    """E-OBS temperature over Iberia with its missing cells, and NCEP's of the same days on a coarser grid."""
    with xr.open_dataset(data_dir / "eobs-iberia" / "eobs_tas_0.25deg_djf_1990-2000.nc") as dataset:
        fine = dataset["tas"].load()
    with xr.open_dataset(data_dir / "climate4r-iberia" / "ncep_surface_gaussian_djf_1983-2002.nc") as dataset:
        return fine, dataset["tas"].sel(time=fine["time"]).load()


def error_of_ncep(name: str, fine: xr.DataArray, ncep: xr.DataArray, scale: int, context: int = 0) -> float:
    """RMSE over cells that are never missing on the last 203 days, after training on the first 700."""
    for axis in ("lat", "lon"):
        centres = fine[axis].values.reshape(-1, scale).mean(axis=1)
        around = 0.25 * scale * np.arange(1, context + 1)
        centres = np.concatenate([centres[0] - around[::-1], centres, centres[-1] + around])
        ncep = ncep.interp({axis: centres}, kwargs={"fill_value": "extrapolate"})
    coarse = ncep.to_dataset()
    found = fit_baseline(name, steps(coarse, 0, 700), fine[:700], scale, context)(steps(coarse, 700)).values
    complete = np.isfinite(fine.values).all(axis=0)
    return float(np.sqrt(((found - fine.values[700:])[:, complete] ** 2).mean()))


@pytest.mark.parametrize(
    ("name", "expected"), [("bilinear", 2.89), ("regression", 1.79), ("multiple-regression", 1.79)]
)
def test_real_temperatures_from_a_reanalysis(eobs_and_ncep, name, expected):
    """The figures in the description of the data: NCEP's temperature interpolated right to the fine grid."""
    assert error_of_ncep(name, *eobs_and_ncep, scale=1) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("name", ["regression", "multiple-regression"])
def test_real_temperatures_by_way_of_a_coarse_grid(eobs_and_ncep, name):
    fine, ncep = eobs_and_ncep
    assert error_of_ncep(name, fine[:, :40, :60], ncep, scale=10, context=1) < 1.79
