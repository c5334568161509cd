"""SSIM against a closed form and an explicit window."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from skimage.metrics import structural_similarity

from dl4ds_core.errors import DataError
from dl4ds_core.verification import ssim

Pair = tuple[xr.DataArray, xr.DataArray]


def ssim_of_one_cell(f: np.ndarray, o: np.ndarray, row: int, column: int, radius: int, data_range: float) -> float:
    """Wang et al. (2004) written out, with the edges mirrored (d c b a | a b c d)."""
    around = np.arange(-radius, radius + 1)
    one = np.exp(-(around**2) / (2 * (1.5 * radius / 5) ** 2))
    window = np.outer(one, one) / np.outer(one, one).sum()
    f, o = (np.pad(x, radius, mode="symmetric")[row : row + around.size, column : column + around.size] for x in (f, o))
    mean_f, mean_o = (window * f).sum(), (window * o).sum()
    var_f, var_o = (window * (f - mean_f) ** 2).sum(), (window * (o - mean_o) ** 2).sum()
    covariance = (window * (f - mean_f) * (o - mean_o)).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    numerator = (2 * mean_f * mean_o + c1) * (2 * covariance + c2)
    return float(numerator / ((mean_f**2 + mean_o**2 + c1) * (var_f + var_o + c2)))


@pytest.mark.parametrize("cell", [(0, 0), (5, 6), (11, 3)])
def test_against_the_formula(cell: tuple[int, int], fields: Pair) -> None:
    result = ssim(*fields, data_range=20.0)
    assert result.dims == ("time", "lat", "lon")
    assert result.dtype == np.float64
    expected = ssim_of_one_cell(fields[0][3].values, fields[1][3].values, *cell, radius=5, data_range=20.0)
    assert float(result[3, *cell]) == pytest.approx(expected, abs=1e-9)


def test_identical_fields(fields: Pair) -> None:
    np.testing.assert_allclose(ssim(fields[1], fields[1], data_range=10.0), 1.0, atol=1e-12)


def test_two_constant_fields(fields: Pair) -> None:
    one, two = xr.full_like(fields[0], 3.0), xr.full_like(fields[0], 5.0)
    c1 = (0.01 * 8.0) ** 2
    np.testing.assert_allclose(ssim(one, two, data_range=8.0), (2 * 15 + c1) / (9 + 25 + c1), rtol=1e-9)


def test_the_data_range_matters(fields: Pair) -> None:
    narrow, wide = (float(ssim(*fields, data_range=value).mean()) for value in (5.0, 500.0))
    assert narrow < 0.99 < wide


def test_single_precision_is_as_good_as_double(fields: Pair) -> None:
    single = [field.astype(np.float32) for field in fields]
    double = [field.astype(np.float64) for field in single]
    xr.testing.assert_equal(ssim(*single, data_range=20.0), ssim(*double, data_range=20.0))


def test_transposed_in_memory(fields: Pair) -> None:
    turned = [field.copy(data=np.asfortranarray(field.values)) for field in fields]
    assert not turned[0].values.flags.c_contiguous
    xr.testing.assert_allclose(ssim(*turned, data_range=20.0), ssim(*fields, data_range=20.0), rtol=1e-12)


def test_dask(fields: Pair) -> None:
    lazy = ssim(*(field.chunk(time=7) for field in fields), data_range=20.0)
    xr.testing.assert_equal(lazy, ssim(*fields, data_range=20.0))


def test_a_narrow_field_takes_a_smaller_window(fields: Pair) -> None:
    small = [field.isel(lat=slice(0, 8)) for field in fields]
    result = ssim(*small, data_range=20.0)
    assert result.attrs["comment"] == "Gaussian window of 7 cells"
    expected = ssim_of_one_cell(small[0][0].values, small[1][0].values, 4, 4, radius=3, data_range=20.0)
    assert float(result[0, 4, 4]) == pytest.approx(expected, abs=1e-9)


def test_the_usual_window_is_named(fields: Pair) -> None:
    assert ssim(*fields, data_range=20.0).attrs["comment"] == "Gaussian window of 11 cells"


@pytest.mark.parametrize("shape", [(40, 11), (33, 100), (70, 64), (7, 129)])
def test_against_another_implementation(shape: tuple[int, int]) -> None:
    """On domains that are smoothed in several parts, up to their edges."""
    random = np.random.default_rng(3)
    values = 280 + 5 * random.normal(size=(2, 3, *shape))
    result = ssim(*(xr.DataArray(field, dims=("time", "y", "x")) for field in values), data_range=20.0)
    window = min(11, min(shape))
    for step in range(3):
        options = {"gaussian_weights": True, "sigma": 1.5 * (window - 1) / 10, "use_sample_covariance": False}
        _, expected = structural_similarity(*values[:, step], win_size=window, data_range=20.0, full=True, **options)
        np.testing.assert_allclose(result[step], expected, atol=1e-9)


def test_too_narrow(fields: Pair) -> None:
    with pytest.raises(DataError, match="3 x 3 cells or more; found 2 x 13"):
        ssim(*(field.isel(lat=slice(0, 2)) for field in fields), data_range=20.0)


@pytest.mark.parametrize("data_range", [0.0, -1.0, np.nan, np.inf])
def test_data_range_must_be_positive(data_range: float, fields: Pair) -> None:
    with pytest.raises(DataError, match="positive data range"):
        ssim(*fields, data_range=data_range)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_forecast_without_a_value(wrong: float, fields: Pair) -> None:
    with pytest.raises(DataError, match="without missing values but where the observation has none"):
        ssim(fields[0].where(fields[0].lat > 10, wrong), fields[1], data_range=20.0)


def test_an_infinite_observation(fields: Pair) -> None:
    with pytest.raises(DataError, match="without infinite ones"):
        ssim(fields[0], fields[1].where(fields[0].lat > 10, np.inf), data_range=20.0)


@pytest.mark.parametrize("size", [11, 9])
def test_only_windows_without_a_missing_cell(size: int, fields: Pair) -> None:
    """Cells whose window holds none are as without it, others have no value; another step's gaps don't matter."""
    forecast, observation = (field.isel(time=[0, 1], lat=slice(0, size)) for field in fields)
    full = ssim(forecast, observation, data_range=20.0)
    gaps = observation.copy()
    gaps[0, 8, 1] = np.nan
    result = ssim(forecast.where(gaps.notnull(), 1e30), gaps, data_range=20.0)
    radius = 5 if size == 11 else 4
    rows, columns = np.ogrid[:size, :13]
    inside = (abs(rows - 8) <= radius) & (abs(columns - 1) <= radius)
    np.testing.assert_array_equal(np.isnan(result[0]), inside)
    np.testing.assert_array_equal(result[0].values[~inside], full[0].values[~inside])
    np.testing.assert_array_equal(result[1], full[1])


def test_a_step_without_any_whole_window(fields: Pair) -> None:
    result = ssim(fields[0], fields[1].where(fields[1].time != fields[1].time[4]), data_range=20.0)
    assert np.isnan(result[4]).all()
    assert result.isel(time=slice(5, None)).notnull().all()


def test_missing_values_of_the_forecast_alone(fields: Pair) -> None:
    with pytest.raises(DataError, match="without missing values"):
        ssim(fields[0].where(fields[0].lat > 10), fields[1], data_range=20.0)


def test_fields_that_differ(fields: Pair) -> None:
    with pytest.raises(DataError, match="expected dimensions"):
        ssim(fields[0][0], fields[1][0], data_range=20.0)
    with pytest.raises(DataError, match="same coordinates"):
        ssim(fields[0][1:], fields[1], data_range=20.0)
