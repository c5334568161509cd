"""Each score against plain numpy or scipy, with weights, missing values, constant cells and dask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.verification import deterministic

Pair = tuple[xr.DataArray, xr.DataArray]


def correlation(f: np.ndarray, o: np.ndarray, w: np.ndarray) -> float:
    df, do = f - np.average(f, weights=w), o - np.average(o, weights=w)
    return float((w * df * do).sum() / np.sqrt((w * df**2).sum() * (w * do**2).sum()))


def deviation(x: np.ndarray, w: np.ndarray) -> float:
    return float(np.sqrt(np.average((x - np.average(x, weights=w)) ** 2, weights=w)))


PLAIN: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "bias": lambda f, o, w: float(np.average(f - o, weights=w)),
    "mae": lambda f, o, w: float(np.average(np.abs(f - o), weights=w)),
    "rmse": lambda f, o, w: float(np.sqrt(np.average((f - o) ** 2, weights=w))),
    "pearson": correlation,
    "spearman": lambda f, o, w: correlation(scipy.stats.rankdata(f), scipy.stats.rankdata(o), w),
    "std_ratio": lambda f, o, w: deviation(f, w) / deviation(o, w),
}

every_score = pytest.mark.parametrize("name", list(PLAIN))


@every_score
def test_per_cell(name: str, fields: Pair) -> None:
    result = getattr(deterministic, name)(*fields, reduce_dims="time")
    assert isinstance(result, xr.DataArray)
    assert result.dims == ("lat", "lon")
    assert result.dtype == np.float64
    f, o = (field.isel(lat=3, lon=5).values for field in fields)
    assert float(result[3, 5]) == pytest.approx(PLAIN[name](f, o, np.ones(f.size)), rel=1e-12)


@every_score
def test_whole_domain_without_weights(name: str, fields: Pair) -> None:
    f, o = (field.values.ravel() for field in fields)
    result = getattr(deterministic, name)(*fields)
    assert result.dims == ()
    assert float(result) == pytest.approx(PLAIN[name](f, o, np.ones(f.size)), rel=1e-11)


@every_score
def test_area_weights_over_the_domain(name: str, fields: Pair, area: xr.DataArray) -> None:
    f, o = (field.values.ravel() for field in fields)
    weights = np.broadcast_to(area.values, fields[0].shape).ravel()
    result = getattr(deterministic, name)(*fields, weights=area)
    assert float(result) == pytest.approx(PLAIN[name](f, o, weights), rel=1e-11)


@every_score
def test_area_weights_per_step_in_another_order(name: str, fields: Pair, area: xr.DataArray) -> None:
    result = getattr(deterministic, name)(*fields, reduce_dims=["lat", "lon"], weights=area.transpose("lon", "lat"))
    assert result.dims == ("time",)
    f, o = (field[4].values.ravel() for field in fields)
    assert float(result[4]) == pytest.approx(PLAIN[name](f, o, area.values.ravel()), rel=1e-12)


@every_score
def test_weights_that_cancel_out_change_nothing(name: str, fields: Pair, area: xr.DataArray) -> None:
    score = getattr(deterministic, name)
    weighted = score(*fields, reduce_dims="time", weights=area)
    xr.testing.assert_allclose(weighted, score(*fields, reduce_dims="time"))


@every_score
def test_missing_in_either_field_is_left_out_of_both(name: str, fields: Pair) -> None:
    forecast, observation = (field.copy() for field in fields)
    forecast[0, 2, 2], observation[7, 2, 2] = np.nan, np.nan
    result = getattr(deterministic, name)(forecast, observation, reduce_dims="time")
    keep = np.setdiff1d(np.arange(40), [0, 7])
    f, o = (field.values[keep, 2, 2] for field in fields)
    assert float(result[2, 2]) == pytest.approx(PLAIN[name](f, o, np.ones(f.size)), rel=1e-12)


@every_score
def test_dask_gives_the_same_lazily(name: str, fields: Pair, area: xr.DataArray) -> None:
    score = getattr(deterministic, name)
    lazy = score(*(field.chunk(time=7, lat=5) for field in fields), reduce_dims="time")
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), score(*fields, reduce_dims="time"))
    pooled = score(*(field.chunk(time=7) for field in fields), weights=area)
    xr.testing.assert_allclose(pooled.compute(), score(*fields, weights=area))


@pytest.mark.parametrize("constant", [0.0, 280.1])
def test_constant_cells(constant: float, fields: Pair) -> None:
    forecast, observation = (field.copy() for field in fields)
    observation[:, 0, 0] = constant
    forecast[:, 1, 1] = constant
    for name in ("pearson", "spearman"):
        result = getattr(deterministic, name)(forecast, observation, reduce_dims="time")
        assert np.isnan(result[0, 0])
        assert np.isnan(result[1, 1])
        assert int(result.isnull().sum()) == 2
    ratio = deterministic.std_ratio(forecast, observation, reduce_dims="time")
    assert np.isnan(ratio[0, 0])
    assert float(ratio[1, 1]) == 0.0


def test_a_perfect_forecast(fields: Pair) -> None:
    truth = fields[1]
    for name in ("bias", "mae", "rmse"):
        assert float(getattr(deterministic, name)(truth, truth)) == 0.0
    for name in ("pearson", "spearman", "std_ratio"):
        assert float(getattr(deterministic, name)(truth, truth)) == pytest.approx(1.0)


def test_bias_is_positive_where_the_forecast_is_too_high(fields: Pair) -> None:
    assert float(deterministic.bias(fields[1] + 2.0, fields[1])) == pytest.approx(2.0)


@pytest.mark.parametrize("dims", ["height", ["time", "height"], []])
def test_unknown_dimensions(dims: str | list[str], fields: Pair) -> None:
    with pytest.raises(DataError, match="reduce_dims must name dimensions"):
        deterministic.rmse(*fields, reduce_dims=dims)


def test_fields_of_other_dimensions_or_coordinates(fields: Pair) -> None:
    with pytest.raises(DataError, match="same dimensions"):
        deterministic.bias(fields[0][0], fields[1])
    with pytest.raises(DataError, match="same coordinates"):
        deterministic.bias(fields[0][1:], fields[1])


def test_weights_that_do_not_fit(fields: Pair, area: xr.DataArray) -> None:
    with pytest.raises(DataError, match="among those reduced"):
        deterministic.mae(*fields, reduce_dims="lat", weights=area)
    with pytest.raises(DataError, match="coordinates of the fields"):
        deterministic.mae(*fields, weights=area[1:])
    for wrong in (area * -1, area * 0, area.where(area.lat > 10)):
        with pytest.raises(DataError, match="non-negative"):
            deterministic.pearson(*fields, weights=wrong)
