"""Fields as entries of the configuration describe them, on the grids of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.inputs import Domain, Regrid, TargetGrid
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid, coarsen, crop
from dl4ds_core.regrid.apply import to_grid
from dl4ds_core.regrid.predictands import cut_to_blocks, missing_values, on_grid

Missing = Literal["refuse", "mask"]


def open_entry(path: str | Path, entry: Mapping[str, Any], units: str | None = None) -> xr.DataArray:
    """Open a variable as its entry says.

    Parameters
    ----------
    path : str or Path
        One file of its source.
    entry : mapping
        Keys of an entry under `data.predictands` or `data.predictors`, and `filters` for GRIB.
    units : str, optional
        Units to convert to, instead of those of the entry.

    Returns
    -------
    xarray.DataArray
        Lazy, shape (time, Y, X).

    Raises
    ------
    DataError
        If the file, the variable or its units don't fit, or it has no time.
    """
    field = io.open_variable(
        path,
        entry["variable"],
        units or entry.get("units"),
        level=entry.get("level"),
        select=entry.get("select"),
        filters=entry.get("filters"),
        minimum=entry.get("minimum"),
    )
    if "time" not in field.dims:
        dims = ", ".join(map(str, field.dims))
        raise DataError(f"{path}: {entry['variable']}: expected a time axis, found the dimensions {dims}")
    return field


def units_of(path: str | Path | None) -> str | None:
    """Return the units of the one field in a regridded file; None without a file."""
    if path is None:
        return None
    with io.open_dataset(path) as dataset:
        return next(str(field.attrs["units"]) for field in dataset.data_vars.values() if "time" in field.dims)


def fine_grid(field: xr.DataArray, domain: Domain | None, chosen: TargetGrid | None, scale: int) -> Grid:
    """Return the grid of predictands: that of a field, or a chosen one; cut to the domain and to whole blocks.

    Raises
    ------
    DataError
        If too few cells are left.
    """
    if chosen is not None:
        axes = {
            name: axis.first + axis.step * np.arange(round((axis.last - axis.first) / axis.step) + 1)
            for name, axis in (("lat", chosen.lat), ("lon", chosen.lon))
        }
        field = xr.DataArray(
            np.zeros([axis.size for axis in axes.values()]), coords=axes, dims=tuple(axes), name="grid"
        )
    return Grid.of(cut_to_blocks(crop(field, domain), scale, str(field.name)))


def fine_predictand(
    field: xr.DataArray, target: Grid, entry: Mapping[str, Any], weights: str | Path, where: str, missing: Missing
) -> xr.Dataset:
    """Return a predictand on the fine grid, lazily.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, Y, X), on any grid.
    weights : str or Path
        Folder of remapping weights.
    where : str
        File and variable, for messages.
    missing : {"refuse", "mask"}
        Whether values may be missing.

    Raises
    ------
    DataError
        If values are missing though that is refused, or infinite.
    RegridError
        If it can't be brought to the grid.
    """
    fine = to_grid(field, target, Regrid.model_validate(entry["regrid"]), weights, where)
    missing_values(fine, where, missing)
    return on_grid(fine, target)


def coarse_predictand(
    field: xr.DataArray,
    target: Grid,
    entry: Mapping[str, Any],
    weights: str | Path,
    where: str,
    *,
    scale: int,
    context: int,
    missing: Missing,
) -> xr.Dataset:
    """Return area-weighted means of a predictand on the coarse grid and its context, lazily.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, Y, X), on any grid.
    target : Grid
        The fine grid; the context lies around it.
    missing : {"refuse", "mask"}
        With ``mask``, ``<name>_valid_fraction`` (0 to 1) stands beside the means over the valid area.

    Raises
    ------
    RegridError
        If it can't be brought to the grid.
    """
    settings = Regrid.model_validate(entry["regrid"])
    wide = target.extended(context * scale)
    fine = to_grid(field, wide, settings, weights, where)
    mean, share = coarsen(fine, wide, scale, settings.min_valid_fraction)
    mean.attrs["cell_methods"] = f"{field.attrs.get('cell_methods', '')} area: mean".strip()
    grid = wide.coarsened(scale)
    result = on_grid(mean, grid)
    return result.merge(on_grid(share, grid), compat="override", join="exact") if missing == "mask" else result
