"""Vertical levels and other dimensions: choosing one value of them, by label or index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.io.problems import told

_PASCAL = ("pa", "pascal", "pascals")
_HECTOPASCAL = ("hpa", "hectopascal", "hectopascals", "mb", "mbar", "millibar", "millibars")
#: Levels are often written in float32, labels in a config never are.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-8


def matching_level(levels: Sequence[float] | np.ndarray, units: str, level: float, where: str) -> int | None:
    """Return the position of a level: in the file's unit, or in hPa where the file has Pa, and the other way round.

    Raises
    ------
    DataError
        If one level of the file has this value in Pa and another one in hPa.
    """
    values = np.atleast_1d(np.asarray(levels, dtype=np.float64))
    unit = units.strip().lower()
    factor = 100.0 if unit in _PASCAL else 0.01 if unit in _HECTOPASCAL else None
    same = np.flatnonzero(np.isclose(values, level, rtol=_RELATIVE, atol=_ABSOLUTE))
    other = np.array([], dtype=int)
    if factor is not None:
        other = np.flatnonzero(np.isclose(values, level * factor, rtol=_RELATIVE, atol=_ABSOLUTE))
    if same.size and other.size and values[same[0]] != values[other[0]]:
        this, that = ("Pa", "hPa") if factor == 100.0 else ("hPa", "Pa")
        raise DataError(
            f"{where}: the level {level:g} may be {level:g} {this} or {level:g} {that}, and the file has both: "
            "use `select` with the name of the dimension and the value in the file's unit instead"
        )
    found = same if same.size else other
    return int(found[0]) if found.size else None


def choose_level(field: xr.DataArray, vertical: str | None, level: float | None, where: str) -> xr.DataArray:
    """Choose a level along the vertical coordinate.

    Raises
    ------
    DataError
        If there is no vertical coordinate or no such level; the levels there are are listed.
    """
    if level is None:
        return field
    if vertical is None:
        raise DataError(
            f"{where}: there is no level {level:g}: the variable has no vertical coordinate; leave `level` out"
        )
    coordinate = field[vertical]
    if coordinate.dtype.kind not in "iuf":
        raise DataError(f"{where}: the vertical coordinate {vertical} has no numbers; use `select` instead of `level`")
    with told(f"{where}: {vertical} can't be read"):
        values = np.atleast_1d(np.asarray(coordinate.values, dtype=np.float64))
    units = str(coordinate.attrs.get("units", ""))
    position = matching_level(values, units, level, where)
    if position is None:
        raise DataError(f"{where}: there is no level {level:g}; {vertical} has {listed(values)} {units}".rstrip())
    return field.isel({coordinate.dims[0]: position}) if coordinate.ndim else field


def choose(field: xr.DataArray, select: Mapping[str, Any] | None, where: str) -> xr.DataArray:
    """Choose one value of each dimension named: by label where it has labels, else by index from 0.

    Raises
    ------
    DataError
        If there is no such dimension or no such label; those there are are listed.
    """
    for dim, label in (select or {}).items():
        if dim not in field.dims:
            raise DataError(f"{where}: select: there is no dimension {dim!r}; the variable has: {listed(field.dims)}")
        field = field.isel({dim: _position(field, dim, label, where)})
    return field


def _position(field: xr.DataArray, dim: str, label: Any, where: str) -> int:
    size = field.sizes[dim]
    labelled = dim in field.coords and field[dim].ndim == 1 and not _is_time(field[dim])
    if not labelled:
        if isinstance(label, int) and not isinstance(label, bool) and -size <= label < size:
            return label
        raise DataError(
            f"{where}: select: {dim} has no labels; expected an index from 0 to {size - 1}, found {label!r}"
        )
    with told(f"{where}: {dim} can't be read"):
        labels = field[dim].values
    if labels.dtype.kind in "iuf":
        try:
            wanted = float(label)
        except (TypeError, ValueError):
            wanted = np.nan
        found = np.flatnonzero(np.isclose(labels.astype(np.float64), wanted, rtol=_RELATIVE, atol=_ABSOLUTE))
    else:
        texts = [_text(value) for value in labels]
        found = np.flatnonzero([text == str(label).strip() for text in texts])
    if found.size == 0:
        raise DataError(f"{where}: select: {dim} has no label {label!r}; it has: {listed(labels)}")
    if found.size > 1:
        raise DataError(f"{where}: select: {dim} has the label {label!r} {found.size} times")
    return int(found[0])


def _is_time(coordinate: xr.DataArray) -> bool:
    return " since " in str(coordinate.attrs.get("units", "")).lower()


def _text(value: Any) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip().strip("\x00")


def listed(values: Any, most: int = 40) -> str:
    """Return values as one short text, numbers without trailing zeros."""
    sequence = np.asarray(values).ravel() if not isinstance(values, tuple) else values
    texts = [f"{value:g}" if isinstance(value, float | np.floating) else _text(value) for value in sequence]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
