"""The method of remapping that suits a quantity."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import xarray as xr

from dl4ds_core.grids import Grid

#: Parts of CF standard names of quantities whose areal sums matter.
_NAMES = ("flux", "precipitation", "rainfall", "snowfall", "evaporation", "evapotranspiration", "runoff")

#: Units that only such quantities have: mass, depth of water or energy per area and time, and depth of water as such.
_UNITS = re.compile(
    r"(kg\s*m(\^|\*\*)?-2\s*(s|d|day|h|hour)(\^|\*\*)?-1"
    r"|kg/m(\^|\*\*)?2/(s|d|day|h|hour)"
    r"|(W|J)(\s*m(\^|\*\*)?-2|/m(\^|\*\*)?2)"
    r"|mm([\s/].*)?)"
)


def default_method(field: xr.DataArray, finer: bool = False) -> Literal["conservative", "bilinear"]:
    """Return ``conservative`` for fluxes, precipitation and sums over time, ``bilinear`` for states.

    Judged by standard name, units and cell methods.

    Parameters
    ----------
    field : xarray.DataArray
        What is remapped.
    finer : bool
        Whether its cells are smaller than those of the target, see `is_finer`: states are averaged then too, because
        interpolation would pick single cells out of them.
    """
    name = str(field.attrs.get("standard_name", ""))
    summed = re.search(r"\btime:\s*sum\b", str(field.attrs.get("cell_methods", ""))) is not None
    flux = summed or any(part in name for part in _NAMES)
    return (
        "conservative" if finer or flux or _UNITS.fullmatch(str(field.attrs.get("units", "")).strip()) else "bilinear"
    )


def is_finer(source: Grid, target: Grid) -> bool:
    """Return whether the cells of a source are smaller than those of the target, by the median of their areas."""
    return float(np.median(source.cell_areas)) < 0.999 * float(np.median(target.cell_areas))
