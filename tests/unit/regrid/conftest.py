"""Grids of every kind over the same place, fields on them, and cdo run on files as an independent reference."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.grids import Grid
from dl4ds_core.regrid import on_grid

KINDS = ("latlon", "rotated", "lambert", "curvilinear")
LAMBERT = {
    "grid_mapping_name": "lambert_conformal_conic",
    "standard_parallel": [35.0, 50.0],
    "longitude_of_central_meridian": 2.0,
    "latitude_of_projection_origin": 42.0,
    "earth_radius": 6371229.0,
}
ROTATED = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 47.0,
    "grid_north_pole_longitude": -178.0,
}


def make(kind: str, rows: int, columns: int, step: float, steps: int | None = None, seed: int = 1) -> xr.DataArray:
    """A random field (time, Y, X) around 42N 2E, with cells of about ``step`` degrees."""
    y, x = step * (np.arange(rows) - (rows - 1) / 2), step * (np.arange(columns) - (columns - 1) / 2)
    coordinates: dict[str, Any]
    if kind == "latlon":
        dims, coordinates = ("lat", "lon"), {"lat": 42 + y, "lon": 2 + 1.3 * x}
    elif kind == "rotated":
        dims = ("rlat", "rlon")
        coordinates = {"rlat": y - 1.0, "rlon": x, "crs": xr.DataArray(np.int32(0), attrs=ROTATED)}
    elif kind == "lambert":
        dims, metres = ("y", "x"), 111_000.0
        coordinates = {"y": metres * y, "x": metres * x, "crs": xr.DataArray(np.int32(0), attrs=LAMBERT)}
    else:
        dims = ("y", "x")
        j, i = np.meshgrid(y, x, indexing="ij")
        coordinates = {"lat": (dims, 42 + j - 0.15 * i + 0.01 * i * j), "lon": (dims, 2 + 1.3 * i + 0.2 * j)}
    shape = (rows, columns) if steps is None else (steps, rows, columns)
    if steps is not None:
        dims = ("time", *dims)
        coordinates["time"] = pd.date_range("2000-01-01", periods=steps, freq="D")
    values = (280 + 5 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)
    return xr.DataArray(values, coordinates, dims, "tas", {"units": "K", "standard_name": "air_temperature"})


@pytest.fixture(scope="session")
def field_on() -> Callable[..., xr.DataArray]:
    """The function that makes fields by kind of grid."""
    return make


@pytest.fixture(scope="session")
def wide() -> Callable[..., xr.DataArray]:
    """The function that makes fields that reach some cells beyond ``target``, by kind of grid."""
    return lambda kind="latlon", steps=None, seed=1: make(kind, 30, 30, 0.5, steps, seed)


@pytest.fixture(scope="session")
def target() -> Callable[..., Grid]:
    """The function that makes grids whose cells lie askew to those of ``wide``, by kind."""
    return lambda kind="latlon": Grid.of(make(kind, 9, 11, 0.43))


def as_polygons(grid: Grid) -> Grid:
    """The same cells with great circles for sides, as ESMF sees them.

    Sides along parallels are tilted by a millionth, because cdo takes them for parts of the parallels.
    """
    (lat, lon), tilt = grid.corners, 1e-6 if grid.kind == "latlon" else 0.0
    return dataclasses.replace(
        grid,
        kind="curvilinear",
        dims=("y", "x"),
        y=None,
        x=None,
        y_bounds=None,
        x_bounds=None,
        mapping={},
        points=(grid.lat + tilt * grid.lon, grid.lon),
        vertices=(lat + tilt * lon, lon),
    )


@pytest.fixture(scope="session")
def polygons() -> Callable[[Grid], Grid]:
    """The function that makes a grid's cells polygons with great circles for sides."""
    return as_polygons


@pytest.fixture
def run_cdo(tmp_path: Path) -> Callable[..., xr.DataArray]:
    """The function that lets cdo itself remap a field as a file: ``run_cdo(field, operator, target, **environment)``.

    The operator is complete but for the target grid, such as ``remapcon``; further arguments come after a comma.
    """
    if shutil.which("cdo") is None:
        pytest.skip("cdo is not installed")

    def run(field: xr.DataArray, operator: str, grid: Grid, **environment: str) -> np.ndarray:
        write(field.values, Grid.of(field), tmp_path / "in.nc")
        write(np.zeros(grid.shape), grid, tmp_path / "target.nc")
        name, _, further = operator.partition(",")
        order = f"{name},target.nc" + (f",{further}" if further else "")
        command = ["cdo", "-s", "-O", "-f", "nc4", "-b", "F64", order, "in.nc", "out.nc"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=os.environ | environment)
        with xr.open_dataset(tmp_path / "out.nc") as found:
            return found["tas"].values

    return run


def write(values: np.ndarray, grid: Grid, path: Path) -> None:
    """Write a field for cdo, with the corners of all cells: it doesn't find those of a projection by itself."""
    if grid.kind != "latlon":
        grid = as_polygons(grid)
    dims = ("time", *grid.dims)[-values.ndim :]
    field = xr.DataArray(values.astype(np.float64), dims=dims, name="tas", attrs={"units": "K"})
    if values.ndim == 3:
        field["time"] = pd.date_range("2000-01-01", periods=len(values), freq="D")
    on_grid(field, grid).to_netcdf(path)
