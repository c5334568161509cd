"""Truth with missing cells: every number against masked arrays, and no influence of what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import xarray as xr
from score_rows import of_the_whole

from dl4ds_core.errors import DataError
from dl4ds_core.verification import METRICS, Index, Structure, block_weights, distribution, table, verify

Datasets = tuple[xr.Dataset, xr.Dataset]
Pair = tuple[xr.DataArray, xr.DataArray]

STEPS, ROWS, COLUMNS = 60, 26, 28
OPTIONS: dict[str, Any] = {"data_ranges": {"tas": 20.0}, "block": "4d", "samples": 40, "confidence": 0.9, "seed": 1}


def masked(changing: bool) -> Datasets:
    """Prediction and truth of 60 days; a corner of sea, and, if wanted, cells missing on some days."""
    random = np.random.default_rng(3)
    coordinates = {
        "time": pd.date_range("2001-12-01", periods=STEPS),
        "lat": 36 + 0.5 * np.arange(ROWS),
        "lon": -9 + 0.5 * np.arange(COLUMNS),
    }
    values = 280 + 4 * random.normal(size=(STEPS, ROWS, COLUMNS))
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    missing = np.broadcast_to(rows + columns < 9, values.shape).copy()
    if changing:
        missing[:12, 20:, 25:] = True
        missing[:, 25, 0] = random.random(STEPS) < 0.3
        missing[:58, 24, 2] = True  # two steps only
        missing[7] = True
    attributes = {"units": "degC", "long_name": "temperature"}
    truth = xr.DataArray(np.where(missing, np.nan, values), coordinates, ("time", "lat", "lon"), "tas", attributes)
    prediction = truth.copy(data=28.5 + 0.9 * values + random.normal(size=values.shape))
    return prediction.to_dataset(), truth.to_dataset()


@pytest.fixture
def area() -> xr.DataArray:
    """Cell areas that change much from cell to cell."""
    return xr.DataArray(np.random.default_rng(8).uniform(1, 9, (ROWS, COLUMNS)), dims=("lat", "lon"))


def arrays(both: Datasets) -> tuple[np.ma.MaskedArray, np.ma.MaskedArray]:
    truth = np.ma.masked_invalid(both[1]["tas"].values)
    return np.ma.masked_array(both[0]["tas"].values, truth.mask), truth


def by_cell(
    score: Callable[[np.ndarray, np.ndarray], float], both: Datasets, steps: np.ndarray | None = None, fewest: int = 30
) -> np.ndarray:
    """A score of each cell's valid steps, NaN where there are too few."""
    forecast, observation = arrays(both)
    result = np.full((ROWS, COLUMNS), np.nan)
    for row, column in np.ndindex(ROWS, COLUMNS):
        if observation[:, row, column].count() < fewest:
            continue
        pair = [field[:, row, column] for field in (forecast, observation)]
        pair = pair if steps is None else [series[steps] for series in pair]
        result[row, column] = score(*(series.compressed() for series in pair))
    return result


def pearson(f: np.ndarray, o: np.ndarray) -> float:
    return float(np.corrcoef(f, o)[0, 1])


def spearman(f: np.ndarray, o: np.ndarray) -> float:
    return float(np.corrcoef(scipy.stats.rankdata(f), scipy.stats.rankdata(o))[0, 1])


def std_ratio(f: np.ndarray, o: np.ndarray) -> float:
    return float(f.std() / o.std())


def relative_rmse(f: np.ndarray, o: np.ndarray) -> float:
    return float(np.sqrt(((f - o) ** 2).mean()) / o.std())


def wasserstein(f: np.ndarray, o: np.ndarray) -> float:
    return float(scipy.stats.wasserstein_distance(f, o))


def local_ssim(both: Datasets, step: int, data_range: float) -> np.ndarray:
    """Wang et al. (2004) written out for each window within the field that has all its cells; NaN elsewhere."""
    pair = [np.pad(field["tas"].values[step], 5, mode="symmetric") for field in both]
    one = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(one, one) / np.outer(one, one).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    result = np.full((ROWS, COLUMNS), np.nan)
    for row, column in np.ndindex(ROWS, COLUMNS):
        f, o = (field[row : row + 11, column : column + 11] for field in pair)
        if np.isnan(o).any():
            continue
        mean_f, mean_o = (weights * f).sum(), (weights * o).sum()
        var_f, var_o = (weights * (f - mean_f) ** 2).sum(), (weights * (o - mean_o) ** 2).sum()
        covariance = (weights * (f - mean_f) * (o - mean_o)).sum()
        result[row, column] = (2 * mean_f * mean_o + c1) * (2 * covariance + c2)
        result[row, column] /= (mean_f**2 + mean_o**2 + c1) * (var_f + var_o + c2)
    return result


def mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.ma.average(np.ma.masked_invalid(values), weights=np.broadcast_to(weights, values.shape)))


@pytest.fixture(params=[False, True], ids=["constant", "changing"])
def both(request: pytest.FixtureRequest) -> Datasets:
    return masked(request.param)


def test_domain_values_and_maps(both: Datasets, area: xr.DataArray) -> None:
    maps, rows = verify(*both, area=area, **OPTIONS)
    found = of_the_whole(rows)["value"]
    forecast, observation = arrays(both)
    error = forecast - observation
    weights = area.values
    never = observation.mask.all(axis=0)
    for name, values in {"bias": error, "mae": abs(error), "rmse": error**2}.items():
        root = np.sqrt if name == "rmse" else float
        pooled = np.ma.average(values, weights=np.broadcast_to(weights, values.shape))
        assert found[name] == pytest.approx(root(pooled), rel=1e-11)
        expected = root(values.mean(axis=0)) if name == "rmse" else values.mean(axis=0)
        np.testing.assert_allclose(maps[f"tas_{name}"], np.ma.filled(expected, np.nan), rtol=1e-11)
        np.testing.assert_array_equal(maps[f"tas_{name}"].isnull(), never)
    by_series = {"relative_rmse": relative_rmse, "pearson": pearson, "spearman": spearman, "std_ratio": std_ratio}
    for name, score in (by_series | {"wasserstein": wasserstein}).items():
        expected = by_cell(score, both)
        np.testing.assert_allclose(maps[f"tas_{name}"], expected, rtol=1e-10)
        assert found[name] == pytest.approx(mean(expected, weights), rel=1e-11)
    values = rows[rows["metric"] == "quantile_bias"].set_index("threshold")["value"]
    for percentile in distribution.PERCENTILES:
        expected = by_cell(lambda f, o, q=percentile: float(np.percentile(f, q) - np.percentile(o, q)), both)
        np.testing.assert_allclose(maps[f"tas_quantile_bias_{percentile:g}"], expected, rtol=1e-10, atol=1e-12)
        assert values[percentile] == pytest.approx(mean(expected, weights), rel=1e-11)


def test_ssim_is_that_of_whole_windows(area: xr.DataArray) -> None:
    both = masked(True)
    local = np.stack([local_ssim(both, step, 20.0) for step in range(0, STEPS, 6)])
    some = tuple(data.isel(time=slice(0, None, 6)) for data in both)
    maps, rows = verify(some[0], some[1], area=area, **(OPTIONS | {"block": "6d"}))
    assert of_the_whole(rows).loc["ssim", "value"] == pytest.approx(mean(local, area.values), rel=1e-9)
    defined = np.isfinite(local).sum(axis=0)
    expected = np.where(defined > 0, np.nansum(local, axis=0) / np.maximum(defined, 1), np.nan)
    np.testing.assert_allclose(maps["tas_ssim"], expected, rtol=1e-9)
    assert 0 < np.isnan(expected).sum() < expected.size
    assert maps["tas_ssim"].attrs["comment"] == (
        "Gaussian window of 11 cells; undefined where the window holds missing cells"
    )


def test_intervals_are_those_of_an_explicit_bootstrap(area: xr.DataArray) -> None:
    """The steps drawn and scored anew with masked arrays, resample by resample."""
    both = masked(True)
    rows = of_the_whole(verify(*both, area=area, **OPTIONS)[1])
    forecast, observation = arrays(both)
    weights = np.broadcast_to(area.values, observation.shape)
    local = np.stack([local_ssim(both, step, 20.0) for step in range(STEPS)])
    found: dict[str, list[float]] = {"bias": [], "rmse": [], "pearson": [], "std_ratio": [], "ssim": []}
    for counts in block_weights(both[1]["time"], block_steps=4, samples=40, seed=1):
        drawn = np.repeat(np.arange(STEPS), counts)
        error = (forecast - observation)[drawn]
        found["bias"].append(float(np.ma.average(error, weights=weights)))
        found["rmse"].append(float(np.sqrt(np.ma.average(error**2, weights=weights))))
        found["pearson"].append(mean(by_cell(pearson, both, drawn), area.values))
        found["std_ratio"].append(mean(by_cell(std_ratio, both, drawn), area.values))
        found["ssim"].append(mean(local[drawn], area.values))
    for name, scores in found.items():
        expected = np.quantile(scores, [0.05, 0.95])
        np.testing.assert_allclose(rows.loc[name, ["lower", "upper"]].astype(float), expected, rtol=1e-8)


@pytest.mark.parametrize("value", [np.nan, 1e30, np.inf, -np.inf])
def test_what_is_predicted_at_missing_cells_changes_nothing(value: float, both: Datasets, area: xr.DataArray) -> None:
    maps, rows = verify(*both, area=area, **OPTIONS)
    changed = both[0].where(both[1].notnull(), value)
    changed["tas"].attrs = both[0]["tas"].attrs
    other = verify(changed, both[1], area=area, **OPTIONS)
    xr.testing.assert_identical(other[0], maps)
    pd.testing.assert_frame_equal(other[1], rows, check_exact=True)


def test_the_area_of_cells_never_valid_changes_nothing(area: xr.DataArray) -> None:
    both = masked(False)
    expected = verify(*both, area=area, **OPTIONS)[1]
    sea = both[1]["tas"].isnull().all("time").values
    other = verify(*both, area=area.where(~sea, 1e6), **OPTIONS)[1]
    pd.testing.assert_frame_equal(other, expected, rtol=1e-10)


def test_a_step_without_any_truth_is_as_if_it_were_not_there(area: xr.DataArray) -> None:
    both = masked(True)
    maps, rows = verify(*both, area=area, **OPTIONS)
    rest = tuple(data.drop_isel(time=7) for data in both)
    other = verify(rest[0], rest[1], area=area, **OPTIONS)
    pd.testing.assert_series_equal(other[1]["value"], rows["value"], rtol=1e-11)
    assert maps["tas_rmse_by_step"][7].isnull()
    with_times = maps.drop_isel(time=7)
    for name in maps:
        if "sample" not in maps[name].dims:  # other resamples
            np.testing.assert_allclose(other[0][name], with_times[name], rtol=1e-11)


def test_the_pieces_change_nothing(area: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    both = masked(True)
    maps, rows = verify(*both, area=area, **OPTIONS)
    for cells in (9, 70):  # less and more than one row of cells
        monkeypatch.setattr(table, "_ARRAY_BYTES", cells * STEPS * 8)
        lazy = [data.chunk(time=7) for data in both]
        pieces = verify(lazy[0], lazy[1], area=area, **OPTIONS)
        xr.testing.assert_allclose(pieces[0], maps, rtol=1e-12)
        pd.testing.assert_frame_equal(pieces[1], rows, rtol=1e-10)


def test_cells_with_few_steps_have_no_correlation(area: xr.DataArray) -> None:
    both = masked(True)
    maps, _ = verify(*both, area=area, **OPTIONS)
    for name, metric in METRICS.items():
        if not (metric.fields or isinstance(metric.source, Structure | Index)):
            field = maps[f"tas_{name}" if name != "quantile_bias" else "tas_quantile_bias_50"]
            assert bool(field[24, 2].isnull()) == (metric.domain == "cells")
    assert table.FEWEST_STEPS == 30
    both[1]["tas"][: STEPS - 30, 20, 20] = np.nan
    both[1]["tas"][: STEPS - 29, 20, 21] = np.nan
    maps, _ = verify(*both, area=area, **OPTIONS)
    assert maps["tas_pearson"][20, 20].notnull()
    assert maps["tas_pearson"][20, 21].isnull()


def test_a_domain_without_a_whole_window(area: xr.DataArray, caplog: pytest.LogCaptureFixture) -> None:
    both = masked(False)
    both[1]["tas"][:, ::8, ::8] = np.nan
    maps, rows = verify(*both, area=area, **OPTIONS)
    rows = rows.set_index("metric")[["value", "lower", "upper"]]
    undefined = [
        "ssim",
        "spectral_distance",
        "short_spectral_distance",
        "power_ratio",
        "subgrid_power_ratio",
    ]  # the largest box is 7 cells wide
    assert rows.loc[undefined].isna().all(axis=None)
    assert rows.drop(undefined).notna().all(axis=None)
    assert "tas_spectrum_truth" not in maps
    assert maps["tas_ssim"].isnull().all()
    assert maps["tas_ssim"].attrs["comment"].endswith("every window holds missing cells, so nothing is defined")
    assert "ssim of temperature is undefined" in caplog.text


@pytest.mark.parametrize(
    ("which", "value", "message"),
    [
        (0, np.nan, "tas: expected no missing values in the prediction; found 5 of {valid} where the truth has values"),
        (0, np.inf, "tas: expected finite values in the prediction; found 5 infinite ones of {valid}"),
        (1, -np.inf, "tas: expected finite values in the truth; found 5 infinite ones of {valid}"),
    ],
)
def test_values_that_are_refused(which: int, value: float, message: str, area: xr.DataArray) -> None:
    both = masked(True)
    valid = int(both[1]["tas"].notnull().sum())
    both[which]["tas"][20:25, 15, 15] = value
    with pytest.raises(DataError, match=message.format(valid=valid)):
        verify(*both, area=area, **OPTIONS)


def test_a_truth_without_any_value(area: xr.DataArray) -> None:
    prediction, truth = masked(False)
    nothing = truth.where(truth["lat"] > 90).assign(tas=truth["tas"].where(truth["lat"] > 90))
    with pytest.raises(DataError, match="tas: expected values in the truth; found 43680 missing ones and no other"):
        verify(prediction, nothing, area=area, **OPTIONS)


def test_temperature_of_e_obs(data_dir: Path) -> None:
    """Sea and cells that are missing on some days: yesterday's temperature as forecast of today's."""
    with xr.open_dataset(data_dir / "eobs-iberia" / "eobs_tas_0.25deg_djf_1990-2000.nc") as data:
        tas = data["tas"].astype(np.float64).load()
    # Days that are valid on two days in a row, so that the forecast skips no cell.
    truth = tas.isel(time=slice(700, None)).where(tas.shift(time=1).isel(time=slice(700, None)).notnull())
    forecast = tas.shift(time=1).isel(time=slice(700, None)).fillna(1e20)
    area = np.cos(np.deg2rad(tas["lat"])) * xr.ones_like(tas["lon"])
    pair = [field.assign_attrs(units="degC").rename("tas").to_dataset() for field in (forecast, truth)]
    maps, rows = verify(pair[0], pair[1], area=area, **(OPTIONS | {"block": "10d", "samples": 20, "scale": 2}))
    error = np.ma.masked_invalid(np.where(truth.isnull(), np.nan, forecast - truth))
    weights = np.broadcast_to(area.values, error.shape)
    found = of_the_whole(rows).drop([f"{what}_{name}" for what in ("bias", "truth") for name in ("tgx", "tgn")])
    assert found.loc["rmse", "value"] == pytest.approx(np.sqrt(np.ma.average(error**2, weights=weights)), rel=1e-11)
    assert found["value"].notna().all()
    rest = found.drop(
        ["spectral_distance", "short_spectral_distance"]
    )  # farther in resamples, as some days count more than others
    assert rest["value"].between(rest["lower"], rest["upper"]).all()
    counts = truth.notnull().sum("time").values
    assert ((counts > 0) & (counts < truth.sizes["time"])).any()
    np.testing.assert_array_equal(maps["tas_rmse"].isnull(), counts == 0)
    np.testing.assert_array_equal(maps["tas_pearson"].isnull(), counts < 30)
