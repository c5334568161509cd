"""Verification of a prediction by all scores: maps per cell, domain values and their intervals."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.io import difference_units
from dl4ds_core.verification import inputs, moments
from dl4ds_core.verification.bootstrap import (
    CountArray,
    FloatArray,
    block_steps,
    block_weights,
    intervals,
    resampled_sums,
)
from dl4ds_core.verification.metrics import METRICS, Metric

__all__ = ["FEWEST_STEPS", "SMALLEST_SHARE", "verify"]

logger = logging.getLogger(__name__)

FEWEST_STEPS = 30
"""A cell with fewer valid steps has no correlation, unless it has all steps of the record."""

SMALLEST_SHARE = 0.1
"""Nor has a cell with a smaller share of valid steps."""

_ARRAY_BYTES = 2**26
"""Size of the arrays worked on at once: some fifteen of them exist at the same time."""

_SERIES = "series"
"""Key of the valid area of each step, which all scores of series share; scores of fields have their own."""


def verify(
    prediction: xr.Dataset,
    truth: xr.Dataset,
    *,
    area: xr.DataArray,
    data_ranges: Mapping[str, float],
    block: str,
    samples: int,
    confidence: float = 0.9,
    seed: int = 0,
) -> tuple[xr.Dataset, pd.DataFrame]:
    """Score every predictand: maps per cell, and domain values with block-bootstrap intervals.

    Domain values: bias, MAE, RMSE and SSIM are pooled over cells and time steps (the root last), correlations
    and the ratio of standard deviations are the mean of the cells' values; cells are weighted by area. Cells
    where a score is undefined, such as the correlation of a constant series, are left out of that mean, in
    resamples too. Resamples keep the ranks of the whole record for Spearman's correlation.

    The truth may have missing values, always the same or others from step to step. They have no influence on any
    score or interval, and what is predicted there is not looked at. Pooled scores are sums over valid cells and steps
    divided by the valid area, in resamples too. Correlations and the ratio of standard deviations are left out (NaN in
    the maps) at cells with fewer valid steps than `SMALLEST_SHARE` of the record or than `FEWEST_STEPS`; a cell with
    all steps always has them. SSIM needs a whole window of valid cells; without any it is NaN, and the map's
    ``comment`` says so.

    Fields are read in pieces of bounded size: whole fields of some steps, then whole series of some cells. So
    memory doesn't grow with the record (but for the resamples' counts), and files are best stored in chunks
    that are long in time and small in space.

    Parameters
    ----------
    prediction, truth : xarray.Dataset
        The same predictands ``(time, Y, X)`` with equal coordinates and ``units``, in memory or lazily opened, on a
        grid of any kind.
    area : xarray.DataArray
        Cell areas ``(Y, X)``, in any unit, such as `Grid.area`.
    data_ranges : mapping of str to float
        Range of each predictand over the training period, in its units, for SSIM.
    block : str
        Length of a bootstrap block, such as ``24h``, ``5d`` or ``10y``; see `block_steps`.
    samples : int
        Number of resamples.
    confidence : float
        Of the intervals: 0.9 gives the 5% and 95% quantiles of the resamples.
    seed : int
        Seed of the resamples: the same for all models, whose differences are then those of one set of
        resamples.

    Returns
    -------
    xarray.Dataset
        Maps ``<predictand>_<metric>(Y, X)`` with ``long_name`` and ``units``, on the grid of the truth with its CF
        coordinates.
    pandas.DataFrame
        One row per predictand and metric: variable, metric, unit, value, lower, upper.

    Raises
    ------
    DataError
        If predictands, coordinates or units differ, the prediction misses values that the truth has, values are
        infinite, the truth has none, a data range is missing or not positive, the domain is too small for SSIM or the
        record too short for the blocks.
    """
    grid = Grid.of(truth)
    dims = ("time", *grid.dims)
    names = inputs.predictands(prediction, truth, dims)
    inputs.check_coordinates(prediction, truth, area, grid.dims)
    for name in names:
        inputs.check_units(name, prediction[name], truth[name])
        if not data_ranges.get(name, 0) > 0:
            raise DataError(f"{name}: expected a positive data range for SSIM; found {data_ranges.get(name)}.")
        inputs.check_values(name, prediction[name], truth[name], _time_chunks(truth[name]))
    time = truth["time"]
    steps = block_steps(time, block)
    counts = block_weights(time, block_steps=steps, samples=samples, seed=seed)
    logger.info("Verifying %s: %d steps, %d resamples of blocks of %d steps", names, time.size, samples, steps)
    maps: dict[str, xr.DataArray] = {}
    rows: list[dict[str, object]] = []
    for name in names:
        scores = _Scores(truth[name], area.transpose(*grid.dims), counts)
        for chunk in _time_chunks(truth[name]):
            scores.add_fields(*inputs.read(prediction[name], truth[name], chunk, dims), chunk, float(data_ranges[name]))
        for chunk in _cell_chunks(truth[name], grid.dims, samples):
            scores.add_series(*inputs.read(prediction[name], truth[name], chunk, (*grid.dims, "time")), chunk)
        maps |= {f"{name}_{metric}": field for metric, field in scores.maps().items()}
        rows += scores.rows(name, confidence)
    return grid.placed(xr.Dataset(maps)), pd.DataFrame(rows)


class _Scores:
    """Collects the scores of one predictand while its fields and series pass by in pieces."""

    def __init__(self, truth: xr.DataArray, area: xr.DataArray, counts: CountArray) -> None:
        self.dims = area.dims
        self.area = area.values.astype(np.float64) / float(area.sum())
        self.counts = counts
        self.unit = str(truth.attrs["units"])
        self.long_name = truth.attrs.get("long_name", truth.name)
        record = counts.shape[1]
        self._needed = min(record, max(FEWEST_STEPS, math.ceil(SMALLEST_SHARE * record)))
        self._maps = {name: np.full(self.area.shape, np.nan) for name in METRICS}
        self._comments: dict[str, str] = {}
        self._totals = {metric.name: np.zeros((2, *self.area.shape)) for metric in _needing("fields")}
        """Per cell: sum over time of each local score of fields, and number of steps where it is defined."""
        self._steps: dict[str, FloatArray] = {}
        """Sum over the domain ``(time,)`` of area times each local score of fields and each term of pooled scores."""
        self._areas: dict[str, FloatArray] = {}
        """Area ``(time,)`` that those sums are over, the whole domain's being 1."""
        self._sums = {metric: np.zeros(counts.shape[0]) for metric in METRICS}
        self._weights = {metric: np.zeros(counts.shape[0]) for metric in METRICS}
        """Per resample: sum over cells of area times score, and of area, where the score is defined."""

    def add_fields(
        self, forecast: xr.DataArray, observation: xr.DataArray, chunk: dict[str, slice], data_range: float
    ) -> None:
        """Take in some whole fields ``(time, Y, X)``."""
        for metric in _needing("fields"):
            local = metric.function(forecast, observation, data_range=data_range)
            defined = local.notnull().values
            values = np.where(defined, local.values, 0.0)
            self._totals[metric.name] += values.sum(axis=0), defined.sum(axis=0)
            self._per_step(self._steps, metric.name)[chunk["time"]] = np.tensordot(values, self.area, axes=2)
            self._per_step(self._areas, metric.name)[chunk["time"]] = np.tensordot(defined, self.area, axes=2)
            self._comments[metric.name] = local.attrs.get("comment", "")

    def add_series(self, forecast: xr.DataArray, observation: xr.DataArray, chunk: dict[str, slice]) -> None:
        """Take in some whole series ``(Y, X, time)``."""
        # Contiguous in time, as ranking, correlations and products of matrices need it.
        pair = [np.ascontiguousarray(field.values).reshape(-1, field.shape[-1]) for field in (forecast, observation)]
        steps = np.isfinite(pair[1]).sum(axis=1)
        some = steps > 0  # not the sea
        if not some.any():
            return
        pair = pair if some.all() else [values[some] for values in pair]
        enough = steps[some] >= self._needed
        self._add_maps(pair, observation, chunk, some, enough)
        series = moments.CellSeries(*pair)
        box = tuple(chunk[str(dim)] for dim in self.dims)
        self._add_pooled(series, self.area[box].ravel()[some])
        self._add_cells(series, self.area[box].ravel()[some] * enough)

    def maps(self) -> dict[str, xr.DataArray]:
        """Map ``(Y, X)`` of each score, without coordinates."""
        for name, (sums, steps) in self._totals.items():
            self._maps[name] = moments.ratio(sums, steps)
            if not steps.any():
                self._comments[name] += "; every window holds missing cells, so nothing is defined"
                logger.warning("%s of %s is undefined: every window holds missing cells", name, self.long_name)
            elif (steps < self.counts.shape[1]).any():
                self._comments[name] += "; undefined where the window holds missing cells"
        fields = {}
        for metric in METRICS.values():
            attributes = {"long_name": f"{metric.long_name} of {self.long_name}", "units": self._unit(metric)}
            comment = self._comments.get(metric.name)
            attributes |= {"comment": comment} if comment else {}
            fields[metric.name] = xr.DataArray(self._maps[metric.name], dims=self.dims, attrs=attributes)
        return fields

    def rows(self, name: str, confidence: float) -> list[dict[str, object]]:
        """Rows of the table for this predictand."""
        rows: list[dict[str, object]] = []
        for metric in METRICS.values():
            value, resampled = self._domain_value(metric)
            lower, upper = intervals(resampled, confidence=confidence)
            row = {"variable": name, "metric": metric.name, "unit": self._unit(metric)}
            rows.append(row | {"value": value, "lower": float(lower), "upper": float(upper)})
        return rows

    def _add_maps(
        self,
        pair: list[FloatArray],
        observation: xr.DataArray,
        chunk: dict[str, slice],
        some: np.ndarray,
        enough: np.ndarray,
    ) -> None:
        """Take in the maps' values at some cells of a box: NaN at the others."""
        fields = [xr.DataArray(values, {"time": observation["time"]}, ("cell", "time")) for values in pair]
        for metric in _needing("series"):
            values = metric.function(*fields, reduce_dims="time").values
            box = np.full(some.size, np.nan)
            box[some] = values if metric.domain == "pooled" else np.where(enough, values, np.nan)
            self._maps[metric.name][tuple(chunk[str(dim)] for dim in self.dims)] = box.reshape(observation.shape[:2])

    def _add_pooled(self, series: moments.CellSeries, cell_area: FloatArray) -> None:
        for term in _terms("pooled"):
            self._per_step(self._steps, term)[:] += cell_area @ moments.TERMS[term](series)
        valid = self._per_step(self._areas, _SERIES)
        valid += cell_area.sum() if series.valid is None else cell_area @ series.valid

    def _add_cells(self, series: moments.CellSeries, cell_area: FloatArray) -> None:
        if series.valid is None:
            drawn = np.full((cell_area.size, self.counts.shape[0]), float(self.counts.shape[1]))
        else:
            drawn = resampled_sums(series.valid.astype(np.float64), self.counts)
        means = {
            term: moments.ratio(resampled_sums(moments.TERMS[term](series), self.counts), drawn)
            for term in _terms("cells")
        }
        for metric in _needing("series"):
            if metric.domain == "cells" and metric.moments:
                values = metric.moments.score(*(means[term] for term in metric.moments.terms))
                self._sums[metric.name] += cell_area @ np.nan_to_num(values)
                self._weights[metric.name] += cell_area @ ~np.isnan(values)

    def _domain_value(self, metric: Metric) -> tuple[float, FloatArray]:
        """Value over the domain, and that of each resample ``(sample,)``; NaN where undefined."""
        if metric.domain == "cells":
            values = xr.DataArray(self._maps[metric.name], dims=self.dims)
            resampled = moments.ratio(self._sums[metric.name], self._weights[metric.name])
            return float(values.weighted(xr.DataArray(self.area, dims=self.dims)).mean()), resampled
        if metric.moments is None:
            value, resampled = self._pooled(metric.name, metric.name)
            return float(value), resampled
        means = [self._pooled(term, _SERIES) for term in metric.moments.terms]
        value, resampled = (metric.moments.score(*each) for each in zip(*means, strict=True))
        return float(value), resampled

    def _pooled(self, term: str, area: str) -> tuple[FloatArray, FloatArray]:
        """Mean over valid cells and steps, of the record and of each resample ``(sample,)``."""
        sums, areas = self._steps[term], self._areas[area]
        record = moments.ratio(np.asarray(sums.sum()), np.asarray(areas.sum()))
        return record, moments.ratio(resampled_sums(sums, self.counts), resampled_sums(areas, self.counts))

    def _per_step(self, collected: dict[str, FloatArray], key: str) -> FloatArray:
        return collected.setdefault(key, np.zeros(self.counts.shape[1]))

    def _unit(self, metric: Metric) -> str:
        return difference_units(self.unit) if metric.unit == "same" else "1"


def _needing(what: Literal["series", "fields"]) -> list[Metric]:
    return [metric for metric in METRICS.values() if metric.needs == what]


def _terms(domain: Literal["pooled", "cells"]) -> list[str]:
    """Terms that the scores with this kind of domain value are made of, each once."""
    chosen = [metric.moments for metric in METRICS.values() if metric.domain == domain and metric.moments]
    return list(dict.fromkeys(term for each in chosen for term in each.terms))


def _time_chunks(field: xr.DataArray) -> Iterator[dict[str, slice]]:
    cells = math.prod(size for dim, size in field.sizes.items() if dim != "time")
    step = max(1, _ARRAY_BYTES // (8 * cells))
    for first in range(0, field.sizes["time"], step):
        yield {"time": slice(first, first + step)}


def _cell_chunks(field: xr.DataArray, dims: tuple[str, str], samples: int) -> Iterator[dict[str, slice]]:
    """Boxes of cells whose series, and whose resampled values, are of bounded size."""
    cells = max(1, _ARRAY_BYTES // (8 * max(field.sizes["time"], samples)))
    height, width = (field.sizes[dim] for dim in dims)
    rows, columns = max(1, cells // width), min(cells, width)
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            yield {dims[0]: slice(row, row + rows), dims[1]: slice(column, column + columns)}
