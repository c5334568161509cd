"""Tables of scores for the report, as plain rows that the template lays out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from dl4ds_core.report.meanings import meaning
from dl4ds_core.report.scores import Score, metrics_of, overall, scores_of, unit_of
from dl4ds_core.report.text import difference_unit_text, fixed, labelled, unit_text
from dl4ds_core.verification import INDICES, METRICS

SHORT_NAMES = {
    "bias": "Bias",
    "mae": "MAE",
    "rmse": "RMSE",
    "pearson": "Pearson corr.",
    "spearman": "Spearman corr.",
    "std_ratio": "Ratio of std. dev.",
    "ssim": "SSIM",
    "relative_rmse": "Relative RMSE",
    "deseasonalised_pearson": "Corr. without cycles",
    "memory_bias": "Bias of autocorr.",
    "perkins": "Perkins score",
    "wasserstein": "Wasserstein dist.",
    "psnr": "PSNR",
    "pattern_correlation": "Corr. of patterns",
    "coarse_rmse": "Coarse RMSE",
    "spectral_distance": "Dist. of spectra",
    "short_spectral_distance": "Dist. at short waves",
    "power_ratio": "Power of short waves",
    "subgrid_power_ratio": "Power of subgrid waves",
    "high_spell_bias": "Bias of high or wet spells",
    "low_spell_bias": "Bias of low or dry spells",
    "correlation_length_bias": "Bias of corr. length",
    "crps": "CRPS",
    "spread_skill": "Spread over error",
    "rank_deviation": "Dev. of ranks",
    "energy_score": "Energy score",
    "member_power_ratio": "Power of members, short waves",
    "member_spectral_distance": "Dist. of members' spectra",
    "member_short_spectral_distance": "Dist. of members at short waves",
    "quantile_bias": "Bias of percentiles",
    "fss": "Fractions skill score",
    "brier": "Brier score",
    "reliability": "Reliability",
    **{f"bias_{name}": index.symbol for name, index in INDICES.items()},
}

GROUPS = {
    "Errors": ("bias", "mae", "rmse", "relative_rmse"),
    "Series of each cell": (
        *("pearson", "deseasonalised_pearson", "spearman", "memory_bias", "high_spell_bias", "low_spell_bias"),
    ),
    "Distribution": ("std_ratio", "perkins", "wasserstein"),
    "Structure of fields": (
        *("ssim", "psnr", "pattern_correlation", "coarse_rmse", "spectral_distance"),
        *("short_spectral_distance", "power_ratio", "subgrid_power_ratio", "correlation_length_bias"),
    ),
    "Ensembles": (
        *("crps", "spread_skill", "rank_deviation", "brier", "reliability", "energy_score", "member_power_ratio"),
        "member_spectral_distance",
        "member_short_spectral_distance",
    ),
    "Climate indices: bias of the mean over years": tuple(f"bias_{name}" for name in INDICES),
}
"""Scores by what they are about; what is in none of them comes last."""


def score_tables(summary: pd.DataFrame, variable: str, split: str, networks: Collection[str]) -> list[dict[str, Any]]:
    """Return a table as `score_table` for each group of scores, with its ``title``, models always in the same order."""
    known = metrics_of(summary, variable)
    grouped = {title: [metric for metric in known if metric in group] for title, group in GROUPS.items()}
    listed = {metric for group in GROUPS.values() for metric in group}
    grouped["Further scores"] = [metric for metric in known if metric not in listed]
    return [
        score_table(summary, variable, split, networks, metrics) | {"title": title}
        for title, metrics in grouped.items()
        if metrics
    ]


def explanations(summary: pd.DataFrame) -> list[tuple[str, str]]:
    """Return short names and meanings of all scores of the table."""
    found = set(summary["metric"])
    return [(_short_name(metric), meaning(metric)) for metric in METRICS if metric in found]


def score_table(
    summary: pd.DataFrame,
    variable: str,
    split: str,
    networks: Collection[str],
    metrics: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the table of scores on one split: models in the order of their RMSE.

    Parameters
    ----------
    summary : pandas.DataFrame
        The long table of scores.
    variable, split : str
        What is shown.
    networks : collection of str
        Names of the trained models.
    metrics : collection of str, optional
        Scores to show; by default all.

    Returns
    -------
    dict
        ``split``, ``columns`` (metric, name, title) and ``rows`` (model, network, seeds, cells). A cell has value and
        interval as text, ``sort`` (distance from a perfect score) and ``best``.
        Without rows where the split has no score.
    """
    columns, by_metric = [], {}
    for metric in metrics_of(summary, variable) if metrics is None else metrics:
        scores = scores_of(summary, variable, metric, split)
        if scores:
            by_metric[metric] = scores
            columns.append(_column(summary, variable, metric, split))
    decimals = _decimals({"rmse": scores_of(summary, variable, "rmse", split), **by_metric})
    digits = {
        metric: decimals if METRICS[metric].unit == "same" else _three_digits(scores)
        for metric, scores in by_metric.items()
    }
    first = scores_of(summary, variable, "rmse", split)
    order = list(dict.fromkeys([*first, *(model for scores in by_metric.values() for model in scores)]))
    order = [model for model in order if any(model in scores for scores in by_metric.values())]
    rows = [
        {
            "model": model,
            "network": model in networks,
            "seeds": max(len(scores[model].seeds) for scores in by_metric.values() if model in scores),
            "cells": [_cell(metric, scores, model, digits[metric]) for metric, scores in by_metric.items()],
        }
        for model in order
    ]
    return {"split": split, "columns": columns, "rows": rows}


def breakdown(
    summary: pd.DataFrame, variable: str, metric: str, column: str, networks: Collection[str], split: str = "test"
) -> dict[str, Any]:
    """Return one score by threshold, neighbourhood, season or region: models in the order of their RMSE.

    Parameters
    ----------
    summary : pandas.DataFrame
        The long table of scores.
    variable, metric, split : str
        What is shown; medians over seeds.
    column : {'threshold', 'season', 'region'}
        What the score is shown by. Neighbourhoods (the column scale) get columns of their own under each threshold.
    networks : collection of str
        Names of the trained models.

    Returns
    -------
    dict
        ``columns`` (label, and values by which they are told apart) and ``rows`` (model, network, cells); without rows
        where the table has none.
    """
    rows = summary[(summary["variable"] == variable) & (summary["metric"] == metric) & (summary["split"] == split)]
    rows = rows[(rows["scenario"] == "") & (rows[column].notna()) & (rows[column] != "")]
    keys = [column, "scale"] if rows["scale"].notna().any() else [column]
    medians = rows.groupby(["model", *keys], sort=False)[["value", "lower", "upper"]].median()
    cells = {(str(key[0]), tuple(key[1:])): row for key, *row in medians.itertuples()}
    columns = list(dict.fromkeys(column for _, column in cells))
    order = [name for name in scores_of(summary, variable, "rmse", split) if name in set(rows["model"])]
    unit = difference_unit_text(unit_of(rows, variable, metric)) if METRICS[metric].unit == "same" else ""
    digits = _decimals({"rmse": scores_of(summary, variable, "rmse", split)}) if unit else 3
    return {
        "name": METRICS[metric].long_name,
        "unit": unit,
        "columns": columns,
        "rows": [
            {
                "model": model,
                "network": model in networks,
                "cells": [_part(cells.get((model, each)), digits) for each in columns],
            }
            for model in order
        ],
    }


def difference_table(comparison: pd.DataFrame, variable: str, networks: Collection[str]) -> dict[str, Any]:
    """Return how all models differ from the network that is chosen on validation, in RMSE and MAE on test.

    Returns
    -------
    dict
        ``reference``, ``columns`` and ``rows`` (model, network, cells); a cell has the difference and its interval as
        text, ``p`` and whether it is ``significant``.
    """
    rows = comparison[comparison["variable"] == variable]
    metrics = [metric for metric in METRICS if metric in set(rows["metric"])]
    if rows.empty:
        return {"reference": "", "columns": [], "rows": []}
    by_metric = {metric: rows[rows["metric"] == metric].set_index("model") for metric in metrics}
    order = by_metric[metrics[0]]["difference"].sort_values(kind="stable").index
    size = rows["difference"].abs()
    digits = min(max(2 - math.floor(math.log10(size[size > 0].min())), 0), 4) if (size > 0).any() else 3
    return {
        "reference": str(rows["reference"].iloc[0]),
        "columns": [_column(comparison, variable, metric)["name"] for metric in metrics],
        "rows": [
            {
                "model": model,
                "network": model in networks,
                "cells": [_difference(by_metric[metric].loc[model], digits) for metric in metrics],
            }
            for model in order
        ],
    }


def _column(summary: pd.DataFrame, variable: str, metric: str, split: str = "test") -> dict[str, str]:
    unit = unit_of(summary, variable, metric)
    unit = difference_unit_text(unit) if METRICS[metric].unit == "same" else unit_text(unit)
    title = meaning(metric)
    name = labelled(_short_name(metric), unit)
    truth = _truth(summary, variable, metric, split)
    if truth:
        name, title = f"{name}, truth {truth}", f"{title} The truth itself has {truth}."
    return {"metric": metric, "name": name, "title": title}


def _short_name(metric: str) -> str:
    long_name = METRICS[metric].long_name
    return SHORT_NAMES.get(metric, f"{long_name[:1].upper()}{long_name[1:]}")


def _truth(summary: pd.DataFrame, variable: str, metric: str, split: str) -> str:
    """Return the climate index of the truth as text with its unit, by which to judge its bias; empty of other scores.

    All models have the same truth, but where an index is undefined for some: the median is taken.
    """
    if not metric.startswith("bias_"):
        return ""
    rows = overall(summary)
    rows = rows[(rows["variable"] == variable) & (rows["metric"] == f"truth_{metric.removeprefix('bias_')}")]
    rows = rows[rows["split"] == split]
    if rows.empty:
        return ""
    return f"{fixed(float(rows['value'].median()), 1)} {unit_text(rows['unit'].iloc[0])}"


def _decimals(by_metric: Mapping[str, Mapping[str, Score]]) -> int:
    """Return how many decimals give the smallest error three digits: all errors and biases get as many."""
    errors = [
        abs(score.value)
        for metric, scores in by_metric.items()
        for score in scores.values()
        if metric in ("mae", "rmse") and score.value
    ]
    return min(max(2 - math.floor(math.log10(min(errors))), 0), 12) if errors else 3


def _three_digits(scores: Mapping[str, Score]) -> int:
    """Return how many decimals, three at most, give three digits to the smallest score, but for its sign and zeros."""
    sizes = [abs(score.value) for score in scores.values() if abs(score.value) > 0]
    return min(max(2 - math.floor(math.log10(min(sizes))), 0), 3) if sizes else 3


def _cell(metric: str, scores: Mapping[str, Score], model: str, digits: int) -> dict[str, Any] | None:
    if model not in scores:
        return None
    score = scores[model]
    distance = abs(score.value - METRICS[metric].perfect)
    return {
        "value": fixed(score.value, digits),
        "interval": f"{fixed(score.lower, digits)} to {fixed(score.upper, digits)}" if score.has_interval else "",
        "sort": "" if math.isnan(distance) else repr(distance),
        "best": model == next(iter(scores)) and not math.isnan(score.value),
    }


def _part(ends: list[float] | None, digits: int) -> dict[str, str]:
    if ends is None:
        return {"value": "–", "interval": ""}
    value, lower, upper = ends
    known = not (math.isnan(lower) or math.isnan(upper))
    return {
        "value": fixed(value, digits),
        "interval": f"{fixed(lower, digits)} to {fixed(upper, digits)}" if known else "",
    }


def _difference(row: pd.Series, digits: int) -> dict[str, Any]:
    value, lower, upper, p = (float(row[key]) for key in ("difference", "lower", "upper", "p_adjusted"))
    return {
        "value": ("+" if value > 0 else "") + fixed(value, digits),
        "interval": f"{fixed(lower, digits)} to {fixed(upper, digits)}",
        "p": f"{p:.2g}",
        "significant": bool(row["significant"]),
    }
