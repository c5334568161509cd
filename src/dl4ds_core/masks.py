"""Missing cells: where they are, and values in their place for networks, which can't read NaN."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.ndimage import distance_transform_edt


def fill_nearest(values: np.ndarray) -> np.ndarray:
    """Give each missing cell the value of the nearest valid cell of the same step.

    Distances are counted in cells. Of several cells that are equally near always the same one is taken, whatever the
    values and the number of steps: the choice depends on the mask alone.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (..., Y, X); missing values are NaN.

    Returns
    -------
    numpy.ndarray
        Shape and type of ``values``; valid cells are unchanged. A step without any valid cell stays NaN.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    steps = np.array(values).reshape(-1, *values.shape[-2:])
    masks = missing.reshape(steps.shape)
    same: dict[bytes, list[int]] = {}
    for number in np.flatnonzero(masks.any(axis=(1, 2)) & ~masks.all(axis=(1, 2))):
        same.setdefault(np.packbits(masks[number]).tobytes(), []).append(int(number))
    for numbers in same.values():
        mask = masks[numbers[0]]
        rows, columns = distance_transform_edt(mask, return_distances=False, return_indices=True)[:, mask]
        for number in numbers:
            steps[number][mask] = steps[number][rows, columns]
    return steps.reshape(values.shape)


def ever_valid(field: xr.DataArray) -> xr.DataArray:
    """Tell which cells have a value in any time step.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, Y, X) or (Y, X); lazy fields are read chunk by chunk.

    Returns
    -------
    xarray.DataArray
        Shape (Y, X), bool, in memory.
    """
    valid = field.notnull()
    return (valid.any("time") if "time" in field.dims else valid).compute()


def count_missing(field: xr.DataArray) -> xr.DataArray:
    """Count the missing or infinite cells of each time step.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, Y, X); lazy fields are read chunk by chunk.

    Returns
    -------
    xarray.DataArray
        Shape (time,), int, in memory.
    """
    absent = field.isnull() | (abs(field) == np.inf)
    return absent.sum(list(field.dims[-2:])).compute()
