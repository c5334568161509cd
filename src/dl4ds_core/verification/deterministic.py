"""Scores of a deterministic forecast, in one calling form over `scores` and `xskillscore`.

Every function takes the forecast first and the observation second; everything else is by keyword. A value
missing in either field is left out of both. All of them reduce over time for a map, over space for a score
per time step, or over all dimensions.

The libraries are imported where they are called: that takes seconds, and most jobs only need the names of the scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import cast

import xarray as xr

from dl4ds_core.errors import DataError

__all__ = ["Dims", "bias", "mae", "pearson", "prepare", "rmse", "spearman", "std_ratio"]

Dims = str | Iterable[str] | None


def bias(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    reduce_dims: Dims = None,
    weights: xr.DataArray | None = None,
) -> xr.DataArray:
    r"""Mean error, :math:`\overline{f - o}`.

    Parameters
    ----------
    forecast, observation : xarray.DataArray
        Fields with equal dimensions and coordinates, in the same units.
    reduce_dims : str or iterable of str, optional
        Dimensions to average over, by default all.
    weights : xarray.DataArray, optional
        Non-negative weights, such as cell areas, over some or all of ``reduce_dims``.

    Returns
    -------
    xarray.DataArray
        In the units of the fields; positive where the forecast is too high.

    Raises
    ------
    DataError
        If the fields or the weights don't fit each other.
    """
    from scores import continuous

    fields = prepare(forecast, observation, reduce_dims, weights)
    result = continuous.additive_bias(*fields.pair, reduce_dims=fields.dims, weights=fields.weights)
    return cast(xr.DataArray, result)


def mae(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    reduce_dims: Dims = None,
    weights: xr.DataArray | None = None,
) -> xr.DataArray:
    r"""Mean absolute error, :math:`\overline{|f - o|}`, in the units of the fields.

    Parameters, result and exceptions as for `bias`.
    """
    from scores import continuous

    fields = prepare(forecast, observation, reduce_dims, weights)
    result = continuous.mae(*fields.pair, reduce_dims=fields.dims, weights=fields.weights)
    return cast(xr.DataArray, result)


def rmse(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    reduce_dims: Dims = None,
    weights: xr.DataArray | None = None,
) -> xr.DataArray:
    r"""Root of the mean squared error, :math:`\sqrt{\overline{(f - o)^2}}`, in the units of the fields.

    Parameters, result and exceptions as for `bias`. The mean over all of ``reduce_dims`` is taken before the
    root.
    """
    from scores import continuous

    fields = prepare(forecast, observation, reduce_dims, weights)
    result = continuous.rmse(*fields.pair, reduce_dims=fields.dims, weights=fields.weights)
    return cast(xr.DataArray, result)


def pearson(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    reduce_dims: Dims = None,
    weights: xr.DataArray | None = None,
) -> xr.DataArray:
    """Pearson's correlation coefficient (dimensionless).

    Parameters and exceptions as for `bias`. NaN where the forecast or the observation is constant.
    """
    import xskillscore

    fields = prepare(forecast, observation, reduce_dims, weights)
    result = xskillscore.pearson_r(*fields.whole_chunks, dim=fields.dims, weights=fields.weights, skipna=True)
    return cast(xr.DataArray, result).where(fields.varies(0) & fields.varies(1))


def spearman(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    reduce_dims: Dims = None,
    weights: xr.DataArray | None = None,
) -> xr.DataArray:
    """Spearman's rank correlation coefficient (dimensionless); ties share the mean of their ranks.

    Parameters and exceptions as for `bias`; weights apply to the correlation of the ranks, not to the
    ranking. NaN where the forecast or the observation is constant.

    References
    ----------
    Spearman, C. (1904). The proof and measurement of association between two things. doi:10.2307/1412159
    """
    import xskillscore

    fields = prepare(forecast, observation, reduce_dims, weights)
    result = xskillscore.spearman_r(*fields.whole_chunks, dim=fields.dims, weights=fields.weights, skipna=True)
    return cast(xr.DataArray, result).where(fields.varies(0) & fields.varies(1))


def std_ratio(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    reduce_dims: Dims = None,
    weights: xr.DataArray | None = None,
) -> xr.DataArray:
    r"""Ratio of the standard deviations, :math:`\sigma_f / \sigma_o` (dimensionless; 1 is perfect).

    Parameters and exceptions as for `bias`. NaN where the observation is constant, 0 where only the forecast
    is.
    """
    fields = prepare(forecast, observation, reduce_dims, weights)
    deviations = [
        field.std(fields.dims) if fields.weights is None else field.weighted(fields.weights).std(fields.dims)
        for field in fields.matched
    ]
    # Rounding can give a constant series a deviation of some 1e-17: its extremes are exact.
    forecast_std = deviations[0].where(fields.varies(0), 0.0)
    return forecast_std / deviations[1].where(fields.varies(1))


class _Fields:
    """A checked pair of fields with the dimensions to reduce and the weights over them."""

    def __init__(
        self, forecast: xr.DataArray, observation: xr.DataArray, dims: list[str], weights: xr.DataArray | None
    ) -> None:
        self.pair = (forecast, observation)
        self.dims = dims
        self.weights = weights

    @cached_property
    def matched(self) -> tuple[xr.DataArray, xr.DataArray]:
        """The pair, each missing where the other is."""
        valid = self.pair[0].notnull() & self.pair[1].notnull()
        return self.pair[0].where(valid), self.pair[1].where(valid)

    @property
    def whole_chunks(self) -> tuple[xr.DataArray, xr.DataArray]:
        """The pair with dask chunks, if any, joined along the reduced dimensions, for xskillscore."""
        if self.pair[0].chunks is None and self.pair[1].chunks is None:
            return self.pair
        whole = dict.fromkeys(self.dims, -1)
        return self.pair[0].chunk(whole), self.pair[1].chunk(whole)

    def varies(self, which: int) -> xr.DataArray:
        """Where the forecast (0) or the observation (1) is not constant."""
        field = self.matched[which]
        return field.max(self.dims) > field.min(self.dims)


def prepare(
    forecast: xr.DataArray, observation: xr.DataArray, reduce_dims: Dims, weights: xr.DataArray | None
) -> _Fields:
    """Check a pair of fields, the dimensions to reduce and the weights over them; `bias` says what is refused."""
    dims = _dims(observation, reduce_dims)
    forecast, observation = _aligned(forecast, observation)
    return _Fields(forecast, observation, dims, _fitting_weights(observation, dims, weights))


def _dims(field: xr.DataArray, reduce_dims: Dims) -> list[str]:
    if reduce_dims is None:
        return [str(dim) for dim in field.dims]
    dims = [reduce_dims] if isinstance(reduce_dims, str) else list(reduce_dims)
    unknown = [dim for dim in dims if dim not in field.dims]
    if unknown or not dims:
        raise DataError(f"reduce_dims must name dimensions of the fields {field.dims}; found {dims}.")
    return dims


def _aligned(forecast: xr.DataArray, observation: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    if set(forecast.dims) != set(observation.dims):
        raise DataError(
            f"forecast and observation must have the same dimensions; found {forecast.dims} and {observation.dims}."
        )
    try:
        return xr.align(forecast, observation, join="exact", copy=False)
    except ValueError as error:
        raise DataError(f"forecast and observation must have the same coordinates; {error}") from error


def _fitting_weights(field: xr.DataArray, dims: list[str], weights: xr.DataArray | None) -> xr.DataArray | None:
    """Broadcast the weights over the reduced dimensions; None where they cancel out."""
    if weights is None or not set(weights.dims) & set(dims):
        return None
    if not set(weights.dims) <= set(dims):
        raise DataError(
            f"weights must have dimensions among those reduced, {dims}; found {weights.dims}. Select the weights first."
        )
    template = field.isel({dim: 0 for dim in field.dims if dim not in dims}, drop=True)
    try:
        template, weights = xr.align(template, weights, join="exact", copy=False)
    except ValueError as error:
        raise DataError(f"weights must have the coordinates of the fields; {error}") from error
    if bool((weights < 0).any()) or bool(weights.isnull().any()) or not float(weights.sum()) > 0:
        raise DataError("weights must be non-negative, without missing values, and must not all be 0.")
    return weights.broadcast_like(template).transpose(*template.dims)
