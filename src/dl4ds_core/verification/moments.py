"""Scores as functions of temporal means, so that resampling a record is one product of matrices.

A score of a cell's series is written as ``score(mean of term 1, mean of term 2, ...)``: the correlation, for
instance, follows from the means of both series, of their squares and of their product. The mean of a term
over a resample is the mean weighted by how often each step was drawn, and neither fields nor series are ever
copied for it.

Steps that a cell misses have the value 0 in every term and the weight 0: a mean is then a ratio of two sums, over time
or over the steps drawn, of the term and of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import xarray as xr

__all__ = ["BIAS", "MAE", "PEARSON", "RMSE", "SPEARMAN", "STD_RATIO", "TERMS", "CellSeries", "Moments", "ratio"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class CellSeries:
    """Series of some cells, and what is derived from them, made when first asked for.

    Everything derived is 0 where the observation is missing, means and ranks are those of the other steps.

    Parameters
    ----------
    forecast, observation : numpy.ndarray of float64
        Values ``(cell, time)`` in the same units; NaN where the observation is missing, in both.
    """

    def __init__(self, forecast: FloatArray, observation: FloatArray) -> None:
        self._forecast = forecast
        self._observation = observation
        valid = ~np.isnan(observation)
        self.valid: BoolArray | None = None if valid.all() else valid
        """Where there is an observation ``(cell, time)``; None where that is everywhere."""

    @property
    def error(self) -> FloatArray:
        """Forecast minus observation."""
        return self._zero_filled(self._forecast - self._observation)

    # Anomalies rather than values: the variance of a temperature in K would drown in its squared mean.
    @cached_property
    def forecast(self) -> FloatArray:
        """Forecast less its temporal mean."""
        return self._anomalies(self._forecast)

    @cached_property
    def observation(self) -> FloatArray:
        """Observation less its temporal mean."""
        return self._anomalies(self._observation)

    @cached_property
    def forecast_rank(self) -> FloatArray:
        """Ranks in time of the forecast, less their mean."""
        return self._anomalies(_ranks(self._forecast))

    @cached_property
    def observation_rank(self) -> FloatArray:
        """Ranks in time of the observation, less their mean."""
        return self._anomalies(_ranks(self._observation))

    def _anomalies(self, values: FloatArray) -> FloatArray:
        if self.valid is None:
            return np.asarray(values - values.mean(axis=-1, keepdims=True))
        steps = self.valid.sum(axis=-1, keepdims=True)
        mean = self._zero_filled(values).sum(axis=-1, keepdims=True) / np.maximum(steps, 1)
        return self._zero_filled(values - mean)

    def _zero_filled(self, values: FloatArray) -> FloatArray:
        return values if self.valid is None else np.where(self.valid, values, 0.0)


TERMS: dict[str, Callable[[CellSeries], FloatArray]] = {
    "error": lambda series: series.error,
    "absolute_error": lambda series: np.abs(series.error),
    "squared_error": lambda series: series.error**2,
    "forecast": lambda series: series.forecast,
    "observation": lambda series: series.observation,
    "forecast_squared": lambda series: series.forecast**2,
    "observation_squared": lambda series: series.observation**2,
    "product": lambda series: series.forecast * series.observation,
    "forecast_rank": lambda series: series.forecast_rank,
    "observation_rank": lambda series: series.observation_rank,
    "forecast_rank_squared": lambda series: series.forecast_rank**2,
    "observation_rank_squared": lambda series: series.observation_rank**2,
    "rank_product": lambda series: series.forecast_rank * series.observation_rank,
}
"""What can be averaged over time: name and values ``(cell, time)``."""


@dataclass(frozen=True)
class Moments:
    """A score as a function of temporal means.

    Attributes
    ----------
    terms : tuple of str
        Names in `TERMS`.
    score : callable
        Takes the mean of each term, in this order, and gives the score; NaN where it is undefined.
    """

    terms: tuple[str, ...]
    score: Callable[..., FloatArray]


def ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """Return the quotient of two arrays of the same shape; NaN where the divisor isn't positive."""
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


def _correlation(
    mean_f: FloatArray, mean_o: FloatArray, square_f: FloatArray, square_o: FloatArray, product: FloatArray
) -> FloatArray:
    deviations = np.sqrt(_variance(mean_f, square_f) * _variance(mean_o, square_o))
    return np.clip(ratio(product - mean_f * mean_o, deviations), -1.0, 1.0)


def _deviation_ratio(mean_f: FloatArray, mean_o: FloatArray, square_f: FloatArray, square_o: FloatArray) -> FloatArray:
    return np.sqrt(ratio(_variance(mean_f, square_f), _variance(mean_o, square_o)))


def _identity(mean: FloatArray) -> FloatArray:
    return mean


_BOTH = ("forecast", "observation", "forecast_squared", "observation_squared")
_BOTH_RANKS = ("forecast_rank", "observation_rank", "forecast_rank_squared", "observation_rank_squared")

BIAS = Moments(("error",), _identity)
MAE = Moments(("absolute_error",), _identity)
RMSE = Moments(("squared_error",), np.sqrt)
PEARSON = Moments((*_BOTH, "product"), _correlation)
STD_RATIO = Moments(_BOTH, _deviation_ratio)
SPEARMAN = Moments((*_BOTH_RANKS, "rank_product"), _correlation)
"""An approximation for resamples: they keep the ranks of the whole record instead of being ranked anew."""


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks along time, ties sharing their mean, missing values without one; xarray does it faster than scipy."""
    return np.asarray(xr.DataArray(values, dims=("cell", "time")).rank("time").values)


def _variance(mean: FloatArray, square: FloatArray) -> FloatArray:
    """Variance from the means of the values and of their squares; exactly 0 where only rounding is left."""
    variance = square - mean**2
    return np.where(variance > 1e-12 * square, variance, 0.0)
