"""The table of scores, and adding one."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from score_rows import of_the_whole

from dl4ds_core.config.verification import INDEX_NAMES
from dl4ds_core.verification import METRICS, Metric, Moments, Structure, bias, ssim, verify

Pair = tuple[xr.DataArray, xr.DataArray]
Datasets = tuple[xr.Dataset, xr.Dataset]

NAMES = [
    "bias", "mae", "rmse", "relative_rmse", "pearson", "deseasonalised_pearson", "spearman", "std_ratio", "memory_bias",
    "high_spell_bias", "low_spell_bias", "quantile_bias", "perkins", "wasserstein", "ssim", "psnr",
    "pattern_correlation", "coarse_rmse", "spectral_distance", "short_spectral_distance", "power_ratio",
    "subgrid_power_ratio", "correlation_length_bias", "fss",
    "crps", "spread_skill", "rank_deviation", "brier", "reliability", "energy_score", "member_power_ratio",
    "member_spectral_distance", "member_short_spectral_distance",
    *(f"bias_{name}" for name in INDEX_NAMES),
]  # fmt: skip


def test_names_of_the_long_table() -> None:
    assert list(METRICS) == NAMES
    assert all(name == metric.name for name, metric in METRICS.items())


def test_adding_a_score_is_one_function_and_one_line(
    datasets: Datasets, fields: Pair, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest(forecast: xr.DataArray, observation: xr.DataArray, *, reduce_dims: str) -> xr.DataArray:
        return abs(forecast - observation).max(reduce_dims)

    monkeypatch.setitem(METRICS, "largest", Metric("largest", "largest error", "same", 0, largest))
    maps, rows = verify(*datasets, area=area, data_ranges={"t2m": 20.0}, block="4h", samples=10, confidence=0.9, seed=1)
    worst = abs(fields[0] - fields[1]).max("time")
    np.testing.assert_allclose(maps["t2m_largest"], worst)
    assert maps["t2m_largest"].attrs == {"long_name": "largest error of 2 m temperature", "units": "K"}
    row = of_the_whole(rows).loc["largest"]
    assert row["value"] == pytest.approx(float(worst.weighted(area).mean()))
    # Without moments the interval is from resampled series of some cells.
    assert row["lower"] < row["value"] < row["upper"]


def test_adding_a_score_of_fields(datasets: Datasets, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(forecast: xr.DataArray, observation: xr.DataArray, *, data_range: float) -> xr.DataArray:
        return ssim(forecast, observation, data_range=data_range) / 2

    monkeypatch.setitem(METRICS, "half", Metric("half", "half", "1", 1, halved, "pooled", fields=True))
    maps, rows = verify(*datasets, area=area, data_ranges={"t2m": 20.0}, block="4h", samples=10)
    np.testing.assert_allclose(maps["t2m_half"], maps["t2m_ssim"] / 2)
    found = of_the_whole(rows)[["value", "lower", "upper"]].astype(float)
    np.testing.assert_allclose(found.loc["half"], found.loc["ssim"] / 2)


def test_adding_a_score_from_moments(datasets: Datasets, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    mse = Moments(("squared_error",), lambda mean: mean)
    monkeypatch.setitem(METRICS, "mse", Metric("mse", "mean squared error", "K2", 0, mse, "pooled"))
    maps, rows = verify(*datasets, area=area, data_ranges={"t2m": 20.0}, block="4h", samples=10)
    for curve in ("", "_by_step", "_resampled"):
        np.testing.assert_allclose(maps[f"t2m_mse{curve}"], maps[f"t2m_rmse{curve}"] ** 2)
    row = of_the_whole(rows).loc["mse"]
    assert (row["unit"], row["value"]) == ("K2", pytest.approx(of_the_whole(rows).loc["rmse", "value"] ** 2))


def test_adding_a_score_of_structure(datasets: Datasets, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = Structure(
        lambda forecast, observation, setting: {"f": forecast.std(axis=(1, 2)), "o": observation.std(axis=(1, 2))},
        lambda means, setting: np.atleast_1d(means["f"] / means["o"]),
    )
    monkeypatch.setitem(METRICS, "spread", Metric("spread", "ratio of spreads", "1", 1, spread, "pooled"))
    maps, rows = verify(*datasets, area=area, data_ranges={"t2m": 20.0}, block="4h", samples=10)
    means = [data["t2m"].std(("lat", "lon")).mean() for data in datasets]
    row = of_the_whole(rows).loc["spread"]
    assert row["value"] == pytest.approx(float(means[0] / means[1]))
    assert row["lower"] < row["value"] < row["upper"]
    assert "t2m_spread" not in maps


def test_a_pooled_score_needs_moments() -> None:
    with pytest.raises(TypeError, match="pooled"):
        Metric("x", "x", "1", 0, bias, "pooled")
