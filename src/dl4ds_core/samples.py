"""From regridded parts to samples: joining files in time, pairing grids, taking periods and splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.inputs import Times
from dl4ds_core.config.periods import Period
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.masks import count_missing
from dl4ds_core.scaling import VALID_FRACTION
from dl4ds_core.splits import LEFT_OUT, empty_split
from dl4ds_core.time import (
    DAY,
    calendar_of,
    gaps,
    match,
    require_no_holes,
    seconds,
    shift,
    stated_method,
    step_of,
    take_steps,
    text,
    tidy,
    to_daily,
    to_midnight,
    within,
)

logger = logging.getLogger(__name__)

#: Values of a field that are read at once, about: as they lie in the files, so that nothing is put together.
CHUNK_VALUES = io.STORED_VALUES

#: Files that are kept open: each holds some megabytes of chunks already read.
OPEN_FILES = 4

_ONE_DAY = timedelta(seconds=DAY)


class Joined(NamedTuple):
    """Fields of the same time steps.

    Attributes
    ----------
    fine, coarse : xarray.Dataset
        Lazy; fields of shape (time, Y, X) on one grid each. Empty where there were no parts.
    notes : list of str
        What was done to the time axes, and what was left out: a sentence each.
    """

    fine: xr.Dataset
    coarse: xr.Dataset
    notes: list[str]


class _Input:
    """One field from its files: a dataset of the field and, it may be, its valid fraction."""

    def __init__(self, grid: str, name: str, dataset: xr.Dataset, timing: Mapping[str, Any]) -> None:
        self.grid, self.name, self.dataset, self.timing = grid, name, dataset, timing

    @property
    def label(self) -> str:
        return f"{self.name!r} ({self.grid} grid)"

    @cached_property
    def others(self) -> bool:
        """Whether it is an input of its own, not a coarsened predictand with missing cells."""
        return self.grid == "coarse" and f"{self.name}{VALID_FRACTION}" not in self.dataset

    @property
    def step(self) -> timedelta | None:
        return step_of(self.dataset["time"])


def assemble(
    parts: Mapping[str, Mapping[str, Sequence[str | Path]]],
    timing: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    policy: Mapping[str, Any] | None = None,
) -> Joined:
    """Join the parts of each field in time, and bring all fields to the time steps that they share.

    In this order: files are joined in the order of their first steps; steps are sorted and duplicates dealt with, as
    the policy says; times are shifted by the offset of their source; steps shorter than a day are put together to days
    where other fields are daily, or where days are asked for; steps are matched with those of the first field, whose
    times the result has.

    Parameters
    ----------
    parts : mapping
        Paths of regridded files by grid (``fine``, ``coarse``) and name of the field, in any order.
    timing : mapping, optional
        By grid and name: ``time_offset`` and ``cell_methods`` as in the section ``sources`` of the configuration.
    policy : mapping, optional
        The keys of ``data.time`` (``step``, ``tolerance``, ``duplicates``, ``unsorted``) and ``missing_predictors``:
        with ``refuse`` (the default), inputs on the coarse grid must have all values, and no steps may be missing
        between their first and last; with ``fill``, single missing cells are kept (readers fill them from the nearest
        ones), and steps without any value are left out. It isn't applied to a coarsened predictand with its valid
        fraction beside it.

    Returns
    -------
    Joined

    Raises
    ------
    DataError
        If times or values must be refused, files of one field or fields of one grid differ in their cells, an input has
        no value at all, or there is no time step that all fields share.
    """
    given = dict(policy or {})
    missing = given.pop("missing_predictors", "refuse")
    rules = Times.model_validate(given)
    inputs, notes = [], []
    xr.set_options(file_cache_maxsize=OPEN_FILES)  # for the rest of the job, as the result is read later
    for grid, fields in parts.items():
        for name, paths in fields.items():
            opened = _Input(grid, name, _joined(name, paths), (timing or {}).get(grid, {}).get(name, {}))
            notes += _tidied(opened, rules)
            if opened.others:
                notes += _screened(opened, missing)
            inputs.append(opened)
        _require_one_grid([field for field in inputs if field.grid == grid])
    notes += _made_daily(inputs, rules)
    steps = match({field.label: field.dataset["time"] for field in inputs}, rules.tolerance)
    if missing == "refuse":
        own = [field for field in inputs[1:] if field.others]
        require_no_holes({field.label: field.dataset["time"] for field in [inputs[0], *own]}, rules.tolerance)
    notes += _left_out(inputs, steps)
    times = inputs[0].dataset["time"][steps[inputs[0].label]]
    notes += _gap_notes(times)
    for field in inputs:
        field.dataset = take_steps(field.dataset, steps[field.label]).assign_coords(time=times)
    fine, coarse = (_merged([field for field in inputs if field.grid == grid]) for grid in ("fine", "coarse"))
    return Joined(fine, coarse, notes)


def take(dataset: xr.Dataset, period: Period, where: str) -> xr.Dataset:
    """Return the time steps of a period.

    Raises
    ------
    DataError
        If there is none; ``where`` names the key of the configuration.
    """
    inside = within(dataset["time"], period)
    if not inside.any():
        first, last = (text(dataset["time"].values[number]) for number in (0, -1))
        raise DataError(f"{where}: no time step lies in this period; the record goes from {first} to {last}")
    return take_steps(dataset, np.flatnonzero(inside))


def take_split(dataset: xr.Dataset, labels: np.ndarray, split: str) -> xr.Dataset:
    """Return the time steps of a split; labels (time,) are those of ``splits.assign``.

    Raises
    ------
    DataError
        If there is none.
    """
    chosen = np.flatnonzero(labels == split)
    if chosen.size == 0 or split == LEFT_OUT:
        raise DataError(empty_split(split, dataset["time"]))
    return take_steps(dataset, chosen)


def _joined(name: str, paths: Sequence[str | Path]) -> xr.Dataset:
    """Return the files of a field as one dataset, in the order of their first steps."""
    opened = {str(path): _opened(path) for path in paths}
    datasets = list(opened.values())
    calendars = {path: calendar_of(dataset["time"]) for path, dataset in opened.items()}
    other = next((path for path in calendars if calendars[path] != calendars[str(paths[0])]), None)
    if other is not None:
        raise DataError(
            f"{name!r}: {other} has the calendar {calendars[other]}, and {paths[0]} {calendars[str(paths[0])]}: "
            "expected one in all files of a field; mend the files, for example with cdo setcalendar"
        )
    if len({dataset["time"].dtype.kind for dataset in datasets}) > 1:  # years that datetime64 can't hold
        datasets = [dataset.convert_calendar("standard", use_cftime=True) for dataset in datasets]
    for path, dataset in zip(opened, datasets, strict=True):
        _require_same_grid(name, str(paths[0]), datasets[0], path, dataset)
    return _concatenated(sorted(datasets, key=lambda dataset: seconds(dataset["time"])[0]))


def in_order(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return datasets on one grid as one, in the order of their time steps, lazily."""
    joined = _concatenated(parts)
    return take_steps(joined, np.argsort(seconds(joined["time"]), kind="stable"))


def _concatenated(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    if len(parts) == 1:
        return parts[0]
    return xr.concat(
        parts,
        dim="time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="override",
        join="override",
    )


def _opened(path: str | Path) -> xr.Dataset:
    dataset = io.open_dataset(path)
    if dataset.sizes.get("time", 0) == 0:
        raise DataError(f"{path}: expected time steps, found none")
    seconds(dataset["time"], str(path))
    cells = max(int(np.prod(field.shape[1:])) for field in dataset.data_vars.values())
    return dataset.chunk({"time": max(1, CHUNK_VALUES // cells)})


def _tidied(field: _Input, rules: Times) -> list[str]:
    field.dataset, notes = tidy(field.dataset, rules.duplicates, rules.unsorted, f"{field.label}, files joined")
    field.dataset = field.dataset.assign_coords(
        time=shift(field.dataset["time"], field.timing.get("time_offset") or "0h")
    )
    return notes


def _screened(field: _Input, policy: str) -> list[str]:
    """Look for missing values; leave out steps that have none at all where filling is allowed."""
    values = field.dataset[field.name]
    missing = count_missing(values)
    cells = int(np.prod(values.shape[1:]))
    total = int(missing.sum())
    if total == values.size:
        raise DataError(f"{field.label}: all values are missing")
    if total == 0:
        return []
    empty = missing.values == cells
    found = (
        f"{field.label}: {total} of {values.size} values are missing, in {int((missing.values > 0).sum())} of "
        f"{missing.size} time steps (most at {text(values['time'].values[int(missing.values.argmax())])})"
    )
    if policy == "refuse":
        raise DataError(
            f"{found}; set `data.missing_predictors: fill` to take the nearest cells' values and leave out steps that "
            "have none"
        )
    field.dataset = take_steps(field.dataset, np.flatnonzero(~empty))
    return [f"{found}: filled from the nearest cells; {int(empty.sum())} steps without any value left out"]


def _made_daily(inputs: Sequence[_Input], rules: Times) -> list[str]:
    """Put steps together to days, where days are asked for or some fields have no others."""
    steps = [field.step for field in inputs]
    daily = any(step == _ONE_DAY for step in steps)
    finer = [field for field, step in zip(inputs, steps, strict=True) if step is not None and step < _ONE_DAY]
    notes: list[str] = []
    if not (rules.step == "day" or (daily and finer)):
        return notes
    for field, step in zip(inputs, steps, strict=True):
        if step is not None and step > _ONE_DAY:
            raise DataError(f"{field.label}: daily values can't be made of steps of {step.days} days")
        if field not in finer:
            field.dataset = to_midnight(field.dataset)
            continue
        field.dataset, said = _daily(field)
        notes += said
    return notes


def _daily(field: _Input) -> tuple[xr.Dataset, list[str]]:
    values = field.dataset[field.name]
    method = field.timing.get("cell_methods") or stated_method(values)
    made: dict[str, xr.DataArray] = {}
    notes: list[str] = []
    for name, part in field.dataset.data_vars.items():
        if name == field.name:
            made[str(name)], notes = to_daily(part, method, field.label)
        else:  # a part of a cell is never summed up, but belongs to the same day
            made[str(name)], _ = to_daily(part, "point" if method in (None, "point") else "mean", field.label)
    return _with_coordinates(made, field.dataset), notes


def _left_out(inputs: Sequence[_Input], steps: Mapping[str, np.ndarray]) -> list[str]:
    notes = []
    for field in inputs:
        size, used = field.dataset.sizes["time"], steps[field.label].size
        if used < size:
            notes.append(f"{field.label}: {used} of {size} time steps are shared by all fields; {size - used} left out")
    return notes


def _gap_notes(times: xr.DataArray) -> list[str]:
    found = gaps(times)
    if not found:
        return []
    longest = max(found, key=lambda ends: ends[1] - ends[0])  # type: ignore[operator]
    number = "a gap" if len(found) == 1 else f"{len(found)} gaps"
    return [f"the record has {number}; the longest from {text(longest[0])} to {text(longest[1])}"]


def _require_one_grid(inputs: Sequence[_Input]) -> None:
    for field in inputs[1:]:
        _require_same_grid(field.grid, inputs[0].label, inputs[0].dataset, field.label, field.dataset)


def _require_same_grid(what: str, one: str, first: xr.Dataset, other: str, second: xr.Dataset) -> None:
    if first is second:
        return
    grids = Grid.of(first), Grid.of(second)
    if not grids[0].same(grids[1]):
        raise DataError(
            f"{what}: {other} is on another grid than {one}: {grids[1].describe()} and {grids[0].describe()}"
        )


def _merged(inputs: Sequence[_Input]) -> xr.Dataset:
    """Return the fields of a grid as one dataset; valid fractions come last."""
    if not inputs:
        return xr.Dataset()
    merged = xr.merge([field.dataset for field in inputs], join="override", compat="override", combine_attrs="override")
    names = [str(name) for name in merged.data_vars]
    ordered = sorted(names, key=_is_valid_fraction)
    return _with_coordinates({name: merged[name] for name in ordered}, merged)


def _with_coordinates(fields: Mapping[str, xr.DataArray], like: xr.Dataset) -> xr.Dataset:
    """Return a dataset of fields with all coordinates of another that don't vary in time: bounds too."""
    constant = {name: value for name, value in like.coords.items() if "time" not in value.dims}
    return xr.Dataset(fields, coords=constant, attrs=like.attrs)


def _is_valid_fraction(name: str) -> bool:
    return name.endswith(VALID_FRACTION)
