"""Predictions that have members: a dimension ``member`` before those of the fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError

__all__ = [
    "CLIMATOLOGICAL_MEMBERS",
    "MEMBER",
    "ensemble_mean",
    "joined_members",
    "member_axis",
    "members_of",
    "of_one_size",
]

MEMBER = "member"
"""Name of the dimension, and of its coordinate, which counts from 0."""

CLIMATOLOGICAL_MEMBERS = 20
"""Of the climatological ensemble, at most; here, so that who counts them doesn't depend on how they are made."""

ATTRIBUTES = {"standard_name": "realization", "long_name": "ensemble member", "units": "1"}

#: Time steps of a member that are worked on at once, where a field isn't in chunks already.
_STEPS = 64

_Data = TypeVar("_Data", xr.Dataset, xr.DataArray)


def members_of(data: xr.Dataset | xr.DataArray) -> int:
    """Return how many members a prediction has; 0 for one without that dimension."""
    return int(data.sizes.get(MEMBER, 0))


def ensemble_mean(data: _Data) -> _Data:
    """Return the mean over the members of a prediction, lazily; what has no members is returned as it is.

    It is made in double precision and has the precision and the attributes of the members. Where a member is missing,
    the mean is missing too.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Fields ``(member, time, Y, X)`` and others; lazily opened or in memory.

    Returns
    -------
    xarray.Dataset or xarray.DataArray
        Without the dimension ``member``; fields without it are the same.
    """
    if MEMBER not in data.dims:
        return data
    if isinstance(data, xr.Dataset):
        means = {name: ensemble_mean(field) for name, field in data.data_vars.items()}
        return data.drop_dims(MEMBER).assign(means)[list(means)]
    field = data if data.chunks else data.chunk({MEMBER: 1} | ({"time": _STEPS} if "time" in data.dims else {}))
    mean = field.mean(MEMBER, skipna=False, dtype=np.float64, keep_attrs=True)
    return mean.astype(data.dtype, keep_attrs=True)


def joined_members(predictions: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return predictions as one whose members they are, lazily.

    Parameters
    ----------
    predictions : sequence of xarray.Dataset
        Of the same fields ``(time, Y, X)`` or ``(member, time, Y, X)``, times and grid.

    Returns
    -------
    xarray.Dataset
        Fields ``(member, time, Y, X)`` with members counted from 0, in the order they came in.

    Raises
    ------
    DataError
        If the predictions are of other fields, times or cells.
    """
    first = predictions[0]
    fields = [str(name) for name, field in first.data_vars.items() if "time" in field.dims]
    for number, each in enumerate(predictions, 1):
        if _described(each) != _described(first) or not first.indexes["time"].equals(each.indexes["time"]):
            raise DataError(
                "members of an ensemble: expected predictions of the same fields, times and cells; number "
                f"{number} differs from the first. Predict again."
            )
    parts = [each[fields] if MEMBER in each.dims else each[fields].expand_dims(MEMBER) for each in predictions]
    joined = xr.concat(
        [part.drop_vars(MEMBER, errors="ignore") for part in parts],
        dim=MEMBER,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    return joined.transpose(MEMBER, ...).assign_coords({MEMBER: member_axis(joined.sizes[MEMBER])})


def of_one_size(predictions: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Return predictions with as many members as the smallest of them has, evenly spread over theirs."""
    least = min(members_of(each) for each in predictions)
    return [
        each.isel({MEMBER: np.linspace(0, members_of(each) - 1, least).round().astype(int)}).assign_coords(
            {MEMBER: member_axis(least)}
        )
        if members_of(each) > least > 0
        else each
        for each in predictions
    ]


def member_axis(count: int) -> xr.DataArray:
    """Return the coordinate of so many members, which counts from 0; in 32 bits, as CF 1.8 knows no more."""
    return xr.DataArray(np.arange(count, dtype=np.int32), dims=MEMBER, attrs=ATTRIBUTES)


def _described(prediction: xr.Dataset) -> dict[str, dict[str, int]]:
    """Return the sizes of each field of a prediction, but for its members."""
    return {
        str(name): {str(dim): size for dim, size in field.sizes.items() if dim != MEMBER}
        for name, field in prediction.data_vars.items()
        if "time" in field.dims
    }
