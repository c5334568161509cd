"""Empirical quantile mapping of each cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

#: From a field (time, Y, X) to a corrected one of the same shape and unit.
Correction = Callable[[xr.DataArray], xr.DataArray]

#: Quantiles of the mapping; with 50, the outermost are the 1st and the 99th percentile.
QUANTILES = 50


def quantile_mapping(model: xr.DataArray, truth: xr.DataArray) -> Correction:
    """Fit an empirical quantile mapping per cell, with additive adjustments.

    Beyond the range of ``model`` the adjustment of the outermost quantile is kept, so that a warmer climate stays
    warmer (Themeßl et al. 2012, doi:10.1007/s10584-011-0224-4). Cells where either is missing at all times are not
    changed.

    Parameters
    ----------
    model, truth : xarray.DataArray
        Shape (time, Y, X), of the same unit; the number of steps, their times and calendars may differ.

    Returns
    -------
    callable
        From a field of ``model`` (time, Y, X), of any period, to the corrected one.
    """
    from xsdba import EmpiricalQuantileMapping  # here because its import takes seconds

    # Cells without any value can't be mapped, whatever the quantiles of the other.
    known = model.notnull().any("time").values & truth.notnull().any("time").values
    steps = max(model.sizes["time"], truth.sizes["time"])
    reference, hist = (_numbered(part.where(known, 0.0), steps) for part in (truth, model))
    mapping = EmpiricalQuantileMapping.train(reference, hist, nquantiles=QUANTILES, group="time", kind="+")

    def correct(field: xr.DataArray) -> xr.DataArray:
        missing = field.isnull().values
        bare = _numbered(field.fillna(0.0), field.sizes["time"])
        with np.errstate(invalid="ignore"):  # at ties; see below
            adjusted = mapping.adjust(bare, interp="linear", extrapolation="constant").transpose(*field.dims)
        if adjusted.isnull().any():
            adjusted = adjusted.fillna(bare + _at_ties(mapping.ds, bare))
        return field.copy(data=np.where(missing, np.nan, adjusted.values))

    return correct


def _numbered(field: xr.DataArray, steps: int) -> xr.DataArray:
    """Return the values of a field (time, Y, X), and missing ones after them, at numbered times and without unit.

    Quantiles have no use for times and units, but xsdba refuses to compare those of different calendars.
    """
    times = xr.date_range("2000-01-01", periods=steps, freq="h", use_cftime=False)
    bare = xr.DataArray(field.values, dims=field.dims, attrs={"units": "1"})
    return bare.pad(time=(0, steps - field.sizes["time"]), keep_attrs=True).assign_coords(time=times)


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
