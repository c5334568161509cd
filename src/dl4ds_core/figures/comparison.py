"""Figures that compare models by rows of the long table: biases of percentiles, scores by season or region."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.looks import BAND, GRID, TRUTH, handles, legend_below, looks
from dl4ds_core.figures.style import MUTED, WIDTH, style
from dl4ds_core.report.text import difference_unit_text, labelled
from dl4ds_core.verification import METRICS

_SPREAD = 0.7  # of the room between two percentiles, which the dots of all models share
_MOST_NAMES = 14  # of percentiles below the axis
_VALUES = ["value", "lower", "upper"]


def quantile_biases(
    rows: pd.DataFrame, *, networks: Collection[str], unit: str = "", confidence: float = 0.9
) -> Figure:
    """Show the bias of each percentile, a line per model with the interval as whiskers.

    The percentiles are spread evenly along the axis, and the models beside each other around each of them.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of the long table with metric quantile_bias, of one predictand and period: columns model, threshold (per
        cent), value, lower and upper. Of several seeds the medians are shown.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.
    unit : str
        Of the biases.
    confidence : float
        Probability of the intervals.

    Raises
    ------
    DataError
        If a column is missing, there is no row with a threshold and a value, or the rows belong to several scores,
        predictands or periods.
    """
    _require(rows, ["model", "threshold", *_VALUES], "quantile_bias")
    medians = _medians(rows.dropna(subset=["threshold", "value"]), "threshold", "quantile_bias")
    shown = looks(_names(medians), networks)
    percentiles = sorted(set(medians.index.get_level_values("threshold")))
    places = pd.Series(np.arange(len(percentiles), dtype=float), percentiles)
    with style():
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.subplots()
        for place in places.iloc[1::2]:
            axes.axvspan(place - 0.5, place + 0.5, color=BAND, linewidth=0, zorder=0)
        axes.axhline(0.0, color=TRUTH, linewidth=1.2, zorder=1)
        for (name, look), shift in zip(shown.items(), _shifts(len(shown)), strict=True):
            of_model = medians.loc[name].reindex(percentiles)
            at = places.to_numpy() + shift
            axes.vlines(at, of_model["lower"], of_model["upper"], color=look.colour, linewidth=1.0, alpha=0.7)
            axes.plot(at, of_model["value"], linewidth=0.9, **look.line, **look.dot)
        every = -(-len(percentiles) // _MOST_NAMES)
        axes.set_xticks(places.to_numpy()[::every], [f"{value:g}" for value in percentiles[::every]])
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.5, len(percentiles) - 0.5)
        axes.set_xlabel("percentile (%)")
        axes.set_ylabel(labelled("bias of the percentile", difference_unit_text(unit)))
        axes.grid(axis="y", color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)
        legend_below(figure, [*handles(shown), *_of_interval(medians, confidence)])
    return figure


def by_part(
    rows: pd.DataFrame,
    *,
    networks: Collection[str],
    unit: str = "",
    column: Literal["season", "region"],
    confidence: float = 0.9,
) -> Figure:
    """Show the score of all models in each season or region, a dot per model with its interval.

    Rows about the whole, without season or region, come first.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of the long table with one metric (RMSE, if there is no such column), of one predictand and period: columns
        model, season or region, value, lower and upper. Of several seeds the medians are shown.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.
    unit : str
        Of the score.
    column : {'season', 'region'}
        What the parts are.
    confidence : float
        Probability of the intervals.

    Raises
    ------
    DataError
        If the column is another one or missing, there is no row with a part and a value, or the rows belong to several
        scores, predictands or periods.
    """
    if column not in ("season", "region"):
        raise DataError(f"expected season or region as the column of the parts, found {column!r}")
    _require(rows, ["model", column, *_VALUES], column)
    other = "region" if column == "season" else "season"
    known = rows.dropna(subset=["value"])
    known = known.assign(**{column: known[column].fillna("")})
    if other in known:
        known = known[known[other].fillna("") == ""]
    medians = _medians(known, column, column)
    metric = str(known["metric"].iloc[0]) if "metric" in known else "rmse"
    parts = [part for part in dict.fromkeys(known[column]) if part]
    if not parts:
        raise DataError(f"expected rows with a {column} in the table of scores, found none; verify the models again")
    if column == "season":
        parts = sorted(parts, key=lambda part: _SEASONS.get(part, len(_SEASONS)))
    parts = [""] * ("" in set(known[column])) + parts
    shown = looks(_names(medians), networks)
    with style():
        room = max(0.3, 0.105 * (len(shown) + 1))
        figure = Figure(figsize=(WIDTH * 0.8, 0.55 + room * len(parts)), layout="constrained")
        axes = figure.subplots()
        for place in range(1, len(parts), 2):
            axes.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0, zorder=0)
        shifts = np.linspace(-0.5, 0.5, len(shown) + 2)[1:-1]
        for (name, look), shift in zip(shown.items(), shifts, strict=True):
            of_model = medians.loc[name].reindex(parts)
            at = np.arange(len(parts)) + shift
            axes.hlines(at, of_model["lower"], of_model["upper"], color=look.colour, linewidth=1.4, alpha=0.5)
            axes.plot(of_model["value"], at, linestyle="", **look.dot)
        names = {"": "whole year" if column == "season" else "whole domain"}
        axes.set_yticks(range(len(parts)), [names.get(part, part) for part in parts])
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        name = METRICS[metric].long_name if metric in METRICS else metric
        axes.set_xlabel(labelled(name, difference_unit_text(unit)))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
        axes.grid(axis="x", color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)
        legend_below(figure, [*handles(shown, line=False), *_of_interval(medians, confidence)])
    return figure


_SEASONS = {name: place for place, name in enumerate(("DJF", "MAM", "JJA", "SON"))}


def _require(rows: pd.DataFrame, columns: list[str], wanted: str) -> None:
    missing = [name for name in columns if name not in rows]
    if missing:
        raise DataError(
            f"rows of {wanted}: expected the columns {', '.join(columns)}, found "
            f"{', '.join(map(str, rows.columns)) or 'none'}; give rows of the long table of scores"
        )


def _medians(rows: pd.DataFrame, part: str, wanted: str) -> pd.DataFrame:
    """Return medians over seeds and folds by model and part."""
    if rows.empty:
        raise DataError(f"expected rows of {wanted} in the table of scores, found none; verify the models again")
    for column in ("metric", "variable", "split", "scenario", "scale"):
        found = rows[column].fillna("").unique().tolist() if column in rows else []
        if len(found) > 1:
            raise DataError(
                f"rows of {wanted}: expected one {column}, found {', '.join(map(repr, found[:5]))}; choose the rows"
            )
    metric = rows["metric"].iloc[0] if "metric" in rows else wanted
    if part == "threshold" and metric != "quantile_bias":
        raise DataError(f"expected rows with metric quantile_bias, found {metric}; choose the rows")
    return rows.groupby(["model", part], sort=False)[_VALUES].median()


def _names(medians: pd.DataFrame) -> Iterable[str]:
    return dict.fromkeys(str(name) for name in medians.index.get_level_values("model"))


def _shifts(count: int) -> np.ndarray:
    """Return how far from the middle each of some models is drawn."""
    return (np.arange(count) - (count - 1) / 2) * (_SPREAD / max(count, 4))


def _of_interval(medians: pd.DataFrame, confidence: float) -> list[Line2D]:
    """Explain the intervals, if any is drawn."""
    if medians[["lower", "upper"]].isna().any(axis=1).all():
        return []
    return [Line2D([], [], color=MUTED, linewidth=1.4, alpha=0.6, label=f"{100 * confidence:g}% interval")]
