"""Which steps of several time axes are the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.time.axis import GAP_FACTOR, calendar_of, duration, require_ascending, seconds, step_of, text


def match(times: Mapping[str, xr.DataArray], tolerance: str = "0h") -> dict[str, np.ndarray]:
    """Find the steps that all axes share.

    Steps of two axes are the same where each is the nearest of its axis to the other and they differ by no more than
    the tolerance; so no step is used twice. Where two are equally near, as 12:00 of two days from 00:00, the one of
    the same date counts.

    Parameters
    ----------
    times : mapping
        Axes of shape (time,), ascending, by what they belong to (for messages); all are compared with the first.
    tolerance : str
        Such as ``0h`` or ``12h``; at most half a step of the finest axis.

    Returns
    -------
    dict
        Numbers of the shared steps, of the same shape (step,) for every axis.

    Raises
    ------
    DataError
        If there is no common step, calendars differ, or the tolerance is longer than half a step.
    """
    allowed = duration(tolerance)
    for name, axis in times.items():
        if axis.size == 0:
            raise DataError(f"{name}: found no time steps")
        require_ascending(axis, name)
    _require_one_calendar(times)
    _require_tolerance(times, allowed, tolerance)
    whole = {name: seconds(axis, name) for name, axis in times.items()}
    reference_name, *others = whole
    reference = whole[reference_name]
    partners = {reference_name: np.arange(reference.size)}
    for name in others:
        partners[name] = _partners(reference, whole[name], int(allowed.total_seconds()))
        if not (partners[name] >= 0).any():
            raise DataError(_nothing_in_common(times, reference_name, name, tolerance))
    shared = np.all([partner >= 0 for partner in partners.values()], axis=0)
    if not shared.any():
        raise DataError(
            f"{', '.join(times)} have no time step that all of them share: "
            + "; ".join(f"{name} from {span(axis)}" for name, axis in times.items())
        )
    return {name: partner[shared] for name, partner in partners.items()}


def require_no_holes(times: Mapping[str, xr.DataArray], tolerance: str) -> None:
    """Refuse axes that lack steps of the first one between their own first and last.

    Longer steps than those of the first axis are no holes; steps longer than an axis's own usual ones are.

    Parameters
    ----------
    times, tolerance
        As for `match`.

    Raises
    ------
    DataError
        As of `match`, and if a step is lacking.
    """
    (one, reference), *others = times.items()
    for other, axis in others:
        shared = match({one: reference, other: axis}, tolerance)[one]
        usual = max((step.total_seconds() for step in (step_of(reference), step_of(axis)) if step), default=0.0)
        far = np.flatnonzero(np.diff(seconds(reference)[shared]) > GAP_FACTOR * usual)
        absent = [step for number in far for step in range(shared[number] + 1, shared[number + 1])]
        if absent:
            raise DataError(
                f"{other} lacks {len(absent)} time steps of {one} between its own first and last (the first of them "
                f"{text(reference.values[absent[0]])}); set `data.missing_predictors: fill` to leave them out"
            )


def span(time: xr.DataArray) -> str:
    """Return the first and last step and the usual distance as text."""
    step = step_of(time)
    every = f" every {_short(step)}" if step else ""
    return f"{text(time.values[0])} to {text(time.values[-1])} ({time.size} steps{every})"


def _short(step: timedelta) -> str:
    length = int(step.total_seconds())
    unit, size = next((pair for pair in (("d", 86400), ("h", 3600), ("min", 60)) if length % pair[1] == 0), ("s", 1))
    return f"{length // size}{unit}"


def _partners(reference: np.ndarray, other: np.ndarray, tolerance: int) -> np.ndarray:
    """Return the number of the step of ``other`` that belongs to each reference step, or -1."""
    nearest, back = _nearest(reference, other), _nearest(other, reference)
    mutual = back[nearest] == np.arange(reference.size)
    return np.where(mutual & (np.abs(other[nearest] - reference) <= tolerance), nearest, -1)


def _nearest(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the number of the nearest step of an axis; of two equally near ones that of the same date."""
    right = np.clip(np.searchsorted(axis, points), 0, axis.size - 1)
    left = np.maximum(right - 1, 0)

    def distance(candidates: np.ndarray) -> np.ndarray:
        # Twice the distance, plus one for another date: decides ties and nothing else.
        elsewhere = axis[candidates] // 86_400 != points // 86_400
        return np.asarray(2 * np.abs(axis[candidates] - points) + elsewhere)

    return np.where(distance(left) <= distance(right), left, right)


def _require_one_calendar(times: Mapping[str, xr.DataArray]) -> None:
    calendars = {name: calendar_of(axis) for name, axis in times.items()}
    if len(set(calendars.values())) > 1:
        listing = ", ".join(f"{name}: {calendar}" for name, calendar in calendars.items())
        raise DataError(
            f"expected one calendar in all inputs, found {listing}; days of different calendars can't be paired. If a "
            "file names the wrong one, mend it, for example with cdo setcalendar"
        )


def _require_tolerance(times: Mapping[str, xr.DataArray], allowed: timedelta, tolerance: str) -> None:
    if allowed < timedelta(0):
        raise DataError(f"data.time.tolerance: expected no sign, found {tolerance}")
    if not allowed:
        return
    for name, axis in times.items():
        step = step_of(axis)
        if step is not None and allowed > step / 2:
            raise DataError(
                f"data.time.tolerance: {tolerance} is more than half a step of {name} ({_short(step)}), so it could be "
                "paired with a neighbour; shift the stamps with `sources.<source>.time_offset` instead"
            )


def _nothing_in_common(times: Mapping[str, xr.DataArray], one: str, other: str, tolerance: str) -> str:
    hint = "choose inputs of the same time"
    first, second = (seconds(times[name]) for name in (one, other))
    if first[0] <= second[-1] and second[0] <= first[-1]:
        nearest = int(np.abs(second[_nearest(first, second)] - first).min())
        hint = (
            f"the closest differ by {_short(timedelta(seconds=nearest))}: set `data.time.tolerance`, or "
            "`sources.<source>.time_offset`"
        )
    return (
        f"{one} and {other} have no common times (tolerance {tolerance}): {one} goes from {span(times[one])}, "
        f"{other} from {span(times[other])}; {hint}"
    )
