"""Verification of a prediction by all scores: maps per cell, domain values and their intervals."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from dl4ds_core.ensembles import members_of
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import mean_spacing
from dl4ds_core.time import spread_steps
from dl4ds_core.verification import inputs
from dl4ds_core.verification.annual import Annual
from dl4ds_core.verification.bootstrap import AUTOMATIC, automatic_block, block_steps, block_weights
from dl4ds_core.verification.collecting import FEWEST_STEPS, SMALLEST_SHARE, Parts, Scores
from dl4ds_core.verification.metrics import structures
from dl4ds_core.verification.moments import CellSeries, Clock
from dl4ds_core.verification.pieces import Crew, crew
from dl4ds_core.verification.setting import Setting, largest_box
from dl4ds_core.verification.structure import one_value

__all__ = ["EVENTS", "FEWEST_STEPS", "SEASONS", "SMALLEST_SHARE", "verify"]

logger = logging.getLogger(__name__)

SEASONS = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
"""Months of the seasons that have scores of their own."""

EVENTS = (90.0, 99.0)
"""Where no thresholds are given, events are values above these percentiles of the truth."""

_ARRAY_BYTES = 2**26
"""Size of the arrays worked on at once: some fifteen of them exist at the same time."""

_DRAWN = 2_000_000
"""So many values of the truth, from steps spread over the record, give its percentiles."""

_FEWEST_DRAWN = 10
"""But of no fewer steps."""


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
    scale: int = 1,
    thresholds: Mapping[str, Sequence[float]] | None = None,
    regions: Mapping[str, xr.DataArray] | None = None,
    indices: Mapping[str, Sequence[str]] | None = None,
    threads: int = 1,
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

    A prediction may have members: all scores are then those of their mean but those of the members themselves, which
    need two or more (`Metric.members`).

    Fields are read in pieces of bounded size: whole fields of some steps, then whole series of some cells. So
    memory doesn't grow with the record (but for the resamples' counts), and files are best stored in chunks
    that are long in time and small in space.

    Parameters
    ----------
    prediction, truth : xarray.Dataset
        The same predictands ``(time, Y, X)`` with equal coordinates and ``units``, in memory or lazily opened, on a
        grid of any kind. Those of the prediction may have a dimension ``member`` too.
    area : xarray.DataArray
        Cell areas ``(Y, X)``, in any unit, such as `Grid.area`.
    data_ranges : mapping of str to float
        Range of each predictand over the training period, in its units, for SSIM.
    block : str
        Length of a bootstrap block, such as ``24h``, ``5d`` or ``10y``; see `block_steps`. With ``auto`` it is chosen
        from the autocorrelation of the domain's mean truth; see `automatic_block`.
    samples : int
        Number of resamples.
    confidence : float
        Of the intervals: 0.9 gives the 5% and 95% quantiles of the resamples.
    seed : int
        Seed of the resamples: the same for all models, whose differences are then those of one set of
        resamples.
    scale : int
        Fine cells per coarse cell, along each axis.
    thresholds : mapping of str to sequence of float, optional
        Of events, by predictand and in its units; by default the percentiles `EVENTS` of the truth.
    regions : mapping of str to xarray.DataArray, optional
        Cells ``(Y, X)`` of regions that have scores of their own, as bool.
    indices : mapping of str to sequence of str, optional
        Names of climate indices by predictand, none where the sequence is empty; of predictands that are not named,
        those that suit the quantity.
    threads : int
        Number of threads; it changes no digit.

    Returns
    -------
    xarray.Dataset
        Maps ``<predictand>_<metric>(Y, X)`` with ``long_name`` and ``units``, on the grid of the truth with its CF
        coordinates; beside them ``<predictand>_<metric>_by_step(time)``, ``<predictand>_<metric>_resampled(sample)``
        and ``<predictand>_spectrum_prediction(wavenumber)`` and ``..._truth``; of an ensemble also ``..._members``,
        ``<predictand>_rank_histogram(rank)`` and ``<predictand>_reliability_<frequency, forecast and
        count>(threshold, bin)``.
    pandas.DataFrame
        One row per predictand, metric and, where there are such, threshold, scale, season and region: variable, metric,
        unit, threshold, scale, season, region, value, lower, upper. Beside the bias of a climate index,
        ``bias_<index>``, there is a row ``truth_<index>`` without an interval: the index itself, of the truth.

    Raises
    ------
    DataError
        If predictands, coordinates or units differ, the prediction misses values that the truth has, values are
        infinite, the truth has none, a data range is missing or not positive, the domain is too small for SSIM, the
        record too short for the blocks, or an index unknown or one of another quantity.
    """
    grid = Grid.of(truth)
    dims = ("time", *grid.dims)
    names = inputs.predictands(prediction, truth, dims)
    inputs.check_coordinates(prediction, truth, area, grid.dims)
    for name in names:
        inputs.check_units(name, prediction[name], truth[name])
        if not data_ranges.get(name, 0) > 0:
            raise DataError(f"{name}: expected a positive data range for SSIM; found {data_ranges.get(name)}.")
    area = area.transpose(*grid.dims)
    cells = {region: mask.transpose(*grid.dims).values.astype(bool) for region, mask in (regions or {}).items()}
    annual = {
        name: Annual(truth[name], area, cells, None if indices is None else indices.get(name), samples, seed)
        for name in names
    }
    time = truth["time"]
    clock = Clock(time)
    maps: dict[str, xr.DataArray] = {}
    curves: dict[str, xr.DataArray] = {}
    rows: list[dict[str, object]] = []
    parts = Parts(cells, _seasons(time))
    with crew(threads) as workers:
        seen = {
            name: inputs.check_values(
                name, prediction[name], truth[name], area, _time_chunks(prediction[name]), workers
            )
            for name in names
        }
        steps = block_steps(time, block) if block != AUTOMATIC else _automatic(seen.values(), clock)
        # In double precision once, for all products of matrices.
        counts = block_weights(time, block_steps=steps, samples=samples, seed=seed).astype(np.float64)
        logger.info("Verifying %s: %d steps, %d resamples of blocks of %d steps", names, time.size, samples, steps)
        for name in names:
            ensemble = members_of(prediction[name]) > 1
            events = tuple((thresholds or {}).get(name, ()))
            if not events and any(score.labels is not one_value for _, score in structures(ensemble=ensemble)):
                events = _percentiles(truth[name])
            box = largest_box(seen[name].steps < np.isfinite(seen[name].mean).sum())
            spacing = mean_spacing(grid.lat, grid.lon)
            setting = Setting(area.values, spacing, scale, float(data_ranges[name]), events, box)
            scores = Scores(truth[name], area, counts, seen[name].steps, clock, setting, parts, ensemble=ensemble)
            _collect(prediction[name], truth[name], scores, annual[name], workers)
            maps |= {f"{name}_{metric}": field for metric, field in (scores.maps() | annual[name].maps()).items()}
            curves |= {f"{name}_{curve}": field for curve, field in scores.curves().items()}
            rows += scores.rows(name, confidence) + annual[name].rows(name, confidence)
    columns = ("variable", "metric", "unit", "threshold", "scale", "season", "region", "value", "lower", "upper")
    table = pd.DataFrame(rows).reindex(columns=list(columns))
    return grid.placed(xr.Dataset(maps)).assign(curves), table


def _collect(prediction: xr.DataArray, truth: xr.DataArray, scores: Scores, annual: Annual, workers: Crew) -> None:
    """Read a predictand twice, as whole fields and as whole series, and let the scores take in the pieces."""
    dims = ("time", *map(str, scores.dims))
    for chunk in _time_chunks(prediction):
        scores.add_fields(*inputs.read(prediction, truth, chunk, dims, members=True), chunk, workers)
    for chunk in _cell_chunks(truth, scores.dims, scores.samples):
        pair = inputs.read(prediction, truth, chunk, dims)
        scores.add_series(*pair, chunk, workers)
        annual.add(*pair, chunk)


def _automatic(seen: Iterable[inputs.Seen], clock: Clock) -> int:
    """Return the longest of the blocks that suit the predictands, in steps."""
    lengths = []
    for each in seen:
        departures = CellSeries(each.mean[None], each.mean[None], clock).observation_departure[0]
        lengths.append(automatic_block(np.where(np.isfinite(each.mean), departures, np.nan), clock.follows))
    return max(lengths)


def _seasons(time: xr.DataArray) -> dict[str, np.ndarray]:
    """Return the steps of each season of which the record has some; none where it has steps of one season only."""
    months = time.dt.month.values
    found = {name: np.isin(months, some) for name, some in SEASONS.items()}
    found = {name: steps for name, steps in found.items() if steps.any()}
    return found if len(found) > 1 else {}


def _percentiles(truth: xr.DataArray) -> tuple[float, ...]:
    """Return the percentiles `EVENTS` of the truth, each once, from steps spread over the record."""
    steps = max(_FEWEST_DRAWN, _DRAWN * truth.sizes["time"] // truth.size)
    chosen = spread_steps(truth.sizes["time"], steps)
    values = truth.isel(time=chosen).values
    return tuple(np.unique(np.percentile(values[~np.isnan(values)], EVENTS)).tolist())


def _time_chunks(field: xr.DataArray) -> Iterator[dict[str, slice]]:
    """Pieces of the record whose fields, all members together, are of bounded size."""
    step = max(1, _ARRAY_BYTES // (8 * (field.size // field.sizes["time"])))
    for first in range(0, field.sizes["time"], step):
        yield {"time": slice(first, first + step)}


def _cell_chunks(field: xr.DataArray, dims: tuple[Hashable, ...], samples: int) -> Iterator[dict[str, slice]]:
    """Boxes of cells whose series, and whose resampled values, are of bounded size."""
    cells = max(1, _ARRAY_BYTES // (8 * max(field.sizes["time"], samples)))
    height, width = (field.sizes[dim] for dim in dims)
    rows, columns = max(1, cells // width), min(cells, width)
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            yield {str(dims[0]): slice(row, row + rows), str(dims[1]): slice(column, column + columns)}
