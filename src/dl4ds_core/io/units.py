"""Units: conversion, and the unit of a difference."""

from __future__ import annotations

import logging
import re
import tokenize

import numpy as np
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.io.problems import READ_ERRORS, one_line

_CELSIUS = ("degc", "deg_c", "celsius", "degree_celsius", "degrees_celsius", "degreec", "degreesc")
#: Spellings found in files that the library of units doesn't know.
_SPELLINGS = dict.fromkeys(_CELSIUS, "degC") | {
    "kelvin": "K",
    "degrees celsius": "degC",
    "degree celsius": "degC",
    "deg c": "degC",
    "(0 - 1)": "1",
    "(0-1)": "1",
    "0-1": "1",
    "fraction": "1",
    "unitless": "1",
    "dimensionless": "1",
    "none": "1",
    "~": "1",
    "-": "1",
    "mb": "hPa",
}
#: One character each.
_SIGNS = {"\N{DEGREE CELSIUS}": "degC", "\N{DEGREE FAHRENHEIT}": "degF"}
#: A power is a number of one or two digits; the library would compute others for hours.
_POWER = r"(?:\*\*|\^)"
_ABSURD = re.compile(
    rf"{_POWER}(?!\s*\(?\s*[-+]?\d{{1,2}}(?:\.\d*)?\s*\)?(?![\w.])(?!\s*{_POWER}))"
    rf"|\)\s*{_POWER}.*\)\s*{_POWER}|[^\W\d_][-+]?\d{{3,}}",
    flags=re.DOTALL,
)
#: kg m-3: a mass of water per area is a depth of water.
_WATER_DENSITY = 1000.0


def convert_units(field: xr.DataArray, units: str | None, where: str) -> xr.DataArray:
    """Convert a field to other units.

    Raises
    ------
    DataError
        If the field has no units, or they can't be converted.
    """
    found = str(field.attrs.get("units", "")).strip()
    if not found:
        raise DataError(f"{where}: the variable has no units attribute; expected {units or 'one'}")
    if units is None or units == found:
        return field
    factor, offset = unit_conversion(found, units, where)
    converted = (field * np.float32(factor) + np.float32(offset)).astype(np.float32)
    converted.attrs = {**field.attrs, "units": units}
    return converted.rename(field.name)


def difference_units(units: str) -> str:
    """Return the units of a difference of two values: kelvin for temperatures in degrees Celsius."""
    return "K" if _known(units) == "degC" else units


def unit_conversion(found: str, wanted: str, where: str) -> tuple[float, float]:
    """Return factor and offset from one unit to another.

    A mass of water per area and a depth of water are converted into each other, with 1000 kg m-3, and so are their
    rates: 1 kg m-2 s-1 is 86400 mm d-1.

    Raises
    ------
    DataError
        If a unit is unknown or the two don't measure the same quantity.
    """
    import pint

    logging.getLogger("pint.util").setLevel(logging.ERROR)  # it tells of every unit that cf_xarray defines anew
    from cf_xarray.units import units as registry  # here because it is slow to import

    known = _known(found), _known(wanted)
    try:
        _refuse_absurd(*known)
        try:
            zero, one = (registry.Quantity(value, known[0]).to(known[1]).magnitude for value in (0.0, 1.0))
        except pint.errors.DimensionalityError:
            water = registry.Quantity(_WATER_DENSITY, "kg m-3") ** _depth_to_mass(registry, known)
            zero, one = ((registry.Quantity(value, known[0]) * water).to(known[1]).magnitude for value in (0.0, 1.0))
        factor, offset = float(one - zero), float(zero)
        if not (np.isfinite(factor) and np.isfinite(offset) and factor != 0.0):
            raise ValueError(f"the factor is {factor:g}")
    except (pint.errors.PintError, tokenize.TokenError, SyntaxError, AssertionError, *READ_ERRORS) as error:
        unclear = isinstance(error, tokenize.TokenError | SyntaxError | AssertionError)
        cause = "expected units such as 'K' or 'kg m-2 s-1'" if unclear else one_line(error)
        raise DataError(f"{where}: units {found!r} of the file can't be converted to {wanted!r}: {cause}") from error
    return factor, offset


def _refuse_absurd(*units: str) -> None:
    for unit in units:
        if found := _ABSURD.search(unit):
            raise ValueError(f"expected powers of one or two digits, found {unit[max(0, found.start() - 1) :]!r}")


def _known(units: str) -> str:
    for sign, name in _SIGNS.items():
        units = units.replace(sign, name)
    return _SPELLINGS.get(units.strip().lower(), units)


def _depth_to_mass(registry: object, units: tuple[str, str]) -> int:
    """Return the power of water's density that turns one unit into the other: 1, -1, or 0 where they aren't water."""
    found, wanted = (registry.Unit(unit).dimensionality for unit in units)  # type: ignore[attr-defined]
    for time in (0, -1):
        depth = registry.Unit("m").dimensionality * registry.Unit("s").dimensionality ** time  # type: ignore[attr-defined]
        mass = depth * registry.Unit("kg m-3").dimensionality  # type: ignore[attr-defined]
        if (found, wanted) == (depth, mass):
            return 1
        if (found, wanted) == (mass, depth):
            return -1
    return 0
