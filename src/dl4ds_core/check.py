"""Looks at every input before any job starts: what it is, what will be made of it, and all that is wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config import SPLITS, Config
from dl4ds_core.config.schema import Predictand, StaticField
from dl4ds_core.errors import DataError, DownscalingError, ProblemList
from dl4ds_core.grids import Grid
from dl4ds_core.models.requirements import smallest_fine_size
from dl4ds_core.regrid import cells_left_out, fine_field, missing_values, on_same_grid
from dl4ds_core.samples import empty_split
from dl4ds_core.sources import source_paths
from dl4ds_core.time import require_ascending, text, within
from dl4ds_core.verification.bootstrap import block_steps, block_weights

#: Predictands of more values than this are not searched for missing values whole, but at their first and last steps.
SEARCHED_VALUES = 200_000_000


@dataclass
class Inventory:
    """What a look at the inputs has found.

    Attributes
    ----------
    rows : list of tuple
        One per file and variable: (name, path, variable, units, grid, period, steps).
    notes : list of str
        What will be made of them.
    warnings : list of str
        What a user should know, but nothing that stops the run.
    """

    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return all of it as text."""
        head = ("name", "file", "variable", "units", "grid", "period", "steps")
        rows = [head, *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += ["", *self.notes, *(f"warning: {warning}" for warning in self.warnings)]
        return "\n".join(lines) + "\n"


def inspect(config: Config) -> Inventory:
    """Open every input and compare it with the configuration.

    Files that are still to be downloaded are named and left out.

    Raises
    ------
    DataError
        Listing every problem found.
    """
    inventory, problems = Inventory(), ProblemList()
    fields: dict[str, list[xr.DataArray]] = {}
    for name, entry in config.data.predictands.items():
        fields[name] = list(_predictand(config, name, entry, inventory, problems))
    with _noting(problems):
        _compare(fields)
    first = next((parts[0] for parts in fields.values() if parts), None)
    if first is not None:
        _check_grid(config, first, inventory, problems)
        times = {name: _times(name, parts, problems) for name, parts in fields.items() if parts}
        name, reference = next(iter(times.items()))
        for other, found in times.items():
            if not np.array_equal(found.values, reference.values):
                problems.add(f"data.predictands: {name!r} and {other!r} have different time steps; all must share them")
        if reference.size:
            _check_splits(config, reference, inventory, problems)
    for name, static in config.data.static.items():
        _static(config, name, static, first, inventory, problems)
    problems.raise_if_any(DataError)
    return inventory


@contextmanager
def _noting(problems: ProblemList) -> Iterator[None]:
    """Note a problem and go on, so that all of them are found."""
    try:
        yield
    except DownscalingError as error:
        problems.add(error)


def _predictand(
    config: Config, name: str, entry: Predictand, inventory: Inventory, problems: ProblemList
) -> Iterator[xr.DataArray]:
    data = config.data
    for path in _paths(config, entry.source, inventory, problems):
        with _noting(problems):
            fine = fine_field(path, entry.variable, entry.units, data.domain, data.scale)
            whole = io.crop(io.open_variable(path, entry.variable, entry.units), data.domain)
            for warning in cells_left_out(whole, data.scale):
                if warning not in inventory.warnings:
                    inventory.warnings.append(warning)
            inventory.rows.append(_row(name, path, entry.variable, fine))
            searched = fine if fine.size <= SEARCHED_VALUES else fine.isel(time=[0, -1])
            missing_values(searched, f"{path}: {entry.variable}")
            yield fine.assign_attrs(file=path)


def _paths(config: Config, source: str, inventory: Inventory, problems: ProblemList) -> list[str]:
    found: list[str] = []
    with _noting(problems):
        paths = source_paths(source, config.sources[source])
        absent = [path for path in paths if not Path(path).exists()]
        inventory.notes += [f"to be downloaded: {path}" for path in absent if config.sources[source].downloads]
        found = [path for path in paths if path not in absent]
    return found


def _row(name: str, path: str, variable: str, found: xr.DataArray) -> tuple[str, ...]:
    grid = f"{found.sizes['lat']} x {found.sizes['lon']}" if "lat" in found.sizes else "other"
    time = found["time"].values if "time" in found.coords else np.array([])
    period = f"{text(time[0])} to {text(time[-1])}" if len(time) else ""
    return (name, path, variable, str(found.attrs.get("units", "")), grid, period, str(len(time) or ""))


def _times(name: str, parts: list[xr.DataArray], problems: ProblemList) -> xr.DataArray:
    """Return the times of all files of a predictand, ascending; none where they are wrong."""
    found = len(problems.problems)
    for part in parts:
        with _noting(problems):
            require_ascending(part["time"], part.attrs["file"])
    times = xr.concat([part["time"] for part in parts], dim="time").sortby("time")
    if len(problems.problems) == found:
        with _noting(problems):
            require_ascending(times, f"data.predictands.{name}, all files together")
    return times if len(problems.problems) == found else times.isel(time=slice(0))


def _compare(fields: dict[str, list[xr.DataArray]]) -> None:
    """Check that all parts of all predictands are on one grid."""
    parts = [(name, part) for name, found in fields.items() for part in found]
    for name, part in parts[1:]:
        reference_name, reference = parts[0]
        for axis in ("lat", "lon"):
            if not np.array_equal(part[axis].values, reference[axis].values):
                raise DataError(
                    f"data.predictands: {name!r} and {reference_name!r} (or two of their files) are on other grids: "
                    f"{part.sizes[axis]} and {reference.sizes[axis]} cells along {axis}, from "
                    f"{part[axis].values[0]:g} and {reference[axis].values[0]:g}; all must share one grid"
                )


def _check_grid(config: Config, fine: xr.DataArray, inventory: Inventory, problems: ProblemList) -> None:
    scale, smallest = config.data.scale, min(fine.sizes["lat"], fine.sizes["lon"])
    for name, model in config.models.items():
        needed = smallest_fine_size(model, scale)
        if smallest < needed:
            problems.add(
                f"models.{name}: a {model.backbone} of {model.blocks} blocks at scale {scale} needs a grid of at least "
                f"{needed} x {needed} cells, found {fine.sizes['lat']} x {fine.sizes['lon']}: choose a larger domain"
                + (", fewer blocks" if model.backbone == "unet" else "")
                + " or a smaller scale"
            )
    coarse = f"{fine.sizes['lat'] // scale} x {fine.sizes['lon'] // scale}"
    inventory.notes.append(
        f"fine grid {fine.sizes['lat']} x {fine.sizes['lon']} cells, coarse grid {coarse} (scale {scale})"
    )


def _check_splits(config: Config, times: xr.DataArray, inventory: Inventory, problems: ProblemList) -> None:
    bootstrap = config.verification.bootstrap
    for split in SPLITS:
        inside = within(times, config.split.period(split))
        if not inside.any():
            problems.add(empty_split(split, times))
            continue
        inventory.notes.append(f"{split}: {int(inside.sum())} time steps")
        if split != "train":
            with _noting(problems):
                steps = times.isel(time=np.flatnonzero(inside))
                block_weights(steps, block_steps=block_steps(steps, bootstrap.block), samples=1, seed=0)


def _static(
    config: Config,
    name: str,
    entry: StaticField,
    fine: xr.DataArray | None,
    inventory: Inventory,
    problems: ProblemList,
) -> None:
    paths, readable = _paths(config, entry.source, inventory, problems), 0
    for path in paths:
        with _noting(problems):
            dataset = io.open_dataset(path)
            readable += 1
            if entry.variable not in dataset.data_vars:
                continue
            found = dataset[entry.variable]
            if entry.units:
                io.unit_conversion(str(found.attrs.get("units", "")), entry.units, f"{path}: {entry.variable}")
            inventory.rows.append(_row(name, path, entry.variable, found))
            if found.sizes.get("time", 1) > 1:
                problems.add(f"{path}: {entry.variable}: a static field has no time, found {found.sizes['time']} steps")
            elsewhere = fine is not None and on_same_grid(path, entry.variable, Grid.of(fine)) is None
            if elsewhere and shutil.which("cdo") is None:
                problems.add(
                    f"{path}: {entry.variable} is on another grid than the predictands, which needs cdo installed"
                )
            return
    # A file that is still to be downloaded, or can't be read, may be the one that has it.
    if paths and readable == max(len(paths), len(config.sources[entry.source].downloads)):
        problems.add(f"data.static.{name}: no file of the source {entry.source!r} has the variable {entry.variable!r}")
