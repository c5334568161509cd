"""What a piece of fields or of series adds to the scores: sums that don't depend on any other piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.verification.bootstrap import FloatArray, resampled_sums
from dl4ds_core.verification.metrics import by_moments, functions, terms
from dl4ds_core.verification.moments import TERMS, CellSeries, ratio

__all__ = ["LocalSums", "SeriesSums", "called", "of_local_scores", "of_series"]

BoolArray = npt.NDArray[np.bool_]


class LocalSums(NamedTuple):
    """Sums of a local score of fields, where it is defined.

    Attributes
    ----------
    total : numpy.ndarray
        Sum over time of each cell, and its number of steps, ``(2, Y, X)``.
    by_step, area : numpy.ndarray
        Sum over a region of area times score, and of area, ``(region, time)``.
    comment : str
        Of the score.
    """

    total: FloatArray
    by_step: FloatArray
    area: FloatArray
    comment: str


@dataclass(frozen=True, eq=False)
class SeriesSums:
    """What some cells add to the scores of series.

    Attributes
    ----------
    valid : numpy.ndarray
        Area with a truth ``(region, time)``.
    by_step : dict of str to numpy.ndarray
        Sum over a region of area times each term of pooled scores ``(region, time)``.
    maps : dict of str to numpy.ndarray
        Scores of the cells, ``(cell,)`` or ``(cell, threshold)``.
    resampled : dict of str to numpy.ndarray
        Sums over a region of area times each score of cells, and of area, where the score is defined,
        ``(2, region, sample)``.
    labels : dict of str to numpy.ndarray
        Thresholds ``(threshold,)`` of scores that have several values.
    """

    valid: FloatArray
    by_step: dict[str, FloatArray]
    maps: dict[str, FloatArray]
    resampled: dict[str, FloatArray]
    labels: dict[str, FloatArray]


def of_local_scores(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    members: xr.DataArray | None,
    area: FloatArray,
    data_range: float,
) -> dict[str, LocalSums]:
    """Return the sums of each score that is a function of fields ``(time, Y, X)``; areas are ``(region, Y, X)``."""
    cells = area.reshape(len(area), -1)
    sums = {}
    for metric, function in functions(fields=True, ensemble=members is not None):
        given = members if metric.members and members is not None else forecast
        local = function(given, observation, data_range=data_range)
        values, comment = local.values, local.attrs.get("comment", "")
        steps: npt.NDArray[np.intp] | float = float(len(values))
        defined_area = np.broadcast_to(cells.sum(axis=1)[:, None], (len(cells), len(values)))
        defined = ~np.isnan(values)
        if not defined.all():
            values, steps = np.where(defined, values, 0.0), defined.sum(axis=0)
            defined_area = cells @ defined.reshape(len(values), -1).T.astype(np.float64)
        total = values.sum(axis=0)
        by_step = cells @ values.reshape(len(values), -1).T
        steps = np.broadcast_to(steps, total.shape)
        sums[metric.name] = LocalSums(np.stack([total, steps]), by_step, defined_area, comment)
    return sums


def of_series(series: CellSeries, area: FloatArray, enough: BoolArray, counts: FloatArray) -> SeriesSums:
    """Return what some cells add to the scores of series; each term is made once, and not kept.

    Parameters
    ----------
    series : CellSeries
        Of the cells.
    area : numpy.ndarray
        Their areas ``(region, cell)``.
    enough : numpy.ndarray
        Which of them have enough steps for a correlation ``(cell,)``.
    counts : numpy.ndarray of float64
        Resamples ``(sample, time)``.
    """
    shape, pooled, of_cells = (len(enough), counts.shape[1]), terms("pooled"), terms("cells")
    if series.valid is None:
        valid = np.broadcast_to(area.sum(axis=1)[:, None], (len(area), shape[1]))
        steps, drawn = np.full(shape[0], float(shape[1])), np.full((shape[0], len(counts)), float(shape[1]))
    else:
        weights = series.valid.astype(np.float64)
        valid, steps, drawn = area @ weights, weights.sum(axis=1), resampled_sums(weights, counts)
    sums = SeriesSums(valid, {}, {}, {}, {})
    means, resampled = {}, {}
    for term in dict.fromkeys([*pooled, *of_cells]):
        values = TERMS[term](series)
        means[term] = ratio(values.sum(axis=1), steps)
        if term in pooled:
            sums.by_step[term] = area @ values
        if term in of_cells:
            resampled[term] = ratio(resampled_sums(values, counts), drawn)
    for metric, source in by_moments("pooled"):
        sums.maps[metric.name] = source.score(*(means[term] for term in source.terms))
    for metric, source in by_moments("cells"):
        sums.maps[metric.name] = _where(enough, source.score(*(means[term] for term in source.terms)))
        scores = source.score(*(resampled[term] for term in source.terms))
        defined = ~np.isnan(scores)
        parts = (area * enough) @ np.where(defined, scores, 0.0), (area * enough) @ defined.astype(np.float64)
        sums.resampled[metric.name] = np.stack(parts)
    for metric, function in functions(fields=False):
        values, labels = called(function, *series.pair)
        sums.maps[metric.name] = _where(enough, values)
        if labels is not None:
            sums.labels[metric.name] = labels
    return sums


def called(
    function: Callable[..., xr.DataArray], forecast: FloatArray, observation: FloatArray
) -> tuple[FloatArray, FloatArray | None]:
    """Call a function of series ``(cell[, sample], time)``; return its values, and their thresholds where it has some.

    Returns
    -------
    tuple of numpy.ndarray
        Values ``(cell[, sample][, threshold])`` and, if there are thresholds, these.
    """
    dims = ("cell", "sample", "time") if forecast.ndim == 3 else ("cell", "time")
    fields = [xr.DataArray(values, dims=dims) for values in (forecast, observation)]
    values = function(*fields, reduce_dims="time")
    labels = values["threshold"].values if "threshold" in values.dims else None
    return np.asarray(values.values), labels


def _where(enough: BoolArray, values: FloatArray) -> FloatArray:
    """Values ``(cell,)`` or ``(cell, threshold)`` of cells with enough steps; NaN elsewhere."""
    return np.where(enough.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)
