"""Coarse and static fields as networks and baselines take them: in order, complete, and nothing infinite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError, TrainingError
from dl4ds_core.masks import fill_nearest
from dl4ds_core.scaling import VALID_FRACTION, Scaler
from dl4ds_core.time import CALENDAR, calendar_values


def field_names(dataset: xr.Dataset) -> list[str]:
    """Return the names of the fields of a file, in its order, without bounds and grid mappings."""
    return [str(name) for name, field in dataset.data_vars.items() if field.ndim >= 2 and "bnds" not in field.dims]


def channel_names(coarse: xr.Dataset, predictands: Sequence[str]) -> list[str]:
    """Return the coarse fields in the order that networks take them: predictands first, in their own order."""
    names = field_names(coarse)
    return [name for name in predictands if name in names] + [name for name in names if name not in predictands]


def filled(field: xr.DataArray) -> xr.DataArray:
    """Return a field whose missing cells have the value of the nearest valid cell of the same step.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (..., Y, X), any unit.

    Returns
    -------
    xarray.DataArray
        The same in memory, without missing values.

    Raises
    ------
    TrainingError
        If a value is infinite.
    DataError
        If all cells of a step are missing.
    """
    values = field.values
    if np.isfinite(values).all():
        return field.copy(data=values)
    require_no_infinity(field, values)
    values = fill_nearest(values)
    empty = np.isnan(values).any(axis=(-2, -1))
    if empty.any():
        raise DataError(
            f"{origin(field)}: {field.name!r} is missing everywhere in {int(empty.sum())} of {empty.size} time steps, "
            "so that nothing is near to fill it with; leave these steps or this variable out"
        )
    return field.copy(data=values)


def is_derived(name: str) -> bool:
    """Tell whether a channel is made here: nobody has files of valid parts of cells, or of the calendar."""
    return name.endswith(VALID_FRACTION) or name.startswith(CALENDAR)


def channel_values(coarse: xr.Dataset, name: str) -> np.ndarray:
    """Return the values (time, Y, X) of a channel, filled.

    Coarse fields that come as such, and not from fine ones, say nothing of valid parts of cells: all of each is valid.
    Channels of the calendar come from the times, and are the same in all cells.
    """
    if name.startswith(CALENDAR):
        shape = coarse[field_names(coarse)[0]].shape
        return np.broadcast_to(calendar_values(coarse["time"], name)[:, None, None], shape)
    if name not in coarse and name.endswith(VALID_FRACTION):
        like = coarse[name.removesuffix(VALID_FRACTION)]
        return np.ones(like.shape, dtype=np.float32)
    return filled(coarse[name]).values


def normalised_channel(coarse: xr.Dataset, name: str, scalers: Mapping[str, Scaler]) -> np.ndarray:
    """Return a channel as networks take it: (time, Y, X), float32, filled, in normalised units.

    Channels of the calendar have no scaler, and are within -1 and 1 as they are.
    """
    values = channel_values(coarse, name)
    return values if name.startswith(CALENDAR) else scalers[f"coarse.{name}"].apply(values)


def require_no_infinity(field: xr.DataArray, values: np.ndarray) -> None:
    """Check values of a field that are in memory.

    Raises
    ------
    TrainingError
        If one of them is infinite.
    """
    infinite = int(np.isinf(values).sum())
    if infinite:
        number = f"{infinite} infinite value{'s' if infinite > 1 else ''}"
        raise TrainingError(
            f"{origin(field)}: {field.name!r} has {number}; correct them at the source, or make them missing"
        )


def origin(field: xr.DataArray) -> str:
    """Return the file that a field was read from, in words."""
    return str(field.encoding.get("source", "the samples"))
