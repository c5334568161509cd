"""Periods given as ISO 8601 dates of any precision, in any calendar.

A period is compared as text would be read by a person: ``["1860", "2009"]`` starts with 1860 and ends with the last
moment of 2009. No calendar is needed for that, so a configuration can be checked without opening a file.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ISO = re.compile(r"^(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ](\d{2})(?::(\d{2})(?::(\d{2}))?)?)?)?)?$")
_LAST = (9999, 12, 31, 23, 59, 59)
_FIRST = (0, 1, 1, 0, 0, 0)

Moment = tuple[int, ...]


class Period(NamedTuple):
    """First and last moment, each as (year, month, day, hour, minute, second)."""

    start: Moment
    end: Moment

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, tuple) and self.start <= moment <= self.end


def _parts(text: str) -> Moment:
    match = _ISO.match(text)
    if match is None:
        raise ValueError(f"expected a date such as 2019, 2019-03 or 2019-03-01T06:00, found {text!r}")
    parts = tuple(int(part) for part in match.groups() if part is not None)
    for name, value, low, high in zip(
        ("year", "month", "day", "hour", "minute", "second"), parts, _FIRST, _LAST, strict=False
    ):
        if not low <= value <= high:
            raise ValueError(f"expected the {name} to be from {low} to {high}, found {value} in {text!r}")
    return parts


def parse_period(ends: tuple[str, str]) -> Period:
    """Return the period between two dates; both belong to it.

    Raises
    ------
    ValueError
        If a date can't be read or the period is empty.
    """
    first, last = (_parts(text) for text in ends)
    period = Period(first + _FIRST[len(first) :], last + _LAST[len(last) :])
    if period.start > period.end:
        raise ValueError(f"the period {list(ends)} is empty: it ends before it starts")
    return period


def periods_overlap(first: Period, second: Period) -> bool:
    """Tell whether two periods share a moment."""
    return first.start <= second.end and second.start <= first.end
