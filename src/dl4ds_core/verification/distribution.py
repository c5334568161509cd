"""Scores that compare distributions in time, whatever the order of the steps.

Every function takes the forecast first and the observation second; what is missing in either is left out of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.verification.deterministic import Dims, prepare

__all__ = ["PERCENTILES", "perkins", "quantile_bias", "wasserstein"]

FloatArray = npt.NDArray[np.float64]

PERCENTILES = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
"""Percentiles whose biases are scores, in per cent."""

BINS = 50
"""Most bins of the densities that the Perkins score compares; of short records, the root of the number of steps."""


def quantile_bias(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    reduce_dims: Dims = None,
    percentiles: Sequence[float] = PERCENTILES,
) -> xr.DataArray:
    r"""Difference of the quantiles, :math:`Q_f(p) - Q_o(p)`, interpolated linearly between order statistics.

    Parameters
    ----------
    forecast, observation : xarray.DataArray
        Fields with equal dimensions and coordinates, in the same units.
    reduce_dims : str or iterable of str, optional
        Dimensions that the distribution is over, by default all.
    percentiles : sequence of float
        In per cent.

    Returns
    -------
    xarray.DataArray
        In the units of the fields, with a last dimension ``threshold``: the percentiles. Positive where the forecast
        is too high; NaN where nothing is valid.

    Raises
    ------
    DataError
        If the fields don't fit each other.

    References
    ----------
    Maraun, D. et al. (2015). VALUE: A framework to validate downscaling approaches for climate change studies. Earth's
    Future, 3, 1-14. doi:10.1002/2014EF000259
    """

    def difference(predicted: FloatArray, observed: FloatArray) -> FloatArray:
        quantiles = [quantiles_of(values, np.asarray(percentiles) / 100) for values in (predicted, observed)]
        return np.asarray(quantiles[0] - quantiles[1])

    scores = _over(forecast, observation, reduce_dims, difference, {"threshold": len(percentiles)})
    return scores.assign_coords(threshold=np.asarray(percentiles, dtype=np.float64))


def perkins(forecast: xr.DataArray, observation: xr.DataArray, *, reduce_dims: Dims = None) -> xr.DataArray:
    """Perkins skill score: the area that two densities have in common (dimensionless; 1 is perfect, 0 the worst).

    The densities are histograms of equal bins over the range of both: of n values the root of n bins, and 50 at most.

    Parameters and exceptions as for `quantile_bias`. 1 where both are one and the same constant.

    References
    ----------
    Perkins, S. E., Pitman, A. J., Holbrook, N. J. and McAneney, J. (2007). Evaluation of the AR4 climate models'
    simulated daily maximum temperature, minimum temperature, and precipitation over Australia using probability density
    functions. Journal of Climate, 20, 4356-4376. doi:10.1175/JCLI4253.1
    """
    return _over(forecast, observation, reduce_dims, _common_area)


def wasserstein(forecast: xr.DataArray, observation: xr.DataArray, *, reduce_dims: Dims = None) -> xr.DataArray:
    """Wasserstein distance of order 1, in the units of the fields: the mean distance of equal quantiles.

    Parameters and exceptions as for `quantile_bias`. 0 where the distributions are equal.

    References
    ----------
    Villani, C. (2009). Optimal transport: old and new. Springer. doi:10.1007/978-3-540-71050-9
    """

    # Of two samples of the same size it is the mean distance of the sorted values.
    def distance(predicted: FloatArray, observed: FloatArray) -> FloatArray:
        apart = np.abs(np.sort(predicted) - np.sort(observed))
        count = np.isfinite(apart).sum(axis=-1)
        return np.divide(np.nansum(apart, axis=-1), count, out=np.full(count.shape, np.nan), where=count > 0)

    return _over(forecast, observation, reduce_dims, distance)


def _over(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    reduce_dims: Dims,
    score: Callable[[FloatArray, FloatArray], FloatArray],
    further: Mapping[str, int] | None = None,
) -> xr.DataArray:
    """Apply a function of arrays ``(..., sample)``, whose missing values are the same, over some dimensions.

    ``further`` are the names and sizes of the dimensions that its result has besides.
    """
    sizes = dict(further or {})
    fields = prepare(forecast, observation, reduce_dims, None)
    one = "the dimensions that the distribution is over"
    pair = [field.stack({one: fields.dims}, create_index=False) for field in fields.matched]
    result: xr.DataArray = xr.apply_ufunc(
        lambda predicted, observed: score(predicted.astype(np.float64), observed.astype(np.float64)),
        *(field.chunk({one: -1}) if field.chunks else field for field in pair),
        input_core_dims=[[one], [one]],
        output_core_dims=[list(sizes)],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": sizes},
    )
    return result


def quantiles_of(values: FloatArray, shares: FloatArray) -> FloatArray:
    """Quantiles ``(..., share)`` of values ``(..., sample)``, some of which may be missing, by one sorting."""
    ordered = np.sort(values, axis=-1)  # what is missing comes last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    place = np.maximum(count - 1, 0) * shares
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low, high = (np.take_along_axis(ordered, each, axis=-1) for each in (below, above))
    return np.asarray(low + (high - low) * (place - below))


def _common_area(predicted: FloatArray, observed: FloatArray) -> FloatArray:
    """Return the common area of the histograms of values ``(..., sample)``, the same of which are missing in both."""
    shape, samples = predicted.shape[:-1], predicted.shape[-1]
    pair = np.stack([values.reshape(-1, samples) for values in (predicted, observed)])
    count = np.isfinite(pair[0]).sum(axis=-1)
    finite = np.isfinite(pair)
    lowest = np.where(finite, pair, np.inf).min(axis=(0, 2))
    highest = np.where(finite, pair, -np.inf).max(axis=(0, 2))
    bins = np.minimum(BINS, np.ceil(np.sqrt(np.maximum(count, 1))).astype(np.intp))
    width = np.where(highest > lowest, highest - lowest, 1.0)
    rows = np.arange(count.size)[:, None] * BINS
    shares = []
    for values in pair:
        with np.errstate(invalid="ignore"):
            place = (values - lowest[:, None]) / width[:, None] * bins[:, None]
        known = np.isfinite(place)
        number = np.minimum(np.where(known, place, 0.0).astype(np.intp), bins[:, None] - 1)
        counted = np.bincount((rows + number)[known], minlength=count.size * BINS).reshape(-1, BINS)
        shares.append(counted / np.maximum(count, 1)[:, None])
    return np.where(count > 0, np.minimum(*shares).sum(axis=-1), np.nan).reshape(shape)
