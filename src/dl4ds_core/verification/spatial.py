"""Scores that compare the spatial structure of fields, one time step at a time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.errors import DataError

__all__ = ["ssim"]

FloatArray = npt.NDArray[np.float64]

WINDOW = 11
"""Width in cells of the Gaussian window of Wang et al. (2004)."""

SIGMA = 1.5
"""Standard deviation in cells of that window."""

CELLS_AT_ONCE = 16
"""So many cells along an axis are smoothed by one product of matrices."""


def ssim(forecast: xr.DataArray, observation: xr.DataArray, *, data_range: float) -> xr.DataArray:
    r"""Structural similarity of each cell's neighbourhood, for each time step.

    .. math::
        \frac{(2 \mu_f \mu_o + c_1) (2 \sigma_{fo} + c_2)}
             {(\mu_f^2 + \mu_o^2 + c_1) (\sigma_f^2 + \sigma_o^2 + c_2)}

    with means, variances and the covariance under a Gaussian window of 11 x 11 cells and a standard deviation
    of 1.5 cells, :math:`c_1 = (0.01 L)^2`, :math:`c_2 = (0.03 L)^2` and the data range :math:`L`. Fields are
    mirrored at their edges, and all cells have a value but those whose window holds a missing one: no value is made up,
    so what is missing has no influence. Where a field is narrower than 11 cells, the largest odd window that fits is
    taken, its standard deviation shrunk in proportion; the attribute ``comment`` names the window.

    The first factor compares the means relative to zero, so the score of a temperature in K is not that of
    the same field in degC: compare models in one unit.

    Parameters
    ----------
    forecast, observation : xarray.DataArray
        Fields ``(time, Y, X)`` with equal coordinates, in the same units. The observation may be NaN, at other cells
        from step to step; the forecast must have a value where the observation has one.
    data_range : float
        Largest minus smallest value of the observations, in their units, over the training period: fixed
        beforehand, so that the scores of two models and two periods compare.

    Returns
    -------
    xarray.DataArray
        Local similarity ``(time, Y, X)``, between -1 and 1 (identical); NaN where a cell of the window is missing.

    Raises
    ------
    DataError
        If the fields differ in shape or coordinates, the forecast misses a value that the observation has, a value is
        infinite, the fields are narrower than 3 cells, or the data range is not a positive number.

    References
    ----------
    Wang, Z., Bovik, A. C., Sheikh, H. R. and Simoncelli, E. P. (2004). Image quality assessment: from error
    visibility to structural similarity. IEEE Transactions on Image Processing, 13, 600-612.
    doi:10.1109/TIP.2003.819861
    """
    if not (np.isfinite(data_range) and data_range > 0):
        raise DataError(f"SSIM: expected a positive data range, found {data_range}; is the training field constant?")
    _check_fields(forecast, observation)
    window = _window(*forecast.shape[1:])
    predicted = np.asarray(forecast.values, dtype=np.float64)
    observed = np.asarray(observation.values, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        complete = np.isfinite(predicted.sum() + observed.sum())  # only if all values are; in one pass
    if complete:
        local = _similarity(predicted, observed, window, data_range)
    else:
        local = _with_gaps(predicted, observed, window, data_range)
    similarity = observation.copy(deep=False, data=local).rename("ssim")
    similarity.attrs = {
        "long_name": "structural similarity",
        "units": "1",
        "comment": f"Gaussian window of {window} cells",
    }
    return similarity


def _with_gaps(forecast: FloatArray, observation: FloatArray, window: int, data_range: float) -> FloatArray:
    """Local similarity ``(time, Y, X)`` of fields with missing values; NaN where a cell of the window is missing."""
    missing = np.isnan(observation)
    if np.isinf(observation).any() or not (np.isfinite(forecast) | missing).all():
        raise DataError(
            "SSIM: expected fields without missing values but where the observation has none, and without infinite "
            "ones; fill or cut them first."
        )
    forecast, observation = (np.where(missing, 0.0, field) for field in (forecast, observation))
    local = _similarity(forecast, observation, window, data_range)
    return np.where(_whole_windows(missing, window), local, np.nan)


def _similarity(forecast: FloatArray, observation: FloatArray, window: int, data_range: float) -> FloatArray:
    """Local similarity ``(time, Y, X)`` of fields without missing values."""
    mean_f, mean_o = (_smooth(field, window) for field in (forecast, observation))
    squares = _smooth(forecast**2 + observation**2, window)
    product = _smooth(forecast * observation, window)
    mean_product, mean_squares = mean_f * mean_o, mean_f**2 + mean_o**2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    product -= mean_product  # now the covariance; in place, as the time is that of the memory
    squares -= mean_squares  # the sum of both variances
    for factor, constant in ((product, c2 / 2), (mean_product, c1 / 2), (squares, c2), (mean_squares, c1)):
        factor += constant
    mean_product *= 4.0
    mean_product *= product
    mean_squares *= squares
    mean_product /= mean_squares
    return mean_product


def _smooth(fields: FloatArray, window: int) -> FloatArray:
    """Means ``(time, Y, X)`` under the Gaussian window, fields being mirrored at their edges."""
    rows, columns = (_weights(size, window) for size in fields.shape[1:])
    # Not in the order of the memory of transposed fields: below, reshaping must not copy.
    half, means = np.empty(fields.shape), np.empty(fields.shape)
    for some, around, weights in rows:
        np.matmul(weights, fields[:, around], out=half[:, some])
    # All rows of all steps make one matrix, whose product takes less time than many small ones.
    lines, smoothed = (field.reshape(-1, fields.shape[-1]) for field in (half, means))
    for some, around, weights in columns:
        np.matmul(lines[:, around], weights.T, out=smoothed[:, some])
    return means


@lru_cache(maxsize=8)
def _weights(size: int, window: int) -> list[tuple[slice, slice, FloatArray]]:
    """Weights of the window along an axis: some cells, those that their windows reach, and the weights of these.

    Products of small matrices take half the time of a filter such as `scipy.ndimage.gaussian_filter`, and of its
    memory.
    """
    reach = window // 2
    around = np.arange(-reach, reach + 1)
    one = np.exp(-(around**2) / (2 * (SIGMA * (window - 1) / (WINDOW - 1)) ** 2))
    cells = np.arange(size)[:, None]
    mirrored = np.arange(-reach, size + reach)
    mirrored = np.where(mirrored < 0, -1 - mirrored, np.where(mirrored >= size, 2 * size - 1 - mirrored, mirrored))
    weights = np.zeros((size, size))
    np.add.at(weights, (cells, mirrored[cells + around + reach]), one / one.sum())
    parts = []
    for first in range(0, size, CELLS_AT_ONCE):
        some = slice(first, min(first + CELLS_AT_ONCE, size))
        reached = slice(max(0, some.start - reach), min(some.stop + reach, size))
        parts.append((some, reached, np.ascontiguousarray(weights[some, reached])))
    return parts


def _whole_windows(missing: npt.NDArray[np.bool_], window: int) -> npt.NDArray[np.bool_]:
    """Where no cell ``(time, Y, X)`` of the window is missing; one step for all where all miss the same cells."""
    from scipy.ndimage import maximum_filter

    steps = missing[:1] if (missing == missing[0]).all() else missing
    return ~maximum_filter(steps, size=(1, window, window), mode="reflect")


def _check_fields(forecast: xr.DataArray, observation: xr.DataArray) -> None:
    if observation.ndim != 3 or observation.dims[0] != "time" or forecast.dims != observation.dims:
        raise DataError(
            "SSIM: expected dimensions time and two of the grid, the same of both fields; "
            f"found {forecast.dims} and {observation.dims}."
        )
    other = forecast.indexes
    differing = [
        str(dim)
        for dim in observation.dims
        if forecast.sizes[dim] != observation.sizes[dim]
        or (dim in other and dim in observation.indexes and not other[dim].equals(observation.indexes[dim]))
    ]
    if differing:
        raise DataError(
            f"SSIM: forecast and observation must have the same coordinates; they differ in {', '.join(differing)}."
        )


def _window(rows: int, columns: int) -> int:
    """Width in cells of the window: 11, or the largest odd number of cells that fits."""
    narrowest = min(rows, columns)
    if narrowest < 3:
        raise DataError(f"SSIM: expected a field of 3 x 3 cells or more; found {rows} x {columns}.")
    return min(WINDOW, narrowest - 1 + narrowest % 2)
