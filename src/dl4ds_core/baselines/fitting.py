"""The baselines by name: what fits each of them. Most work per fine cell on the interpolated coarse predictand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from dl4ds_core.baselines.cells import Pairs, Predict
from dl4ds_core.baselines.climatology import ClimatologicalEnsemble
from dl4ds_core.baselines.conservative import fit_conservative
from dl4ds_core.baselines.disaggregation import fit_bcsd
from dl4ds_core.baselines.quantiles import Correction, quantile_mapping
from dl4ds_core.baselines.ridge import fit_ridge
from dl4ds_core.channels import filled, require_no_infinity
from dl4ds_core.interpolation import interpolated
from dl4ds_core.regression import fit_regression, regressors


def fit_baseline(
    name: str,
    coarse: xr.Dataset,
    fine: xr.DataArray,
    scale: int,
    context: int = 0,
    *,
    non_negative: bool = False,
) -> Predict:
    """Fit a baseline on the training period.

    Parameters
    ----------
    name : str
        A key of ``dl4ds_core.config.BASELINES``.
    coarse : xarray.Dataset
        All coarse fields (time, Y, X) of the training period, on the coarse grid and its context. That of the
        predictand, needed by ``NEEDS_PREDICTAND``, has the predictand's name and unit.
    fine : xarray.DataArray
        The predictand, shape (time, Y, X) on the fine grid, training period.
    scale : int
        Fine cells per coarse cell.
    context : int
        Coarse cells around the domain.
    non_negative : bool
        Whether the predictand is never below 0 in its unit, such as precipitation: ``bcsd`` then multiplies instead of
        adding, and ``conservative`` keeps to it.

    Returns
    -------
    callable
        From coarse fields of any period to the predictand (time, Y, X) on the fine grid, float32; of an ensemble
        (member, time, Y, X), see `share_members`. Cells without any valid step are missing, unless nothing is
        fitted; those with too few for what is fitted predict their mean.

    Raises
    ------
    ValueError
        For an unknown name, or where the coarse predictand is lacking.
    TrainingError
        If a value is infinite.
    """
    if name not in _FITS:
        raise ValueError(f"expected one of {', '.join(_FITS)}, found {name!r}")
    if name in NEEDS_PREDICTAND and fine.name not in coarse:
        raise ValueError(f"the baseline {name!r} needs a coarse field of {fine.name!r}")
    fine = fine.load()
    require_no_infinity(fine, fine.values)
    return _FITS[name](Pairs(coarse, fine, scale, context, non_negative))


def _climatology(pairs: Pairs) -> Predict:
    """Predict the training mean of each cell, at all times."""
    mean = pairs.mean()

    def predict(fields: xr.Dataset) -> xr.DataArray:
        values = np.broadcast_to(mean.astype(np.float32), (fields.sizes["time"], *pairs.grid.shape))
        return pairs.prediction(values, fields)

    return predict


def _multiple_regression(pairs: Pairs) -> Predict:
    """Ordinary least squares per cell on all coarse fields, interpolated bilinearly."""
    names = regressors(pairs.coarse)
    inputs = [filled(pairs.coarse[name]).values for name in names]
    regression = fit_regression(inputs, pairs.fine.values, pairs.scale, pairs.context)
    correct = pairs.where_enough(len(names) + 1)

    def predict(fields: xr.Dataset) -> xr.DataArray:
        values = regression.predict([filled(fields[name]).values for name in names])
        return pairs.prediction(correct(values), fields)

    return predict


def _interpolation(
    method: str, fit: Callable[[xr.DataArray, xr.DataArray], Correction] | None = None, numbers: int = 0
) -> Callable[[Pairs], Predict]:
    """Return what fits a correction, by ``numbers`` per cell, of the interpolated coarse predictand."""

    def fit_correction(pairs: Pairs) -> Predict:
        fine, dims = pairs.fine, pairs.fine.dims

        def on_fine_grid(fields: xr.Dataset) -> xr.DataArray:
            coarse = filled(fields[pairs.name]).values
            values = interpolated(coarse, method, pairs.scale, pairs.context).astype(np.float32)
            return xr.DataArray(values, dims=dims, coords={"time": fields["time"]})

        if fit is None:
            return lambda fields: pairs.prediction(on_fine_grid(fields).values, fields)
        # Nothing but the values: horizontal coordinates would have to agree to rounding.
        truth = xr.DataArray(fine.values, dims=dims, coords={"time": pairs.coarse["time"]})
        correction = fit(on_fine_grid(pairs.coarse).where(truth.notnull()), truth)
        correct = pairs.where_enough(numbers)

        def predict(fields: xr.Dataset) -> xr.DataArray:
            values = correction(on_fine_grid(fields)).transpose(*dims).values
            return pairs.prediction(correct(values), fields)

        return predict

    return fit_correction


def _mean_error(model: xr.DataArray, truth: xr.DataArray) -> Correction:
    """Each cell's mean error removed: a static pattern, such as that of orography."""
    error = (model.astype(np.float64) - truth.values).mean("time")
    return lambda field: field - error


def _regression(model: xr.DataArray, truth: xr.DataArray) -> Correction:
    """Ordinary least squares per cell: truth = intercept + slope * interpolated."""
    x = model.astype(np.float64)
    y = x.copy(data=truth.values)
    anomaly = x - x.mean("time")
    variance = (anomaly**2).mean("time")
    # A constant cell has no slope; its mean is the prediction.
    slope = ((anomaly * y).mean("time") / variance.where(variance > 0)).fillna(0.0)
    intercept = y.mean("time") - slope * x.mean("time")
    return lambda field: intercept + slope * field


#: What fits each baseline.
_FITS: dict[str, Callable[[Pairs], Predict]] = {
    "climatology": _climatology,
    "nearest": _interpolation("nearest"),
    "bilinear": _interpolation("bilinear"),
    "bicubic": _interpolation("bicubic"),
    "bilinear-corrected": _interpolation("bilinear", _mean_error, 1),
    "bicubic-corrected": _interpolation("bicubic", _mean_error, 1),
    "regression": _interpolation("bilinear", _regression, 2),
    "bilinear-qm": _interpolation("bilinear", quantile_mapping, 2),
    "multiple-regression": _multiple_regression,
    "conservative": fit_conservative,
    "bcsd": fit_bcsd,
    "ridge": fit_ridge,
    "climatological-ensemble": ClimatologicalEnsemble,
}

#: Baselines that need a coarse field of the predictand.
NEEDS_PREDICTAND = frozenset(_FITS) - {"climatology", "multiple-regression", "ridge", "climatological-ensemble"}
