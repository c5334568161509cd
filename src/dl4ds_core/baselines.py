"""Simple methods that a network must beat: interpolation, bare or corrected by what the training period shows.

Each method is fitted on the training period only and then applied to a coarse field, all per fine cell.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from dl4ds_core.grids import Grid
from dl4ds_core.interpolation import interpolate

#: From an interpolated field (time, lat, lon) to a prediction of the same shape and unit.
Correction = Callable[[xr.DataArray], xr.DataArray]

#: Quantiles of the mapping; with 50, the outermost are the 1st and the 99th percentile.
QUANTILES = 50


def fit_baseline(
    name: str, coarse: xr.DataArray, fine: xr.DataArray, scale: int
) -> Callable[[xr.DataArray], xr.DataArray]:
    """Fit a baseline on the training period.

    Parameters
    ----------
    name : str
        A key of ``dl4ds_core.config.BASELINES``.
    coarse : xarray.DataArray
        Shape (time, lat, lon) on the coarse grid, training period.
    fine : xarray.DataArray
        Shape (time, lat, lon) on the fine grid, training period, same unit.
    scale : int
        Fine cells per coarse cell.

    Returns
    -------
    callable
        From a coarse field (time, lat, lon) of any period to its prediction on the fine grid, float32.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in _METHODS:
        raise ValueError(f"expected one of {', '.join(_METHODS)}, found {name!r}")
    interpolation, fit = _METHODS[name]
    grid = Grid.of(fine)
    correction = None if fit is None else fit(interpolate(coarse, grid, interpolation, scale), fine)

    def predict(field: xr.DataArray) -> xr.DataArray:
        interpolated = interpolate(field, grid, interpolation, scale)
        result = interpolated if correction is None else correction(interpolated)
        return result.transpose("time", "lat", "lon").astype(np.float32)

    return predict


def _mean_error(interpolated: xr.DataArray, truth: xr.DataArray) -> Correction:
    """Each cell's mean error removed: a static pattern, such as that of orography."""
    error = (interpolated.astype(np.float64) - truth.values).mean("time")
    return lambda field: field - error


def _regression(interpolated: xr.DataArray, truth: xr.DataArray) -> Correction:
    """Ordinary least squares per cell: truth = intercept + slope * interpolated."""
    x = interpolated.astype(np.float64)
    y = x.copy(data=truth.values)
    anomaly = x - x.mean("time")
    variance = (anomaly**2).mean("time")
    # A constant cell has no slope; its mean is the prediction.
    slope = ((anomaly * y).mean("time") / variance.where(variance > 0)).fillna(0.0)
    intercept = y.mean("time") - slope * x.mean("time")
    return lambda field: intercept + slope * field


def _quantile_mapping(interpolated: xr.DataArray, truth: xr.DataArray) -> Correction:
    """Empirical quantile mapping per cell with additive adjustments.

    Beyond the training range the adjustment of the outermost quantile is kept, so that a warmer climate stays warmer
    (Themeßl et al. 2012, doi:10.1007/s10584-011-0224-4).
    """
    from xsdba import EmpiricalQuantileMapping  # here because its import takes seconds

    reference = interpolated.copy(data=truth.values)
    mapping = EmpiricalQuantileMapping.train(reference, interpolated, nquantiles=QUANTILES, group="time", kind="+")

    def correct(field: xr.DataArray) -> xr.DataArray:
        with np.errstate(invalid="ignore"):  # at ties; see below
            adjusted = mapping.adjust(field, interp="linear", extrapolation="constant").transpose(*field.dims)
        return adjusted.fillna(field + _at_ties(mapping.ds, field)) if adjusted.isnull().any() else adjusted

    return correct


def _at_ties(trained: xr.Dataset, field: xr.DataArray) -> xr.DataArray:
    """Return the mean adjustment of the quantiles that equal a value.

    Equal quantiles, of a cell that hardly ever changes, leave the interpolation between them undefined.
    """
    total, count = xr.zeros_like(field), xr.zeros_like(field)
    for number in range(trained.sizes["quantiles"]):
        quantile = trained.isel(quantiles=number).squeeze(drop=True)
        equal = quantile["hist_q"] == field
        total = total + quantile["af"].where(equal, 0.0)
        count = count + equal
    return (total / count).transpose(*field.dims)


_METHODS: dict[str, tuple[str, Callable[[xr.DataArray, xr.DataArray], Correction] | None]] = {
    "nearest": ("nearest", None),
    "bilinear": ("bilinear", None),
    "bicubic": ("bicubic", None),
    "bilinear-corrected": ("bilinear", _mean_error),
    "bicubic-corrected": ("bicubic", _mean_error),
    "regression": ("bilinear", _regression),
    "bilinear-qm": ("bilinear", _quantile_mapping),
}
