"""The long table of scores, `summary.csv`: its columns, its file and the ranking made from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dl4ds_core.errors import DataError
from dl4ds_core.io import atomic
from dl4ds_core.verification.metrics import METRICS

__all__ = ["COLUMNS", "complete_rows", "ranking", "read_summary", "write_summary"]

_TYPES = {
    "model": "str",
    "seed": "Int64",
    "fold": "Int64",
    "scenario": "str",
    "split": "str",
    "variable": "str",
    "metric": "str",
    "threshold": "float64",
    "scale": "float64",
    "season": "str",
    "region": "str",
    "unit": "str",
    "value": "float64",
    "lower": "float64",
    "upper": "float64",
    "reference": "str",
}

COLUMNS = tuple(_TYPES)
"""Columns of the long table, in their order; those that don't apply to a row are empty."""

_KEYS = [name for name in COLUMNS if name not in ("unit", "value", "lower", "upper")]


def complete_rows(
    rows: pd.DataFrame, *, model: str, seed: int, split: str, **others: str | float | None
) -> pd.DataFrame:
    """Complete the rows of `verify` to the columns of the long table.

    Parameters
    ----------
    rows : pandas.DataFrame
        With columns of the long table, such as variable, metric, unit, value, lower and upper.
    model : str
        Name of the model or baseline.
    seed : int
        Seed of the training; 0 for a baseline.
    split : str
        validation or test.
    **others
        Values of further columns, such as ``fold`` or ``scenario``.

    Returns
    -------
    pandas.DataFrame
        With `COLUMNS`, the rest of them empty.

    Raises
    ------
    DataError
        If there are columns the long table doesn't have.
    """
    return _long(rows.assign(model=model, seed=seed, split=split, **others))


def write_summary(rows: pd.DataFrame, path: str | Path) -> None:
    """Write the long table: sorted, numbers as the shortest text that reads back the same, in place at once.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows with `COLUMNS`, in any order; `pandas.concat` of several models' rows.
    path : str or pathlib.Path
        Appears only when whole.

    Raises
    ------
    DataError
        If two rows differ in nothing but their values, or there are columns the long table doesn't have.
    """
    table = _long(rows)
    double = table[table.duplicated(_KEYS)]
    if len(double):
        raise DataError(f"Scores: expected one row per score; found two of {double.iloc[0][_KEYS].to_dict()}.")
    with atomic(path) as temporary:
        table.sort_values(_KEYS, kind="stable").to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def read_summary(path: str | Path) -> pd.DataFrame:
    """Read the long table.

    Parameters
    ----------
    path : str or pathlib.Path
        Written by `write_summary`.

    Returns
    -------
    pandas.DataFrame
        With `COLUMNS`; empty texts are "", other empty values missing.

    Raises
    ------
    DataError
        If the file has other columns.
    """
    # A model may be called NA: only the columns of numbers have missing values.
    numbers = {name: [""] for name, kind in _TYPES.items() if kind != "str"}
    table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=numbers, encoding="utf-8")
    if tuple(table.columns) != COLUMNS:
        raise DataError(f"{path}: expected the columns {', '.join(COLUMNS)}; found {', '.join(table.columns)}.")
    return _long(table)


def ranking(summary: pd.DataFrame, *, metric: str = "rmse", split: str = "test") -> pd.DataFrame:
    """Rank the models by a score over the whole domain and period.

    Parameters
    ----------
    summary : pandas.DataFrame
        Rows with `COLUMNS`.
    metric : str
        A name in `METRICS`.
    split : str
        validation or test.

    Returns
    -------
    pandas.DataFrame
        Columns variable, model, unit, seeds (how many), value, lower and upper: medians over seeds (and
        folds). Per variable, the best model first; models of equal value in alphabetical order, undefined
        values last.

    Raises
    ------
    DataError
        If the score is unknown or the table has no row of it for this split.
    """
    if metric not in METRICS:
        raise DataError(f"Ranking: expected one of the scores {', '.join(METRICS)}; found {metric!r}.")
    whole = (summary[["scenario", "season", "region"]] == "").all(axis=1)
    whole &= summary[["threshold", "scale"]].isna().all(axis=1)
    chosen = summary[whole & (summary["metric"] == metric) & (summary["split"] == split)]
    if chosen.empty:
        raise DataError(f"Ranking: no row of the score {metric} for the split {split}; verify that split first.")
    groups = chosen.groupby(["variable", "model", "unit"], sort=True)
    ranked = groups[["value", "lower", "upper"]].median().assign(seeds=groups["seed"].nunique()).reset_index()
    ranked["distance"] = (ranked["value"] - METRICS[metric].perfect).abs()
    ranked = ranked.sort_values(["variable", "distance", "model"], kind="stable", ignore_index=True)
    return ranked[["variable", "model", "unit", "seeds", "value", "lower", "upper"]]


def _long(rows: pd.DataFrame) -> pd.DataFrame:
    """Bring rows to the columns and types of the long table."""
    unknown = [str(name) for name in rows.columns if name not in _TYPES]
    if unknown:
        raise DataError(f"Scores: expected columns among {', '.join(COLUMNS)}; found also {', '.join(unknown)}.")
    table = rows.reindex(columns=list(COLUMNS))
    texts = [name for name, kind in _TYPES.items() if kind == "str"]
    table[texts] = table[texts].astype(object).where(table[texts].notna(), "")
    # float() rather than astype: it alone reads back every number as it was written.
    for name in (name for name, kind in _TYPES.items() if kind == "float64"):
        table[name] = [np.nan if pd.isna(value) else float(value) for value in table[name]]
    return table.astype({name: "object" if kind == "str" else kind for name, kind in _TYPES.items()})
