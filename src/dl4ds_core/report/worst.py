"""Where and when a model errs most, from the maps of its scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.report.text import difference_unit_text, number, place_text, quantity, time_text

_GROWTH = 0.1
"""By so much of the error, at least, a change from the first to the last third of a period is worth saying."""
_STEPS = 9


def worst_in_words(path: str | Path, variable: str) -> str:
    """Say in which cell and at which step the RMSE of a model is largest, and whether it changes over the period.

    Parameters
    ----------
    path : str or Path
        `scores.nc`, with ``<variable>_rmse`` (Y, X) and ``<variable>_rmse_by_step`` (time).
    variable : str
        The predictand.

    Returns
    -------
    str
        Sentences; those for which the file has no score are left out.

    Raises
    ------
    DataError
        If the file can't be read.
    """
    try:
        with xr.open_dataset(path, decode_times=xr.coders.CFDatetimeCoder(), decode_coords="all") as scores:
            names = (f"{variable}_rmse", f"{variable}_rmse_by_step")
            cells, steps = (scores[name].load() if name in scores else None for name in names)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected a netCDF file of scores, but can't read it: {error}; verify the model again"
        ) from error
    return " ".join(filter(None, [_where(cells), _when(steps)]))


def _where(cells: xr.DataArray | None) -> str:
    if cells is None or not cells.notnull().any():
        return ""
    place = np.unravel_index(np.nanargmax(cells.values), cells.shape)
    worst = cells[place]
    unit = difference_unit_text(cells.attrs.get("units"))
    known = {"lat", "lon"} <= set(worst.coords)
    where = f" at {place_text(float(worst['lat']), float(worst['lon']))}" if known else ""
    typical = number(float(cells.median()))
    return (
        f"Of single cells, its RMSE is largest{where} ({quantity(float(worst), unit)}; the median cell has {typical})."
    )


def _when(steps: xr.DataArray | None) -> str:
    if steps is None or not steps.notnull().any():
        return ""
    unit = difference_unit_text(steps.attrs.get("units"))
    worst = steps[int(np.nanargmax(steps.values))]
    text = f"Of single steps, it is largest on {time_text(steps['time'], worst['time'].values[()])}"
    text += f" ({quantity(float(worst), unit)})"
    values = steps.values[np.isfinite(steps.values)]
    third = len(values) // 3
    if len(values) >= _STEPS:
        first, last = (float(np.sqrt(np.mean(part**2))) for part in (values[:third], values[-third:]))
        if abs(last - first) > _GROWTH * max(first, last):
            how = "grows" if last > first else "falls"
            text += f"; from the first to the last third of the period it {how} from {number(first)} to {number(last)}"
    return f"{text}."
