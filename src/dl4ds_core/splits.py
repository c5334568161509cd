"""Dividing a record into training, validation and test."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import xarray as xr

from dl4ds_core.config.splits import SPLITS, AnySplit, Fractions, SplitBlocks, SplitKFold, SplitPeriods, SplitYears
from dl4ds_core.errors import DataError
from dl4ds_core.time import calendar_of, duration, require_ascending, runs, seconds, step_of, text, within

#: Label of a step that is in no split.
LEFT_OUT = ""

_LABEL = "<U10"


def assign(times: xr.DataArray, split: AnySplit) -> dict[int, np.ndarray]:
    """Assign each time step to training, validation or test.

    The same times and settings always give the same labels. Where a gap is asked for, steps that are no further than
    it from a step of another split are left out: training steps beside validation and test, and validation steps
    beside test. So test steps are never left out, and the folds of a k-fold test every step of the record once.

    Parameters
    ----------
    times : xarray.DataArray
        Shape (time,), ascending, any calendar; may have gaps, which blocks don't cross.
    split : SplitPeriods, SplitYears, SplitBlocks or SplitKFold
        The section ``split`` of the configuration.

    Returns
    -------
    dict
        By fold (1, 2, ...; the key is 0 where there are none): ``train``, ``validation``, ``test`` or an empty text for
        each step; shape (time,).

    Raises
    ------
    DataError
        If a split gets no step, or the record has not enough years or blocks.
    """
    require_ascending(times, "the record")
    if isinstance(split, SplitKFold):
        folds = _folds(times, split)
    elif isinstance(split, SplitYears):
        folds = {0: _years(times, split)}
    elif isinstance(split, SplitBlocks):
        folds = {0: _blocks(times, split)}
    else:
        folds = {0: _periods(times, split)}
    gap = "0d" if isinstance(split, SplitPeriods) else split.gap
    for fold, labels in folds.items():
        _leave_out_neighbours(labels, times, gap)
        for name in SPLITS:
            if not (labels == name).any():
                raise DataError(empty_split(name, times, f" of fold {fold}" if fold else "", gap))
    return folds


def empty_split(split: str, times: xr.DataArray, which: str = "", gap: str = "0d") -> str:
    """Return the message for a split without time steps."""
    first, last = text(times.values[0]), text(times.values[-1])
    away = "" if int(duration(gap).total_seconds()) == 0 else f", or all are within the gap of {gap} of another split"
    return f"split.{split}{which}: no time step lies in it{away}; the record goes from {first} to {last}"


def counts(labels: np.ndarray) -> dict[str, int]:
    """Return the number of time steps of each split, and of those left out (by an empty text)."""
    return {name: int((labels == name).sum()) for name in (*SPLITS, LEFT_OUT)}


def leakage(labels: np.ndarray, times: xr.DataArray, gap: str) -> None:
    """Check that splits share nothing: no step, and no neighbour within the gap.

    Parameters
    ----------
    labels : numpy.ndarray
        Shape (time,), as `assign` gives them for one fold, or those of several files one after the other.
    times : xarray.DataArray
        Shape (time,), in any order.
    gap : str
        Such as ``3d``; with ``0d``, the same time in two splits is an error and nothing else.

    Raises
    ------
    DataError
        Naming two steps that are too close.
    """
    instants, limit = seconds(times), int(duration(gap).total_seconds())
    for one, other in combinations(SPLITS, 2):
        first, second = (np.flatnonzero(labels == name) for name in (one, other))
        if not first.size or not second.size:
            continue
        second = second[np.argsort(instants[second], kind="stable")]
        nearest = second[_nearest(instants[first], instants[second])]
        distance = np.abs(instants[nearest] - instants[first])
        if distance.min() <= limit:
            worst = int(distance.argmin())
            found = [text(times.values[index]) for index in (first[worst], nearest[worst])]
            raise DataError(
                f"split: {found[0]} is in {one} and {found[1]} in {other}; expected steps of different splits to be "
                + (f"more than {gap} apart" if limit else "different")
            )


def years_of(times: xr.DataArray, first_month: int) -> np.ndarray:
    """Return the year of each step; a year that begins in December 1990 is 1991."""
    later = (times.dt.month.values >= first_month) if first_month > 1 else np.zeros(times.size, dtype=bool)
    return np.asarray(times.dt.year.values + later, dtype=np.int64)


def _periods(times: xr.DataArray, split: SplitPeriods) -> np.ndarray:
    labels = np.full(times.size, LEFT_OUT, dtype=_LABEL)
    for name in SPLITS:
        labels[within(times, split.period(name))] = name
    return labels


def _years(times: xr.DataArray, split: SplitYears) -> np.ndarray:
    years = years_of(times, split.first_month)
    present = np.unique(years)
    if split.fractions is not None:
        drawn = _drawn(present.size, split.fractions, split.seed, "years")
        return drawn[np.searchsorted(present, years)]
    labels = np.full(times.size, LEFT_OUT, dtype=_LABEL)
    for name in SPLITS:
        listed = getattr(split, name)
        absent = sorted(set(listed) - set(present.tolist()))
        if absent:
            raise DataError(
                f"split.{name}: the record has no step in {', '.join(map(str, absent))}; its years go from "
                f"{present[0]} to {present[-1]}"
            )
        labels[np.isin(years, listed)] = name
    return labels


def _blocks(times: xr.DataArray, split: SplitBlocks) -> np.ndarray:
    blocks = block_numbers(times, split.block)
    return _drawn(int(blocks[-1]) + 1, split.fractions, split.seed, f"blocks of {split.block}")[blocks]


def block_numbers(times: xr.DataArray, length: str) -> np.ndarray:
    """Return the number of the block that each step is in.

    Every run of steps between gaps is cut into blocks of the given length; what is left at its end is a block of its
    own if it is at least half as long, else part of the block before.

    Parameters
    ----------
    times : xarray.DataArray
        Shape (time,), ascending.
    length : str
        Such as ``10d`` or ``1month``.
    """
    instants, block = seconds(times), int(duration(length, calendar_of(times)).total_seconds())
    step = step_of(times)
    per_block = block / step.total_seconds() if step else 1.0
    numbers = np.zeros(times.size, dtype=np.int64)
    following = 0
    for part in runs(times):
        own = (instants[part] - instants[part.start]) // block
        last = own == own[-1]
        if own[-1] > 0 and 2 * last.sum() < per_block:
            own[last] -= 1
        numbers[part] = own + following
        following += int(own[-1]) + 1
    return np.unique(numbers, return_inverse=True)[1].reshape(-1)


def _folds(times: xr.DataArray, split: SplitKFold) -> dict[int, np.ndarray]:
    """Divide the years into groups; each fold tests on one and validates on the next."""
    years = years_of(times, split.first_month)
    present = np.unique(years)
    if present.size < split.folds:
        raise DataError(
            f"split.folds: expected at least {split.folds} years, found {present.size} in the record "
            f"({present[0]} to {present[-1]}); choose fewer folds"
        )
    if split.shuffle:
        present = np.random.default_rng(split.seed).permutation(present)
    groups = np.array_split(present, split.folds)
    folds = {}
    for number, group in enumerate(groups):
        labels = np.full(times.size, "train", dtype=_LABEL)
        labels[np.isin(years, groups[(number + 1) % split.folds])] = "validation"
        labels[np.isin(years, group)] = "test"
        folds[number + 1] = labels
    return folds


def _drawn(number: int, fractions: Fractions, seed: int, what: str) -> np.ndarray:
    """Return random labels of years or blocks; at least one of each split."""
    test, validation = (max(1, round(number * part)) for part in (fractions.test, fractions.validation))
    if number - test - validation < 1:
        raise DataError(f"split.fractions: expected at least 3 {what}, and one left to train on; found {number}")
    labels = np.full(number, "train", dtype=_LABEL)
    order = np.random.default_rng(seed).permutation(number)
    labels[order[:test]] = "test"
    labels[order[test : test + validation]] = "validation"
    return labels


def _leave_out_neighbours(labels: np.ndarray, times: xr.DataArray, gap: str) -> None:
    """Leave out, in place, steps too close to a split that comes before theirs in the order test, validation, train."""
    limit = int(duration(gap).total_seconds())
    if limit < 0:
        raise DataError(f"split.gap: expected no sign, found {gap}")
    if limit == 0:
        return
    instants = seconds(times)
    for name, protected in (("validation", ["test"]), ("train", ["test", "validation"])):
        own, others = np.flatnonzero(labels == name), instants[np.isin(labels, protected)]
        if own.size and others.size:
            distance = np.abs(others[_nearest(instants[own], others)] - instants[own])
            labels[own[distance <= limit]] = LEFT_OUT


def _nearest(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the number of the nearest value of an ascending axis to each point."""
    right = np.clip(np.searchsorted(axis, points), 0, axis.size - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(axis[left] - points) <= np.abs(axis[right] - points), left, right)
