"""Tables of the report, as plain rows that the template lays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dl4ds_core.config import Config, model_settings
from dl4ds_core.config.inputs import Predictor
from dl4ds_core.report.scores import kept_epoch
from dl4ds_core.report.text import difference_unit_text, duration, fixed, quantity, unit_text


def data_tables(config: Config, samples: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables with their sources, periods with their steps, and grids.

    Of the fine grid it is said how many of its cells are predicted, where these are not all of them.
    """
    described = samples.get("variables", {})
    steps = {split["name"]: split for split in samples.get("splits", ())}
    periods = [
        {"name": name, "configured": _configured(config, name), **steps.get(name, {})}
        for name in ("train", "validation", "test")
    ]
    predicted = {
        name: described[name]["cells"] for name in config.data.predictands if "cells" in described.get(name, {})
    }
    return {
        "variables": _variables(config, described),
        "periods": periods,
        "folds": config.folds,
        "grids": [_grid(grid, predicted) for grid in samples.get("grids", ())],
    }


def settings_table(config: Config, order: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings of the networks: side by side those that differ, and those that all have alike.

    Parameters
    ----------
    config : Config
        The configuration of the experiment.
    order : sequence of str
        Names of models, in the order to show them in; by default that of the configuration.

    Returns
    -------
    dict
        ``models``, their names; ``rows`` of settings that differ (key, values); ``alike``, the others (key, value).
    """
    names = sorted(config.models, key=lambda name: order.index(name) if name in order else len(order))
    flat = {name: dict(_flattened(model_settings(config, name).model_dump(mode="json"))) for name in names}
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings if settings[key] is not None))
    rows = [{"key": key, "values": [_setting(settings.get(key)) for settings in flat.values()]} for key in keys]
    return {
        "models": names,
        "rows": [row for row in rows if len(set(row["values"])) > 1],
        "alike": [{"key": row["key"], "value": row["values"][0]} for row in rows if len(set(row["values"])) == 1],
    }


def training_rows(histories: Mapping[int, pd.DataFrame], unit: str) -> list[dict[str, Any]]:
    """Return one row per seed: epochs, best epoch, its validation RMSE, and how long the training took."""
    rows = []
    for seed, history in sorted(histories.items()):
        best = kept_epoch(history)
        rows.append(
            {
                "seed": seed,
                "epochs": len(history),
                "best": "–" if best is None else int(best["epoch"]),
                "rmse": "–" if best is None else quantity(best["validation_rmse"], difference_unit_text(unit)),
                "seconds": duration(float(history["seconds"].sum())) if "seconds" in history else "–",
            }
        )
    return rows


def cost_table(cost: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the costs per stage as text, their total apart.

    Parameters
    ----------
    cost : sequence of mapping
        Rows of `cost.csv`, the last one the total; there may be none.

    Returns
    -------
    dict
        ``unit`` of all times, minutes where hours would show as zeros; ``rows`` and ``total``.
    """
    if not cost:
        return {"unit": "", "rows": [], "total": None}
    short = max(cost[-1]["elapsed_hours"], cost[-1]["cpu_hours"]) < 2
    factor = 60 if short else 1
    rows = [
        {
            **{key: str(row[key]) for key in ("stage", "jobs", "attempts")},
            **{key: fixed(row[f"{key}_hours"] * factor, 2) for key in ("elapsed", "cpu", "gpu")},
            "memory": fixed(row["peak_memory_mib"], 0),
        }
        for row in cost
    ]
    return {"unit": "min" if short else "h", "rows": rows[:-1], "total": rows[-1]}


def _variables(config: Config, described: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return one row for each field of the configuration, in the order in which it names them."""
    data = config.data
    rows = [_variable("predictand", name, entry, described) for name, entry in data.predictands.items()]
    for name, entry in data.coarse.variables.items():
        if isinstance(entry, str):
            entry = Predictor(source=data.coarse.origin, variable=entry)
        rows.append(_variable("coarse input", name, entry, described))
    rows += [_variable("predictor", name, entry, described) for name, entry in data.predictors.items()]
    return rows + [_variable("static field", name, entry, described) for name, entry in data.static.items()]


def _variable(role: str, name: str, entry: Any, described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    derived = getattr(entry, "derived", None)
    return {
        "name": name,
        "role": role,
        "long_name": described.get(name, {}).get("long_name", ""),
        "units": unit_text(described.get(name, {}).get("units") or entry.units),
        "source": "derived from the grid" if derived else entry.source,
        "variable": derived.replace("_", " ") if derived else entry.variable,
    }


def _configured(config: Config, name: str) -> list[str]:
    """Return what the configuration says of a split: the ends of its period, its years, or how it is drawn."""
    split = config.split
    given = getattr(split, name, None) or ()
    if split.method == "periods":
        return list(given)
    if given:
        return [", ".join(map(str, given))]
    if split.method == "kfold":
        return [f"years in {split.folds} folds"]
    return [f"{split.method} drawn at random, seed {split.seed}"]


def _grid(grid: Mapping[str, Any], predicted: Mapping[str, int]) -> dict[str, str]:
    rows, columns = grid["shape"]
    cells = f"{rows} × {columns}"
    if grid["name"] == "fine" and any(count < rows * columns for count in predicted.values()):
        alike = len(set(predicted.values())) == 1
        counts = [f"{count}{'' if alike else f' ({name})'}" for name, count in predicted.items()]
        cells += f"; predicted: {counts[0] if alike else ', '.join(counts)}"
    return {
        "name": grid["name"],
        "cells": cells,
        "latitude": f"{_angle(grid['south'])}° to {_angle(grid['north'])}°",
        "longitude": f"{_angle(grid['west'])}° to {_angle(grid['east'])}°",
        # Kind and size of the cells: their number stands beside it.
        "spacing": grid["description"].removeprefix(f"{rows} x {columns} ").replace(" x ", " × "),
    }


def _angle(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _flattened(section: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in section.items():
        name = f"{prefix}{key}"
        pairs += _flattened(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]
    return pairs


def _setting(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
