"""Area-weighted means over blocks of cells, some of which may be missing."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids.grid import Grid, horizontal

#: Of sums of areas: half of a block is half, whatever the last bits say.
_ROUNDING = 1e-9


def coarsen(
    field: xr.DataArray, grid: Grid, scale: int, min_valid_fraction: float = 0.5
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return area-weighted block means over the cells that have values, and the share of area that has.

    With exact cell areas as weights, the mean over the valid area is conserved. Both results are lazy where the field
    is, and need no more memory than a few of its chunks in double precision.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (..., Y, X), any unit, on ``grid``; missing values are NaN.
    scale : int
        Cells per block, along each axis.
    min_valid_fraction : float
        Blocks with a smaller share of valid area, or with none, are NaN.

    Returns
    -------
    mean : xarray.DataArray
        Shape (..., Y / scale, X / scale), the unit of ``field``, float64, on ``grid.coarsened(scale)``.
    valid_fraction : xarray.DataArray
        The same shape, 0 to 1, float64, named ``<name>_valid_fraction``.

    Raises
    ------
    DataError
        If ``scale`` doesn't divide the grid, or the field isn't on it.
    """
    if field.shape[-2:] != grid.shape:
        raise DataError(
            f"{field.name}: the field has {' x '.join(map(str, field.shape[-2:]))} cells, the grid "
            f"{grid.shape[0]} x {grid.shape[1]}"
        )
    coarse = grid.coarsened(scale)
    dims = horizontal(field)
    bare = field.drop_vars([name for name in field.coords if set(dims) & set(field[name].dims)])
    mean, fraction = xr.apply_ufunc(
        partial(_block_means, areas=grid.cell_areas, scale=scale, least=min_valid_fraction),
        bare,
        input_core_dims=[dims],
        output_core_dims=[dims, dims],
        exclude_dims=set(dims),
        dask="parallelized",
        output_dtypes=[np.float64, np.float64],
        dask_gufunc_kwargs={"output_sizes": dict(zip(dims, coarse.shape, strict=True)), "allow_rechunk": True},
    )
    mean.attrs = dict(field.attrs)
    fraction.attrs = {"long_name": f"share of the area of {field.name} that has values", "units": "1"}
    name = f"{field.name}_valid_fraction"
    return coarse.placed(mean.rename(field.name)), coarse.placed(fraction.rename(name))


def whole_blocks(shape: tuple[int, int], scale: int) -> tuple[int, int]:
    """Return the largest numbers of cells along both axes that ``scale`` divides."""
    return shape[0] // scale * scale, shape[1] // scale * scale


def _block_means(values: np.ndarray, areas: np.ndarray, scale: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return means over valid area and the share of it, of numbers (..., Y, X)."""
    valid = ~np.isnan(values)
    weighted = values.astype(np.float64) * areas
    whole = _block_sums(areas, scale)
    if valid.all():
        mean = _block_sums(weighted, scale) / whole
        return mean, np.ones_like(mean)
    np.copyto(weighted, 0.0, where=~valid)
    # Complete blocks are divided by one and the same area, so that missing cells elsewhere change no bit of them.
    complete = _block_sums(valid.astype(np.int16), scale) == scale * scale
    covered = np.where(complete, whole, _block_sums(np.where(valid, areas, 0.0), scale))
    fraction = covered / whole
    enough = (fraction >= least - _ROUNDING) & (fraction > 0)
    mean = np.full(fraction.shape, np.nan)
    np.divide(_block_sums(weighted, scale), covered, out=mean, where=enough)
    return mean, fraction


def _block_sums(values: np.ndarray, scale: int) -> np.ndarray:
    rows, columns = values.shape[-2] // scale, values.shape[-1] // scale
    return np.sum(values.reshape(*values.shape[:-2], rows, scale, columns, scale), axis=(-3, -1))
