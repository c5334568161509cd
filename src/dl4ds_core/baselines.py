"""Simple methods that a network must beat: interpolation, bare or corrected by what the training period shows.

Each method is fitted on the training period only and then applied to coarse fields, all per fine cell. Missing coarse
cells are filled as for the networks; steps at which a fine cell is missing don't count for that cell.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from dl4ds_core.channels import filled, require_no_infinity
from dl4ds_core.grids import Grid
from dl4ds_core.interpolation import interpolated
from dl4ds_core.regression import fit_regression, regressors

#: From an interpolated field (time, Y, X) to a prediction of the same shape and unit.
Correction = Callable[[xr.DataArray], xr.DataArray]

#: Quantiles of the mapping; with 50, the outermost are the 1st and the 99th percentile.
QUANTILES = 50

#: A cell with fewer valid steps per fitted number predicts its mean.
STEPS_PER_NUMBER = 5


def fit_baseline(
    name: str, coarse: xr.Dataset, fine: xr.DataArray, scale: int, context: int = 0
) -> Callable[[xr.Dataset], xr.DataArray]:
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

    Returns
    -------
    callable
        From coarse fields of any period to the predictand (time, Y, X) on the fine grid, float32. Cells without any
        valid step are missing, unless nothing is fitted; those with too few for what is fitted predict their mean.

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
    return _FITS[name](coarse, fine, scale, context)


def _climatology(coarse: xr.Dataset, fine: xr.DataArray, scale: int, context: int) -> Callable[..., xr.DataArray]:  # noqa: ARG001
    """Predict the training mean of each cell, at all times."""
    mean, grid = _mean(fine), Grid.of(fine)

    def predict(fields: xr.Dataset) -> xr.DataArray:
        values = np.broadcast_to(mean.astype(np.float32), (fields.sizes["time"], *grid.shape))
        return _prediction(values, fields, fine, grid)

    return predict


def _multiple_regression(
    coarse: xr.Dataset, fine: xr.DataArray, scale: int, context: int
) -> Callable[..., xr.DataArray]:
    """Ordinary least squares per cell on all coarse fields, interpolated bilinearly."""
    grid, names = Grid.of(fine), regressors(coarse)
    regression = fit_regression([filled(coarse[name]).values for name in names], fine.values, scale, context)
    correct = _where_enough(fine, len(names) + 1)

    def predict(fields: xr.Dataset) -> xr.DataArray:
        values = regression.predict([filled(fields[name]).values for name in names])
        return _prediction(correct(values), fields, fine, grid)

    return predict


def _interpolation(
    method: str, fit: Callable[[xr.DataArray, xr.DataArray], Correction] | None = None, numbers: int = 0
) -> Callable[..., Callable[..., xr.DataArray]]:
    """Return what fits a correction, by ``numbers`` per cell, of the interpolated coarse predictand."""

    def fit_correction(coarse: xr.Dataset, fine: xr.DataArray, scale: int, context: int) -> Callable[..., xr.DataArray]:
        grid = Grid.of(fine)

        def on_fine_grid(fields: xr.Dataset) -> xr.DataArray:
            values = interpolated(filled(fields[fine.name]).values, method, scale, context).astype(np.float32)
            return xr.DataArray(values, dims=fine.dims, coords={"time": fields["time"]})

        if fit is None:
            return lambda fields: _prediction(on_fine_grid(fields).values, fields, fine, grid)
        # Nothing but the values: horizontal coordinates would have to agree to rounding.
        truth = xr.DataArray(fine.values, dims=fine.dims, coords={"time": coarse["time"]})
        correction = fit(on_fine_grid(coarse).where(truth.notnull()), truth)
        correct = _where_enough(fine, numbers)

        def predict(fields: xr.Dataset) -> xr.DataArray:
            values = correction(on_fine_grid(fields)).transpose(*fine.dims).values
            return _prediction(correct(values), fields, fine, grid)

        return predict

    return fit_correction


def _prediction(values: np.ndarray, fields: xr.Dataset, fine: xr.DataArray, grid: Grid) -> xr.DataArray:
    values = values.astype(np.float32, copy=False)
    dims = ("time", *grid.dims)
    return grid.placed(xr.DataArray(values, {"time": fields["time"]}, dims, fine.name, dict(fine.attrs)))


def _mean(fine: xr.DataArray) -> np.ndarray:
    """Return each cell's mean over its valid steps, float64; NaN where there is none."""
    values = fine.values
    valid = ~np.isnan(values)
    count = valid.sum(axis=0)
    total = np.sum(values, axis=0, where=valid, dtype=np.float64)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _where_enough(fine: xr.DataArray, numbers: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what puts the mean in place of predictions of cells with too few valid steps to fit so many numbers."""
    enough = fine.notnull().values.sum(axis=0) >= STEPS_PER_NUMBER * numbers
    if enough.all():
        return lambda values: values
    mean = _mean(fine)
    return lambda values: np.where(enough, values, mean)


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


#: How each baseline is fitted: of coarse fields, the predictand, scale and context.
_FITS: dict[str, Callable[..., Callable[..., xr.DataArray]]] = {
    "climatology": _climatology,
    "nearest": _interpolation("nearest"),
    "bilinear": _interpolation("bilinear"),
    "bicubic": _interpolation("bicubic"),
    "bilinear-corrected": _interpolation("bilinear", _mean_error, 1),
    "bicubic-corrected": _interpolation("bicubic", _mean_error, 1),
    "regression": _interpolation("bilinear", _regression, 2),
    "bilinear-qm": _interpolation("bilinear", quantile_mapping, 2),
    "multiple-regression": _multiple_regression,
}

#: Baselines that need a coarse field of the predictand.
NEEDS_PREDICTAND = frozenset(_FITS) - {"climatology", "multiple-regression"}
