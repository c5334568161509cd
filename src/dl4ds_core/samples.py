"""From regridded parts to samples: joining files, pairing grids, splitting periods."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.periods import Period
from dl4ds_core.errors import DataError
from dl4ds_core.time import require_ascending, text, within

logger = logging.getLogger(__name__)


def assemble(parts: Mapping[str, Sequence[str | Path]]) -> xr.Dataset:
    """Join the parts of each field in time, and the fields in one dataset.

    Parameters
    ----------
    parts : mapping
        Paths of regridded files by name of the field, in any order.

    Returns
    -------
    xarray.Dataset
        Lazy; every field of shape (time, lat, lon) on the same times and grid.

    Raises
    ------
    DataError
        If a time step occurs twice, or the fields differ in times or grid.
    """
    fields = {name: _joined(name, paths) for name, paths in parts.items()}
    first_name, first = next(iter(fields.items()))
    for name, field in fields.items():
        for axis in ("time", "lat", "lon"):
            if not np.array_equal(first[axis].values, field[axis].values):
                raise DataError(
                    f"predictands {first_name!r} and {name!r} differ in {axis}: "
                    f"{_range(first, axis)} and {_range(field, axis)}"
                )
    return xr.merge(fields.values(), join="exact", compat="no_conflicts", combine_attrs="override")


def _joined(name: str, paths: Sequence[str | Path]) -> xr.Dataset:
    opened = [io.open_dataset(path) for path in paths]
    for path, dataset in zip(paths, opened, strict=True):
        for axis in ("lat", "lon"):
            if not np.array_equal(dataset[axis].values, opened[0][axis].values):
                raise DataError(
                    f"predictand {name!r}: {path} is on another grid than {paths[0]}: they differ in {axis}, "
                    f"{_range(dataset, axis)} and {_range(opened[0], axis)}"
                )
    joined = xr.concat(
        sorted(opened, key=lambda dataset: dataset["time"].values[0]),
        dim="time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="override",
        join="override",
    )
    require_ascending(joined["time"], f"predictand {name!r}, files joined")
    return joined


def _range(dataset: xr.Dataset, axis: str) -> str:
    values = dataset[axis].values
    return f"{values.size} from {text(values[0]) if axis == 'time' else values[0]} to " + str(
        text(values[-1]) if axis == "time" else values[-1]
    )


def take(dataset: xr.Dataset, period: Period, split: str) -> xr.Dataset:
    """Return the time steps of a period.

    Raises
    ------
    DataError
        If there is none.
    """
    inside = within(dataset["time"], period)
    if not inside.any():
        raise DataError(empty_split(split, dataset["time"]))
    return dataset.isel(time=np.flatnonzero(inside))


def empty_split(split: str, time: xr.DataArray) -> str:
    """Return the message for a split without time steps."""
    first, last = text(time.values[0]), text(time.values[-1])
    return f"split.{split}: no time step lies in this period; the record goes from {first} to {last}"
