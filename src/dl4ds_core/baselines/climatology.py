"""An ensemble of what the truth was in other years at about the same time of the year."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.baselines.cells import Pairs, Predict
from dl4ds_core.ensembles import CLIMATOLOGICAL_MEMBERS, joined_members
from dl4ds_core.time import DAY, seconds, step_of

#: Candidates that a step has at least, if the training period has so many; for these the window becomes wider.
LEAST = 10
#: Days by which candidates differ at most from the time of the year; half a day for leap years.
WINDOW = 15.5

_YEAR = 365.25

IntArray = npt.NDArray[np.intp]


class ClimatologicalEnsemble:
    """True fields of the training period as members of a prediction, chosen by the time of the year alone.

    Candidates for a step are the steps of the training period whose day of the year, in any calendar, differs by 15
    days at most and, where steps are shorter than a day, that are at the same time of the day. Where these are fewer
    than ``LEAST``, the window is as much wider as it must be. Of the candidates in the order of time, as many as there
    are members are taken, evenly spread: nothing is random. There are ``CLIMATOLOGICAL_MEMBERS`` members, or as many as
    every step of the training period has candidates. Predictands of one step have the fields of the same steps.

    Cells that are missing at a step of the training period have their mean.

    Parameters
    ----------
    pairs : Pairs
        The training period.
    """

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        known = np.flatnonzero(pairs.fine.notnull().any(pairs.grid.dims).values)
        self._known = known if known.size else np.arange(pairs.fine.sizes["time"])
        time = pairs.fine["time"]
        step = step_of(time)
        self._daily = step is None or step.total_seconds() >= DAY
        self._days, self._clock = (part[self._known] for part in self._moments(time))
        moments = dict.fromkeys(zip(self._days.tolist(), self._clock.tolist(), strict=True))
        self.members = min(
            [CLIMATOLOGICAL_MEMBERS, *(self._candidates(day, clock, LEAST).size for day, clock in moments)]
        )
        """Number of members."""

    def __call__(self, fields: xr.Dataset) -> xr.DataArray:
        """Return the ensemble ``(member, time, Y, X)`` for the times of some fields."""
        steps = self.steps(fields["time"], self.members)
        name = self._pairs.name
        return joined_members([self._member(fields, each).to_dataset(name=name) for each in steps])[name]

    def _member(self, fields: xr.Dataset, steps: IntArray) -> xr.DataArray:
        values = self._pairs.fine.values[steps]
        missing = np.isnan(values)
        return self._pairs.prediction(np.where(missing, self._mean, values) if missing.any() else values, fields)

    @cached_property
    def _mean(self) -> npt.NDArray[np.float64]:
        return self._pairs.mean()

    def steps(self, time: xr.DataArray, members: int) -> IntArray:
        """Return the steps of the training period ``(member, time)`` that are the members of some times."""
        found: dict[tuple[float, int], IntArray] = {}
        chosen = []
        days, clocks = (part.tolist() for part in self._moments(time))
        for day, clock in zip(days, clocks, strict=True):
            if (day, clock) not in found:
                candidates = self._candidates(day, clock, max(LEAST, members))
                places = np.linspace(0, candidates.size - 1, members).round().astype(np.intp)
                found[day, clock] = self._known[candidates[places]]
            chosen.append(found[day, clock])
        return np.stack(chosen, axis=1)

    def _moments(self, time: xr.DataArray) -> tuple[npt.NDArray[np.float64], IntArray]:
        """Return days of a year of `_YEAR` days, and seconds of the day, 0 where these don't matter."""
        days = (time.dt.dayofyear.values - 1) / time.dt.days_in_year.values * _YEAR
        clock = np.zeros(time.size) if self._daily else seconds(time) % DAY
        return days, clock.astype(np.intp)

    def _candidates(self, day: float, clock: int, least: int) -> IntArray:
        """Return the places of the candidates for a moment among the steps that have values."""
        apart = np.abs(self._clock - clock)
        apart = np.minimum(apart, DAY - apart)
        same = np.flatnonzero(apart == apart.min())  # a time of the day that the training lacks has the nearest one
        distance = np.abs(self._days[same] - day)
        distance = np.minimum(distance, _YEAR - distance)
        nearest = np.sort(distance)[min(least, distance.size) - 1]
        return same[distance <= max(WINDOW, nearest)]


def share_members(fitted: Mapping[str, Predict]) -> int | None:
    """Give the ensembles of all predictands as many members as the smallest has.

    Parameters
    ----------
    fitted : mapping of str to callable
        Of `fit_baseline`, by predictand; all of one kind.

    Returns
    -------
    int or None
        Number of members; None where baselines have none.
    """
    ensembles = [each for each in fitted.values() if isinstance(each, ClimatologicalEnsemble)]
    if not ensembles:
        return None
    least = min(each.members for each in ensembles)
    for each in ensembles:
        each.members = least
    return least
