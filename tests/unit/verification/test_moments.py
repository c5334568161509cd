"""Scores from temporal means agree with the libraries, for the record and for a resample."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import xskillscore

from dl4ds_core.verification import METRICS, Metric, block_weights, resampled_sums
from dl4ds_core.verification.moments import TERMS, CellSeries, Moments

Pair = tuple[xr.DataArray, xr.DataArray]

WITH_MOMENTS = [metric for metric in METRICS.values() if metric.moments]


def series_of(fields: Pair) -> CellSeries:
    return CellSeries(*(field.transpose("lat", "lon", "time").values.reshape(-1, 40) for field in fields))


def score(moments: Moments | None, series: CellSeries, counts: np.ndarray) -> np.ndarray:
    assert moments is not None
    return moments.score(*(resampled_sums(TERMS[term](series), counts) / counts.shape[1] for term in moments.terms))


@pytest.mark.parametrize("metric", WITH_MOMENTS, ids=lambda metric: metric.name)
def test_the_whole_record_gives_the_libraries_value(metric: Metric, fields: Pair) -> None:
    result = score(metric.moments, series_of(fields), np.ones((1, 40), dtype=int))[:, 0]
    expected = metric.function(*fields, reduce_dims="time").values.ravel()
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["bias", "mae", "rmse", "pearson", "spearman", "std_ratio"])
def test_a_resample_gives_the_libraries_weighted_value(name: str, fields: Pair) -> None:
    counts = block_weights(fields[0]["time"], block_steps=5, samples=8, seed=4)
    result = score(METRICS[name].moments, series_of(fields), counts)
    forecast, observation = (field.rank("time") if name == "spearman" else field for field in fields)
    for sample in (0, 7):
        weights = xr.DataArray(counts[sample].astype(float), {"time": fields[0]["time"]})
        if name == "std_ratio":
            expected = forecast.weighted(weights).std("time") / observation.weighted(weights).std("time")
        else:
            function = {
                "bias": xskillscore.me,
                "mae": xskillscore.mae,
                "rmse": xskillscore.rmse,
                "pearson": xskillscore.pearson_r,
                "spearman": xskillscore.pearson_r,
            }[name]
            expected = function(forecast, observation, dim="time", weights=weights)
        np.testing.assert_allclose(result[:, sample], expected.values.ravel(), rtol=1e-9)


def test_ranks_of_the_record_are_near_ranks_of_the_resample() -> None:
    random = np.random.default_rng(1)
    observation = random.normal(size=(1, 500))
    series = CellSeries(observation + random.normal(size=(1, 500)), observation)
    time = xr.DataArray(pd.date_range("2000-01-01", periods=500), dims="time")
    counts = block_weights(time, block_steps=10, samples=100, seed=0)
    approximate = score(METRICS["spearman"].moments, series, counts)[0]
    for sample in range(5):
        drawn = np.repeat(np.arange(500), counts[sample])
        f, o = (pd.Series(values[0, drawn]).rank() for values in (series.forecast, series.observation))
        assert approximate[sample] == pytest.approx(f.corr(o), abs=0.01)


@pytest.mark.parametrize("constant", [0.0, 280.1])
def test_constant_series_are_undefined(constant: float) -> None:
    varying = 280 + np.random.default_rng(0).normal(size=(1, 30))
    flat = np.full((1, 30), constant)
    counts = np.ones((1, 30), dtype=int)
    for pair in ((varying, flat), (flat, varying), (flat, flat)):
        for name in ("pearson", "spearman"):
            assert np.isnan(score(METRICS[name].moments, CellSeries(*pair), counts)).all()
    assert np.isnan(score(METRICS["std_ratio"].moments, CellSeries(varying, flat), counts)).all()
    assert (score(METRICS["std_ratio"].moments, CellSeries(flat, varying), counts) == 0).all()


def test_a_resample_that_is_constant_is_undefined() -> None:
    # Dry but for one day: resamples without that day have no correlation.
    rain = np.zeros((1, 30))
    rain[0, 12] = 9.3
    counts = np.ones((2, 30), dtype=int)
    counts[1, 12], counts[1, 0] = 0, 2
    result = score(METRICS["pearson"].moments, CellSeries(rain * 1.1, rain), counts)[0]
    assert result[0] == pytest.approx(1)
    assert np.isnan(result[1])
