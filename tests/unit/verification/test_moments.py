"""Scores from temporal means agree with the libraries, for the record and for a resample."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import xskillscore

from dl4ds_core import verification
from dl4ds_core.verification import METRICS, Moments, block_weights, resampled_sums
from dl4ds_core.verification.moments import TERMS, CellSeries, Clock

Pair = tuple[xr.DataArray, xr.DataArray]

OWN = ("relative_rmse", "deseasonalised_pearson", "memory_bias", "high_spell_bias", "low_spell_bias")
"""Scores from moments that no library has: tested against plain numpy below."""

WITH_FUNCTION = [name for name, metric in METRICS.items() if isinstance(metric.source, Moments) and name not in OWN]


def series_of(fields: Pair) -> CellSeries:
    return CellSeries(*(field.transpose("lat", "lon", "time").values.reshape(-1, 40) for field in fields))


def score(name: str, series: CellSeries, counts: np.ndarray) -> np.ndarray:
    """Score ``(cell, sample)`` of resamples; the valid steps drawn make the means."""
    source = METRICS[name].source
    assert isinstance(source, Moments)
    valid = np.ones(series.error.shape) if series.valid is None else series.valid.astype(float)
    steps = resampled_sums(valid, counts)
    return source.score(*(resampled_sums(TERMS[term](series), counts) / steps for term in source.terms))


def test_scores_from_moments() -> None:
    assert WITH_FUNCTION == ["bias", "mae", "rmse", "pearson", "spearman", "std_ratio"]


@pytest.mark.parametrize("name", WITH_FUNCTION)
def test_the_whole_record_gives_the_libraries_value(name: str, fields: Pair) -> None:
    result = score(name, series_of(fields), np.ones((1, 40), dtype=int))[:, 0]
    expected = getattr(verification, name)(*fields, reduce_dims="time").values.ravel()
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@pytest.mark.parametrize("name", WITH_FUNCTION)
def test_the_whole_record_with_missing_steps(name: str, fields: Pair) -> None:
    gaps = np.random.default_rng(3).random(fields[0].shape) < 0.2
    pair = (fields[0].where(~gaps), fields[1].where(~gaps))
    result = score(name, series_of(pair), np.ones((1, 40), dtype=int))[:, 0]
    expected = getattr(verification, name)(*pair, reduce_dims="time").values.ravel()
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["bias", "mae", "rmse", "pearson", "spearman", "std_ratio"])
def test_a_resample_gives_the_libraries_weighted_value(name: str, fields: Pair) -> None:
    counts = block_weights(fields[0]["time"], block_steps=5, samples=8, seed=4)
    result = score(name, series_of(fields), counts)
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
    approximate = score("spearman", series, counts)[0]
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
            assert np.isnan(score(name, CellSeries(*pair), counts)).all()
    for name in ("std_ratio", "relative_rmse"):
        assert np.isnan(score(name, CellSeries(varying, flat), counts)).all()
    assert (score("std_ratio", CellSeries(flat, varying), counts) == 0).all()


def test_a_resample_that_is_constant_is_undefined() -> None:
    # Dry but for one day: resamples without that day have no correlation.
    rain = np.zeros((1, 30))
    rain[0, 12] = 9.3
    counts = np.ones((2, 30), dtype=int)
    counts[1, 12], counts[1, 0] = 0, 2
    result = score("pearson", CellSeries(rain * 1.1, rain), counts)[0]
    assert result[0] == pytest.approx(1)
    assert np.isnan(result[1])


def winters() -> xr.DataArray:
    """Three winters, every 6 hours, without a few days of the second one."""
    parts = [pd.date_range(f"{year}-12-01", periods=330, freq="6h") for year in (2000, 2001, 2002)]
    hours = np.concatenate([parts[0], parts[1][:100], parts[1][120:], parts[2]])
    return xr.DataArray(hours, dims="time", name="time")


def with_cycles(missing: bool) -> Pair:
    """Forecast and observation ``(cell, time)`` with memory, a seasonal and a daily cycle; NaN at the same steps."""
    time = winters()
    random = np.random.default_rng(5)
    noise = random.normal(size=(2, 3, time.size))
    for step in range(1, time.size):
        noise[..., step] += np.array([0.5, 0.8])[:, None] * noise[..., step - 1]
    cycle = 280 + 5 * (time.dt.month % 12) + 3 * np.cos(time.dt.hour * np.pi / 12)
    values = [1.2 * cycle.values + noise[0] + noise[1], cycle.values + noise[1]]
    if missing:
        gaps = random.random((3, time.size)) < 0.15
        gaps[1], gaps[2, 40:300] = False, True
        values = [np.where(gaps, np.nan, each) for each in values]
    return tuple(xr.DataArray(each, {"time": time}, ("cell", "time")) for each in values)


def cells(pair: Pair) -> CellSeries:
    return CellSeries(*(field.values for field in pair), Clock(pair[0]["time"]))


def departures(field: xr.DataArray) -> xr.DataArray:
    """Field less the mean of each month and hour."""
    kind = field["time"].dt.strftime("%m %H").rename("kind")
    return (field.groupby(kind) - field.groupby(kind).mean()).drop_vars("kind").transpose(*field.dims)


def autocorrelation(series: np.ndarray, time: np.ndarray, counts: np.ndarray) -> float:
    """Mean product of neighbours by variance, written out: a step of more than 6 hours has no neighbour."""
    products, pairs, squares, steps = 0.0, 0, 0.0, 0
    for step, value in enumerate(series):
        if np.isnan(value):
            continue
        squares += counts[step] * value**2
        steps += counts[step]
        if step + 1 == series.size or time[step + 1] - time[step] > np.timedelta64(6, "h"):
            continue
        if not np.isnan(series[step + 1]):
            products += counts[step] * value * series[step + 1]
            pairs += counts[step]
    return (products / pairs) / (squares / steps)


def correlation(f: np.ndarray, o: np.ndarray) -> float:
    valid = ~np.isnan(o)
    return float(np.corrcoef(f[valid], o[valid])[0, 1])


some_missing = pytest.mark.parametrize("missing", [False, True], ids=["whole", "missing"])


@some_missing
def test_relative_rmse(missing: bool) -> None:
    pair = with_cycles(missing)
    result = score("relative_rmse", cells(pair), np.ones((1, pair[0].sizes["time"]), dtype=int))[:, 0]
    f, o = (field.values for field in pair)
    expected = np.sqrt(np.nanmean((f - o) ** 2, axis=1)) / np.nanstd(o, axis=1)
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@some_missing
def test_correlation_without_the_mean_cycles(missing: bool) -> None:
    pair = with_cycles(missing)
    result = score("deseasonalised_pearson", cells(pair), np.ones((1, pair[0].sizes["time"]), dtype=int))[:, 0]
    f, o = (departures(field).values for field in pair)
    np.testing.assert_allclose(result, [correlation(*series) for series in zip(f, o, strict=True)], rtol=1e-10)
    with_them = score("pearson", cells(pair), np.ones((1, pair[0].sizes["time"]), dtype=int))[:, 0]
    assert (with_them > result + 0.05).all()


@some_missing
def test_memory_never_pairs_steps_across_a_gap(missing: bool) -> None:
    pair = with_cycles(missing)
    counts = np.ones(pair[0].sizes["time"], dtype=int)
    result = score("memory_bias", cells(pair), counts[None])[:, 0]
    time = pair[0]["time"].values
    f, o = ([autocorrelation(series, time, counts) for series in departures(field).values] for field in pair)
    np.testing.assert_allclose(result, np.subtract(f, o), rtol=1e-9)
    np.testing.assert_allclose(o, 0.8, atol=0.07)


@some_missing
def test_resamples_keep_the_cycles_of_the_record(missing: bool) -> None:
    pair = with_cycles(missing)
    time = pair[0]["time"]
    counts = block_weights(time, block_steps=20, samples=4, seed=2)
    found = {name: score(name, cells(pair), counts) for name in OWN}
    less = [departures(field) for field in pair]
    for sample, row in enumerate(counts):
        drawn = np.repeat(np.arange(time.size), row)
        f, o = (field.values[:, drawn] for field in less)
        expected = [correlation(*series) for series in zip(f, o, strict=True)]
        np.testing.assert_allclose(found["deseasonalised_pearson"][:, sample], expected, rtol=1e-9)
        f, o = ([autocorrelation(series, time.values, row) for series in field.values] for field in less)
        np.testing.assert_allclose(found["memory_bias"][:, sample], np.subtract(f, o), rtol=1e-8)
        f, o = (field.values[:, drawn] for field in pair)
        expected = np.sqrt(np.nanmean((f - o) ** 2, axis=1)) / np.nanstd(o, axis=1)
        np.testing.assert_allclose(found["relative_rmse"][:, sample], expected, rtol=1e-9)


def test_a_forecast_with_its_own_cycle_but_the_same_departures() -> None:
    observation = with_cycles(True)[1]
    month, hour = observation["time"].dt.month, observation["time"].dt.hour
    series = cells((observation + 2 * month - hour, observation))
    counts = np.ones((1, observation.sizes["time"]), dtype=int)
    np.testing.assert_allclose(score("deseasonalised_pearson", series, counts), 1, rtol=1e-10)
    np.testing.assert_allclose(score("memory_bias", series, counts), 0, atol=1e-10)


@pytest.mark.parametrize("cycle", [0.0, 1.3])
@pytest.mark.parametrize("missing", [False, True], ids=["whole", "missing"])
def test_a_series_that_is_its_mean_cycle_has_no_departures(cycle: float, missing: bool) -> None:
    """What rounding leaves of it has neither a correlation nor memory."""
    varying = with_cycles(missing)[1]
    month, hour = varying["time"].dt.month, varying["time"].dt.hour
    flat = (280.1 + cycle * month + 0.1 * cycle * hour).where(varying.notnull()).transpose(*varying.dims)
    counts = block_weights(varying["time"], block_steps=20, samples=5, seed=2)
    for pair in ((varying, flat), (flat, varying), (flat, flat)):
        for name in ("deseasonalised_pearson", "memory_bias"):
            assert np.isnan(score(name, cells(pair), counts)).all()


def test_the_clock() -> None:
    time = winters()
    follows = Clock(time).follows
    np.testing.assert_array_equal(np.flatnonzero(~follows), [329, 429, 639, 969])
    membership = Clock(time).membership
    assert membership.shape == (970, 12)  # three months and four hours of the day
    assert (membership.sum(axis=1) == 1).all()
    days = xr.date_range("2000-01-29", periods=3, calendar="360_day", use_cftime=True)
    np.testing.assert_array_equal(Clock(xr.DataArray(days, dims="time")).membership, [[1, 0], [1, 0], [0, 1]])


def test_cycles_need_a_clock(fields: Pair) -> None:
    with pytest.raises(TypeError, match="without a clock"):
        series_of(fields).forecast_departure  # noqa: B018
