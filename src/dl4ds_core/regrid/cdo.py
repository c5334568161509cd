"""Weights by cdo."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import netCDF4
import numpy as np
from scipy import sparse

from dl4ds_core.errors import RegridError
from dl4ds_core.grids import Grid

_OPERATORS = {"conservative": "gencon", "bilinear": "genbil", "bicubic": "genbic", "nearest": "gennn"}

INSTALL = (
    "the regridding engine cdo is not installed: install it (Debian: apt install cdo; "
    "conda install -c conda-forge cdo), or load its module"
)


def matrix(source: Grid, target: Grid, method: str, valid: np.ndarray | None) -> sparse.csr_matrix:
    """Return the weights between two grids; shape (target cells, source cells).

    Conservative weights come from the clipping of cells of the YAC software, as shares of the target cell's area.

    Raises
    ------
    RegridError
        If cdo is missing or fails.

    References
    ----------
    Schulzweida, U. (2022). CDO User Guide (2.1.0). doi:10.5281/zenodo.7112925

    Hanke, M., Redler, R., Holfeld, T. and Yastremsky, M. (2016). YAC 1.2.0: new aspects for coupling software in
    Earth system modelling. doi:10.5194/gmd-9-2755-2016
    """
    with tempfile.TemporaryDirectory() as folder:
        # All files have short names of ours in a folder of ours: cdo expands blanks, wildcards and commands in names.
        _describe(source, Path(folder) / "source")
        _describe(target, Path(folder) / "target")
        _mask(source, valid, Path(folder) / "mask.nc")
        operators = [f"{_OPERATORS[method]},target", "-setgrid,source", "mask.nc", "weights.nc"]
        _run(["-s", "-O", "-f", "nc4", *operators], folder, f"{source.describe()} to {target.describe()}")
        return _read(Path(folder) / "weights.nc", source, method)


def _run(arguments: list[str], folder: str, what: str) -> None:
    program = shutil.which("cdo")
    if program is None:
        raise RegridError(f"weights from {what} are needed, and {INSTALL}")
    # The user's own settings of cdo would change the weights, and with them what the same config means.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CDO_", "REMAP_"))}
    environment |= {"CDO_REMAP_NORM": "destarea"}
    outcome = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if outcome.returncode != 0 or not (Path(folder) / "weights.nc").exists():
        raise RegridError(f"cdo could not make weights from {what}: {outcome.stderr.strip() or outcome.returncode}")


def _mask(source: Grid, valid: np.ndarray | None, path: Path) -> None:
    """Write the field from which cdo takes the cells that may be used."""
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        for name, size in zip("yx", source.shape, strict=True):
            file.createDimension(name, size)
        variable = file.createVariable("mask", "f4", ("y", "x"), fill_value=np.float32(-1))
        variable[:] = np.where(np.ones(source.shape, bool) if valid is None else valid, 1.0, -1.0)


def _describe(grid: Grid, path: Path) -> None:
    """Write a grid for cdo: axes for latitude-longitude grids, else centres and corners of all cells."""
    if grid.kind == "latlon":
        path.write_text(grid.cdo_description(), encoding="ascii")
        return
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        size = grid.shape[0] * grid.shape[1]
        for name, length in (("grid_size", size), ("grid_corners", 4), ("grid_rank", 2)):
            file.createDimension(name, length)
        file.createVariable("grid_dims", "i4", ("grid_rank",))[:] = grid.shape[::-1]
        file.createVariable("grid_imask", "i4", ("grid_size",))[:] = 1
        for axis, centres, corners in zip(("lat", "lon"), (grid.lat, grid.lon), grid.corners, strict=True):
            for name, dims, values in (
                ("center", ("grid_size",), centres.ravel()),
                ("corner", ("grid_size", "grid_corners"), corners.reshape(-1, 4)),
            ):
                variable = file.createVariable(f"grid_{name}_{axis}", "f8", dims)
                variable.units = "degrees"
                variable[:] = values


def _read(path: Path, source: Grid, method: str) -> sparse.csr_matrix:
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        rows, columns = file["dst_address"][:] - 1, file["src_address"][:] - 1
        links = file["remap_matrix"][:]
        shape = (file.dimensions["dst_grid_size"].size, file.dimensions["src_grid_size"].size)
    parts = [sparse.csr_matrix((part, (rows, columns)), shape=shape) for part in links.T]
    if method != "bicubic":
        return parts[0]
    # A bicubic link has weights of the value, of both gradients and of the cross gradient at the source cell.
    return sum(part @ gradient for part, gradient in zip(parts, _gradients(source), strict=True)).tocsr()


def _gradients(source: Grid) -> list[sparse.csr_matrix]:
    """Return the matrices by which cdo's bicubic method finds its gradients: central differences in cells.

    At the edges of a regional grid differences are one-sided. (cdo itself takes the first and the last column for
    neighbours whether or not the grid goes round the earth, and mixes both edges.)
    """
    rows, columns = source.shape
    along_y, along_x = _differences(rows, False), _differences(columns, goes_round(source))
    here = [sparse.identity(size, format="csr") for size in (rows, columns)]
    pairs = [(here[0], here[1]), (here[0], along_x), (along_y, here[1]), (along_y, along_x)]
    return [sparse.kron(first, second, format="csr") for first, second in pairs]


def _differences(size: int, cyclic: bool) -> sparse.csr_matrix:
    index = np.arange(size)
    before, after = (index - 1) % size, (index + 1) % size
    if not cyclic:
        before, after = np.maximum(index - 1, 0), np.minimum(index + 1, size - 1)
    step = np.where(before == index, 1.0, np.where(after == index, 1.0, 0.5))
    values = np.concatenate([step, -step])
    return sparse.csr_matrix(
        (values, (np.concatenate([index, index]), np.concatenate([after, before]))), shape=(size, size)
    )


def goes_round(grid: Grid) -> bool:
    """Tell whether the last column of a latitude-longitude grid is a neighbour of the first."""
    return grid.kind == "latlon" and bool(np.isclose(np.ptp(grid.edges[1]), 360.0, atol=1e-3))
