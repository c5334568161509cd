"""Units, numbers, durations and sizes as people read them."""

from __future__ import annotations

import math
import re
from typing import Any

import xarray as xr

from dl4ds_core.io import difference_units

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def unit_text(units: object) -> str:
    """Return units as a reader expects them: °C for degC, m s⁻¹ for m s-1; nothing for dimensionless ones.

    >>> unit_text("kg m-2 s-1")
    'kg m⁻² s⁻¹'
    """
    text = "" if units is None else str(units).strip()
    if text in ("", "1"):
        return ""
    if difference_units(text) != text:
        return "°C"
    text = text.replace("**", "").replace("^", "")
    return re.sub(r"(?<=[A-Za-z])-?\d+(?![\w.])", lambda match: match.group().translate(_SUPERSCRIPTS), text)


def difference_unit_text(units: object) -> str:
    """Return the units of a difference of two values: a difference in °C is one in K."""
    text = unit_text(units)
    return "K" if text == "°C" else text


def labelled(text: str, unit: str) -> str:
    """Return ``text (unit)``, or the text alone where there is no unit."""
    return f"{text} ({unit})" if unit else text


def number(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits and without an exponent where that is short.

    >>> number(0.35971), number(1234.6), number(0.5)
    ('0.360', '1235', '0.500')
    """
    if math.isnan(value):
        return "–"
    if 10 ** (digits - 1) <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".replace("-", "−").rstrip(".")


def quantity(value: float, unit: str) -> str:
    """Return a number with its unit, if it has one."""
    return f"{number(value)} {unit}".strip()


def fixed(value: float, decimals: int) -> str:
    """Return a number with some decimals.

    >>> fixed(-0.0004, 3), fixed(1.25, 1), fixed(float("nan"), 2)
    ('0.000', '1.2', '–')
    """
    if math.isnan(value):
        return "–"
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def label(value: object) -> str:
    """Return a name as it is, and a number as short as it can be.

    >>> label("DJF"), label(90.0), label(26.600154)
    ('DJF', '90', '26.6')
    """
    return f"{value:.3g}".replace("-", "−") if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a duration for people.

    >>> duration(4.24), duration(200), duration(7300)
    ('4.2 s', '3 min 20 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Return a number of bytes for people.

    >>> size(812), size(1.86e6)
    ('812 B', '1.9 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def time_text(times: xr.DataArray, when: Any) -> str:
    """Return a time in any calendar; without the clock where the steps are days or more."""
    index = times.to_index()
    daily = len(index) > 1 and (index[1] - index[0]).total_seconds() >= 86400
    text = times.sel(time=when).dt.strftime("%Y-%m-%d" if daily else "%Y-%m-%d %H:%M").item()
    calendar = times.dt.calendar
    return text if calendar in ("proleptic_gregorian", "standard", "gregorian") else f"{text} ({calendar} calendar)"


def place_text(lat: float, lon: float) -> str:
    """Return latitude and longitude of a place for people.

    >>> place_text(-4.256, 350.0)
    '4.26°S, 10.00°W'
    """
    lon = (lon + 180) % 360 - 180
    return f"{abs(lat):.2f}°{'N' if lat >= 0 else 'S'}, {abs(lon):.2f}°{'E' if lon >= 0 else 'W'}"
