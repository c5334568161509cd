"""Verification of a prediction by all scores: maps per cell, domain values and their intervals."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.io import difference_units
from dl4ds_core.verification import moments
from dl4ds_core.verification.bootstrap import (
    CountArray,
    FloatArray,
    block_steps,
    block_weights,
    intervals,
    resampled_means,
)
from dl4ds_core.verification.metrics import METRICS, Metric

__all__ = ["verify"]

logger = logging.getLogger(__name__)

_DIMS = ("time", "lat", "lon")

_ARRAY_BYTES = 2**26
"""Size of the arrays worked on at once: some fifteen of them exist at the same time."""


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

    Fields are read in pieces of bounded size: whole fields of some steps, then whole series of some cells. So
    memory doesn't grow with the record (but for the resamples' counts), and files are best stored in chunks
    that are long in time and small in space.

    Parameters
    ----------
    prediction, truth : xarray.Dataset
        The same predictands ``(time, lat, lon)`` with equal coordinates and ``units``, in memory or lazily
        opened.
    area : xarray.DataArray
        Cell areas ``(lat, lon)``, in any unit.
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
        Maps ``<predictand>_<metric>(lat, lon)`` with ``long_name`` and ``units``.
    pandas.DataFrame
        One row per predictand and metric: variable, metric, unit, value, lower, upper.

    Raises
    ------
    DataError
        If predictands, coordinates or units differ, values are missing, a data range is missing or not
        positive, the domain is too small for SSIM or the record too short for the blocks.
    """
    names = _predictands(prediction, truth)
    _check_coordinates(prediction, truth, area)
    for name in names:
        _check_variable(name, prediction[name], truth[name], data_ranges)
    time = truth["time"]
    steps = block_steps(time, block)
    counts = block_weights(time, block_steps=steps, samples=samples, seed=seed)
    logger.info("Verifying %s: %d steps, %d resamples of blocks of %d steps", names, time.size, samples, steps)
    maps: dict[str, xr.DataArray] = {}
    rows: list[dict[str, object]] = []
    for name in names:
        scores = _Scores(truth[name], area, counts)
        for chunk in _time_chunks(truth[name]):
            scores.add_fields(*_read(prediction[name], truth[name], chunk), float(data_ranges[name]))
        for chunk in _cell_chunks(truth[name], samples):
            scores.add_series(*_read(prediction[name], truth[name], chunk))
        maps |= {f"{name}_{metric}": field for metric, field in scores.maps.items()}
        rows += scores.rows(name, confidence)
    return xr.Dataset(maps), pd.DataFrame(rows)


class _Scores:
    """Collects the scores of one predictand while its fields and series pass by in pieces."""

    def __init__(self, truth: xr.DataArray, area: xr.DataArray, counts: CountArray) -> None:
        self.area = area.transpose("lat", "lon").astype(np.float64).assign_coords(lat=truth.lat, lon=truth.lon)
        self.area = self.area / self.area.sum()
        self.counts = counts
        self.unit = str(truth.attrs["units"])
        long_name = truth.attrs.get("long_name", truth.name)
        self.maps = {
            metric.name: xr.zeros_like(self.area)
            .drop_attrs()
            .assign_attrs(long_name=f"{metric.long_name} of {long_name}", units=self._unit(metric))
            for metric in METRICS.values()
        }
        self._steps: dict[str, FloatArray] = {}
        """Domain mean ``(time,)`` of each local score of fields and each term of pooled scores."""
        self._sums = {metric: np.zeros(counts.shape[0]) for metric in METRICS}
        self._weights = {metric: np.zeros(counts.shape[0]) for metric in METRICS}
        """Per resample: sum over cells of area times score, and of area, where the score is defined."""

    def add_fields(
        self, forecast: xr.DataArray, observation: xr.DataArray, chunk: dict[str, slice], data_range: float
    ) -> None:
        """Take in some whole fields ``(time, lat, lon)``."""
        for metric in _needing("fields"):
            local = metric.function(forecast, observation, data_range=data_range)
            self.maps[metric.name] += local.sum("time").values / self.counts.shape[1]
            self.maps[metric.name].attrs |= {key: text for key, text in local.attrs.items() if key == "comment"}
            self._step_means(metric.name)[chunk["time"]] = np.tensordot(local.values, self.area.values, axes=2)

    def add_series(self, forecast: xr.DataArray, observation: xr.DataArray, chunk: dict[str, slice]) -> None:
        """Take in some whole series ``(time, lat, lon)``."""
        # Contiguous in time, as ranking, correlations and products of matrices need it.
        pair = [_contiguous(field.transpose("lat", "lon", "time")) for field in (forecast, observation)]
        for metric in _needing("series"):
            self.maps[metric.name][chunk] = metric.function(*pair, reduce_dims="time")
        series = moments.CellSeries(*(field.values.reshape(-1, self.counts.shape[1]) for field in pair))
        cell_area = self.area[chunk].values.ravel()
        for term in _terms("pooled"):
            self._step_means(term)[:] += cell_area @ moments.TERMS[term](series)
        means = {term: resampled_means(moments.TERMS[term](series), self.counts) for term in _terms("cells")}
        for metric in _needing("series"):
            if metric.domain == "cells" and metric.moments:
                values = metric.moments.score(*(means[term] for term in metric.moments.terms))
                self._sums[metric.name] += cell_area @ np.nan_to_num(values)
                self._weights[metric.name] += cell_area @ ~np.isnan(values)

    def rows(self, name: str, confidence: float) -> list[dict[str, object]]:
        """Rows of the table for this predictand."""
        rows: list[dict[str, object]] = []
        for metric in METRICS.values():
            value, resampled = self._domain_value(metric)
            lower, upper = intervals(resampled, confidence=confidence)
            row = {"variable": name, "metric": metric.name, "unit": self._unit(metric)}
            rows.append(row | {"value": value, "lower": float(lower), "upper": float(upper)})
        return rows

    def _domain_value(self, metric: Metric) -> tuple[float, FloatArray]:
        """Value over the domain, and that of each resample ``(sample,)``; NaN where undefined."""
        if metric.domain == "cells":
            weights = self._weights[metric.name]
            resampled = np.divide(
                self._sums[metric.name], weights, where=weights > 0, out=np.full_like(weights, np.nan)
            )
            return float(self.maps[metric.name].weighted(self.area).mean()), resampled
        if metric.moments is None:
            steps = self._steps[metric.name]
            return float(steps.mean()), resampled_means(steps, self.counts)
        terms = [self._steps[term] for term in metric.moments.terms]
        value = metric.moments.score(*(np.asarray(steps.mean()) for steps in terms))
        return float(value), metric.moments.score(*(resampled_means(steps, self.counts) for steps in terms))

    def _step_means(self, term: str) -> FloatArray:
        return self._steps.setdefault(term, np.zeros(self.counts.shape[1]))

    def _unit(self, metric: Metric) -> str:
        return difference_units(self.unit) if metric.unit == "same" else "1"


def _needing(what: Literal["series", "fields"]) -> list[Metric]:
    return [metric for metric in METRICS.values() if metric.needs == what]


def _terms(domain: Literal["pooled", "cells"]) -> list[str]:
    """Terms that the scores with this kind of domain value are made of, each once."""
    chosen = [metric.moments for metric in METRICS.values() if metric.domain == domain and metric.moments]
    return list(dict.fromkeys(term for each in chosen for term in each.terms))


def _time_chunks(field: xr.DataArray) -> Iterator[dict[str, slice]]:
    step = max(1, _ARRAY_BYTES // (8 * field.sizes["lat"] * field.sizes["lon"]))
    for first in range(0, field.sizes["time"], step):
        yield {"time": slice(first, first + step)}


def _cell_chunks(field: xr.DataArray, samples: int) -> Iterator[dict[str, slice]]:
    """Boxes of cells whose series, and whose resampled values, are of bounded size."""
    cells = max(1, _ARRAY_BYTES // (8 * max(field.sizes["time"], samples)))
    rows, columns = max(1, cells // field.sizes["lon"]), min(cells, field.sizes["lon"])
    for row in range(0, field.sizes["lat"], rows):
        for column in range(0, field.sizes["lon"], columns):
            yield {"lat": slice(row, row + rows), "lon": slice(column, column + columns)}


def _read(
    prediction: xr.DataArray, truth: xr.DataArray, chunk: dict[str, slice]
) -> tuple[xr.DataArray, xr.DataArray, dict[str, slice]]:
    """Read a piece of both fields in double precision, on the coordinates of the truth."""
    observation = truth.isel(chunk).transpose(*_DIMS).astype(np.float64).load()
    values = prediction.isel(chunk).transpose(*_DIMS).astype(np.float64).values
    return observation.copy(data=values), observation, chunk


def _contiguous(field: xr.DataArray) -> xr.DataArray:
    return field.copy(data=np.ascontiguousarray(field.values))


def _predictands(prediction: xr.Dataset, truth: xr.Dataset) -> list[str]:
    found = [
        [str(name) for name, field in data.data_vars.items() if set(field.dims) == set(_DIMS)]
        for data in (prediction, truth)
    ]
    if not found[1] or set(found[0]) != set(found[1]):
        raise DataError(f"Expected a prediction of the predictands {found[1]}; found {found[0]}. Predict again.")
    return found[1]


def _check_coordinates(prediction: xr.Dataset, truth: xr.Dataset, area: xr.DataArray) -> None:
    if not truth.indexes["time"].equals(prediction.indexes["time"]):
        raise DataError(
            f"Expected equal times of truth and prediction; truth: {_span(truth['time'])}; "
            f"prediction: {_span(prediction['time'])}. Verify a prediction of the same split."
        )
    for dim in ("lat", "lon"):
        for what, other in (("the prediction", prediction[dim]), ("the cell areas", area[dim])):
            if other.size != truth[dim].size or not np.allclose(other, truth[dim], rtol=0, atol=1e-5):
                raise DataError(
                    f"Expected equal {dim} of truth and {what}; found {_span(truth[dim])} and {_span(other)}."
                )
    if set(area.dims) != {"lat", "lon"} or not bool((area > 0).all()):
        raise DataError(f"Expected positive cell areas (lat, lon); found dimensions {area.dims}.")


def _span(coordinate: xr.DataArray) -> str:
    values = coordinate.values
    text = f"{values.size} from {values[0]} to {values[-1]}" if values.size else "none"
    return f"{text}, calendar {coordinate.dt.calendar}" if coordinate.name == "time" else text


def _check_variable(name: str, prediction: xr.DataArray, truth: xr.DataArray, data_ranges: Mapping[str, float]) -> None:
    units = [field.attrs.get("units") for field in (truth, prediction)]
    if units[0] is None or units[0] != units[1]:
        raise DataError(f"{name}: expected equal units of truth and prediction; found {units[0]!r} and {units[1]!r}.")
    if not data_ranges.get(name, 0) > 0:
        raise DataError(f"{name}: expected a positive data range for SSIM; found {data_ranges.get(name)}.")
    for what, field in (("truth", truth), ("prediction", prediction)):
        missing = sum(int((~np.isfinite(field.isel(chunk))).sum()) for chunk in _time_chunks(field))
        if missing:
            raise DataError(
                f"{name}: expected no missing values in the {what}; found {missing} of {field.size}. "
                "Cut the domain or the periods to where the data are complete."
            )
