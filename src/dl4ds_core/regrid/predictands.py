"""Predictands: cut to the domain and to whole blocks, and coarsened."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid, horizontal, whole_blocks
from dl4ds_core.time import text

_WORDS = {
    "lat": "rows at latitude",
    "lon": "columns at longitude",
    "rlat": "rows at rlat",
    "rlon": "columns at rlon",
    "y": "rows at y",
    "x": "columns at x",
}


def cut_to_blocks(field: xr.DataArray, scale: int, where: str) -> xr.DataArray:
    """Cut a field (..., Y, X) to whole blocks of ``scale`` by ``scale`` cells.

    Raises
    ------
    DataError
        If there is no whole block.
    """
    y, x = horizontal(field)
    rows, columns = whole_blocks((field.sizes[y], field.sizes[x]), scale)
    if 0 in (rows, columns):
        raise DataError(
            f"{where}: {field.sizes[y]} x {field.sizes[x]} cells are fewer than one block of data.scale "
            f"{scale} x {scale}: choose a larger data.domain or a smaller data.scale"
        )
    return field.isel({y: slice(0, rows), x: slice(0, columns)})


def cells_left_out(field: xr.DataArray, scale: int) -> list[str]:
    """Describe the rows and columns of a cropped field that don't fill a block of ``scale`` cells."""
    notes = []
    for axis, kind in zip(horizontal(field), ("rows", "columns"), strict=True):
        size = field.sizes[axis]
        whole = size // scale * scale
        if whole == size:
            continue
        left = f"the last {size - whole} {kind}"
        if axis in field.coords:
            left = f"the {_WORDS[axis]} " + ", ".join(f"{value:g}" for value in field[axis].values[whole:])
        notes.append(f"data.scale {scale} doesn't divide {size} cells along {axis}: left out are {left}")
    return notes


def missing_values(field: xr.DataArray, where: str, missing: Literal["refuse", "mask"] = "refuse") -> None:
    """Refuse a predictand with infinite or missing values; the field (time, Y, X) is read in chunks.

    Parameters
    ----------
    missing : {"refuse", "mask"}
        With ``mask`` values may be missing, but not all of them.

    Raises
    ------
    DataError
        Saying how many there are, and in which time steps.
    """
    dims = horizontal(field)
    counts = xr.Dataset({"missing": field.isnull().sum(dims), "infinite": (abs(field) == np.inf).sum(dims)}).compute()
    cells = field.sizes[dims[0]] * field.sizes[dims[1]]
    if counts["infinite"].any():
        raise DataError(_told(counts["infinite"], where, "infinite") + ": mend the file, or leave these steps out")
    if missing == "refuse" and counts["missing"].any():
        raise DataError(
            _told(counts["missing"], where, "missing") + "; `data.missing: refuse` needs complete fields: "
            "choose a `data.domain` without missing cells, or `data.missing: mask`"
        )
    if bool((counts["missing"] == cells).all()):
        raise DataError(f"{where}: all values are missing; choose another `data.domain`, or mend the file")


def _told(count: xr.DataArray, where: str, kind: str) -> str:
    worst = count["time"].values[int(count.values.argmax())]
    return (
        f"{where}: {int(count.sum())} values are {kind}, in {int((count > 0).sum())} of {count.size} time steps "
        f"(most at {text(worst)})"
    )


def on_grid(field: xr.DataArray, grid: Grid) -> xr.Dataset:
    """Return a dataset of one field with CF coordinates and bounds; attributes of the input are kept."""
    kept = ("standard_name", "long_name", "units", "cell_methods", "comment")
    attributes = {key: field.attrs[key] for key in kept if key in field.attrs}
    # GRIB readers write 'unknown' for what has no standard name.
    attributes = {key: value for key, value in attributes.items() if value != "unknown"}
    attributes.setdefault("long_name", attributes.get("standard_name", str(field.name)).replace("_", " "))
    name = str(field.name)
    bare = field.drop_vars([coordinate for coordinate in field.coords if coordinate != "time"])
    bare.attrs = attributes
    dataset = grid.placed(bare.to_dataset(name=name))
    dataset[name].attrs |= grid.attributes()
    if "time" in dataset.dims:
        dataset["time"].attrs = {"standard_name": "time", "long_name": "time", "axis": "T"}
    return dataset
