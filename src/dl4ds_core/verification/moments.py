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

from dl4ds_core.time import DAY, runs, step_of
from dl4ds_core.verification.distribution import quantiles_of

__all__ = [
    "BIAS",
    "DESEASONALISED",
    "HIGH_SPELLS",
    "LOW_SPELLS",
    "MAE",
    "MEMORY",
    "PEARSON",
    "RELATIVE_RMSE",
    "RMSE",
    "SPEARMAN",
    "STD_RATIO",
    "TERMS",
    "CellSeries",
    "Clock",
    "Moments",
    "ratio",
]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

SPELLS = (0.1, 0.9)
"""Values up to the first and from the second quantile of the truth of a cell make low and high spells."""


class Clock:
    """What scores know of the time steps.

    Parameters
    ----------
    time : xarray.DataArray
        Increasing times ``(time,)``, datetime64 or cftime.
    """

    def __init__(self, time: xr.DataArray) -> None:
        self.follows: BoolArray = np.zeros(time.size, dtype=bool)
        """Whether the next step comes without a gap ``(time,)``."""
        for part in runs(time):
            self.follows[part.start : part.stop - 1] = True
        cycle = time.dt.month.values * 24 + time.dt.hour.values
        kinds, kind = np.unique(cycle, return_inverse=True)
        step = step_of(time)
        self.days = step.total_seconds() / DAY if step else 0.0
        """Usual length of a step."""
        self.membership: FloatArray = np.eye(kinds.size)[kind]
        """1 where a step belongs to a month and an hour of the day ``(time, kind)``, else 0."""


class CellSeries:
    """Series of some cells, and what is derived from them, made when first asked for.

    Everything derived is 0 where the observation is missing, means and ranks are those of the other steps.

    Parameters
    ----------
    forecast, observation : numpy.ndarray of float64
        Values ``(cell, time)`` in the same units; NaN where the observation is missing, in both.
    clock : Clock, optional
        What is known of the time steps, for scores that need it.
    wet : float, optional
        Least value of a wet step, where the values are precipitation.
    """

    def __init__(
        self, forecast: FloatArray, observation: FloatArray, clock: Clock | None = None, wet: float | None = None
    ) -> None:
        self._forecast = forecast
        self._observation = observation
        self._clock = clock
        self._wet = wet
        valid = ~np.isnan(observation)
        self.valid: BoolArray | None = None if valid.all() else valid
        """Where there is an observation ``(cell, time)``; None where that is everywhere."""

    @property
    def pair(self) -> tuple[FloatArray, FloatArray]:
        """Forecast and observation as they were given."""
        return self._forecast, self._observation

    @cached_property
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

    @cached_property
    def forecast_departure(self) -> FloatArray:
        """Forecast less its mean seasonal and daily cycle."""
        return self._departures(self._forecast)

    @cached_property
    def observation_departure(self) -> FloatArray:
        """Observation less its mean seasonal and daily cycle."""
        return self._departures(self._observation)

    @cached_property
    def followed(self) -> FloatArray:
        """1 where this step and the next are valid and no gap lies between them, else 0."""
        follows = self.clock.follows
        both = np.broadcast_to(follows, self._observation.shape).astype(np.float64)
        return both if self.valid is None else both * self.valid * np.roll(self.valid, -1, axis=-1)

    def lagged(self, departures: FloatArray) -> FloatArray:
        """Product with the next step where that follows, else 0."""
        return self.followed * departures * np.roll(departures, -1, axis=-1)

    @cached_property
    def _limits(self) -> tuple[FloatArray, FloatArray]:
        """Percentiles `SPELLS` of the observation ``(cell, 1)``."""
        limits = quantiles_of(self._observation, np.asarray(SPELLS))
        return limits[:, :1], limits[:, 1:]

    def spells(self, which: str, *, high: bool) -> FloatArray:
        """Length in days of each step that belongs to a high or wet (a low or dry) spell, else 0."""
        values = self._forecast if which == "forecast" else self._observation
        if self._wet is not None:
            inside = values >= self._wet if high else values < self._wet
        else:
            low_limit, high_limit = self._limits
            inside = values >= high_limit if high else values <= low_limit
        return inside * self.clock.days

    def spell_starts(self, which: str, *, high: bool) -> FloatArray:
        """1 where such a spell begins, also after a gap or a missing step, else 0."""
        inside = self.spells(which, high=high) > 0
        starts = inside.astype(np.float64)
        starts[:, 1:] -= inside[:, 1:] & inside[:, :-1] & self.clock.follows[:-1]
        return starts

    @property
    def clock(self) -> Clock:
        """What is known of the time steps."""
        if self._clock is None:
            raise TypeError("these series were made without a clock")
        return self._clock

    def _departures(self, values: FloatArray) -> FloatArray:
        filled, member = self._zero_filled(values), self.clock.membership
        sums = filled @ member
        steps = np.broadcast_to(member.sum(axis=0), sums.shape)
        if self.valid is not None:
            steps = self.valid.astype(np.float64) @ member
        departures = self._zero_filled(values - (sums / np.maximum(steps, 1)) @ member.T)
        return np.where(np.abs(departures) <= 1e-12 * np.abs(filled), 0.0, departures)  # only rounding is left

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
    "forecast_departure": lambda series: series.forecast_departure,
    "observation_departure": lambda series: series.observation_departure,
    "forecast_departure_squared": lambda series: series.forecast_departure**2,
    "observation_departure_squared": lambda series: series.observation_departure**2,
    "departure_product": lambda series: series.forecast_departure * series.observation_departure,
    "followed": lambda series: series.followed,
    "forecast_lagged": lambda series: series.lagged(series.forecast_departure),
    "observation_lagged": lambda series: series.lagged(series.observation_departure),
    "forecast_high": lambda series: series.spells("forecast", high=True),
    "observation_high": lambda series: series.spells("observation", high=True),
    "forecast_low": lambda series: series.spells("forecast", high=False),
    "observation_low": lambda series: series.spells("observation", high=False),
    "forecast_high_starts": lambda series: series.spell_starts("forecast", high=True),
    "observation_high_starts": lambda series: series.spell_starts("observation", high=True),
    "forecast_low_starts": lambda series: series.spell_starts("forecast", high=False),
    "observation_low_starts": lambda series: series.spell_starts("observation", high=False),
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
    by_step : bool
        Whether a pooled score of one step, or of the steps of a season, means anything.
    """

    terms: tuple[str, ...]
    score: Callable[..., FloatArray]
    by_step: bool = True


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


def _relative(square_error: FloatArray, mean_o: FloatArray, square_o: FloatArray) -> FloatArray:
    return np.sqrt(ratio(square_error, _variance(mean_o, square_o)))


def _memory_error(
    followed: FloatArray, lagged_f: FloatArray, lagged_o: FloatArray, square_f: FloatArray, square_o: FloatArray
) -> FloatArray:
    """Difference of the autocorrelations; a mean of products is that over the pairs of steps."""
    return ratio(ratio(lagged_f, followed), square_f) - ratio(ratio(lagged_o, followed), square_o)


def _length_error(days_f: FloatArray, starts_f: FloatArray, days_o: FloatArray, starts_o: FloatArray) -> FloatArray:
    """Difference of the mean lengths of spells: days in spells over the number of spells."""
    return ratio(days_f, starts_f) - ratio(days_o, starts_o)


def _identity(mean: FloatArray) -> FloatArray:
    return mean


_BOTH = ("forecast", "observation", "forecast_squared", "observation_squared")
_BOTH_RANKS = ("forecast_rank", "observation_rank", "forecast_rank_squared", "observation_rank_squared")

BIAS = Moments(("error",), _identity)
MAE = Moments(("absolute_error",), _identity)
RMSE = Moments(("squared_error",), np.sqrt)
PEARSON = Moments((*_BOTH, "product"), _correlation)
STD_RATIO = Moments(_BOTH, _deviation_ratio)
RELATIVE_RMSE = Moments(("squared_error", "observation", "observation_squared"), _relative)
_DEPARTURES = ("forecast_departure", "observation_departure")
_DEPARTURE_SQUARES = ("forecast_departure_squared", "observation_departure_squared")
DESEASONALISED = Moments((*_DEPARTURES, *_DEPARTURE_SQUARES, "departure_product"), _correlation)
MEMORY = Moments(("followed", "forecast_lagged", "observation_lagged", *_DEPARTURE_SQUARES), _memory_error)
HIGH_SPELLS, LOW_SPELLS = (
    Moments(
        tuple(f"{which}_{what}{part}" for which in ("forecast", "observation") for part in ("", "_starts")),
        _length_error,
        by_step=False,
    )
    for what in ("high", "low")
)
SPEARMAN = Moments((*_BOTH_RANKS, "rank_product"), _correlation)
"""An approximation for resamples: they keep the ranks of the whole record instead of being ranked anew."""


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks along time, ties sharing their mean, missing values without one; xarray does it faster than scipy."""
    return np.asarray(xr.DataArray(values, dims=("cell", "time")).rank("time").values)


def _variance(mean: FloatArray, square: FloatArray) -> FloatArray:
    """Variance from the means of the values and of their squares; exactly 0 where only rounding is left."""
    variance = square - mean**2
    return np.where(variance > 1e-12 * square, variance, 0.0)
