"""Time steps that don't ascend or occur twice."""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.time.axis import seconds, text

Field = TypeVar("Field", xr.DataArray, xr.Dataset)
Duplicates = Literal["refuse", "first", "last", "mean"]

#: Steps that are taken in runs of fewer, on average, are taken one by one.
MEAN_RUN = 4


def take_steps(field: Field, steps: np.ndarray) -> Field:
    """Return some time steps, given by their numbers; consecutive ones as slices, which cost nothing.

    Parameters
    ----------
    field : xarray.DataArray or xarray.Dataset
        With a dimension ``time``.
    steps : numpy.ndarray
        Shape (step,), integer.
    """
    if steps.size == field.sizes["time"] and np.array_equal(steps, np.arange(steps.size)):
        return field
    breaks = np.flatnonzero(np.diff(steps) != 1) + 1
    if steps.size == 0 or breaks.size > steps.size // MEAN_RUN:
        return field.isel(time=steps)
    parts = [field.isel(time=slice(int(run[0]), int(run[-1]) + 1)) for run in np.split(steps, breaks)]
    if len(parts) == 1:
        return parts[0]
    # Runs side by side: dask needs less memory for them than for a list of steps.
    joined = {"join": "override", "compat": "override", "coords": "minimal", "combine_attrs": "override"}
    if isinstance(field, xr.Dataset):
        joined["data_vars"] = "minimal"
    return xr.concat(parts, dim="time", **joined)  # type: ignore[call-overload]


def tidy(
    field: Field, duplicates: Duplicates = "refuse", unsorted: Literal["refuse", "sort"] = "refuse", where: str = "time"
) -> tuple[Field, list[str]]:
    """Bring time steps into ascending order, each of them once.

    Parameters
    ----------
    field : xarray.DataArray or xarray.Dataset
        With a dimension ``time``; lazy ones stay lazy.
    duplicates : str
        Which of several values of one time to keep: ``first``, ``last`` (in the order of files and steps) or their
        ``mean``, which is missing where one of them is; ``refuse`` accepts none.
    unsorted : str
        ``sort`` or ``refuse`` steps that are earlier than the one before.
    where : str
        What the field is, for messages.

    Returns
    -------
    field
        Times ascend strictly.
    list of str
        A sentence for each thing that was done.

    Raises
    ------
    DataError
        If steps must be refused, naming the first.
    """
    times, notes = seconds(field["time"], where), []
    backward = np.flatnonzero(np.diff(times) < 0)
    if backward.size:
        earlier, later = (text(field["time"].values[backward[0] + number]) for number in (0, 1))
        if unsorted == "refuse":
            raise DataError(
                f"{where}: the time step {later} comes after {earlier}; expected ascending times: "
                "mend the files, or set `data.time.unsorted: sort`"
            )
        order = np.argsort(times, kind="stable")
        field, times = take_steps(field, order), times[order]
        notes.append(f"{where}: time steps were sorted; {later} came after {earlier}")
    unique, first, counts = np.unique(times, return_index=True, return_counts=True)
    if unique.size == times.size:
        return field, notes
    found = text(field["time"].values[first[counts > 1][0]])
    if duplicates == "refuse":
        raise DataError(
            f"{where}: the time step {found} comes twice, and {int((counts > 1).sum())} of {unique.size} do; mend the "
            "files, or set `data.time.duplicates` to first, last or mean"
        )
    notes.append(
        f"{where}: {int((counts > 1).sum())} of {unique.size} time steps came more than once, the first at {found}; "
        f"taken: the {duplicates}"
    )
    if duplicates == "mean":
        return _means(field, first, counts), notes
    return take_steps(field, first if duplicates == "first" else first + counts - 1), notes


def _means(field: Field, first: np.ndarray, counts: np.ndarray) -> Field:
    """Return the means of runs of steps of one time: occurrence by occurrence, so that lazy fields stay lazy."""
    base = take_steps(field, first)
    divisor = xr.DataArray(counts.astype(np.float64), dims="time")
    total = base.astype(np.float64)
    for number in range(1, int(counts.max())):
        another = field.isel(time=first + np.minimum(number, counts - 1)).assign_coords(time=base["time"])
        total = total + another.where(xr.DataArray(counts > number, dims="time"), 0.0)
    mean = total / divisor
    if isinstance(mean, xr.Dataset):
        for name in mean.data_vars:
            mean[name] = mean[name].astype(base[name].dtype)
            mean[name].attrs = dict(base[name].attrs)
        return mean.assign_attrs(base.attrs)
    return mean.astype(base.dtype).rename(base.name).assign_attrs(base.attrs)
