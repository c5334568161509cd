"""Bias correction and spatial disaggregation (BCSD): coarse distributions first, then fine patterns of the month."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr

from dl4ds_core.baselines.cells import STEPS_PER_NUMBER, Pairs, Predict
from dl4ds_core.baselines.quantiles import QUANTILES, Correction, quantile_mapping
from dl4ds_core.channels import filled
from dl4ds_core.grids import coarsen
from dl4ds_core.interpolation import interpolated

#: Instead of the number of a month: all steps.
ALL = 0
#: Ratios are formed with a climatology of at least this part of its mean over the domain.
LEAST = 0.05
#: Time steps whose fine fields are worked on at once.
CHUNK = 64

METHOD = "bilinear"
_Fitted = TypeVar("_Fitted")


def fit_bcsd(pairs: Pairs) -> Predict:
    """Fit bias correction and spatial disaggregation (Wood et al. 2004), and return what predicts by it.

    1. The coarse predictand is brought to the distribution of the truth, coarsened: by quantile mapping in each coarse
       cell, for each month if all months of the training period have a step per quantile, else for all together.
       Coarse cells without truth (those of the context, and those less than half valid) stay as they are.
    2. Its anomaly from its own mean of the month is interpolated bilinearly and added to the mean of the month of each
       fine cell. Where values can't be negative the anomaly is a ratio, by which that mean is multiplied.

    Months with fewer than five steps in the training period, or in a fine cell, have the means of all months.

    References
    ----------
    Wood, A. W., Leung, L. R., Sridhar, V. and Lettenmaier, D. P. (2004). Hydrologic implications of dynamical and
    statistical approaches to downscaling climate model outputs. doi:10.1023/B:CLIM.0000013685.99609.9e
    """
    months = _months(pairs.coarse)
    model = _bare(filled(pairs.coarse[pairs.name]).values)
    mappings = _fit_mappings(model, _coarsened(pairs), months)
    corrected = _corrected(model, months, mappings, pairs.non_negative)
    climates = {
        month: _fit_climate(pairs, corrected, np.flatnonzero(chosen))
        for month, chosen in _groups(months, STEPS_PER_NUMBER).items()
    }
    correct = pairs.where_enough(1)

    def predict(fields: xr.Dataset) -> xr.DataArray:
        months = _months(fields)
        inputs = _corrected(_bare(filled(fields[pairs.name]).values), months, mappings, pairs.non_negative)
        values = np.empty((len(inputs), *pairs.grid.shape))
        for climate, chosen in _by_month(climates, months):
            values[chosen] = climate.predict(inputs[chosen])
            if not climate.enough.all():
                values[chosen] = np.where(climate.enough, values[chosen], climates[ALL].predict(inputs[chosen]))
        return pairs.prediction(correct(values), fields)

    return predict


def _months(fields: xr.Dataset) -> np.ndarray:
    return np.asarray(fields["time"].dt.month.values)


def _bare(values: np.ndarray) -> xr.DataArray:
    """Return values (time, Y, X) as a field without coordinates."""
    return xr.DataArray(values, dims=("time", "y", "x"))


def _groups(months: np.ndarray, least: int) -> dict[int, np.ndarray]:
    """Return which steps belong to each month that has at least so many, and all of them as ``ALL``."""
    groups = {ALL: np.ones(months.size, dtype=bool)}
    return groups | {
        int(month): months == month for month in np.unique(months) if np.count_nonzero(months == month) >= least
    }


def _by_month(fitted: Mapping[int, _Fitted], months: np.ndarray) -> Iterator[tuple[_Fitted, np.ndarray]]:
    """Yield what was fitted for a month, or in its place for all, and the steps it is for."""
    keys = np.where(np.isin(months, list(fitted)), months, ALL)
    for key in np.unique(keys):
        yield fitted[int(key)], keys == key


def _coarsened(pairs: Pairs) -> xr.DataArray:
    """Return the truth on the coarse grid with its context, shape (time, Y, X); NaN where there is none."""
    parts = [pairs.fine[start : start + CHUNK] for start in range(0, len(pairs.fine), CHUNK)]
    mean = np.concatenate([coarsen(part, pairs.grid, pairs.scale)[0].values for part in parts])
    around = (pairs.context, pairs.context)
    return _bare(np.pad(mean, ((0, 0), around, around), constant_values=np.nan))


def _fit_mappings(model: xr.DataArray, truth: xr.DataArray, months: np.ndarray) -> dict[int, Correction]:
    """Fit the quantile mapping of each month, and that of all months."""
    groups = _groups(months, QUANTILES)
    if len(groups) <= np.unique(months).size:  # a month has too few steps
        groups = {ALL: groups[ALL]}
    fitted = {}
    for month, chosen in groups.items():
        known = truth[chosen]
        known = known.where(known.notnull().sum("time") >= 2 * STEPS_PER_NUMBER)
        fitted[month] = quantile_mapping(model[chosen].where(known.notnull()), known)
    return fitted


def _corrected(
    field: xr.DataArray, months: np.ndarray, mappings: Mapping[int, Correction], non_negative: bool
) -> np.ndarray:
    """Return the coarse predictand (time, Y, X) with the distribution of the truth, float64."""
    values = np.empty(field.shape)
    for mapping, chosen in _by_month(mappings, months):
        values[chosen] = mapping(field[chosen]).values
    return np.maximum(values, 0.0) if non_negative else values


@dataclass(frozen=True, eq=False)
class _Climate:
    """Means over the steps of a month.

    Attributes
    ----------
    coarse, divisor : numpy.ndarray
        Mean of the corrected coarse predictand, and what anomalies are divided by: 1 where they are differences. Shape
        (Y, X) with context.
    fine : numpy.ndarray
        What the interpolated anomaly is added to, or multiplied with; shape (Y, X).
    enough : numpy.ndarray
        Fine cells with enough valid steps, bool, shape (Y, X).
    ratio : bool
        Whether anomalies are ratios.
    scale, context : int
        Fine cells per coarse cell, and coarse cells around the domain.
    """

    coarse: np.ndarray
    divisor: np.ndarray
    fine: np.ndarray
    enough: np.ndarray
    ratio: bool
    scale: int
    context: int

    def anomaly(self, corrected: np.ndarray) -> np.ndarray:
        """Return the anomaly (time, Y, X) on the fine grid, of the corrected coarse predictand."""
        anomaly = (corrected - self.coarse) / self.divisor
        if not self.ratio:
            return interpolated(anomaly, METHOD, self.scale, self.context)
        # Continued beyond the outermost centres it may be negative.
        return np.maximum(interpolated(1.0 + anomaly, METHOD, self.scale, self.context), 0.0)

    def predict(self, corrected: np.ndarray) -> np.ndarray:
        """Return the prediction (time, Y, X) of the corrected coarse predictand."""
        anomaly = self.anomaly(corrected)
        return anomaly * self.fine if self.ratio else anomaly + self.fine


def _fit_climate(pairs: Pairs, corrected: np.ndarray, steps: np.ndarray) -> _Climate:
    """Fit the means over some steps, given by their numbers, of the corrected coarse predictand and of the truth.

    In each fine cell the mean prediction over its valid steps is the mean truth, also where these steps are only some
    of those that the coarse mean is of.
    """
    mean = corrected[steps].mean(axis=0)
    divisor = np.ones_like(mean)
    if pairs.non_negative:
        # Of a cell without rain, a shower would be a hundred times the usual. Below the least climatology the ratio
        # is one of differences: its mean stays 1, and it isn't negative.
        divisor = np.maximum(mean, LEAST * mean.mean())
        divisor[divisor <= 0] = 1.0
    climate = _Climate(mean, divisor, mean, mean, pairs.non_negative, pairs.scale, pairs.context)
    count, anomalies, total = (np.zeros(pairs.grid.shape) for _ in range(3))
    for start in range(0, len(steps), CHUNK):
        chunk = steps[start : start + CHUNK]
        truth = pairs.fine.values[chunk]
        valid = ~np.isnan(truth)
        count += valid.sum(axis=0)
        total += np.sum(truth, axis=0, where=valid, dtype=np.float64)
        anomalies += np.sum(climate.anomaly(corrected[chunk]), axis=0, where=valid)
    fine, anomaly = (
        np.divide(part, count, out=np.full(count.shape, np.nan), where=count > 0) for part in (total, anomalies)
    )
    fine = fine / np.maximum(anomaly, LEAST) if pairs.non_negative else fine - anomaly
    return _Climate(mean, divisor, fine, count >= STEPS_PER_NUMBER, pairs.non_negative, pairs.scale, pairs.context)
