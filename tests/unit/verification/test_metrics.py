"""The table of scores, and adding one."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.verification import METRICS, Metric, verify

Pair = tuple[xr.DataArray, xr.DataArray]
Datasets = tuple[xr.Dataset, xr.Dataset]


def test_names_of_the_long_table() -> None:
    assert list(METRICS) == ["bias", "mae", "rmse", "pearson", "spearman", "std_ratio", "ssim"]
    assert all(name == metric.name for name, metric in METRICS.items())


def test_adding_a_score_is_one_function_and_one_line(
    datasets: Datasets, fields: Pair, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest(forecast: xr.DataArray, observation: xr.DataArray, *, reduce_dims: str) -> xr.DataArray:
        return abs(forecast - observation).max(reduce_dims)

    monkeypatch.setitem(METRICS, "largest", Metric("largest", "largest error", "same", 0, largest, "series", "cells"))
    maps, rows = verify(*datasets, area=area, data_ranges={"t2m": 20.0}, block="4h", samples=10, confidence=0.9, seed=1)
    worst = abs(fields[0] - fields[1]).max("time")
    np.testing.assert_allclose(maps["t2m_largest"], worst)
    row = rows.set_index("metric").loc["largest"]
    assert row["value"] == pytest.approx(float(worst.weighted(area).mean()))
    assert np.isnan(row["lower"])  # no moments, so no interval


def test_a_pooled_score_needs_moments() -> None:
    with pytest.raises(TypeError, match="pooled"):
        Metric("x", "x", "1", 0, METRICS["bias"].function, "series", "pooled")
