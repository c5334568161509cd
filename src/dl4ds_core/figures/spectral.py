"""Power spectra of models and truth."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.looks import GRID, TRUTH, Look, handles, legend_below, looks
from dl4ds_core.figures.style import MUTED, WIDTH, power_of_ten, style
from dl4ds_core.report.text import difference_unit_text, labelled

_SMALLEST_RATIO = 1e-4  # of powers: what is smaller lies below the axis
_OF_MEAN: dict[str, Any] = {"linewidth": 1.3, "linestyle": (0, (1, 1.3))}
_NARROW = 5  # of the ends of an axis with a tick at nearly each digit
_MARKS = 0.1  # of the figure's diagonal, between two markers of a line


def spectra(
    prediction: Mapping[str, xr.DataArray],
    truth: xr.DataArray,
    *,
    networks: Collection[str],
    members: Mapping[str, xr.DataArray] | None = None,
    units: str = "",
    coarse_km: float | None = None,
) -> Figure:
    """Show the mean power spectra of models and truth, and below them their ratio to the truth.

    Of ensembles the spectrum of the members is shown, and by a thin dotted line that of their mean, which is smoother.

    Parameters
    ----------
    prediction : mapping of str to xarray.DataArray
        Power ``(wavenumber,)`` by model, in the square of ``units``; wavenumbers ascend, in cycles per km (km-1).
    truth : xarray.DataArray
        The same of the truth.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.
    members : mapping of str to xarray.DataArray, optional
        Mean power of the members of those models that have such.
    units : str
        Of the predictand.
    coarse_km : float, optional
        Length of the shortest wave that the coarse grid can hold, two of its cells: marked by a line.

    Raises
    ------
    DataError
        If there is no model, a spectrum has other dimensions or wavenumbers than the truth's or no power, or the
        wavenumbers or the length aren't positive.
    """
    shown = looks(prediction, networks)
    numbers = _wavenumbers(truth)
    if coarse_km is not None and not coarse_km > 0:
        raise DataError(f"coarse_km: expected the length of a wave in km, found {coarse_km}")
    reference = _power(truth, numbers, "truth")
    powers = {name: _power(prediction[name], numbers, name) for name in shown}
    means = {name: powers[name] for name in members or {} if name in shown}
    powers |= {name: _power((members or {})[name], numbers, f"the members of {name}") for name in means}
    with style():
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
        above.plot(numbers, reference, color=TRUTH, linewidth=2.6)
        below.axhline(1.0, color=TRUTH, linewidth=2.6)
        ratios = [powers[name] / reference for name in shown]
        for place, (name, look) in enumerate(shown.items()):
            # Evenly spread on paper, and so that those of one model don't hide those of another.
            marks = (_MARKS * place / len(shown), _MARKS)
            for axes, values in ((above, powers[name]), (below, ratios[place])):
                axes.plot(numbers, values, linewidth=1.1, markevery=marks, **look.line, **look.dot)
        for name, power in means.items():
            for axes, values in ((above, power), (below, power / reference)):
                axes.plot(numbers, values, color=shown[name].colour, **_OF_MEAN)
        ratios += [power / reference for power in means.values()]
        entries = [Line2D([], [], color=TRUTH, linewidth=2.6, label="truth"), *_entries(shown, means)]
        if coarse_km is not None:
            for axes in (above, below):
                axes.axvline(1 / coarse_km, color=MUTED, linewidth=0.9, linestyle=":", zorder=0.5)
            label = f"shortest coarse wave, {coarse_km:{'.0f' if coarse_km >= 100 else '.3g'}} km"
            entries.append(Line2D([], [], color=MUTED, linewidth=0.9, linestyle=":", label=label))
        above.set_ylabel(labelled("power", _squared(difference_unit_text(units))))
        below.set_ylabel("ratio to the truth")
        below.set_xlabel("wavenumber (km⁻¹)")
        _logarithmic_spectra(above, below, numbers, np.concatenate(ratios))
        legend_below(figure, entries)
    return figure


def _entries(shown: Mapping[str, Look], means: Collection[str]) -> list[Line2D]:
    """Return what explains the models, ensembles by their members and by their mean."""
    entries = []
    for name, look in shown.items():
        (line,) = handles({f"{name}, members" if name in means else name: look})
        entries.append(line)
        if name in means:
            entries.append(Line2D([], [], color=look.colour, label=f"{name}, mean", **_OF_MEAN))
    return entries


def _wavenumbers(truth: xr.DataArray) -> np.ndarray:
    if truth.dims != ("wavenumber",) or "wavenumber" not in truth.coords or not truth.size:
        raise DataError(f"spectrum of the truth: expected powers along wavenumber, found {dict(truth.sizes)}")
    numbers = np.asarray(truth["wavenumber"].values, dtype=np.float64)
    units = truth["wavenumber"].attrs.get("units", "km-1")
    if units not in ("km-1", "km^-1", "km**-1", "1/km"):
        raise DataError(f"spectrum of the truth: expected wavenumbers in km-1, found {units!r}; convert them")
    if not (numbers > 0).all() or not (np.diff(numbers) > 0).all():
        raise DataError(
            f"spectrum of the truth: expected positive, ascending wavenumbers, found {numbers[:3].tolist()} ...; leave "
            "out the mean field"
        )
    return numbers


def _power(spectrum: xr.DataArray, numbers: np.ndarray, name: str) -> np.ndarray:
    """Return powers; those that a logarithmic axis can't show are missing."""
    if spectrum.dims != ("wavenumber",) or spectrum.size != numbers.size:
        raise DataError(
            f"spectrum of {name}: expected {numbers.size} powers along wavenumber as the truth has, found "
            f"{dict(spectrum.sizes)}; verify all models against one truth"
        )
    own = spectrum.coords.get("wavenumber")
    if own is not None and not np.allclose(own.values, numbers, rtol=1e-6, atol=0):
        raise DataError(f"spectrum of {name}: expected the truth's wavenumbers; verify all models against one truth")
    powers = np.asarray(spectrum.values, dtype=np.float64)
    powers = np.where(powers > 0, powers, np.nan)
    if not np.isfinite(powers).any() and name == "truth":
        raise DataError("spectrum of the truth: expected positive powers, found none")
    return powers


def _logarithmic_spectra(above: Axes, below: Axes, numbers: np.ndarray, ratios: np.ndarray) -> None:
    """Make all axes logarithmic, with plain numbers, and add that of wavelengths."""
    above.set_xscale("log")
    margin = 1.06
    above.set_xlim(numbers[0] / margin, numbers[-1] * margin)
    above.set_yscale("log")
    below.set_yscale("log")
    known = np.append(ratios[np.isfinite(ratios)], 1.0)
    low, high = min(0.7, max(float(known.min()), _SMALLEST_RATIO)), max(1.4, float(known.max()))
    below.set_ylim(low / 1.1, high * 1.1)
    lengths = above.secondary_xaxis("top", functions=(_inverse, _inverse))
    lengths.set_xlabel("wavelength (km)")
    _plain(lengths.xaxis, numbers[-1] / numbers[0], 500)
    _plain(below.xaxis, numbers[-1] / numbers[0], 500)
    _plain(below.yaxis, high / low, 20)
    above.tick_params(axis="x", labelbottom=False)
    above.yaxis.set_minor_locator(NullLocator())
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    for axes in (above, below):
        axes.grid(color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)


def _plain(axis: Axis, ratio: float, most: float) -> None:
    """Label a logarithmic axis with numbers as people write them, with fewer where the ratio of its ends is large."""
    subs = (1,) if ratio > most else (1, 2, 5) if ratio > _NARROW else (1, 1.5, 2, 3, 5, 7)
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _inverse(values: npt.ArrayLike) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / np.asarray(values, dtype=np.float64))


def _squared(unit: str) -> str:
    if not unit:
        return ""
    return f"{unit}²" if unit.isalpha() else f"({unit})²"
