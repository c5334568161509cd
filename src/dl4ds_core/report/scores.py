"""What the report and its figures take from the long table of scores."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from dl4ds_core.verification import METRICS, ranking


@dataclass(frozen=True)
class Score:
    """One model's score over the whole domain and period.

    Attributes
    ----------
    value, lower, upper : float
        Median over seeds of the score and of the ends of its interval, in the unit of the table.
    seeds : tuple of float
        The value of each seed, ascending.
    """

    value: float
    lower: float
    upper: float
    seeds: tuple[float, ...]

    @property
    def has_interval(self) -> bool:
        """Tell whether both ends of the interval are known."""
        return not (pd.isna(self.lower) or pd.isna(self.upper))


def overall(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows about the whole domain and period: no scenario, season, region, threshold or scale."""
    whole = (summary[["scenario", "season", "region"]].fillna("") == "").all(axis=1)
    return summary[whole & summary[["threshold", "scale"]].isna().all(axis=1)]


def scores_of(summary: pd.DataFrame, variable: str, metric: str, split: str) -> dict[str, Score]:
    """Return each model's score of a predictand, the best first; empty where the table has none."""
    rows = overall(summary)
    rows = rows[(rows["variable"] == variable) & (rows["metric"] == metric) & (rows["split"] == split)]
    if rows.empty:
        return {}
    return {
        str(row.model): Score(
            value=float(row.value),  # type: ignore[arg-type]
            lower=float(row.lower),  # type: ignore[arg-type]
            upper=float(row.upper),  # type: ignore[arg-type]
            seeds=tuple(sorted(float(value) for value in rows.loc[rows["model"] == row.model, "value"])),
        )
        for row in ranking(rows, metric=metric, split=split).itertuples()
    }


def parts_of(
    summary: pd.DataFrame, variable: str, metric: str, column: str, split: str = "test"
) -> dict[str, dict[str, float]]:
    """Return a score by season or region (the column), median over seeds, of each model."""
    rows = summary[(summary["variable"] == variable) & (summary["metric"] == metric) & (summary["split"] == split)]
    rows = rows[(rows["scenario"].fillna("") == "") & (rows[column].fillna("") != "")]
    medians = rows.groupby(["model", column], sort=False)["value"].median().dropna().reset_index()
    return {
        str(model): dict(zip(own[column].astype(str), own["value"].astype(float), strict=True))
        for model, own in medians.groupby("model")
    }


def unit_of(summary: pd.DataFrame, variable: str, metric: str) -> str:
    """Return the unit of a score; empty where the table has none."""
    units = summary.loc[(summary["variable"] == variable) & (summary["metric"] == metric), "unit"]
    return "" if units.empty else str(units.iloc[0])


def metrics_of(summary: pd.DataFrame, variable: str) -> list[str]:
    """Return the metrics of a predictand that the table has, in the order of the table of metrics."""
    rows = overall(summary)
    found = set(rows.loc[rows["variable"] == variable, "metric"])
    return [metric for metric in METRICS if metric in found]


def typical_seeds(summary: pd.DataFrame, variable: str, models: Collection[str]) -> dict[str, int]:
    """Return, for each model, the seed whose validation RMSE is the median: the one to show.

    With an even number of seeds it is the better of the two in the middle. Models without a validation score
    are left out.
    """
    rows = overall(summary)
    rows = rows[(rows["variable"] == variable) & (rows["metric"] == "rmse") & (rows["split"] == "validation")]
    chosen = {}
    for model in models:
        ordered = rows[rows["model"] == model].sort_values(["value", "seed"])
        if len(ordered):
            chosen[model] = int(ordered["seed"].iloc[(len(ordered) - 1) // 2])
    return chosen


def leading(
    summary: pd.DataFrame,
    variable: str,
    networks: Collection[str],
    *,
    ensembles: Collection[str] = (),
    most: int = 5,
    baselines: int = 2,
) -> list[str]:
    """Return the models that a figure has room for: networks, ensembles and baselines, the best on validation of each.

    The first is the chosen network, where there is one with a score.

    Parameters
    ----------
    summary : pandas.DataFrame
        The long table of scores.
    variable : str
        The predictand whose RMSE decides.
    networks : collection of str
        Names of the trained models; all others are baselines.
    ensembles : collection of str
        Names of the ensembles of seeds, which are none.
    most, baselines : int
        How many networks and, of each kind, others at most.
    """
    ranked = list(scores_of(summary, variable, "rmse", "validation"))
    trained = [name for name in ranked if name in networks]
    of_seeds = [name for name in ranked if name in ensembles]
    simple = [name for name in ranked if name not in (*networks, *ensembles)]
    return trained[:most] + of_seeds[:baselines] + simple[:baselines]


def kept_epoch(history: pd.DataFrame) -> pd.Series | None:
    """Return the row of the best epoch of a training, whose weights were saved; None where no epoch was any good."""
    kept = history[history["kept"] == 1]
    return None if kept.empty else kept.iloc[0]
