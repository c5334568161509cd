"""Remapping of fields, chunk by chunk in time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.config.schema import Regrid
from dl4ds_core.errors import RegridError
from dl4ds_core.grids import Grid, horizontal, needed_box
from dl4ds_core.regrid import weights
from dl4ds_core.regrid.cells import Places, compact, same_cells
from dl4ds_core.regrid.methods import default_method, is_finer
from dl4ds_core.regrid.operator import Operator
from dl4ds_core.regrid.weights import Weights

logger = logging.getLogger(__name__)

#: Values (of the larger grid) in a chunk of a remapped field: bounds memory whatever the length of the record.
CHUNK_VALUES = 500_000


def to_grid(field: xr.DataArray, target: Grid, settings: Regrid, cache: str | Path | None, where: str) -> xr.DataArray:
    """Bring a field to another grid, lazily.

    Where the target's cells are among those of the field (or go on beyond its edges), it is only cut: no engine is
    needed and values stay exact.
    Otherwise a target cell is the weighted mean over the source cells that have a value; it is missing where these
    have less than ``settings.min_valid_fraction`` of the weight (conservative: of the target cell's area). Target
    cells that the source doesn't cover to that part get the value of the nearest source cell that has one at that
    time, or are refused.

    Parameters
    ----------
    field : xarray.DataArray
        In canonical form, shape (time, Y, X) or (Y, X), any unit; missing values are NaN.
    target : Grid
        The wanted cells.
    settings : Regrid
        Engine, method (see `default_method` if there is none), and what to do outside of the source.
    cache : str or Path, optional
        Folder where weights are kept for all fields on the same two grids; not kept if not given.
    where : str
        File and variable, for messages.

    Returns
    -------
    xarray.DataArray
        Shape (time, Y, X) or (Y, X) of the target, float32, the unit of ``field``, with the target's coordinates.

    Raises
    ------
    RegridError
        If the engine is missing or fails, the source lies elsewhere, or cells are outside and these are refused.
    """
    source = Grid.of(field)
    places = same_cells(source, target)
    if places is not None and min(map(np.min, places)) >= 0:
        return _placed(_part(field, (compact(places[0]), compact(places[1]))).astype(np.float32), field, target)
    settings = settings.model_copy(
        update={"method": settings.method or default_method(field, is_finer(source, target))}
    )
    try:
        found, box = _weights(source, target, places, settings, cache)
    except RegridError as error:
        raise RegridError(f"{where}: {error}") from error
    operator = Operator.of(found, settings.min_valid_fraction)
    _accept_outside(operator.outside, source, target, settings, where)
    return _placed(_applied(_part(field, box), operator), field, target)


def outside_count(source: Grid, target: Grid, settings: Regrid, cache: str | Path | None = None) -> int:
    """Count the target cells that the source doesn't cover, which `to_grid` fills or refuses.

    Parameters
    ----------
    settings : Regrid
        Without a method bilinear is meant, which needs most.

    Raises
    ------
    RegridError
        If the engine is missing or fails.
    """
    settings = settings.model_copy(update={"method": settings.method or "bilinear"})
    found, _ = _weights(source, target, same_cells(source, target), settings, cache)
    return int(Operator.of(found, settings.min_valid_fraction).outside.size)


def _weights(
    source: Grid, target: Grid, places: Places | None, settings: Regrid, cache: str | Path | None
) -> tuple[Weights, tuple[slice, slice]]:
    """Return weights, and the part of the source that they are for."""
    if places is None:
        box = needed_box(source, target)
        return weights.cached(source.subset(*box), target, settings, cache), box
    rows, columns = (slice(int(part[part >= 0].min()), int(part.max()) + 1) for part in places)
    first, second = (
        np.where(part < 0, -1, part - used.start) for part, used in zip(places, (rows, columns), strict=True)
    )
    return weights.identity(source.subset(rows, columns), target, (first, second)), (rows, columns)


def _accept_outside(outside: np.ndarray, source: Grid, target: Grid, settings: Regrid, where: str) -> None:
    size = target.shape[0] * target.shape[1]
    if outside.size == size:
        raise RegridError(
            f"{where}: its grid lies elsewhere than the target's ({_extent(source)}; wanted {_extent(target)}); "
            "check data.domain and the files"
        )
    if outside.size == 0:
        return
    lat, lon = target.lat.ravel()[outside[0]], target.lon.ravel()[outside[0]]
    what = (
        f"{where}: {outside.size} of {size} target cells lie outside of its cells (the first at latitude {lat:g}, "
        f"longitude {lon:g}; the field: {_extent(source)})"
    )
    if settings.outside == "refuse":
        raise RegridError(
            f"{what}: choose a smaller data.domain or data.context, a source that reaches farther, or "
            "`outside: nearest`"
        )
    logger.warning("%s: they get the value of the nearest cell", what)


def _part(field: xr.DataArray, box: tuple[Any, Any]) -> xr.DataArray:
    return field.isel(dict(zip(horizontal(field), box, strict=True)))


def _extent(grid: Grid) -> str:
    lat, lon = grid.lat, grid.lon
    return f"{grid.describe()}, latitude {lat.min():g} to {lat.max():g}, longitude {lon.min():g} to {lon.max():g}"


def _placed(values: xr.DataArray, field: xr.DataArray, target: Grid) -> xr.DataArray:
    """Return values with the target's coordinates, and with time and the description of the field."""
    bare = values.drop_vars([name for name in values.coords if name != "time"])
    bare = bare.rename(dict(zip(horizontal(bare), target.dims, strict=True)))
    bare.attrs = {key: value for key, value in field.attrs.items() if key not in ("grid_mapping", "coordinates")}
    return target.placed(bare.rename(field.name))


def _applied(field: xr.DataArray, operator: Operator) -> xr.DataArray:
    """Return the remapped values with the dimensions of the field, of other sizes; lazy where the field is."""
    if field.chunks is not None:
        cells = max(operator.matrix.shape)
        chunks = {dim: -1 if dim in horizontal(field) else 1 for dim in field.dims}
        if "time" in chunks:
            # Chunks as they are read, unless the target has more cells and they would grow too much.
            most = max(1, CHUNK_VALUES // cells)
            chunks["time"] = min(most, max(field.chunksizes["time"]))
        field = field.chunk(chunks)
    dims = horizontal(field)
    return xr.apply_ufunc(
        operator,
        field.drop_vars([name for name in field.coords if set(dims) & set(field[name].dims)]),
        input_core_dims=[dims],
        output_core_dims=[dims],
        exclude_dims=set(dims),
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": dict(zip(dims, operator.weights.target_shape, strict=True))},
    )
