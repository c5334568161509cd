"""What the report says about the samples, read from the headers of their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.config import Config
from dl4ds_core.errors import DataError

_DECODER = xr.coders.CFDatetimeCoder()


def describe_samples(fine: Mapping[str, str | Path], coarse: str | Path | None = None) -> dict[str, Any]:
    """Describe the samples: variables, periods, number of steps and grids.

    Parameters
    ----------
    fine : mapping of str to path
        Files of the fine samples, by split.
    coarse : path, optional
        A file of coarse samples, of any split.

    Returns
    -------
    dict
        ``splits`` (name, steps, first, last, calendar), ``variables`` (long_name and units, by name)
        and ``grids`` (name; lat, lon: numbers of cells; south, north, west, east: outermost centres;
        spacing: of latitudes and of longitudes; degrees).

    Raises
    ------
    DataError
        If a file is missing or can't be read.
    """
    splits, first = [], None
    for name, path in fine.items():
        with _opened(path) as samples:
            splits.append(_split(name, samples))
            first = first or {"variables": _variables(samples), "grids": [_grid("fine", samples)]}
    described = {"splits": splits} | (first or {"variables": [], "grids": []})
    if coarse is not None:
        with _opened(coarse) as samples:
            described["grids"] = [*described["grids"], _grid("coarse", samples)]
    return described


def _opened(path: str | Path) -> xr.Dataset:
    try:
        return xr.open_dataset(path, decode_times=_DECODER, chunks=None, cache=False)
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


def _variables(samples: xr.Dataset) -> dict[str, dict[str, str]]:
    return {
        str(name): {
            "long_name": str(field.attrs.get("long_name") or field.attrs.get("standard_name", "")).replace("_", " "),
            "units": str(field.attrs.get("units", "")),
        }
        for name, field in samples.data_vars.items()
        if {"time", "lat", "lon"} <= set(field.dims)
    }


def _grid(name: str, samples: xr.Dataset) -> dict[str, Any]:
    lat, lon = (np.asarray(samples[axis], dtype=float) for axis in ("lat", "lon"))
    return {
        "name": name,
        "lat": lat.size,
        "lon": lon.size,
        "south": float(lat.min()),
        "north": float(lat.max()),
        "west": float(lon.min()),
        "east": float(lon.max()),
        "spacing": [float(np.median(np.diff(axis))) if axis.size > 1 else None for axis in (lat, lon)],
    }


def runs(config: Config) -> list[tuple[str, int]]:
    """Return (model, seed) of every network and seed, then (baseline, 0) of every baseline."""
    networks = [(model, seed) for model in config.models for seed in config.seeds]
    return networks + [(baseline, 0) for baseline in config.verification.baselines]


def by_run(config: Config, root: str | Path, files: Iterable[str | Path]) -> dict[tuple[str, int], list[Path]]:
    """Sort files below ``<root>/<model>/seed<k>/`` by (model, seed).

    Files elsewhere, and runs without a file, are left out.
    """
    given = [Path(file) for file in files]
    folders = {run: Path(root) / run[0] / f"seed{run[1]}" for run in runs(config)}
    found = {run: [file for file in given if folder in file.parents] for run, folder in folders.items()}
    return {run: chosen for run, chosen in found.items() if chosen}
