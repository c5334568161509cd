"""Scores of each time step, in any calendar, with the gaps of the record."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from textwrap import fill

import cftime
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dl4ds_core.errors import DataError
from dl4ds_core.figures.looks import GRID, handles, legend_below, looks
from dl4ds_core.figures.style import MUTED, WIDTH, style
from dl4ds_core.report.text import difference_unit_text, labelled
from dl4ds_core.time import calendar_of, require_ascending, runs, seconds

_PARTS = 50  # of a record: the running mean is over one of them
_FEWEST = 3  # steps of a running mean that is worth drawing
_MOST_TICKS = 8
_LETTERS = 28  # in a line beside the axis
_MARKS = 0.12  # of the figure's diagonal, between two markers of a line
_DAY, _MONTH, _YEAR = 86_400, 30.4 * 86_400, 365.25 * 86_400
# From fine to coarse: what is counted, every how many of it, and its length in seconds.
_TICKS = (
    *(("hour", step, 3600.0 * step) for step in (1, 3, 6, 12)),
    *(("day", step, float(_DAY * step)) for step in (1, 2, 5, 10)),
    *(("month", step, _MONTH * step) for step in (1, 3, 6)),
    *(("year", step, _YEAR * step) for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
)


@dataclass(frozen=True)
class Line:
    """Values at times in days since 2000; missing between the runs of steps that follow each other."""

    times: np.ndarray
    values: np.ndarray
    smooth: np.ndarray | None


def errors_in_time(series: Mapping[str, xr.DataArray], *, networks: Collection[str], units: str = "") -> Figure:
    """Show a score of each time step of some models.

    Of a long record the running mean over a fiftieth of its steps is drawn over the faint steps. No line and no mean
    crosses a gap, which is a step of more than 1.5 times the median step.

    Parameters
    ----------
    series : mapping of str to xarray.DataArray
        Score ``(time,)`` by model, with datetime64 or cftime of one calendar, ascending; ``long_name`` of the first
        gives the text. Undefined steps are missing.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.
    units : str
        Of the predictand, if the score has its units; a difference in degC is one in K.

    Raises
    ------
    DataError
        If there is no model or no defined step, a series has other dimensions than time, its times don't ascend, or
        calendars differ.
    """
    shown = looks(series, networks)
    for name in shown:
        _check(series[name], name)
    calendars = {calendar_of(series[name]["time"]) for name in shown}
    if len(calendars) > 1:
        raise DataError(f"errors in time: expected one calendar, found {', '.join(sorted(calendars))}")
    window = max(series[name].size for name in shown) // _PARTS
    window = window if window >= _FEWEST else 0
    drawn = {name: prepared(series[name], window) for name in shown}
    with style():
        figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        axes = figure.subplots()
        marked = len({(look.colour, look.dashes) for look in shown.values()}) < len(shown)
        for place, (name, look) in enumerate(shown.items()):
            each, line = drawn[name], dict(look.line, zorder=2)
            if marked:  # lines alone look alike
                line |= look.dot | {"markersize": 3.5, "markevery": (_MARKS * place / len(shown), _MARKS)}
            if each.smooth is None:
                axes.plot(each.times, each.values, linewidth=1.0, **line)
            else:
                axes.plot(each.times, each.values, color=look.colour, linewidth=0.4, alpha=0.3, zorder=1)
                axes.plot(each.times, each.smooth, linewidth=1.4, **line)
            _draw_lone(axes, each, look.colour, 1.0 if each.smooth is None else 0.3)
        first = series[next(iter(shown))]
        text = str(first.attrs.get("long_name") or "score").replace("_", " ")
        axes.set_ylabel(fill(labelled(text, difference_unit_text(units)), _LETTERS))
        axes.margins(x=0.01)
        axes.grid(color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)
        date_axis(axes, [series[name]["time"] for name in shown])
        entries = handles(shown, dot=marked)
        if window:
            entries.append(Line2D([], [], color=MUTED, linewidth=0.4, alpha=0.6, label="each step"))
            entries.append(Line2D([], [], color=MUTED, linewidth=1.4, label=f"running mean of {window} steps"))
        legend_below(figure, entries)
    return figure


def _check(series: xr.DataArray, name: str) -> None:
    if series.dims != ("time",) or "time" not in series.coords:
        raise DataError(f"{name}: expected a score of each step along time, found {dict(series.sizes)}")
    if not np.isfinite(series.values).any():
        raise DataError(f"{name}: expected a score of some time steps, found none; verify the model again")
    require_ascending(series["time"], name)


def prepared(series: xr.DataArray, window: int) -> Line:
    """Return the line through a series ``(time,)``, broken at its gaps, with running means over a window, if any."""
    time = series["time"]
    days = seconds(time) / _DAY
    values = np.asarray(series.values, dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    parts = runs(time)
    smooth = np.concatenate([_smoothed(values[part], window) for part in parts]) if window else None
    breaks = [part.start for part in parts[1:]]
    return Line(
        np.insert(days, breaks, [days[first] for first in breaks]),
        np.insert(values, breaks, np.nan),
        None if smooth is None else np.insert(smooth, breaks, np.nan),
    )


def _smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Return centred running means of steps without a gap; where these begin and end, over at least half a window."""
    fewest = max(1, min(window, values.size) // 2)
    return pd.Series(values).rolling(window, center=True, min_periods=fewest).mean().to_numpy()


def _draw_lone(axes: Axes, series: Line, colour: str, alpha: float) -> None:
    """Draw steps without a neighbour, through which no line goes."""
    known = np.isfinite(series.values)
    beside = np.zeros_like(known)
    beside[1:] |= known[:-1]
    beside[:-1] |= known[1:]
    lone = known & ~beside
    if lone.any():
        axes.plot(
            series.times[lone], series.values[lone], "o", color=colour, markersize=2, alpha=alpha, markeredgewidth=0
        )


def date_axis(axes: Axes, times: list[xr.DataArray]) -> None:
    """Name round dates in the calendar of the record."""
    days = np.concatenate([seconds(time) for time in times]) / _DAY
    low, high = float(days.min()), float(days.max())
    places, names = _dates(times, low, high)
    axes.set_xticks(places, names)
    if low == high:
        axes.set_xlim(low - 0.5, high + 0.5)
    calendar = str(times[0].dt.calendar)
    common = calendar in ("proleptic_gregorian", "standard", "gregorian")
    axes.set_xlabel("time" if common else f"time ({calendar} calendar)")


def _dates(times: list[xr.DataArray], low: float, high: float) -> tuple[list[float], list[str]]:
    """Return round dates between two times, days since 2000, and what to call them."""
    years = range(min(int(time.dt.year.min()) for time in times), max(int(time.dt.year.max()) for time in times) + 1)
    calendar = str(times[0].dt.calendar)
    for unit, step, length in _TICKS:
        if (high - low) * _DAY / length >= _MOST_TICKS:
            continue
        moments = list(_moments(unit, step, years, calendar))
        places = seconds(xr.DataArray(moments, dims="time")) / _DAY if moments else np.zeros(0)
        within = [number for number, place in enumerate(places) if low <= place <= high]
        if len(within) > 1:
            return [float(places[number]) for number in within], [_name(moments[number], unit) for number in within]
        break
    ends = [
        (float(place), xr.DataArray(times[0].values[[number]], dims="time")) for place, number in ((low, 0), (high, -1))
    ]
    named = {place: moment.dt.strftime("%H:%M\n%Y-%m-%d").item() for place, moment in ends}
    return list(named), list(named.values())


def _moments(unit: str, step: int, years: range, calendar: str) -> Iterator[cftime.datetime]:
    if unit == "year":
        for year in range(years.start - years.start % step, years.stop, step):
            if year:  # some calendars have no year 0
                yield cftime.datetime(year, 1, 1, calendar=calendar)
        return
    for year in years:
        for month in range(1, 13, step if unit == "month" else 1):
            first = cftime.datetime(year, month, 1, calendar=calendar)
            if unit == "month":
                yield first
                continue
            # No date so near the end of a month that the first of the next one would follow at once.
            last = first.daysinmonth - (step // 2 if unit == "day" and step > 1 else 0)
            for day in range(1, last + 1, step if unit == "day" else 1):
                for hour in range(0, 24, step if unit == "hour" else 24):
                    yield cftime.datetime(year, month, day, hour, calendar=calendar)


def _name(moment: cftime.datetime, unit: str) -> str:
    if unit == "year":
        return f"{moment.year}"
    if unit == "month":
        return f"{moment.year}-{moment.month:02d}"
    date = f"{moment.year}-{moment.month:02d}-{moment.day:02d}"
    return date if unit == "day" else f"{moment.hour:02d}:{moment.minute:02d}\n{date}"
