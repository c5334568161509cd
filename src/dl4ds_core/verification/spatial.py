"""Scores that compare the spatial structure of fields, one time step at a time."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.errors import DataError

__all__ = ["ssim"]

FloatArray = npt.NDArray[np.float64]

logger = logging.getLogger(__name__)

WINDOW = 11
"""Width in cells of the Gaussian window of Wang et al. (2004)."""

SIGMA = 1.5
"""Standard deviation in cells of that window."""


def ssim(forecast: xr.DataArray, observation: xr.DataArray, *, data_range: float) -> xr.DataArray:
    r"""Structural similarity of each cell's neighbourhood, for each time step.

    .. math::
        \frac{(2 \mu_f \mu_o + c_1) (2 \sigma_{fo} + c_2)}
             {(\mu_f^2 + \mu_o^2 + c_1) (\sigma_f^2 + \sigma_o^2 + c_2)}

    with means, variances and the covariance under a Gaussian window of 11 x 11 cells and a standard deviation
    of 1.5 cells, :math:`c_1 = (0.01 L)^2`, :math:`c_2 = (0.03 L)^2` and the data range :math:`L`. Fields are
    mirrored at their edges, and all cells have a value but those whose window holds a missing one: no value is made up,
    so what is missing has no influence. Where a field is narrower than 11 cells, the largest odd window that fits is
    taken, its standard deviation shrunk in proportion; the log and the attribute ``comment`` then say so.

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
    missing = np.isnan(observed)
    if np.isinf(observed).any() or not (np.isfinite(predicted) | missing).all():
        raise DataError(
            "SSIM: expected fields without missing values but where the observation has none, and without infinite "
            "ones; fill or cut them first."
        )
    local = np.full(predicted.shape, np.nan)
    for step, gaps in enumerate(missing):
        whole = _whole_windows(gaps, window)
        if whole.any():
            image, reference = (np.where(gaps, 0.0, field[step]) for field in (predicted, observed))
            local[step, whole] = _similarity(image, reference, window, data_range)[whole]
    attributes = {
        "long_name": "structural similarity",
        "units": "1",
        "comment": f"Gaussian window of {window} cells",
    }
    return xr.DataArray(local, coords=observation.coords, dims=observation.dims, name="ssim", attrs=attributes)


def _similarity(image: FloatArray, reference: FloatArray, window: int, data_range: float) -> FloatArray:
    """Local similarity ``(Y, X)`` of two fields without missing values."""
    from skimage.metrics import structural_similarity

    _, local = structural_similarity(
        image,
        reference,
        win_size=window,
        data_range=data_range,
        full=True,
        gaussian_weights=True,
        sigma=SIGMA * (window - 1) / (WINDOW - 1),
        use_sample_covariance=False,
    )
    return np.asarray(local)


def _whole_windows(missing: npt.NDArray[np.bool_], window: int) -> npt.NDArray[np.bool_]:
    """Where no cell ``(Y, X)`` of the window is missing; mirrored at the edges as the fields are."""
    from scipy.ndimage import maximum_filter

    if not missing.any():
        return np.ones_like(missing)
    return ~maximum_filter(missing, size=window, mode="reflect")


def _check_fields(forecast: xr.DataArray, observation: xr.DataArray) -> None:
    if observation.ndim != 3 or observation.dims[0] != "time" or forecast.dims != observation.dims:
        raise DataError(
            "SSIM: expected dimensions time and two of the grid, the same of both fields; "
            f"found {forecast.dims} and {observation.dims}."
        )
    try:
        xr.align(forecast, observation, join="exact", copy=False)
    except ValueError as error:
        raise DataError(f"SSIM: forecast and observation must have the same coordinates; {error}") from error


def _window(rows: int, columns: int) -> int:
    """Width in cells of the window: 11, or the largest odd number of cells that fits."""
    narrowest = min(rows, columns)
    if narrowest < 3:
        raise DataError(f"SSIM: expected a field of 3 x 3 cells or more; found {rows} x {columns}.")
    window = min(WINDOW, narrowest - 1 + narrowest % 2)
    if window < WINDOW:
        logger.warning("SSIM: the field of %d x %d cells takes a window of %d cells", rows, columns, window)
    return window
