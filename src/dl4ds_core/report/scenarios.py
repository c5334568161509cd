"""What the report says about scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dl4ds_core.config import Config
from dl4ds_core.report.text import difference_unit_text, number

#: Columns by metric; those without any value are left out.
COLUMNS = {
    "change": "Predicted change",
    "true_change": "True change",
    "coarse_change": "Change of the inputs",
    "change_bias": "Bias of the change",
    "change_rmse": "RMSE of the change",
    "change_pearson": "Pattern correlation",
    "rmse": "RMSE",
    "bias": "Bias",
}


def scenario_tables(config: Config, summary: pd.DataFrame, inputs: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return one table per scenario and predictand: models in rows, changes and scores (medians over seeds) in columns.

    Parameters
    ----------
    config : Config
        The configuration of the experiment.
    summary : pandas.DataFrame
        The long table of scores.
    inputs : mapping
        By scenario: the shares of its inputs outside the range of the training.

    Returns
    -------
    list of dict
        ``scenario``, ``reference``, ``harmonise``, ``variable``, ``columns``, ``rows`` (model, network, cells) and
        ``outside`` (variable, below, above; in per cent).
    """
    found = []
    trained = [*config.models, *config.ensembles]
    for name, scenario in config.prediction.scenarios.items():
        for variable in config.data.predictands:
            rows = summary[(summary["scenario"] == name) & (summary["variable"] == variable)]
            metrics = [metric for metric in COLUMNS if metric in set(rows["metric"])]
            medians = rows.groupby(["model", "metric"])["value"].median().unstack()
            order = sorted(medians.index, key=lambda model: (model not in trained, _error(medians, model)))
            found.append(
                {
                    "scenario": name,
                    "reference": scenario.reference or "",
                    "harmonise": scenario.harmonise,
                    "variable": variable,
                    "columns": [_head(rows, metric) for metric in metrics],
                    "rows": [
                        {
                            "model": model,
                            "network": model in trained,
                            "cells": [_cell(float(medians[metric][model])) for metric in metrics],
                        }
                        for model in order
                    ],
                    "outside": _outside(inputs.get(name)),
                }
            )
    return found


def _error(medians: pd.DataFrame, model: str) -> float:
    chosen = next((metric for metric in ("change_rmse", "rmse") if metric in medians), None)
    return float(medians[chosen][model]) if chosen else 0.0


def _head(rows: pd.DataFrame, metric: str) -> str:
    unit = difference_unit_text(str(rows.loc[rows["metric"] == metric, "unit"].iloc[0]))
    return f"{COLUMNS[metric]} ({unit})" if unit and unit != "1" else COLUMNS[metric]


def _cell(value: float) -> str:
    return number(value) if np.isfinite(value) else "–"


def _outside(shares: pd.DataFrame | None) -> list[dict[str, str]]:
    if shares is None:
        return []
    columns = (shares[name].tolist() for name in ("variable", "below", "above"))
    return [
        {"variable": str(name), "below": f"{100 * below:.1f} %", "above": f"{100 * above:.1f} %"}
        for name, below, above in zip(*columns, strict=True)
    ]
