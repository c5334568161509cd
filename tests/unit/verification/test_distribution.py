"""Scores of distributions against numpy, scipy and a plain loop: missing values, dask, further dimensions, refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.verification import distribution, perkins, quantile_bias, wasserstein
from dl4ds_core.verification.distribution import PERCENTILES

Pair = tuple[xr.DataArray, xr.DataArray]


def plain_quantiles(f: np.ndarray, o: np.ndarray) -> np.ndarray:
    return np.asarray(np.nanquantile(f, np.divide(PERCENTILES, 100)) - np.nanquantile(o, np.divide(PERCENTILES, 100)))


def plain_perkins(f: np.ndarray, o: np.ndarray) -> float:
    """Common area of two histograms of equal bins over the range of both."""
    bins = min(50, int(np.ceil(np.sqrt(f.size))))
    edges = np.linspace(min(f.min(), o.min()), max(f.max(), o.max()), bins + 1)
    common = 0.0
    for one, other in zip(np.histogram(f, edges)[0], np.histogram(o, edges)[0], strict=True):
        common += min(one / f.size, other / o.size)
    return common


PLAIN: dict[str, Callable[[np.ndarray, np.ndarray], float | np.ndarray]] = {
    "quantile_bias": plain_quantiles,
    "perkins": plain_perkins,
    "wasserstein": scipy.stats.wasserstein_distance,
}

every_score = pytest.mark.parametrize("name", list(PLAIN))


def plain(name: str, forecast: xr.DataArray, observation: xr.DataArray) -> float | np.ndarray:
    """Score of what is valid in both fields, over all their dimensions."""
    f, o = (field.values.ravel() for field in (forecast, observation))
    valid = ~np.isnan(f) & ~np.isnan(o)
    return PLAIN[name](f[valid], o[valid])


def with_gaps(fields: Pair) -> Pair:
    """Some values of the forecast and some of the observation are missing."""
    random = np.random.default_rng(4)
    return tuple(field.where(random.random(field.shape) > 0.15) for field in fields)


@pytest.fixture
def short(fields: Pair) -> Pair:
    """Few cells, so that a loop over them is short."""
    return tuple(field.isel(lat=slice(0, 3), lon=slice(0, 4)) for field in fields)


@every_score
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "missing"])
def test_each_cell(name: str, gaps: bool, short: Pair) -> None:
    pair = with_gaps(short) if gaps else short
    result = getattr(distribution, name)(*pair, reduce_dims="time")
    assert isinstance(result, xr.DataArray)
    assert result.dims == (("lat", "lon", "threshold") if name == "quantile_bias" else ("lat", "lon"))
    assert result.dtype == np.float64
    for row, column in np.ndindex(3, 4):
        cell = [field[:, row, column] for field in pair]
        np.testing.assert_allclose(result[row, column], plain(name, *cell), rtol=1e-10, atol=1e-12)


@every_score
def test_all_dimensions(name: str, fields: Pair) -> None:
    pair = with_gaps(fields)
    result = getattr(distribution, name)(*pair)
    assert result.dims == (("threshold",) if name == "quantile_bias" else ())
    np.testing.assert_allclose(result, plain(name, *pair), rtol=1e-10)


@every_score
@pytest.mark.parametrize("dims", [["lat", "lon"], ["time", "lat"]])
def test_some_dimensions(name: str, dims: list[str], short: Pair) -> None:
    pair = with_gaps(tuple(field.isel(time=slice(0, 6)) for field in short))
    result = getattr(distribution, name)(*pair, reduce_dims=dims)
    (kept,) = {"time", "lat", "lon"} - set(dims)
    assert result.dims[0] == kept
    np.testing.assert_array_equal(result[kept], pair[0][kept])
    for place in range(pair[0].sizes[kept]):
        expected = plain(name, *(field.isel({kept: place}) for field in pair))
        np.testing.assert_allclose(result[place], expected, rtol=1e-10, atol=1e-12)


@every_score
def test_dimensions_in_another_order(name: str, short: Pair) -> None:
    score = getattr(distribution, name)
    turned = score(short[0].transpose("lon", "time", "lat"), short[1], reduce_dims="time")
    expected = score(*short, reduce_dims="time")
    xr.testing.assert_allclose(turned.transpose(*expected.dims), expected)


@every_score
def test_a_further_dimension_is_kept(name: str, short: Pair) -> None:
    pair = with_gaps(short)
    members = [xr.concat([field + change for change in (0, 1, 3)], "member") for field in pair]
    members[0] = members[0] * xr.DataArray([1.0, 1.01, 0.99], dims="member")
    score = getattr(distribution, name)
    result = score(*members, reduce_dims="time")
    assert result.sizes["member"] == 3
    for member in range(3):
        one = score(*(field.isel(member=member) for field in members), reduce_dims="time")
        xr.testing.assert_allclose(result.isel(member=member), one)
    pooled = score(*members, reduce_dims=["time", "lat", "lon"])
    np.testing.assert_allclose(pooled[2], plain(name, *(field[2] for field in members)), rtol=1e-10)


@every_score
def test_dask_gives_the_same_lazily(name: str, fields: Pair) -> None:
    score = getattr(distribution, name)
    pair = with_gaps(fields)
    lazy = score(*(field.chunk(time=7, lat=5) for field in pair), reduce_dims="time")
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), score(*pair, reduce_dims="time"))
    one_of_them = score(pair[0].chunk(time=9), pair[1])
    xr.testing.assert_allclose(one_of_them.compute(), score(*pair))


@pytest.mark.parametrize("lazy", [False, True])
def test_percentiles_of_choice(lazy: bool, fields: Pair) -> None:
    pair = tuple(field.chunk(lat=5) for field in fields) if lazy else fields
    result = quantile_bias(*pair, reduce_dims="time", percentiles=(0, 12.5, 100))
    assert result["threshold"].values.tolist() == [0, 12.5, 100]
    f, o = (np.quantile(field.values, [0, 0.125, 1], axis=0) for field in fields)
    np.testing.assert_allclose(result.transpose("threshold", ...), f - o, rtol=1e-9, atol=1e-12)


@every_score
def test_constant_series(name: str, fields: Pair) -> None:
    flat = [xr.full_like(field, 280.1) for field in fields]
    score = getattr(distribution, name)
    same = score(*flat, reduce_dims="time")
    assert (same == (1 if name == "perkins" else 0)).all()
    for pair in ((flat[0], fields[1]), (fields[0], flat[1])):
        cell = [field[:, 2, 3] for field in pair]
        result = score(*pair, reduce_dims="time")[2, 3]
        np.testing.assert_allclose(result, plain(name, *cell), rtol=1e-10, atol=1e-12)
    other = score(flat[0] + 2, flat[1], reduce_dims="time")
    np.testing.assert_allclose(other, 0 if name == "perkins" else 2, rtol=1e-12)


@every_score
def test_nothing_valid(name: str, fields: Pair) -> None:
    forecast, observation = (field.copy() for field in fields)
    forecast[:, 0, 0] = np.nan
    observation[:, 1, 1] = np.nan
    forecast[::2, 2, 2], observation[1::2, 2, 2] = np.nan, np.nan
    result = getattr(distribution, name)(forecast, observation, reduce_dims="time")
    undefined = np.zeros((12, 13), dtype=bool)
    undefined[[0, 1, 2], [0, 1, 2]] = True
    for field in np.moveaxis(result.values, -1, 0) if name == "quantile_bias" else [result.values]:
        np.testing.assert_array_equal(np.isnan(field), undefined)
    assert getattr(distribution, name)(forecast * np.nan, observation).isnull().all()


@every_score
def test_the_order_of_steps_does_not_matter(name: str, short: Pair) -> None:
    score = getattr(distribution, name)
    turned = short[0].copy(data=short[0].values[::-1])
    xr.testing.assert_allclose(score(turned, short[1], reduce_dims="time"), score(*short, reduce_dims="time"))


@every_score
def test_a_perfect_forecast(name: str, fields: Pair) -> None:
    result = getattr(distribution, name)(fields[1], fields[1], reduce_dims="time")
    np.testing.assert_allclose(result, 1 if name == "perkins" else 0, rtol=1e-12)


def test_a_forecast_that_is_too_high(fields: Pair) -> None:
    np.testing.assert_allclose(quantile_bias(fields[1] + 2, fields[1]), 2, rtol=1e-10)
    assert float(wasserstein(fields[1] + 2, fields[1])) == pytest.approx(2)
    assert float(perkins(fields[1] + 1000, fields[1])) == 0


@every_score
def test_single_precision(name: str, short: Pair) -> None:
    single = [field.astype(np.float32) for field in short]
    result = getattr(distribution, name)(*single)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, plain(name, *(field.astype(np.float64) for field in single)), rtol=1e-10)


@every_score
def test_fields_that_are_refused(name: str, fields: Pair) -> None:
    score = getattr(distribution, name)
    with pytest.raises(DataError, match="reduce_dims must name dimensions"):
        score(*fields, reduce_dims="height")
    with pytest.raises(DataError, match="same dimensions"):
        score(fields[0][0], fields[1])
    with pytest.raises(DataError, match="same coordinates"):
        score(fields[0][1:], fields[1])
