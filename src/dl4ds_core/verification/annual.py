"""Biases of climate indices, collected while series pass by in pieces.

A cell's index is the mean over years of the index of each year. A year begins where the record has its longest gap in
the cycle of months, so that a record of winters is one of whole winters. Days that a year lacks are missing steps: no
spell and no sum of days goes across them, or from one year to the next.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import cftime
import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.io import difference_units
from dl4ds_core.time import COMBINED, DAY, calendar_of, complete_days, midnights, seconds, stated_method, step_of
from dl4ds_core.verification.bootstrap import intervals, resampled_sums
from dl4ds_core.verification.indices import INDICES, daily_statistics, quantity_of, require_known, suitable
from dl4ds_core.verification.inputs import in_double
from dl4ds_core.verification.moments import ratio

__all__ = ["FEWEST_DAYS", "FEWEST_YEARS", "SHARE_OF_YEAR", "Annual", "Years"]

logger = logging.getLogger(__name__)

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FEWEST_DAYS = 80
"""Records whose years have fewer days, which is less than a season, have no indices."""

SHARE_OF_YEAR = 0.9
"""A cell's year counts where it has values on this share of the days that the fullest year of the record has."""

FEWEST_YEARS = 5
"""With fewer years there is no interval."""

_VALUES = 4_000_000
"""Daily values worked on at once."""


class Years:
    """Where the days of a record lie in its years.

    Parameters
    ----------
    time : xarray.DataArray
        Ascending times ``(time,)`` in any calendar.
    at_end : bool
        Whether values shorter than a day are of the interval that ends at their time, rather than at it.
    """

    def __init__(self, time: xr.DataArray, at_end: bool) -> None:
        self.per_day = 0
        """Steps of a day; 0 where there are none: steps are longer or don't divide a day, or no year is long enough."""
        step = step_of(time)
        if step is None or step.total_seconds() > DAY:
            return
        try:
            per_day, day_of_step, days = _days(time, at_end)
        except DataError:
            return
        if not days.size:
            return
        dates = xr.DataArray(midnights(time, days), dims="time")
        year, first = dates.dt.year.values.astype(np.int64), _first_month(dates)
        year -= dates.dt.month.values < first
        unique, number, lengths = np.unique(year, return_inverse=True, return_counts=True)
        if lengths.max() < FEWEST_DAYS:
            return
        self._fewest = SHARE_OF_YEAR * lengths.max()
        long = (lengths >= self._fewest)[number]  # others count at no cell
        days = days[long]
        unique, self._year = np.unique(year[long], return_inverse=True)
        self._place: IntArray = days - _beginnings(time, unique, first)[self._year]
        self._place -= self._place.min()
        self.per_day = per_day
        self._steps = np.flatnonzero(np.isin(day_of_step, days))
        self.count = unique.size
        """Number of years that have enough days to count."""

    def daily(self, values: FloatArray, method: str) -> npt.NDArray[np.float32]:
        """Return values ``(day, year, cell)`` of series ``(cell, time)``: of shorter steps the mean, sum ... of a day.

        What is missing on a step is missing that day. In single precision, as files have it.
        """
        chosen = values[:, self._steps]
        if self.per_day > 1:
            chosen = COMBINED[method](chosen.reshape(len(values), -1, self.per_day), axis=-1)
        days = np.full((int(self._place.max()) + 1, self.count, len(values)), np.nan, dtype=np.float32)
        days[self._place, self._year] = chosen.T
        return days

    def enough(self, days: npt.NDArray[np.float32]) -> BoolArray:
        """Tell which years count ``(cell, year)``: those with values ``(day, year, cell)`` on enough days."""
        return np.asarray(self._fewest <= np.isfinite(days).sum(axis=0).T)


class Annual:
    """Collects the biases of the climate indices of one predictand.

    Parameters
    ----------
    truth : xarray.DataArray
        The predictand ``(time, Y, X)``; only its size, times and attributes are looked at.
    area : xarray.DataArray
        Cell areas ``(Y, X)``.
    regions : mapping of str to numpy.ndarray
        Cells ``(Y, X)`` of regions that have values of their own, as bool.
    names : sequence of str, optional
        Of the indices; by default those that suit the predictand.
    samples : int
        Number of resamples of the years.
    seed : int
        Of the resamples.

    Raises
    ------
    DataError
        If there is no such index, or it is one of another quantity.
    """

    def __init__(
        self,
        truth: xr.DataArray,
        area: xr.DataArray,
        regions: Mapping[str, BoolArray],
        names: Sequence[str] | None,
        samples: int,
        seed: int,
    ) -> None:
        self.dims, self.shape = area.dims, area.shape
        self.long_name = truth.attrs.get("long_name", truth.name)
        whole = area.values.astype(np.float64) / float(area.sum())
        self._regions = ["", *regions]
        self._area = np.stack([whole, *(np.where(cells, whole, 0.0) for cells in regions.values())])
        """Share of the domain's area ``(region, Y, X)``: the whole first."""
        quantity = quantity_of(truth)
        if names is not None:
            require_known(str(truth.name), names, quantity)
        self.names: list[str] = []
        """The indices there are; none where the record has no days, or its years too few of them."""
        if quantity is None or (names is not None and not names):
            return
        self._quantity = quantity
        method = stated_method(truth) or "point"
        self._years = Years(truth["time"], at_end=method != "point")
        if not self._years.per_day:
            logger.info("%s: no climate indices, which need years of %d days or more", truth.name, FEWEST_DAYS)
            return
        chosen = suitable(quantity, daily_statistics(quantity, self._years.per_day)) if names is None else names
        self.names = [name for name in INDICES if name in chosen]
        count = self._years.count
        shares = np.full(count, 1 / count)
        # The same years for all models, as their number and the seed are.
        self._counts = np.random.default_rng(seed).multinomial(count, shares, size=samples)
        self._maps = {name: np.full((2, *area.shape), np.nan) for name in self.names}
        """Bias, and index of the truth, of each cell."""
        self._sums = {name: np.zeros((2, len(self._area), samples)) for name in self.names}
        """Per region and resample: sum over cells of area times bias, and of area, where the bias is defined."""

    def add(self, forecast: xr.DataArray, observation: xr.DataArray, chunk: Mapping[str, slice]) -> None:
        """Take in some whole series, with these dimensions in any order; NaN where a value is missing."""
        if not self.names:
            return
        box = tuple(chunk[str(dim)] for dim in self.dims)
        pair = [
            field.transpose("time", *self.dims).values.reshape(field.sizes["time"], -1).T
            for field in (forecast, observation)
        ]
        cells = np.flatnonzero(np.isfinite(pair[1]).any(axis=1))  # not the sea
        area = self._area[:, *box].reshape(len(self._area), -1)
        numbers = np.arange(self._area[0].size).reshape(self.shape)[box].ravel()
        at_once = max(1, _VALUES // pair[0].shape[1])
        for first in range(0, cells.size, at_once):
            some = cells[first : first + at_once]
            self._add_cells(*in_double(pair[0][some], pair[1][some]), numbers[some], area[:, some])

    def _add_cells(self, forecast: FloatArray, observation: FloatArray, numbers: IntArray, area: FloatArray) -> None:
        """Take in series ``(cell, time)`` of the cells with these numbers and areas ``(region, cell)``."""
        quantity, cells = self._quantity, len(numbers)
        # Both at once: most of what xclim does takes as long for few cells as for many.
        both = np.concatenate([forecast, observation])
        if (quantity.factor, quantity.offset) != (1.0, 0.0):
            both = both * quantity.factor + quantity.offset
        made: dict[str, tuple[npt.NDArray[np.float32], BoolArray]] = {}
        for name in self.names:
            index = INDICES[name]
            method = "sum" if quantity.amount else index.statistic
            if method not in made:
                days = self._years.daily(both, method)
                made[method] = days, self._years.enough(days[..., cells:])
            days, enough = made[method]
            values = index.by_year(days).astype(np.float64)
            predicted, true = (np.where(enough, part, np.nan) for part in (values[:cells], values[cells:]))
            defined = np.isfinite(predicted - true)
            years = defined.sum(axis=1).astype(np.float64)
            bias, true = (np.where(defined, part, 0.0) for part in (predicted - true, true))
            self._maps[name].reshape(2, -1)[:, numbers] = [ratio(part.sum(axis=1), years) for part in (bias, true)]
            self._sums[name] += self._resampled(bias, defined, area)

    def _resampled(self, bias: FloatArray, defined: BoolArray, area: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return sums ``(region, sample)`` over cells of area times mean bias, and of area, where that is defined."""
        if defined.all():  # a mean over cells of means over years is one over years of means over cells
            total = np.broadcast_to(area.sum(axis=1)[:, None], (len(area), len(self._counts)))
            return resampled_sums(area @ bias, self._counts) / self._years.count, total
        drawn = ratio(resampled_sums(bias, self._counts), resampled_sums(defined.astype(np.float64), self._counts))
        return area @ np.nan_to_num(drawn), area @ ~np.isnan(drawn)

    def maps(self) -> dict[str, xr.DataArray]:
        """Map ``(Y, X)`` of the bias of each index, without coordinates."""
        fields = {}
        for name in self._defined():
            attributes = {
                "long_name": f"bias of {INDICES[name].text} of {self.long_name}",
                "units": difference_units(INDICES[name].unit),
                "comment": f"mean of {self._years.count} years, of those with {SHARE_OF_YEAR:.0%} of the days",
            }
            fields[f"bias_{name}"] = xr.DataArray(self._maps[name][0], dims=self.dims, attrs=attributes)
        return fields

    def rows(self, variable: str, confidence: float) -> list[dict[str, object]]:
        """Rows of the table: the biases, and the index of the truth itself as ``truth_<index>``, without intervals."""
        rows: list[dict[str, object]] = []
        for name in self._defined():
            unit = INDICES[name].unit
            for place, region in enumerate(self._regions):
                about = {"variable": variable} | ({"region": region} if region else {})
                bias, true = (self._mean(values, self._area[place]) for values in self._maps[name])
                ends = (np.asarray(np.nan),) * 2
                if self._years.count >= FEWEST_YEARS:
                    ends = intervals(ratio(*self._sums[name][:, place]), confidence=confidence)
                lower, upper = map(float, ends)
                score = {"metric": f"bias_{name}", "unit": difference_units(unit), "value": bias}
                rows.append(about | score | {"lower": lower, "upper": upper})
                rows.append(about | {"metric": f"truth_{name}", "unit": unit, "value": true})
        return rows

    def _defined(self) -> list[str]:
        """Return the indices that some cell has."""
        return [name for name in self.names if np.isfinite(self._maps[name]).any()]

    @staticmethod
    def _mean(values: FloatArray, area: FloatArray) -> float:
        """Mean by area over the cells ``(Y, X)`` where the values are defined."""
        weights = area * np.isfinite(values)
        return float(ratio(np.asarray((weights * np.nan_to_num(values)).sum()), np.asarray(weights.sum())))


def _days(time: xr.DataArray, at_end: bool) -> tuple[int, IntArray, IntArray]:
    """Return the steps of a day, the day of each step and the days that are complete, counted from 2000-01-01."""
    step = step_of(time)
    if step is None or step.total_seconds() < DAY:
        return complete_days(time, at_end, "climate indices")
    days = seconds(time) // DAY
    if (np.diff(days) == 0).any():
        raise DataError("climate indices: expected days, found two steps on the same one")
    return 1, days, days


def _first_month(dates: xr.DataArray) -> int:
    """Return the month that years begin with: the middle of the longest run of months that no date lies in.

    January where all months have dates, or as few of them lie after as before it.
    """
    empty = np.bincount(dates.dt.month.values - 1, minlength=12) == 0
    if not empty.any():
        return 1
    longest, middle = 0, 1
    for first in range(12):
        length = next(length for length in range(12) if not empty[(first + length) % 12])
        # Of a run, its first month is the one that all others follow.
        if length > longest and not empty[first - 1]:
            longest, middle = length, (first + length // 2) % 12 + 1
    return middle


def _beginnings(time: xr.DataArray, years: IntArray, month: int) -> IntArray:
    """Return the day, counted from 2000-01-01, that each year begins on."""
    options = {"calendar": calendar_of(time), "has_year_zero": True}
    epoch = cftime.datetime(2000, 1, 1, **options).toordinal()
    return np.array([cftime.datetime(int(year), month, 1, **options).toordinal() - epoch for year in years])
