"""Coarse and static fields as networks and baselines take them: in order, complete, and nothing infinite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError, TrainingError
from dl4ds_core.masks import fill_nearest
from dl4ds_core.scaling import VALID_FRACTION


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


def channel_values(coarse: xr.Dataset, name: str) -> np.ndarray:
    """Return the values (time, Y, X) of a channel, filled.

    Coarse fields that come as such, and not from fine ones, say nothing of valid parts of cells: all of each is valid.
    """
    if name not in coarse and name.endswith(VALID_FRACTION):
        like = coarse[name.removesuffix(VALID_FRACTION)]
        return np.ones(like.shape, dtype=np.float32)
    return filled(coarse[name]).values


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
