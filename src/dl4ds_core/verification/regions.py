"""Regions and classes of cells that have scores of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid

__all__ = ["cells_of_regions"]


def cells_of_regions(
    grid: Grid, regions: Mapping[str, Mapping[str, Any]], static: xr.Dataset | None = None
) -> dict[str, xr.DataArray]:
    """Return the cells of each region: those for which all that is given holds.

    Parameters
    ----------
    grid : Grid
        The fine grid.
    regions : mapping
        By name: ``lat`` and ``lon`` (lower and upper limit of cell centres, degrees; a west larger than the east is
        across the date line), ``field`` with ``min`` (at least) and ``below``, in its units; None where not given.
    static : xarray.Dataset, optional
        The static fields ``(Y, X)`` that are named, on this grid.

    Returns
    -------
    dict of str to xarray.DataArray
        Cells ``(Y, X)`` of each region, as bool.

    Raises
    ------
    DataError
        If a region has no cell.
    """
    found = {}
    for name, region in regions.items():
        cells = np.ones(grid.shape, dtype=bool)
        if region["lat"] is not None:
            cells &= (grid.lat >= region["lat"][0]) & (grid.lat <= region["lat"][1])
        if region["lon"] is not None:
            west, east = region["lon"]
            cells &= (grid.lon - west) % 360 <= ((east - west) % 360 or 360)
        if region["field"] is not None and static is not None:
            values = static[region["field"]].transpose(*grid.dims).values
            cells &= values >= (-np.inf if region["min"] is None else region["min"])
            cells &= values < (np.inf if region["below"] is None else region["below"])
        if not cells.any():
            given = ", ".join(f"{key}: {value}" for key, value in region.items() if value is not None)
            raise DataError(
                f"verification.regions.{name}: expected cells of the domain; found none with {given}. The domain "
                f"reaches from {grid.lat.min():g} to {grid.lat.max():g} N and {grid.lon.min():g} to "
                f"{grid.lon.max():g} E; choose wider limits, or leave the region out."
            )
        found[name] = xr.DataArray(cells, dims=grid.dims)
    return found
