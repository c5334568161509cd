"""Bringing fields to the grids of an experiment: coarsening of predictands, remapping of everything else."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.schema import Domain, Regrid
from dl4ds_core.errors import DataError, RegridError
from dl4ds_core.grids import Grid, coarsen, whole_blocks
from dl4ds_core.time import text

logger = logging.getLogger(__name__)

_CDO_OPERATORS = {
    "conservative": "remapcon",
    "bilinear": "remapbil",
    "bicubic": "remapbic",
    "nearest": "remapnn",
}


def fine_field(path: str | Path, variable: str, units: str | None, domain: Domain | None, scale: int) -> xr.DataArray:
    """Open a predictand on the part of its grid that is used: the domain, cut to whole blocks.

    Returns
    -------
    xarray.DataArray
        Lazy, shape (time, lat, lon).

    Raises
    ------
    DataError
        If the file, the variable, its units or its grid don't fit, or there is no time axis.
    """
    field = io.crop(io.open_variable(path, variable, units), domain)
    if "time" not in field.dims:
        raise DataError(
            f"{path}: {variable}: expected a time axis, found the dimensions {', '.join(map(str, field.dims))}"
        )
    rows, columns = whole_blocks((field.sizes["lat"], field.sizes["lon"]), scale)
    return field.isel(lat=slice(0, rows), lon=slice(0, columns))


def cells_left_out(field: xr.DataArray, scale: int) -> list[str]:
    """Describe the rows and columns of a cropped field that don't fill a block of ``scale`` cells."""
    notes = []
    for axis, word in (("lat", "rows at latitude"), ("lon", "columns at longitude")):
        size = field.sizes[axis]
        rest = field[axis].values[size // scale * scale :]
        if rest.size:
            values = ", ".join(f"{value:g}" for value in rest)
            notes.append(
                f"data.scale {scale} doesn't divide {size} cells along {axis}: left out are the {word} {values}"
            )
    return notes


def coarsen_predictand(field: xr.DataArray, scale: int, where: str) -> tuple[xr.Dataset, xr.Dataset]:
    """Return a predictand on the fine grid and its area-weighted block means on the coarse grid.

    Parameters
    ----------
    field : xarray.DataArray
        Shape (time, lat, lon), lazy, cut to whole blocks.

    Raises
    ------
    DataError
        If a value is missing or infinite.
    """
    missing_values(field, where)
    grid = Grid.of(field)
    coarse = coarsen(field, grid, scale)
    coarse.attrs["cell_methods"] = _cell_methods(field)
    return on_grid(field, grid), on_grid(coarse, grid.coarsened(scale))


def missing_values(field: xr.DataArray, where: str) -> None:
    """Refuse a predictand with missing or infinite values; the field (time, lat, lon) is read in chunks.

    Raises
    ------
    DataError
        Saying how many there are, and in which time steps.
    """
    missing = (~field.notnull() | (abs(field) == np.inf)).sum(["lat", "lon"]).compute()
    if missing.any():
        worst = missing["time"].values[int(missing.values.argmax())]
        raise DataError(
            f"{where}: {int(missing.sum())} values are missing, in {int((missing > 0).sum())} of {missing.size} "
            f"time steps (most at {text(worst)}); `data.missing: refuse` needs complete fields: "
            "choose a `data.domain` without missing cells"
        )


def _cell_methods(field: xr.DataArray) -> str:
    return f"{field.attrs.get('cell_methods', '')} area: mean".strip()


def on_grid(field: xr.DataArray, grid: Grid) -> xr.Dataset:
    """Return a dataset of one field with CF coordinates and bounds; attributes of the input are kept."""
    kept = ("standard_name", "long_name", "units", "cell_methods", "comment")
    attributes = {key: field.attrs[key] for key in kept if key in field.attrs}
    # GRIB readers write 'unknown' for what has no standard name.
    attributes = {key: value for key, value in attributes.items() if value != "unknown"}
    attributes.setdefault("long_name", attributes.get("standard_name", str(field.name)).replace("_", " "))
    bare = field.drop_vars(["lat", "lon", "lat_bnds", "lon_bnds"], errors="ignore")
    dataset = bare.to_dataset(name=str(field.name)).assign_coords(grid.coordinates())
    dataset[str(field.name)].attrs = attributes
    if "time" in dataset.dims:
        dataset["time"].attrs = {"standard_name": "time", "long_name": "time", "axis": "T"}
    return dataset


def remap(path: str | Path, variable: str, units: str | None, target: Grid, regrid: Regrid) -> xr.DataArray:
    """Bring a field without time to the target grid.

    Where the grids agree nothing is remapped, and no engine is needed.

    Returns
    -------
    xarray.DataArray
        Shape (lat, lon), float32.

    Raises
    ------
    RegridError
        If the engine is missing or fails, or the result has cells without a value.
    DataError
        If the variable or its units don't fit, or it has more than one time step.
    """
    field = on_same_grid(path, variable, target)
    if field is None:
        field = _cdo_remap(path, variable, target, regrid)
    if field.sizes.get("time") == 1:
        field = field.isel(time=0, drop=True)
    if "time" in field.dims:
        raise DataError(f"{path}: {variable}: expected a field without time, found {field.sizes['time']} time steps")
    field = io.convert_units(field, units, f"{path}: {variable}").astype(np.float32).load()
    absent = int(np.sum(~np.isfinite(field.values)))
    if absent:
        raise RegridError(f"{path}: {variable} has no value in {absent} of {field.size} cells of the fine grid")
    return field


def on_same_grid(path: str | Path, variable: str, target: Grid) -> xr.DataArray | None:
    """Return a field cut to the target grid, shape (..., lat, lon), or None if its cells are others."""
    try:
        field = io.open_variable(path, variable)
    except DataError:
        return None  # another kind of grid, which the engine may know
    field = field.sel(
        lat=slice(target.lat[0] - 1e-6, target.lat[-1] + 1e-6),
        lon=slice(target.lon[0] - 1e-6, target.lon[-1] + 1e-6),
    )
    same = all(
        field.sizes[axis] == getattr(target, axis).size and np.allclose(field[axis], getattr(target, axis), atol=1e-6)
        for axis in ("lat", "lon")
    )
    return field if same else None


def _cdo_remap(path: str | Path, variable: str, target: Grid, regrid: Regrid) -> xr.DataArray:
    program = shutil.which("cdo")
    if program is None:
        raise RegridError(
            f"{path}: {variable} is on another grid than the predictands, and the regridding engine cdo is not "
            "installed: install it (Debian: apt install cdo; conda install -c conda-forge cdo), or load its module"
        )
    with tempfile.TemporaryDirectory() as folder:
        # cdo expands blanks, wildcards and even commands in names of files, so it only meets names that have none.
        (Path(folder) / "source").symlink_to(Path(path).resolve())
        (Path(folder) / "grid.txt").write_text(cdo_grid(target), encoding="ascii")
        operators = [f"-{_CDO_OPERATORS[regrid.method]},grid.txt", f"-selname,{variable}"]
        command = [program, "-s", "-O", "-f", "nc4", *operators, "source", "field.nc"]
        logger.info("%s: %s with cdo (%s)", path, variable, regrid.method)
        outcome = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if outcome.returncode != 0:
            hint = " (a `regrid: {method: bilinear}` needs no corners)" if "corner" in outcome.stderr else ""
            raise RegridError(f"{path}: cdo could not remap {variable!r}: {outcome.stderr.strip()}{hint}")
        return io.open_variable(Path(folder) / "field.nc", variable).load()


def cdo_grid(grid: Grid) -> str:
    """Return a grid in cdo's own description, with the bounds of the cells."""
    rows, columns = grid.shape
    lines = ["gridtype = lonlat", f"xsize = {columns}", f"ysize = {rows}"]
    for axis, letter in (("lon", "x"), ("lat", "y")):
        edges = getattr(grid, f"{axis}_bounds")
        pairs = np.stack([edges[:-1], edges[1:]], axis=1).ravel()
        lines.append(f"{letter}vals = " + " ".join(f"{value:.10g}" for value in getattr(grid, axis)))
        lines.append(f"{letter}bounds = " + " ".join(f"{value:.10g}" for value in pairs))
    return "\n".join(lines) + "\n"
