"""Values that count as missing though no fill value of the file's own says so: default fill values, valid ranges."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import netCDF4
import numpy as np
import xarray as xr

_logger = logging.getLogger(__name__)


class Marks(NamedTuple):
    """What is missing, in unpacked units: below ``low``, above ``high``, and from ``fill[0]`` to ``fill[1]``."""

    low: float
    high: float
    fill: tuple[float, float]


_NONE = Marks(-np.inf, np.inf, (np.nan, np.nan))


def marks_of(variable: xr.Variable, where: str, *, defaults: bool) -> Marks | None:
    """Return what is missing by the attributes of a variable and the defaults of netCDF; nothing is read.

    Parameters
    ----------
    variable : xarray.Variable
        Unpacked, with what packed it in ``encoding``.
    where : str
        File and variable, for messages.
    defaults : bool
        netCDF: without ``_FillValue``, cells that were never written hold the library's default.

    Returns
    -------
    Marks or None
        None where nothing has to be looked for.
    """
    low, high = _valid(variable, where)
    marks = Marks(low, high, _default_fill(variable) if defaults else _NONE.fill)
    return None if str(marks) == str(_NONE) else marks  # as text, because NaN isn't equal to itself


def masked(block: np.ndarray, marks: Marks | None) -> np.ndarray:
    """Return floating point values with NaN for missing ones."""
    if marks is None:
        return block
    with np.errstate(over="ignore"):  # of limits in float64 beyond those of float32
        out = (block < marks.low) | (block > marks.high) | ((block >= marks.fill[0]) & (block <= marks.fill[1]))
    return np.where(out, block.dtype.type(np.nan), block) if out.any() else block


def _default_fill(variable: xr.Variable) -> tuple[float, float]:
    packed = variable.encoding.get("dtype")
    known = "_FillValue" in variable.encoding or "_FillValue" in variable.attrs
    # Bytes have no values to spare: netCDF4 leaves them as they are, too.
    if known or not isinstance(packed, np.dtype) or packed.kind not in "iuf" or packed.itemsize == 1:
        return _NONE.fill
    if _scaling(variable)[0] == 0.0:
        return _NONE.fill  # all values are the same, which tells nothing
    value = packed.type(netCDF4.default_fillvals[packed.str[1:]])
    return _unpacked(value, variable)


def _valid(variable: xr.Variable, where: str) -> tuple[float, float]:
    """Return the smallest and the largest valid value."""
    low, high = _numbers(variable, "valid_min", 1, where), _numbers(variable, "valid_max", 1, where)
    both = _numbers(variable, "valid_range", 2, where)
    if both is not None:
        low, high = both[:1], both[1:]
    ends = [_NONE.low, _NONE.high]
    for place, limit in enumerate((low, high)):
        if limit is None:
            continue
        packs = _packs(limit.dtype, variable)
        # A negative factor turns the packed range round.
        side = place if not packs or _scaling(variable)[0] >= 0 else 1 - place
        ends[side] = _unpacked(limit[0], variable)[side] if packs else float(limit[0])
    return ends[0], ends[1]


def _numbers(variable: xr.Variable, name: str, size: int, where: str) -> np.ndarray | None:
    found: Any = variable.attrs.get(name)
    if found is None:
        return None
    values = np.atleast_1d(np.asarray(found))
    if values.dtype.kind in "iuf" and values.shape == (size,):
        return values
    _logger.warning("%s: expected %d number(s) in the attribute %s, found %r; it is ignored", where, size, name, found)
    return None


def _packs(kind: np.dtype, variable: xr.Variable) -> bool:
    """Tell whether a limit is one of packed values: it has their type (CF conventions, 8.1), or is an integer."""
    packed = np.dtype(variable.encoding.get("dtype", variable.dtype))
    return bool({"scale_factor", "add_offset", "_Unsigned"} & set(variable.encoding)) and (
        kind == packed or kind.kind in "iu"
    )


def _scaling(variable: xr.Variable) -> tuple[float, float]:
    factor, offset = (variable.encoding.get(key, default) for key, default in (("scale_factor", 1), ("add_offset", 0)))
    return float(factor), float(offset)


def _unpacked(value: Any, variable: xr.Variable) -> tuple[float, float]:
    """Return the unpacked values that a packed one may have become: between those of its neighbours."""
    if str(variable.encoding.get("_Unsigned", "false")).lower() == "true" and value.dtype.kind == "i":
        value = value.view(f"u{value.dtype.itemsize}")
    factor, offset = _scaling(variable)
    centre = float(value) * factor + offset
    margin = abs(factor) / 2 if value.dtype.kind in "iu" else 0.0
    if (factor, offset) != (1.0, 0.0) and variable.dtype.kind == "f":
        rounding = 2 * float(np.finfo(variable.dtype).eps) * (abs(float(value) * factor) + abs(offset))
        margin = max(margin, rounding)
    return centre - margin, centre + margin
