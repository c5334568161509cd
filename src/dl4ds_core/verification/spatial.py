"""Scores that compare the spatial structure of fields, one time step at a time."""

from __future__ import annotations

import logging

import numpy as np
import xarray as xr
from skimage.metrics import structural_similarity

from dl4ds_core.errors import DataError

__all__ = ["ssim"]

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
    mirrored at their edges, and all cells have a value. Where a field is narrower than 11 cells, the largest
    odd window that fits is taken, its standard deviation shrunk in proportion; the log and the attribute
    ``comment`` then say so.

    The first factor compares the means relative to zero, so the score of a temperature in K is not that of
    the same field in degC: compare models in one unit.

    Parameters
    ----------
    forecast, observation : xarray.DataArray
        Fields ``(time, lat, lon)`` with equal coordinates, in the same units, without missing values.
    data_range : float
        Largest minus smallest value of the observations, in their units, over the training period: fixed
        beforehand, so that the scores of two models and two periods compare.

    Returns
    -------
    xarray.DataArray
        Local similarity ``(time, lat, lon)``, between -1 and 1 (identical).

    Raises
    ------
    DataError
        If the fields differ in shape or coordinates, hold missing values or are narrower than 3 cells, or if
        the data range is not a positive number.

    References
    ----------
    Wang, Z., Bovik, A. C., Sheikh, H. R. and Simoncelli, E. P. (2004). Image quality assessment: from error
    visibility to structural similarity. IEEE Transactions on Image Processing, 13, 600-612.
    doi:10.1109/TIP.2003.819861
    """
    if not (np.isfinite(data_range) and data_range > 0):
        raise DataError(f"SSIM: expected a positive data range, found {data_range}; is the training field constant?")
    _check_fields(forecast, observation)
    window = _window(forecast.sizes["lat"], forecast.sizes["lon"])
    predicted = np.asarray(forecast.values, dtype=np.float64)
    observed = np.asarray(observation.values, dtype=np.float64)
    if not (np.isfinite(predicted).all() and np.isfinite(observed).all()):
        raise DataError("SSIM: expected fields without missing values; fill or cut them first.")
    local = np.empty(predicted.shape)
    for step, (image, reference) in enumerate(zip(predicted, observed, strict=True)):
        _, local[step] = structural_similarity(
            image,
            reference,
            win_size=window,
            data_range=data_range,
            full=True,
            gaussian_weights=True,
            sigma=SIGMA * (window - 1) / (WINDOW - 1),
            use_sample_covariance=False,
        )
    attributes = {
        "long_name": "structural similarity",
        "units": "1",
        "comment": f"Gaussian window of {window} cells",
    }
    return xr.DataArray(local, coords=observation.coords, dims=observation.dims, name="ssim", attrs=attributes)


def _check_fields(forecast: xr.DataArray, observation: xr.DataArray) -> None:
    expected = ("time", "lat", "lon")
    if forecast.dims != expected or observation.dims != expected:
        raise DataError(f"SSIM: expected dimensions {expected}; found {forecast.dims} and {observation.dims}.")
    try:
        xr.align(forecast, observation, join="exact", copy=False)
    except ValueError as error:
        raise DataError(f"SSIM: forecast and observation must have the same coordinates; {error}") from error


def _window(n_lat: int, n_lon: int) -> int:
    """Width in cells of the window: 11, or the largest odd number of cells that fits."""
    narrowest = min(n_lat, n_lon)
    if narrowest < 3:
        raise DataError(f"SSIM: expected a field of 3 x 3 cells or more; found {n_lat} x {n_lon}.")
    window = min(WINDOW, narrowest - 1 + narrowest % 2)
    if window < WINDOW:
        logger.warning("SSIM: the field of %d x %d cells takes a window of %d cells", n_lat, n_lon, window)
    return window
