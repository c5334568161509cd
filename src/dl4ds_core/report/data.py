"""What the report says about the samples, read from their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.config import Config
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid

_DECODER = xr.coders.CFDatetimeCoder()
_VALUES = 4_000_000  # in memory at once


def describe_samples(
    fine: Mapping[str, str | Path], coarse: str | Path | None = None, static: str | Path | None = None
) -> dict[str, Any]:
    """Describe the samples: variables, periods, number of steps and grids.

    Parameters
    ----------
    fine : mapping of str to path
        Files of the fine samples, by split.
    coarse : path, optional
        A file of coarse samples, of any split.
    static : path, optional
        The file of static fields.

    Returns
    -------
    dict
        ``splits`` (name, steps, first, last, calendar); ``variables`` (by name: long_name, units; of predictands,
        cells: how many of the fine grid have a value at any step of the last split, and are predicted there); and
        ``grids`` (name; shape: rows and columns; description; south, north, west, east: outermost centres, degrees;
        across the date line, west is larger than east).

    Raises
    ------
    DataError
        If a file is missing or can't be read.
    """
    described: dict[str, Any] = {"splits": [], "variables": {}, "grids": []}
    for name, path in fine.items():
        with _opened(path) as samples:
            described["splits"].append(_split(name, samples))
            if len(described["splits"]) == len(fine):
                described["variables"] = _variables(samples)
                described["grids"] = [_grid("fine", samples)]
    if coarse is not None:
        with _opened(coarse) as samples:
            described["grids"].append(_grid("coarse", samples))
            described["variables"] = _named(samples) | described["variables"]
    if static is not None:
        with _opened(static) as fields:
            described["variables"] = _named(fields) | described["variables"]
    return described


def _opened(path: str | Path) -> xr.Dataset:
    try:
        return xr.open_dataset(path, decode_times=_DECODER, decode_coords="all", chunks=None, cache=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected a netCDF file of samples, but can't read it: {error}; prepare the data again"
        ) from error


def _split(name: str, samples: xr.Dataset) -> dict[str, Any]:
    times = samples["time"]
    ends = [str(end) for end in times.isel(time=[0, -1]).dt.strftime("%Y-%m-%d %H:%M").values]
    if all(end.endswith("00:00") for end in ends):
        ends = [end[:10] for end in ends]
    return {
        "name": name,
        "steps": times.size,
        "first": ends[0],
        "last": ends[1],
        "calendar": times.dt.calendar,
    }


def _variables(samples: xr.Dataset) -> dict[str, dict[str, Any]]:
    dims = {"time", *Grid.of(samples).dims}
    return {
        name: about | {"cells": _ever_valid(samples[name])}
        for name, about in _named(samples).items()
        if dims <= set(samples[name].dims)
    }


def _named(samples: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return what fields are called, and their units."""
    dims = set(Grid.of(samples).dims)
    return {
        str(name): {
            "long_name": str(field.attrs.get("long_name") or field.attrs.get("standard_name", "")).replace("_", " "),
            "units": str(field.attrs.get("units", "")),
        }
        for name, field in samples.data_vars.items()
        if dims <= set(field.dims)
    }


def _ever_valid(field: xr.DataArray) -> int:
    """Count cells with a value at any step; reading ends where all of them have had one."""
    steps = max(1, _VALUES * field.sizes["time"] // max(field.size, 1))
    valid = np.zeros(field.isel(time=0).shape, dtype=bool)
    start = 0
    while start < field.sizes["time"] and not valid.all():
        stop = start + (steps if start else 1)  # one step is enough where nothing is missing
        valid |= field.isel(time=slice(start, stop)).notnull().values.any(axis=field.dims.index("time"))
        start = stop
    return int(valid.sum())


def _grid(name: str, samples: xr.Dataset) -> dict[str, Any]:
    grid = Grid.of(samples)
    # Seen from the middle, so that a domain across the date line, or Greenwich, is in one piece.
    middle = float(grid.lon[grid.shape[0] // 2, grid.shape[1] // 2])
    around = (grid.lon - middle + 180) % 360 - 180
    return {
        "name": name,
        "shape": list(grid.shape),
        "description": grid.describe(),
        "south": float(grid.lat.min()),
        "north": float(grid.lat.max()),
        "west": float((middle + around.min() + 180) % 360 - 180),
        "east": float((middle + around.max() + 180) % 360 - 180),
    }


def runs(config: Config) -> list[tuple[str, int]]:
    """Return (model, seed) of every network and seed, then (name, 0) of every baseline and ensemble of seeds."""
    networks = [(model, seed) for model in config.models for seed in config.seeds]
    return networks + [(name, 0) for name in (*config.baselines, *config.ensembles)]


def by_run(config: Config, root: str | Path, files: Iterable[str | Path]) -> dict[tuple[str, int], list[Path]]:
    """Sort files below ``<root>/<model>/seed<k>/`` by (model, seed).

    Files elsewhere, and runs without a file, are left out.
    """
    given = [Path(file) for file in files]
    folders = {run: Path(root) / run[0] / f"seed{run[1]}" for run in runs(config)}
    found = {run: [file for file in given if folder in file.parents] for run, folder in folders.items()}
    return {run: chosen for run, chosen in found.items() if chosen}
