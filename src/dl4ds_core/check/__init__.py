"""Looks at every input before any job starts: what it is, what will be made of it, and all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from dl4ds_core.check.inventory import Inventory, Row, on_disk, volume
from dl4ds_core.check.needs import note_needs
from dl4ds_core.check.reading import Look, Seen
from dl4ds_core.check.space import Space
from dl4ds_core.check.times import common_times, divided
from dl4ds_core.check.values import search_input, search_predictand
from dl4ds_core.config import Config, parse_period
from dl4ds_core.config.inputs import StaticField
from dl4ds_core.config.prediction import Scenario
from dl4ds_core.errors import DataError, DownscalingError, ProblemList
from dl4ds_core.grids import Grid
from dl4ds_core.inputs import record_inputs, scenario_inputs
from dl4ds_core.regrid import is_land, without_time
from dl4ds_core.time import text, within

__all__ = ["Inventory", "Row", "inspect"]


def inspect(config: Config) -> Inventory:
    """Open every input and compare it with the configuration.

    Headers are read, and values only of the first and last steps of long records; nothing is written. Files that are
    still to be downloaded are named and left out.

    Raises
    ------
    DataError
        Listing every problem found.
    """
    inventory, problems = Inventory(), ProblemList()
    look, inputs = Look(config, inventory, problems), record_inputs(config.data)
    truth = [look.at("predictands", "fine grid", name, entry, entry.units) for name, entry in inputs.truth.items()]
    units = {seen.name: seen.units for seen in truth if seen.fields}
    coarse = [
        look.at("coarse input", "coarse grid", name, entry, units.get(name, entry.units))
        for name, entry in inputs.coarse.items()
    ]
    space = _inspect_record(look, truth, coarse)
    units = {seen.name: seen.units for seen in (*coarse, *truth) if seen.fields}
    for name, scenario in config.prediction.scenarios.items():
        with look.noting():
            _inspect_scenario(look, name, scenario, space, units)
    if space is not None:
        space.require_engines()
    unused = [name for name in config.sources if name not in _used(config)]
    inventory.warn(*(f"sources.{name} is not used" for name in unused))
    problems.raise_if_any(DataError)
    return inventory


def _inspect_record(look: Look, truth: Sequence[Seen], coarse: Sequence[Seen]) -> Space | None:
    """Say what becomes of the record that networks are trained on; return its grids, where they can be said."""
    seen = [one for one in (*truth, *coarse) if one.fields]
    first = next((one.first for one in truth if one.fields), None)
    space = Space.of(look, first) if first is not None else None
    if space is not None:
        for one in truth:
            space.predictand(one)
        for one in coarse:
            space.coarse_input(one)
    for name, entry in look.config.data.static.items():
        _static(look, name, entry, space)
    times = common_times(look, truth, coarse, "record")
    folds = divided(look, times) if times is not None else {}
    for one in seen:
        (search_predictand if one in truth else search_input)(look, one)
    if space is not None and folds and all(one.complete for one in (*truth, *coarse)):
        note_needs(look, space, truth, coarse, folds)
        _check_regression(look, coarse, folds)
    return space


def _inspect_scenario(look: Look, name: str, scenario: Scenario, space: Space | None, units: Mapping[str, str]) -> None:
    """Look at the inputs of a scenario, which come to the record's grids and units."""
    inputs = scenario_inputs(look.config.data, name, scenario)
    group = f"scenario {name}"
    truth = [
        look.at(group, f"fine grid, {name}", field, entry, units.get(field, entry.units))
        for field, entry in inputs.truth.items()
    ]
    coarse = [
        look.at(group, f"coarse grid, {name}", field, entry, units.get(field, entry.units))
        for field, entry in inputs.coarse.items()
    ]
    if space is not None:
        for one in truth:
            space.predictand(one)
        for one in coarse:
            space.coarse_input(one)
    times = common_times(look, truth, coarse, group)
    if times is not None and scenario.period is not None:
        count = int(within(times, parse_period(scenario.period)).sum())
        look.inventory.note(f"scenario {name}: {count} of {times.size} time steps")
        if count == 0:
            first, last = (text(times.values[number]) for number in (0, -1))
            raise DataError(
                f"prediction.scenarios.{name}.period: no time step lies in this period; the record goes from {first} "
                f"to {last}"
            )
    elif times is not None:
        look.inventory.note(f"scenario {name}: {times.size} time steps")


def _static(look: Look, name: str, entry: StaticField, space: Space | None) -> None:
    """Look at a static field; a derived one has no files."""
    if entry.source is None or entry.variable is None:
        look.inventory.note(f"{name!r} (static): derived from the fine grid ({entry.derived})")
        return
    paths, complete = look.paths(entry.source)
    if not paths:
        return
    try:
        field, path = without_time(
            paths,
            name,
            entry.variable,
            entry.units,
            select=entry.select,
            filters=look.config.sources[entry.source].filter,
        )
        grid = Grid.of(field)
    except DownscalingError as error:
        # A file that is still to be downloaded may be the one that has it.
        if complete:
            look.problems.add(error)
        return
    look.inventory.rows.append(
        Row(
            group="static fields",
            name=name,
            variable=entry.variable,
            files=(path,),
            units=str(field.attrs.get("units", "")),
            grid=grid.describe(),
            period="",
            steps="",
            size=volume(on_disk(path)),
        )
    )
    if space is not None:
        with look.noting():
            space.static(name, field, entry.regrid or look.config.data.regrid)
    _check_land(look, name, field)


def _check_land(look: Look, name: str, field: xr.DataArray) -> None:
    """See that a field which distances to the coast are made of tells land from sea."""
    if any(entry.land == name for entry in look.config.data.static.values()):
        with look.noting():
            land = is_land(field)
            if land.all() or not land.any():
                raise DataError(
                    f"data.static.{name}: all of its cells are {'land' if land.all() else 'sea'}, so there is no "
                    "distance to the coast: use a field that reaches beyond the coast, or leave coast_distance out"
                )


def _check_regression(look: Look, coarse: Sequence[Seen], folds: Mapping[int, np.ndarray]) -> None:
    """Warn of a regression that has more inputs than steps to learn from."""
    implicit = look.config.data.coarse.origin == "predictands"
    inputs = len(coarse) + (len(look.config.data.predictands) if implicit else 0)
    steps = min(int((labels == "train").sum()) for labels in folds.values())
    if "multiple-regression" in look.config.baselines and steps <= inputs + 1:
        look.inventory.warn(
            f"verification.baselines: multiple-regression has {inputs} inputs and {steps} time steps to learn from: "
            "it will fit noise; leave it out, or train on a longer period"
        )


def _used(config: Config) -> set[str]:
    """Return the names of all sources that something is read from."""
    inputs = record_inputs(config.data)
    used = {entry.source for entry in (*inputs.truth.values(), *inputs.coarse.values())}
    used |= {entry.source for entry in config.data.static.values() if entry.source}
    for scenario in config.prediction.scenarios.values():
        used |= set(scenario.sources.values())
        entries = (*scenario.coarse.values(), *scenario.predictors.values(), *scenario.truth.values())
        used |= {entry.source for entry in entries}
    return used
