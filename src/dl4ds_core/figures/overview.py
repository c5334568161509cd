"""The figures that compare all models of an experiment, made from its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from dl4ds_core import io
from dl4ds_core.config import parse_period
from dl4ds_core.ensembles import ensemble_mean
from dl4ds_core.figures.comparison import by_part, quantile_biases
from dl4ds_core.figures.curves import ranking
from dl4ds_core.figures.diagram import taylor
from dl4ds_core.figures.distributions import quantile_quantile
from dl4ds_core.figures.domain import domain_map
from dl4ds_core.figures.ensembles import rank_histogram, reliability
from dl4ds_core.figures.moving import animation
from dl4ds_core.figures.places import series_at_places, typical_cells
from dl4ds_core.figures.sampling import read_steps
from dl4ds_core.figures.series import errors_in_time
from dl4ds_core.figures.spectral import spectra
from dl4ds_core.figures.style import save
from dl4ds_core.grids import Grid, horizontal, nearest_cells
from dl4ds_core.grids.sphere import mean_spacing
from dl4ds_core.report.scores import leading, scores_of, typical_seeds, unit_of
from dl4ds_core.time import within

STEPS = 500
"""So many steps of the record are in memory at once."""

MOST_ENSEMBLES = 6
"""So many models with members, those with the lowest CRPS on validation, have a place in figures of members."""

Run = tuple[str, int]
"""A model (or baseline, with seed 0) and a seed."""


@dataclass(frozen=True)
class Moving:
    """What the moving picture shows.

    Attributes
    ----------
    period : tuple of str or None
        First and last date (ISO 8601); None for the whole record.
    steps : int
        Most time steps, the first of the period; 0 for no picture.
    """

    period: tuple[str, str] | None = None
    steps: int = 24


@dataclass(frozen=True)
class Study:
    """One predictand's scores and predictions of all models over the test period.

    Attributes
    ----------
    variable : str
        The predictand.
    summary : pandas.DataFrame
        The long table of scores.
    truth : xarray.DataArray
        Shape (time, Y, X), lazily opened.
    scores, predictions : mapping of (model, seed) to path
        netCDF files.
    networks : sequence of str
        Names of the trained models.
    ensembles : sequence of str
        Names of the ensembles of their seeds, which look like networks; all others are baselines.
    scale : int
        Fine cells per coarse cell.
    confidence : float
        Probability of the intervals.
    places : mapping of str to tuple of float
        Latitude and longitude in degrees, by name; without any, cells are chosen.
    land : xarray.DataArray, optional
        Fraction of land (Y, X), for the coast.
    """

    variable: str
    summary: pd.DataFrame
    truth: xr.DataArray
    scores: Mapping[Run, str]
    predictions: Mapping[Run, str]
    networks: Sequence[str]
    ensembles: Sequence[str]
    scale: int
    confidence: float
    places: Mapping[str, tuple[float, float]]
    land: xr.DataArray | None = None

    @cached_property
    def shown(self) -> list[str]:
        """Models that figures with lines have room for, the chosen network first."""
        return leading(self.summary, self.variable, self.networks, ensembles=self.ensembles)

    @property
    def drawn_through(self) -> list[str]:
        """Models that look like networks."""
        return [*self.networks, *self.ensembles]

    @cached_property
    def seeds(self) -> dict[str, int]:
        """The seed of each model that stands for it: of the median validation RMSE."""
        return typical_seeds(self.summary, self.variable, {model for model, _ in self.scores})

    @property
    def units(self) -> str:
        """Units of the predictand."""
        return str(self.truth.attrs.get("units", ""))

    @cached_property
    def cells(self) -> dict[str, tuple[int, int]]:
        """Row and column of the places; none where no model has scores of cells."""
        score = self.scored("rmse").get(next(iter(self.shown), ""))
        if score is None:
            return {}
        if not self.places:
            return typical_cells(score)
        return nearest_cells(Grid.of(self.truth), self.places, score.notnull().values)

    @cached_property
    def _opened(self) -> dict[str, xr.Dataset]:
        return {model: io.open_dataset(self.scores[model, self.seeds[model]]) for model in self.shown}

    @cached_property
    def _ensembles(self) -> dict[str, xr.Dataset]:
        ranked = list(scores_of(self.summary, self.variable, "crps", "validation"))[:MOST_ENSEMBLES]
        return {model: io.open_dataset(self.scores[model, self.seeds[model]]) for model in ranked}

    def of_members(self, name: str) -> dict[str, xr.DataArray]:
        """Return a variable of the files of scores, by model; of those with members, the lowest CRPS first."""
        chosen = {model: fields.get(f"{self.variable}_{name}") for model, fields in self._ensembles.items()}
        return {model: field for model, field in chosen.items() if field is not None}

    def scored(self, name: str) -> dict[str, xr.DataArray]:
        """Return a variable of the files of scores, by model; of those that are shown and have it."""
        chosen = {model: fields.get(f"{self.variable}_{name}") for model, fields in self._opened.items()}
        return {model: field for model, field in chosen.items() if field is not None and field.notnull().any()}

    def predicted(self, model: str) -> xr.DataArray:
        """Return the prediction of a model (time, Y, X), lazily opened; of an ensemble its mean."""
        opened = io.open_dataset(self.predictions[model, self.seeds[model]])
        return ensemble_mean(opened[self.variable].chunk({"time": STEPS}))

    def rows(self, metric: str) -> pd.DataFrame:
        """Return the rows of a score on the test period, of the models that are shown."""
        table = self.summary[(self.summary["variable"] == self.variable) & (self.summary["metric"] == metric)]
        table = table[(table["split"] == "test") & (table["scenario"] == "")]
        return table[table["model"].isin(self.shown)]


def draw_overview(study: Study, folder: str | Path, *, moving: Moving) -> None:
    """Write `<kind>-<predictand>.png` and `.pdf` for each of `DRAWN`, and `animation-<predictand>.gif`.

    Figures without anything to show, such as those by season of a record of one season, are left out. Of several seeds
    that is shown whose validation RMSE is the median, and where lines would hide each other only the best networks and
    baselines on validation.

    Parameters
    ----------
    study : Study
        What is shown.
    folder : str or Path
        Where the files go.
    moving : Moving
        What is shown of the chosen network as a moving picture.

    Raises
    ------
    DataError
        If a place lies outside of the domain, or the files don't belong together.
    """
    for kind, draw in DRAWN.items():
        figure = draw(study)
        if figure is not None:
            save(figure, Path(folder) / f"{kind}-{study.variable}.png")
    steps = _steps(study.truth["time"], moving)
    if steps and study.shown:
        path = Path(folder) / f"animation-{study.variable}.gif"
        animation(study.truth, study.predicted(study.shown[0]), path, steps=steps, land=study.land)


def _steps(time: xr.DataArray, moving: Moving) -> list[int]:
    chosen = np.flatnonzero(within(time, parse_period(moving.period))) if moving.period else np.arange(time.size)
    return [int(step) for step in chosen[: moving.steps]]


def _domain(study: Study) -> Figure | None:
    total, count = np.zeros(study.truth.shape[1:]), np.zeros(study.truth.shape[1:], dtype=np.intp)
    for (values,) in read_steps([study.truth], range(study.truth.sizes["time"])):
        total += np.nan_to_num(values)
        count += np.isfinite(values)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    field = study.truth.isel(time=0, drop=True).copy(data=mean)
    return domain_map(field, scale=study.scale, cells=study.cells, land=study.land)


def _ranking(study: Study) -> Figure | None:
    return ranking(study.summary, study.variable, networks=study.drawn_through, confidence=study.confidence)


def _taylor(study: Study) -> Figure | None:
    spread, correlation = (
        {name: score.value for name, score in scores_of(study.summary, study.variable, metric, "test").items()}
        for metric in ("std_ratio", "pearson")
    )
    pairs = {name: (spread[name], correlation[name]) for name in spread if name in correlation}
    pairs = {name: pair for name, pair in pairs.items() if np.isfinite(pair).all()}
    return taylor(pairs, networks=study.drawn_through) if pairs else None


def _spectra(study: Study) -> Figure | None:
    predicted, true = study.scored("spectrum_prediction"), study.scored("spectrum_truth")
    if not predicted or not true:
        return None
    grid = Grid.of(study.truth)
    shortest = 2 * study.scale * min(mean_spacing(grid.lat, grid.lon))
    powers, members = (
        {name: spectrum.dropna("wavenumber") for name, spectrum in each.items()}
        for each in (predicted, study.scored("spectrum_members"))
    )
    reference = next(iter(true.values())).dropna("wavenumber")
    return spectra(
        powers, reference, units=study.units, coarse_km=shortest, networks=study.drawn_through, members=members
    )


def _rank_histogram(study: Study) -> Figure | None:
    shares = study.of_members("rank_histogram")
    return rank_histogram(shares, networks=study.drawn_through) if shares else None


def _reliability(study: Study) -> Figure | None:
    names = ("frequency", "forecast", "count")
    parts = {name: study.of_members(f"reliability_{name}") for name in names}
    diagrams = {
        model: xr.Dataset({name: parts[name][model] for name in names}).dropna("threshold", how="all")
        for model in parts["count"]
    }
    return reliability(diagrams, networks=study.drawn_through, units=study.units) if diagrams else None


def _percentiles(study: Study) -> Figure | None:
    rows = study.rows("quantile_bias").dropna(subset=["threshold", "value"])
    unit = unit_of(study.summary, study.variable, "quantile_bias")
    if rows.empty:
        return None
    return quantile_biases(rows, unit=unit, networks=study.drawn_through, confidence=study.confidence)


def _quantiles(study: Study) -> Figure | None:
    predictions = {name: study.predicted(name) for name in study.shown}
    return quantile_quantile(study.truth, predictions, units=study.units, networks=study.drawn_through)


def _parts(column: Literal["season", "region"]) -> Callable[[Study], Figure | None]:
    def draw(study: Study) -> Figure | None:
        rows = study.rows("rmse")
        if not (rows[column].fillna("") != "").any():
            return None
        return by_part(
            rows,
            column=column,
            unit=unit_of(rows, study.variable, "rmse"),
            networks=study.drawn_through,
            confidence=study.confidence,
        )

    return draw


def _errors(study: Study) -> Figure | None:
    series = study.scored("rmse_by_step")
    return errors_in_time(series, units=study.units, networks=study.drawn_through) if series else None


def _places(study: Study) -> Figure | None:
    if not study.cells:
        return None
    grid, cells = Grid.of(study.truth), study.cells
    dims = horizontal(study.truth)

    def at(field: xr.DataArray, cell: tuple[int, int]) -> xr.DataArray:
        series = field.isel(dict(zip(dims, cell, strict=True))).load()
        return series.assign_coords(lat=float(grid.lat[cell]), lon=float(grid.lon[cell]))

    true = {name: at(study.truth, cell) for name, cell in cells.items()}
    models = [study.shown[0], *[name for name in study.shown if name not in study.drawn_through][:1]]
    predicted = {name: {model: at(study.predicted(model), cell) for model in models} for name, cell in cells.items()}
    return series_at_places(true, predicted, units=study.units, networks=study.drawn_through)


# In the order of the report.
DRAWN: dict[str, Callable[[Study], Figure | None]] = {
    "domain": _domain,
    "ranking": _ranking,
    "taylor": _taylor,
    "spectra": _spectra,
    "quantiles": _quantiles,
    "percentiles": _percentiles,
    "seasons": _parts("season"),
    "regions": _parts("region"),
    "errors-in-time": _errors,
    "rank-histogram": _rank_histogram,
    "reliability": _reliability,
    "places": _places,
}
