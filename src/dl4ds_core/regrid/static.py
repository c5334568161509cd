"""Fields without time on the fine grid: from files, or derived from the grid itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.schema import Regrid
from dl4ds_core.errors import DataError, RegridError
from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import kilometres
from dl4ds_core.regrid.apply import to_grid
from dl4ds_core.regrid.methods import is_finer
from dl4ds_core.regrid.sphere import nearest


def static_field(
    paths: Sequence[str | Path],
    name: str,
    variable: str,
    units: str | None,
    target: Grid,
    settings: Regrid,
    cache: str | Path | None,
    **reading: Any,
) -> xr.DataArray:
    """Bring a field without time to the target grid, from the first file that has the variable.

    Without a method in the settings, fields with smaller cells than the target's are averaged (conservative), others
    are interpolated (bilinear), whatever the quantity.

    Parameters
    ----------
    name : str
        Of the field in the results, and of its config entry.
    **reading
        Further arguments of ``io.open_variable``.

    Returns
    -------
    xarray.DataArray
        Shape (Y, X), float32, in memory.

    Raises
    ------
    DataError
        If no file has the variable, its units don't fit, or it has more than one time step.
    RegridError
        If the engine is missing or fails, or the result has cells without a value.
    """
    field, path = without_time(paths, name, variable, units, **reading)
    where = f"{path}: {variable}"
    if settings.method is None:
        finer = is_finer(Grid.of(field), target)
        settings = settings.model_copy(update={"method": "conservative" if finer else "bilinear"})
    result = to_grid(field, target, settings, cache, where).load().rename(name)
    absent = int(np.sum(~np.isfinite(result.values)))
    if absent:
        raise RegridError(f"{where} has no value in {absent} of {result.size} cells of the fine grid")
    return result


def without_time(
    paths: Sequence[str | Path], name: str, variable: str, units: str | None, **reading: Any
) -> tuple[xr.DataArray, str]:
    """Open a field without time, shape (Y, X), from the first file that has the variable; return also its path.

    Raises
    ------
    DataError
        If no file has the variable, its units don't fit, or it has more than one time step.
    """
    path = next((str(path) for path in paths if variable in io.open_dataset(path).data_vars), None)
    if path is None:
        files = ", ".join(map(str, paths))
        raise DataError(f"data.static.{name}: none of the files {files} has the variable {variable!r}")
    field = io.open_variable(path, variable, units, **reading)
    if field.sizes.get("time") == 1:
        field = field.isel(time=0, drop=True)
    if "time" in field.dims:
        raise DataError(f"{path}: {variable}: expected a field without time, found {field.sizes['time']} time steps")
    return field, path


def derived_field(
    kind: Literal["latitude", "longitude", "coast_distance"], target: Grid, land: xr.DataArray | None = None
) -> xr.DataArray:
    """Return a field that follows from the grid, and for the distance to the coast from a field of land.

    Parameters
    ----------
    kind : {"latitude", "longitude", "coast_distance"}
        Degrees, or kilometres from the cell's centre to the nearest cell that is sea, for land, or land, for sea.
    target : Grid
        The wanted cells.
    land : xarray.DataArray, optional
        For the distance: a land mask or fraction, or an elevation, see `is_land`; shape (Y, X) on its own grid, which
        should reach as far as the coast that matters. A target cell is what the nearest cell of it is.

    Returns
    -------
    xarray.DataArray
        Shape (Y, X), float32.

    Raises
    ------
    DataError
        If the field of land has units of neither, or shows no coast.
    """
    attributes: dict[str, str]
    if kind == "coast_distance":
        if land is None:
            raise ValueError("the distance to the coast needs a field of land")
        values = _coast_distance(target, land)
        attributes = {"long_name": "distance to the coast", "units": "km"}
    else:
        values = target.lat if kind == "latitude" else target.lon
        attributes = {"standard_name": kind, "long_name": kind, "units": "degrees"}
        attributes["units"] = "degrees_north" if kind == "latitude" else "degrees_east"
    field = xr.DataArray(values.astype(np.float32), dims=target.dims, name=kind, attrs=attributes)
    return target.placed(field)


def is_land(field: xr.DataArray) -> np.ndarray:
    """Tell land from sea; boolean, shape (Y, X).

    Land has an elevation above 0 m, or a land fraction (or mask) of at least one half. Cells without a value are sea.

    Raises
    ------
    DataError
        If the units are neither those of a length nor those of a fraction.
    """
    units = str(field.attrs.get("units", ""))
    values = np.nan_to_num(field.values.astype(np.float64), nan=-1.0)
    try:
        io.unit_conversion(units, "m", str(field.name))
    except DataError:
        try:
            factor, _ = io.unit_conversion(units, "1", str(field.name))
        except DataError as error:
            raise DataError(
                f"{field.name}: expected a land fraction (units 1 or %) or an elevation (units m) to tell land from "
                f"sea, found units {units!r}"
            ) from error
        return np.asarray(values * factor >= 0.5)
    return np.asarray(values > 0.0)


def _coast_distance(target: Grid, land: xr.DataArray) -> np.ndarray:
    """Return kilometres to the nearest cell of the other kind; shape (Y, X)."""
    known = is_land(land).ravel()
    if known.all() or not known.any():
        raise DataError(
            f"{land.name}: all of its cells are {'land' if known.all() else 'sea'}, so there is no distance to the "
            "coast: use a field that reaches beyond the coast, or leave coast_distance out"
        )
    grid = Grid.of(land)
    lat, lon = grid.lat.ravel(), grid.lon.ravel()
    at_lat, at_lon = target.lat.ravel(), target.lon.ravel()
    same, _ = nearest(lat, lon, at_lat, at_lon)
    distance = np.empty(at_lat.size)
    for kind in (True, False):
        cells = known[same] == kind
        if cells.any():
            _, chord = nearest(lat[known != kind], lon[known != kind], at_lat[cells], at_lon[cells])
            distance[cells] = kilometres(chord)
    return distance.reshape(target.shape)
