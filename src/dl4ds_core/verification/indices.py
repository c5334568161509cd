"""Climate indices: what they are, which of them suit a predictand, and their values by year, which xclim computes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from dl4ds_core.config.verification import INDEX_NAMES
from dl4ds_core.errors import DataError
from dl4ds_core.io import unit_conversion
from dl4ds_core.time import stated_method

__all__ = ["INDICES", "WET", "Index", "Quantity", "daily_statistics", "quantity_of", "require_known", "suitable"]

FloatArray = npt.NDArray[np.float32]
Kind = Literal["temperature", "precipitation", "wind"]
Statistic = Literal["mean", "maximum", "minimum"]

WET = 1.0
"""Precipitation of a wet step, mm d-1."""

_UNITS: dict[Kind, str] = {"temperature": "degC", "precipitation": "mm d-1", "wind": "m s-1"}
"""Units that indices are computed in."""

_STANDARD_NAMES: dict[str, Kind] = {
    "air_temperature": "temperature",
    "precipitation_flux": "precipitation",
    "precipitation_amount": "precipitation",
    "lwe_precipitation_rate": "precipitation",
    "lwe_thickness_of_precipitation_amount": "precipitation",
    "rainfall_flux": "precipitation",
    "rainfall_rate": "precipitation",
    "rainfall_amount": "precipitation",
    "wind_speed": "wind",
}

# Where there is no standard name. A temperature is known by its unit, which others than that of air may have, too: its
# indices are then those of a daily mean, unless its name says something else.
_NAMES: dict[Kind, str] = {
    "precipitation": r"^(pr|tp|rr|rain|precip)|precipitation|rainfall",
    "wind": r"^(sfcwind|wind|wspd|ws\d*|si10|ff|fg)|wind speed",
}
_NOT_WIND_SPEED = r"component|eastward|northward|direction|zonal|meridional"
_EXTREMES: dict[Statistic, str] = {
    "maximum": r"^(tasmax|tmax|t_?max|tx|mx2t|t2m_?max|sfcwindmax)",
    "minimum": r"^(tasmin|tmin|t_?min|tn|mn2t|t2m_?min)",
}


@dataclass(frozen=True)
class Index:
    """A climate index: adding one is a line of `INDICES` and a name in ``config/verification.py``.

    Attributes
    ----------
    text : str
        What it is, as in titles and the attributes of maps; at its end the usual name, in brackets.
    kind : str
        Of which quantity.
    statistic : str
        Of which daily values.
    unit : str
        Of the index; that of a difference is K for degC.
    function : str
        Name in `xclim.indices`.
    options : mapping
        Its arguments besides the field and ``freq``.
    window : int
        It is taken of sums of so many days. `numpy` makes them, as a rolling sum of xarray takes ten times as long.
    """

    text: str
    kind: Kind
    statistic: Statistic
    unit: str
    function: str
    options: Mapping[str, Any] = field(default_factory=dict)
    window: int = 1

    @property
    def symbol(self) -> str:
        """Its usual name, such as Rx5day."""
        return self.text.rsplit("(", 1)[1].removesuffix(")")

    def by_year(self, values: FloatArray) -> FloatArray:
        """Return the index ``(cell, year)`` of daily values ``(day, year, cell)``, NaN where there is none.

        The days of each year stand below each other on one axis, so that xclim sees a single year of daily steps in
        the standard calendar, whatever that of the record: gaps, and days that other years have, are missing steps.
        """
        import xclim.indices  # here because it is slow to import

        if self.window > 1:
            days = values.shape[0] - self.window + 1
            sums = values[:days].copy()
            for first in range(1, self.window):
                sums += values[first : first + days]
            values = sums
        time = xr.date_range("2000-01-01", periods=values.shape[0])
        days_of_years = xr.DataArray(
            values, {"time": time}, ("time", "year", "cell"), attrs={"units": _UNITS[self.kind]}
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN|invalid value|divide by zero", RuntimeWarning)
            result = getattr(xclim.indices, self.function)(days_of_years, freq="YS", **self.options)
        return np.asarray(result.isel(time=0).transpose("cell", "year").values, dtype=np.float32)


# Runs of one year that are counted before it is cut out are the same, and xclim counts them up to forty times as fast.
_RUNS = {"thresh": f"{WET:g} mm/day", "resample_before_rl": False}
_WETTEST = "max_1day_precipitation_amount"

INDICES: dict[str, Index] = {
    "txx": Index("highest maximum (TXx)", "temperature", "maximum", "degC", "tx_max"),
    "su": Index("summer days (SU)", "temperature", "maximum", "d", "tx_days_above"),
    "tnn": Index("lowest minimum (TNn)", "temperature", "minimum", "degC", "tn_min"),
    "fd": Index("frost days (FD)", "temperature", "minimum", "d", "frost_days"),
    "tgx": Index("highest daily mean (TGx)", "temperature", "mean", "degC", "tg_max"),
    "tgn": Index("lowest daily mean (TGn)", "temperature", "mean", "degC", "tg_min"),
    "sdii": Index("intensity of wet days (SDII)", "precipitation", "mean", "mm d-1", "daily_pr_intensity"),
    "r1mm": Index("wet days (R1mm)", "precipitation", "mean", "d", "wetdays", {"thresh": "1 mm/day"}),
    "r10mm": Index("days of heavy rain (R10mm)", "precipitation", "mean", "d", "wetdays", {"thresh": "10 mm/day"}),
    "rx1day": Index("wettest day (Rx1day)", "precipitation", "mean", "mm", _WETTEST),
    "rx5day": Index("wettest 5 days (Rx5day)", "precipitation", "mean", "mm", _WETTEST, window=5),
    "cdd": Index("longest dry spell (CDD)", "precipitation", "mean", "d", "maximum_consecutive_dry_days", _RUNS),
    "cwd": Index("longest wet spell (CWD)", "precipitation", "mean", "d", "maximum_consecutive_wet_days", _RUNS),
    "fgx": Index("highest daily mean wind (FGx)", "wind", "mean", "m s-1", "sfcWind_max"),
    "fgcalm": Index("calm days (FGcalm)", "wind", "mean", "d", "calm_days"),
    "fg6bft": Index("windy days (FG6Bft)", "wind", "mean", "d", "windy_days"),
}
"""Climate indices by name, in the order of tables and figures."""


@dataclass(frozen=True)
class Quantity:
    """What a predictand is, for indices and spells.

    Attributes
    ----------
    kind : str
        Temperature, precipitation or wind (its speed).
    factor, offset : float
        Values times the first plus the second are in degC, mm d-1 or m s-1; an amount is then in mm, of the time
        between two steps.
    amount : bool
        Whether it is an amount per step rather than a rate.
    statistic : str, optional
        Maximum or minimum, where the values are such of intervals.
    """

    kind: Kind
    factor: float
    offset: float
    amount: bool = False
    statistic: Statistic | None = None

    def wet(self, days: float) -> float | None:
        """Return the least precipitation of a wet step of so many days, in units of the predictand; None of others."""
        if self.kind != "precipitation":
            return None
        return (WET * (days if self.amount else 1.0) - self.offset) / self.factor


def quantity_of(truth: xr.DataArray) -> Quantity | None:
    """Return what a predictand is, or None where it has no indices.

    Its ``standard_name`` tells, or else its unit, name and ``long_name``. Where its unit doesn't fit, it has none.
    """
    name, standard = str(truth.name).lower(), str(truth.attrs.get("standard_name", ""))
    kinds: list[Kind] = [_STANDARD_NAMES[standard]] if standard in _STANDARD_NAMES else []
    if not standard:
        long_name = str(truth.attrs.get("long_name", "")).lower()
        kinds = [kind for kind, pattern in _NAMES.items() if re.search(pattern, name) or re.search(pattern, long_name)]
        kinds = [kind for kind in kinds if kind != "wind" or not re.search(_NOT_WIND_SPEED, long_name)]
        kinds.append("temperature")
    method = stated_method(truth)
    statistic = next((each for each, pattern in _EXTREMES.items() if re.search(pattern, name)), None)
    statistic = method if method in ("maximum", "minimum") else statistic  # type: ignore[assignment]
    units = str(truth.attrs.get("units", ""))
    for kind in kinds:
        for wanted in [_UNITS[kind], *(["mm"] if kind == "precipitation" else [])]:
            try:
                factor, offset = unit_conversion(units, wanted, name)
            except DataError:
                continue
            return Quantity(kind, factor, offset, wanted == "mm", statistic)
    return None


def daily_statistics(quantity: Quantity, per_day: int) -> frozenset[Statistic]:
    """Return which daily values a record has, or can be made of its steps."""
    if quantity.statistic is not None:
        return frozenset({quantity.statistic})
    return frozenset({"mean"} if per_day == 1 else get_args(Statistic))


def suitable(quantity: Quantity | None, statistics: Collection[Statistic]) -> list[str]:
    """Return the names of the indices of a quantity whose daily values there are.

    Temperatures that have daily maxima or minima need no extremes of daily means.
    """
    if quantity is None:
        return []
    extremes = {"maximum", "minimum"} & set(statistics)
    wanted = extremes if extremes and quantity.kind == "temperature" else set(statistics)
    return [name for name, index in INDICES.items() if index.kind == quantity.kind and index.statistic in wanted]


def require_known(variable: str, names: Sequence[str], quantity: Quantity | None) -> None:
    """Refuse indices that don't exist, or are those of something else.

    Raises
    ------
    DataError
        With the names that there are.
    """
    where = f"verification.indices.{variable}"
    unknown = [name for name in names if name not in INDICES]
    if unknown:
        raise DataError(f"{where}: expected names among {', '.join(INDICES)}; found {', '.join(unknown)}.")
    kind = quantity.kind if quantity else None
    other = ", ".join(name for name in names if INDICES[name].kind != kind)
    if other and kind is None:
        raise DataError(
            f"{where}: expected a temperature, precipitation or wind speed by its standard_name, name and units; found "
            f"{variable}, which is none. Mend the attributes of the field, or ask for no indices of it."
        )
    if other:
        own = ", ".join(name for name, index in INDICES.items() if index.kind == kind)
        raise DataError(f"{where}: expected indices of {kind} ({own}); found {other}.")


if tuple(INDICES) != INDEX_NAMES:
    raise TypeError(f"INDICES: expected the names of the configuration, {INDEX_NAMES}, found {tuple(INDICES)}")
