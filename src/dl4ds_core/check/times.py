"""What becomes of the time axes: the same steps, in the same order, as when samples are made, but without values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import xarray as xr

from dl4ds_core.check.reading import Look, Seen
from dl4ds_core.config import SPLITS
from dl4ds_core.config.inputs import Times
from dl4ds_core.errors import DataError
from dl4ds_core.splits import LEFT_OUT, assign, counts, empty_split, leakage
from dl4ds_core.time import (
    calendar_of,
    gaps,
    match,
    require_no_holes,
    seconds,
    shift,
    step_of,
    text,
    tidy,
    to_daily,
    to_midnight,
    within,
)
from dl4ds_core.verification.bootstrap import AUTOMATIC, block_steps, block_weights

_DAY = timedelta(days=1)


@dataclass
class Axis:
    """The times of an input, as a field without space."""

    label: str
    seen: Seen
    own: bool
    field: xr.DataArray

    @property
    def time(self) -> xr.DataArray:
        """The time coordinate."""
        return self.field["time"]


def common_times(look: Look, truth: Sequence[Seen], coarse: Sequence[Seen], what: str) -> xr.DataArray | None:
    """Return the time steps that all inputs share; None where that can't be said.

    Inputs of which files are missing, or whose times are wrong, are left out: what has no step without them has none
    with them either.

    Parameters
    ----------
    look : Look
        Gets notes and problems.
    truth, coarse : sequence of Seen
        Inputs on the fine grid, and those on the coarse grid that aren't coarsened predictands.
    what : str
        The record or a scenario, for notes.
    """
    rules, axes = look.config.data.time, []
    for seen, own in [(seen, False) for seen in truth] + [(seen, True) for seen in coarse]:
        if seen.complete:
            with look.noting():
                axes.append(Axis(seen.label, seen, own, _tidied(look, seen, rules)))
    if not axes:
        return None
    with look.noting():
        _made_daily(look, axes, rules)
        return _matched(look, axes, rules, what)
    return None


def _tidied(look: Look, seen: Seen, rules: Times) -> xr.DataArray:
    """Return the times of all files of an input, joined, tidied and shifted."""
    times = {path: found["time"] for path, found in seen.fields.items()}
    calendars = {path: calendar_of(time) for path, time in times.items()}
    first = next(iter(times))
    for path, calendar in calendars.items():
        if calendar != calendars[first]:
            raise DataError(
                f"{seen.label}: {path} has the calendar {calendar}, and {first} {calendars[first]}: expected one in "
                "all files of a field"
            )
    axes = [xr.DataArray(time.values, dims="time", coords={"time": time.values}) for time in times.values()]
    if len({axis["time"].dtype.kind for axis in axes}) > 1:  # years that datetime64 can't hold
        axes = [axis.convert_calendar("standard", use_cftime=True) for axis in axes]
    ordered = sorted(axes, key=lambda axis: seconds(axis["time"])[0])
    time = np.concatenate([axis["time"].values for axis in ordered])
    attributes = {key: value for key, value in seen.first.attrs.items() if key == "cell_methods"}
    field = xr.DataArray(np.zeros(time.size, np.float32), {"time": time}, "time", seen.name, attributes)
    where = next(iter(times)) if len(times) == 1 else f"{seen.label}, files joined"
    field, notes = tidy(field, rules.duplicates, rules.unsorted, where)
    look.inventory.note(*notes)
    return field.assign_coords(time=shift(field["time"], seen.source.time_offset))


def _made_daily(look: Look, axes: Sequence[Axis], rules: Times) -> None:
    """Put steps together to days, in place, where days are asked for or some inputs have no others."""
    steps = [step_of(axis.time) for axis in axes]
    finer = [step is not None and step < _DAY for step in steps]
    if not (rules.step == "day" or (_DAY in steps and any(finer))):
        return
    for axis, step, is_finer in zip(axes, steps, finer, strict=True):
        if step is not None and step > _DAY:
            raise DataError(f"{axis.label}: daily values can't be made of steps of {step.days} days")
        if is_finer:
            axis.field, notes = to_daily(axis.field, axis.seen.source.cell_methods, axis.label)
            look.inventory.note(*notes)
        else:
            axis.field = to_midnight(axis.field)


def _matched(look: Look, axes: Sequence[Axis], rules: Times, what: str) -> xr.DataArray | None:
    """Return the shared times; every input that has none in common with the first is a problem."""
    before, reference = len(look.problems.problems), axes[0]
    for axis in axes[1:]:
        with look.noting():
            pair = {reference.label: reference.time, axis.label: axis.time}
            match(pair, rules.tolerance)
            if axis.own and look.config.data.missing_predictors == "refuse":
                require_no_holes(pair, rules.tolerance)
    if len(look.problems.problems) > before:
        return None
    steps = match({axis.label: axis.time for axis in axes}, rules.tolerance)
    for axis in axes:
        used = steps[axis.label].size
        if used < axis.time.size:
            told = f"{used} of {axis.time.size} time steps are shared by all inputs, others are left out"
            look.inventory.note_about(axis.seen.name, axis.seen.place, told)
    times = axes[0].time[steps[axes[0].label]]
    found = gaps(times)
    if found:
        longest = max(found, key=lambda ends: ends[1] - ends[0])  # type: ignore[operator]
        number = "1 gap" if len(found) == 1 else f"{len(found)} gaps"
        look.inventory.note(f"{what}: {number}, the longest from {text(longest[0])} to {text(longest[1])}")
    return times


def divided(look: Look, times: xr.DataArray) -> dict[int, np.ndarray]:
    """Return the split of each time step by fold, noting how many each has; empty where that fails."""
    split = look.config.split
    if split.method == "periods":
        before = len(look.problems.problems)
        for name in SPLITS:
            if not within(times, split.period(name)).any():
                look.problems.add(empty_split(name, times))
        if len(look.problems.problems) > before:
            return {}
    with look.noting():
        folds = assign(times, split)
        for fold, labels in folds.items():
            leakage(labels, times, "0d" if split.method == "periods" else split.gap)
            found = counts(labels)
            told = ", ".join(f"{name} {found[name]}" for name in SPLITS)
            left = f"; {found[LEFT_OUT]} are in no split" if found[LEFT_OUT] else ""
            look.inventory.note(f"{f'fold {fold}: ' if fold else ''}time steps: {told}{left}")
        _check_bootstrap(look, times, folds)
        return folds
    return {}


def _check_bootstrap(look: Look, times: xr.DataArray, folds: dict[int, np.ndarray]) -> None:
    """See that validation and test have blocks enough for intervals; folds are scored together."""
    bootstrap = look.config.verification.bootstrap
    for split in ("validation", "test"):
        chosen = np.any([labels == split for labels in folds.values()], axis=0)
        with look.noting():
            steps = times.isel(time=np.flatnonzero(chosen))
            length = 1 if bootstrap.block == AUTOMATIC else block_steps(steps, bootstrap.block)
            block_weights(steps, block_steps=length, samples=1, seed=0)
