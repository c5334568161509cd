"""What the scores of one predictand are made of, collected while its fields and series pass by in pieces."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.ensembles import MEMBER
from dl4ds_core.io import difference_units
from dl4ds_core.verification import moments
from dl4ds_core.verification.bootstrap import FloatArray, intervals, resampled_sums
from dl4ds_core.verification.indices import Index, quantity_of
from dl4ds_core.verification.inputs import in_double
from dl4ds_core.verification.metrics import METRICS, Metric, by_moments, functions
from dl4ds_core.verification.pieces import Crew
from dl4ds_core.verification.setting import Setting
from dl4ds_core.verification.structure import Structure, Terms
from dl4ds_core.verification.structures import Structures
from dl4ds_core.verification.sums import LocalSums, SeriesSums, called, of_local_scores, of_series

__all__ = ["FEWEST_STEPS", "SMALLEST_SHARE", "Parts", "Scores"]

logger = logging.getLogger(__name__)

BoolArray = npt.NDArray[np.bool_]

FEWEST_STEPS = 30
"""A cell with fewer valid steps has no correlation, unless it has all steps of the record."""

SMALLEST_SHARE = 0.1
"""Nor has a cell with a smaller share of valid steps."""

FEWEST_CELLS = 32
"""So many series are worked on at least, however long they are: the resamples are read once for all of them."""

SOME_CELLS = 48
"""So many cells, spread over the domain, are resampled for the interval of a score that has no moments."""

SOME_SAMPLES = 200
"""And so many resamples of them are made at most."""

_ARRAY_BYTES = 2**25
"""Size of resampled series worked on at once."""

_SERIES = "series"
"""Key of the valid area of each step, which all scores of series share; scores of fields have their own."""

_WHOLE = 0
"""Place of the whole domain among the regions."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of domain and period that have scores of their own, besides the whole.

    Attributes
    ----------
    regions : mapping of str to numpy.ndarray
        Cells ``(Y, X)`` of each region.
    seasons : mapping of str to numpy.ndarray
        Steps ``(time,)`` of each season.
    """

    regions: Mapping[str, BoolArray]
    seasons: Mapping[str, BoolArray]


class Scores:
    """Collects the scores of one predictand.

    Parameters
    ----------
    truth : xarray.DataArray
        The predictand ``(time, Y, X)``; only its size, times and attributes are looked at.
    area : xarray.DataArray
        Cell areas ``(Y, X)``.
    counts : numpy.ndarray of float64
        Resamples ``(sample, time)`` of `block_weights`.
    steps : numpy.ndarray
        Number of valid steps of each cell ``(Y, X)``.
    clock : Clock
        What scores know of the time steps.
    setting : Setting
        What scores of the structure of fields must know.
    parts : Parts
        Regions and seasons.
    ensemble : bool
        Whether there are members, which have scores of their own.
    """

    def __init__(
        self,
        truth: xr.DataArray,
        area: xr.DataArray,
        counts: FloatArray,
        steps: npt.NDArray[np.intp],
        clock: moments.Clock,
        setting: Setting,
        parts: Parts,
        *,
        ensemble: bool = False,
    ) -> None:
        self.dims = area.dims
        whole = area.values.astype(np.float64) / float(area.sum())
        self.area = np.stack([whole, *(np.where(cells, whole, 0.0) for cells in parts.regions.values())])
        """Share of the domain's area ``(region, Y, X)``: the whole first."""
        self.counts, self.setting, self.parts = counts, setting, parts
        self.unit = str(truth.attrs["units"])
        self.long_name = truth.attrs.get("long_name", truth.name)
        self.time = truth["time"]
        self._ensemble = ensemble
        self.clock = clock
        quantity = quantity_of(truth)
        self.wet = quantity.wet(clock.days) if quantity else None
        self.samples, self._record = counts.shape
        needed = min(self._record, max(FEWEST_STEPS, math.ceil(SMALLEST_SHARE * self._record)))
        self._enough = steps >= needed
        self._maps: dict[str, FloatArray] = {}
        """Map ``(Y, X)`` of each score, or ``(Y, X, threshold)``."""
        self._labels: dict[str, FloatArray] = {}
        self._comments: dict[str, str] = {}
        local = functions(fields=True, ensemble=ensemble)
        self._totals = {metric.name: np.zeros((2, *whole.shape)) for metric, _ in local}
        """Per cell: sum over time of each local score of fields, and number of steps where it is defined."""
        self._steps: dict[str, FloatArray] = {}
        """Sum over a region ``(region, time)`` of area times each local score of fields and term of pooled scores."""
        self._areas: dict[str, FloatArray] = {}
        """Area ``(region, time)`` that those sums are over, that of the whole domain being 1."""
        self._structures = Structures(setting, counts, ensemble=ensemble)
        shape = (self.area.shape[0], counts.shape[0])
        self._sums = {metric.name: np.zeros(shape) for metric, _ in by_moments("cells")}
        self._weights = {name: np.zeros(shape) for name in self._sums}
        """Per region and resample: sum over cells of area times score, and of area, where the score is defined."""
        self._some = _spread(self._enough, SOME_CELLS)
        self._pairs: list[list[FloatArray]] = []
        """Series ``(cell, time)`` of some cells, and their areas."""

    def add_fields(
        self, forecast: xr.DataArray, observation: xr.DataArray, chunk: Mapping[str, slice], crew: Crew
    ) -> None:
        """Take in some whole fields ``(time, Y, X)``; the forecast may be of members ``(member, time, Y, X)``."""
        dims = ("time", *self.dims)

        def made(part: slice) -> tuple[dict[str, LocalSums], dict[Callable[..., Terms], Terms]]:
            predicted, observed = in_double(forecast.values[..., part, :, :], observation.values[part])
            members = None
            if predicted.ndim > observed.ndim:
                if self._ensemble:
                    members = xr.DataArray(predicted, dims=(MEMBER, *dims))
                predicted = predicted.mean(axis=0)
            # Without coordinates, whose copies would take a tenth of the time.
            fields = xr.DataArray(predicted, dims=dims), xr.DataArray(observed, dims=dims)
            local = of_local_scores(*fields, members, self.area, self.setting.data_range)
            return local, self._structures.terms(predicted, observed, None if members is None else members.values)

        for part, (local, structures) in crew.work(made, len(observation), 8 * forecast.size // len(observation)):
            steps = slice(chunk["time"].start + part.start, chunk["time"].start + part.stop)
            for name, sums in local.items():
                self._totals[name] += sums.total
                self._per_step(self._steps, name)[:, steps] = sums.by_step
                self._per_step(self._areas, name)[:, steps] = sums.area
                self._comments[name] = sums.comment
            self._structures.add(structures, steps)

    def add_series(
        self, forecast: xr.DataArray, observation: xr.DataArray, chunk: Mapping[str, slice], crew: Crew
    ) -> None:
        """Take in some whole series ``(time, Y, X)``."""
        pair = [field.values.reshape(self._record, -1) for field in (forecast, observation)]
        box = tuple(chunk[str(dim)] for dim in self.dims)
        area, enough, some = self.area[:, *box].reshape(len(self.area), -1), self._enough[box].ravel(), self._some[box]

        def made(part: slice) -> tuple[BoolArray, SeriesSums | None, list[FloatArray]]:
            # Contiguous in time, as ranking, correlations and products of matrices need it.
            values = in_double(*(field[:, part].T for field in pair))
            known = np.isfinite(values[1]).any(axis=1)  # not the sea
            if not known.any():
                return known, None, []
            if not known.all():
                values = values[0][known], values[1][known]
            cells, chosen = area[:, part][:, known], some.ravel()[part][known]
            series = moments.CellSeries(*values, self.clock, self.wet)
            sums = of_series(series, cells, enough[part][known], self.counts)
            return known, sums, [values[0][chosen], values[1][chosen], cells[_WHOLE][chosen]]

        row_bytes = 8 * max(self._record, self.samples)
        for part, (known, sums, kept) in crew.work(made, area.shape[1], row_bytes, FEWEST_CELLS):
            if sums is not None:
                if kept[0].size:
                    self._pairs.append(kept)
                self._take_series(sums, np.unravel_index(np.arange(part.start, part.stop)[known], some.shape), box)

    def _take_series(self, sums: SeriesSums, cells: tuple[npt.NDArray[np.intp], ...], box: tuple[slice, ...]) -> None:
        """Add the sums of some cells of a box."""
        self._labels |= sums.labels
        for collected, found in ((self._areas, {_SERIES: sums.valid}), (self._steps, sums.by_step)):
            for name, values in found.items():
                self._per_step(collected, name)[:] += values
        for name, values in sums.maps.items():
            if name not in self._maps:
                self._maps[name] = np.full((*self._enough.shape, *values.shape[1:]), np.nan)
            self._maps[name][box][cells] = values
        for name, (scores, areas) in sums.resampled.items():
            self._sums[name] += scores
            self._weights[name] += areas

    def maps(self) -> dict[str, xr.DataArray]:
        """Map ``(Y, X)`` of each score, without coordinates; of one with several values, ``<name>_<value>``."""
        for name, (sums, steps) in self._totals.items():
            self._maps[name] = moments.ratio(sums, steps)
            if not steps.any():
                self._comments[name] += "; every window holds missing cells, so nothing is defined"
                logger.warning("%s of %s is undefined: every window holds missing cells", name, self.long_name)
            elif self._comments[name] and (steps < self._record).any():  # those of single cells say nothing
                self._comments[name] += "; undefined where the window holds missing cells"
        fields = {}
        for metric in METRICS.values():
            if metric.name not in self._maps:
                continue
            attributes = {"long_name": f"{metric.long_name} of {self.long_name}", "units": self._unit(metric)}
            comment = self._comments.get(metric.name)
            attributes |= {"comment": comment} if comment else {}
            values = self._maps[metric.name]
            if values.ndim == 2:
                fields[metric.name] = xr.DataArray(values, dims=self.dims, attrs=attributes)
                continue
            for place, label in enumerate(self._labels[metric.name]):
                named = attributes | {"long_name": f"{metric.long_name} ({label:g}) of {self.long_name}"}
                fields[f"{metric.name}_{label:g}"] = xr.DataArray(values[..., place], dims=self.dims, attrs=named)
        return fields

    def curves(self) -> dict[str, xr.DataArray]:
        """Series and curves beside the maps: RMSE of each step, resampled RMSE and MAE, and those of `Structures`."""
        fields: dict[str, xr.DataArray] = {}
        for metric, source in by_moments("pooled"):
            if not source.by_step:
                continue
            area = self._areas[_SERIES][_WHOLE]
            series = source.score(*(moments.ratio(self._steps[term][_WHOLE], area) for term in source.terms))
            resampled = self._values(metric, _WHOLE)[1]
            attributes = {"long_name": f"{metric.long_name} of {self.long_name}", "units": self._unit(metric)}
            fields[f"{metric.name}_by_step"] = xr.DataArray(series, {"time": self.time}, ["time"], attrs=attributes)
            fields[f"{metric.name}_resampled"] = xr.DataArray(resampled, dims=["sample"], attrs=attributes)
        fields |= self._structures.curves(str(self.long_name), self._unit(METRICS["rmse"]))
        return fields

    def rows(self, name: str, confidence: float) -> list[dict[str, object]]:
        """Rows of the table for this predictand."""
        rows: list[dict[str, object]] = []
        for metric in METRICS.values():
            if isinstance(metric.source, Index) or (metric.members and not self._ensemble):
                continue  # of `Annual`, or of what isn't there
            about = {"variable": name, "metric": metric.name, "unit": self._unit(metric)}
            for where, value, resampled in self._scored(metric):
                lower, upper = intervals(resampled, confidence=confidence)
                rows.append(about | where | {"value": value, "lower": float(lower), "upper": float(upper)})
        return rows

    def _scored(self, metric: Metric) -> Iterator[tuple[dict[str, object], float, FloatArray]]:
        """Each value of a score: what it is about, the value, and that of each resample ``(sample,)``."""
        if isinstance(metric.source, Structure):
            yield from self._structures.scored(metric.source)
        elif not (metric.fields or isinstance(metric.source, moments.Moments | Index)):
            yield from self._by_some_cells(metric.name, metric.source)
        else:
            yield {}, *self._values(metric, _WHOLE)
            for place, region in enumerate(self.parts.regions, 1):
                yield {"region": region}, *self._values(metric, place)
            if metric.domain == "pooled" and getattr(metric.source, "by_step", True):
                for season, steps in self.parts.seasons.items():
                    yield {"season": season}, *self._values(metric, _WHOLE, steps)

    def _by_some_cells(
        self, name: str, function: Callable[..., xr.DataArray]
    ) -> Iterator[tuple[dict[str, object], float, FloatArray]]:
        """Values over all cells; resampled are those of some cells, with their median at the value over all.

        A resample has ties that the record has not, which moves distances of distributions: only the spread is used.
        """
        values = self._maps.get(name)
        if values is None or not self._pairs:
            yield {}, math.nan, np.full(1, np.nan)
            return
        whole = np.atleast_1d(_mean(values, self.area[_WHOLE]))
        pair = [np.concatenate(parts) for parts in zip(*self._pairs, strict=True)]
        area = pair.pop()
        steps = np.arange(self._record)
        samples = np.stack([np.repeat(steps, row) for row in self.counts[:SOME_SAMPLES].astype(np.intp)])
        at_once = max(1, _ARRAY_BYTES // (8 * pair[0].size))
        drawn = np.concatenate(
            [
                self._resampled(function, pair, area, samples[first : first + at_once])
                for first in range(0, len(samples), at_once)
            ]
        )
        resampled = drawn + whole - np.median(drawn, axis=0)
        labels = self._labels.get(name, np.full(1, np.nan))
        for place, label in enumerate(labels):
            yield {"threshold": float(label)}, float(whole[place]), resampled[:, place]

    def _resampled(
        self,
        function: Callable[..., xr.DataArray],
        pair: Sequence[FloatArray],
        area: FloatArray,
        samples: npt.NDArray[np.intp],
    ) -> FloatArray:
        """Mean over cells of the score of each resample, ``(sample, threshold)``."""
        scores, _ = called(function, *(field[:, samples] for field in pair))
        flat = scores.reshape(*scores.shape[:2], -1)
        return np.stack([np.atleast_1d(_mean(flat[:, place], area)) for place in range(len(samples))])

    def _values(self, metric: Metric, region: int, steps: BoolArray | None = None) -> tuple[float, FloatArray]:
        """Value over a region, and that of each resample ``(sample,)``; NaN where undefined."""
        if metric.domain == "cells":
            resampled = moments.ratio(self._sums[metric.name][region], self._weights[metric.name][region])
            return float(_mean(self._maps[metric.name], self.area[region])), resampled
        if not isinstance(metric.source, moments.Moments):
            value, resampled = self._pooled(metric.name, metric.name, region, steps)
            return float(value), resampled
        means = [self._pooled(term, _SERIES, region, steps) for term in metric.source.terms]
        value, resampled = (metric.source.score(*each) for each in zip(*means, strict=True))
        return float(value), resampled

    def _pooled(self, term: str, area: str, region: int, steps: BoolArray | None) -> tuple[FloatArray, FloatArray]:
        """Mean over valid cells and steps, of the record and of each resample ``(sample,)``."""
        chosen = slice(None) if steps is None else steps
        sums, areas = self._steps[term][region, chosen], self._areas[area][region, chosen]
        counts = self.counts[:, chosen]
        record = moments.ratio(np.asarray(sums.sum()), np.asarray(areas.sum()))
        return record, moments.ratio(resampled_sums(sums, counts), resampled_sums(areas, counts))

    def _per_step(self, collected: dict[str, FloatArray], key: str) -> FloatArray:
        if key not in collected:
            collected[key] = np.zeros((self.area.shape[0], self._record))
        return collected[key]

    def _unit(self, metric: Metric) -> str:
        return difference_units(self.unit) if metric.unit == "same" else metric.unit


def _mean(values: FloatArray, area: FloatArray) -> FloatArray:
    """Mean by area over cells where the values ``(Y, X[, threshold])`` or ``(cell[, threshold])`` are defined."""
    weights = area.reshape(area.shape + (1,) * (values.ndim - area.ndim)) * ~np.isnan(values)
    axes = tuple(range(area.ndim))
    return moments.ratio((weights * np.nan_to_num(values)).sum(axis=axes), weights.sum(axis=axes))


def _spread(enough: BoolArray, number: int) -> BoolArray:
    """Choose so many cells, spread evenly among those that have enough steps."""
    chosen = np.zeros(enough.size, dtype=bool)
    known = np.flatnonzero(enough)
    if known.size:
        chosen[known[np.unique(np.linspace(0, known.size - 1, number).round().astype(np.intp))]] = True
    return chosen.reshape(enough.shape)
