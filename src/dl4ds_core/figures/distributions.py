"""How values that are predicted are distributed beside those of the truth: densities and quantiles."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dl4ds_core.figures.looks import GRID, TRUTH, handles, legend_below, looks
from dl4ds_core.figures.panels import FIELD_COLOURS, name_and_unit
from dl4ds_core.figures.sampling import MOST_STEPS, require_values, valid_values
from dl4ds_core.figures.style import MUTED, WIDTH, power_of_ten, style
from dl4ds_core.report.text import difference_unit_text, labelled, unit_text
from dl4ds_core.time import spread_steps

_BINS = 120
_MOST_VALUES = 2_000_000  # of each field, that quantiles are taken of
_FEWEST = 10  # values beyond a percentile that is shown
_TAILS = (0.001, 0.01, 0.1, 0.5)
PERCENTILES = np.array([*_TAILS, *range(1, 100), *(100 - tail for tail in reversed(_TAILS))])
"""What is shown of each distribution, in per cent, as far as there are values enough."""


def scatter_density(truth: xr.DataArray, prediction: xr.DataArray, *, units: str = "") -> Figure:
    """Show how often each pair of true and predicted values occurs, over cells and time steps.

    At most 500 time steps, spread over the record, are read chunk by chunk, and twice. Values that are missing in
    either field are left out.

    Parameters
    ----------
    truth, prediction : xarray.DataArray
        Shape (time, Y, X), in the same unit; may be lazy.
    units : str
        Of both.

    Raises
    ------
    DataError
        If shapes or times differ, or the two have no value in common.
    """
    steps = spread_steps(truth.sizes["time"], MOST_STEPS)
    low, high, count = np.inf, -np.inf, 0
    for pair in valid_values(truth, [prediction], steps):
        if pair[0].size:
            low, high = (
                min(low, *(float(each.min()) for each in pair)),
                max(high, *(float(each.max()) for each in pair)),
            )
            count += pair[0].size
    require_values(count > 0, truth)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    edges = np.linspace(low, high, _BINS + 1)
    counts = np.zeros(_BINS**2, dtype=np.int64)
    for pair in valid_values(truth, [prediction], steps):
        columns, rows = (
            np.clip(((each - low) * (_BINS / (high - low))).astype(np.intp), 0, _BINS - 1) for each in pair
        )
        counts += np.bincount(rows * _BINS + columns, minlength=_BINS**2)
    shown = np.ma.masked_equal(counts.reshape(_BINS, _BINS), 0)
    with style():
        figure = Figure(figsize=(0.6 * WIDTH, 3.7), layout="constrained")
        axes = figure.subplots()
        scale = LogNorm(1, max(2, int(shown.max())))
        mesh = axes.pcolormesh(edges, edges, shown, cmap=FIELD_COLOURS, norm=scale, rasterized=True)
        _one_to_one(axes, low, high)
        name, unit = name_and_unit(truth)[0], unit_text(units)
        axes.set_xlabel(labelled("truth", unit))
        axes.set_ylabel(labelled("prediction", unit))
        axes.set_title(f"{name}\n{_grouped(count)} values of {_of(steps.size, truth)}")
        bar = figure.colorbar(mesh, ax=axes, label="values per bin", pad=0.02)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    return figure


def quantile_quantile(
    truth: xr.DataArray,
    predictions: Mapping[str, xr.DataArray],
    *,
    units: str = "",
    networks: Collection[str] = (),
) -> Figure:
    """Show the quantiles of all predicted values against those of the truth, and how far they are off.

    Values are pooled over cells and time steps: at most 500 steps, spread over the record and read chunk by chunk, and
    of these two million values at most, but the smallest and largest of all. Those missing in any field are left out.

    Parameters
    ----------
    truth : xarray.DataArray
        Shape (time, Y, X); may be lazy.
    predictions : mapping of str to xarray.DataArray
        The same of each model, in the same unit.
    units : str
        Of all of them.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.

    Raises
    ------
    DataError
        If there is no model, shapes or times differ, or the fields have no value in common.
    """
    shown = looks(predictions, networks)
    steps = spread_steps(truth.sizes["time"], MOST_STEPS)
    quantiles = _quantiles(truth, [predictions[name] for name in shown], steps)
    unit = unit_text(units)
    with style():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _one_to_one(left, float(quantiles.min()), float(quantiles.max()))
        right.axhline(0.0, color=TRUTH, linewidth=0.8, zorder=1)
        for name, values in zip(shown, quantiles[1:], strict=True):
            look = shown[name]
            for axes, against in ((left, values), (right, values - quantiles[0])):
                axes.plot(quantiles[0], against, linewidth=1.0, markevery=[0, -1], **look.line, **look.dot)
        for axes in (left, right):
            axes.set_xlabel(labelled("quantile of the truth", unit))
            axes.grid(color=GRID, linewidth=0.5)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        left.set_ylabel(labelled("quantile of the model", unit))
        right.set_ylabel(labelled("model − truth", difference_unit_text(units)))
        figure.suptitle(f"{name_and_unit(truth)[0]}, {_of(steps.size, truth)}")
        ends = Line2D([], [], color=MUTED, marker="o", linestyle="", markersize=4.5, label="smallest, largest value")
        one = Line2D([], [], color=TRUTH, linewidth=0.8, label="truth")
        legend_below(figure, [one, *handles(shown), ends])
    return figure


def _quantiles(truth: xr.DataArray, predictions: list[xr.DataArray], steps: np.ndarray) -> np.ndarray:
    """Return smallest value, percentiles and largest value of truth and predictions, shape (field, quantile)."""
    stride = max(1, -(-steps.size * (truth.size // max(truth.sizes["time"], 1)) // _MOST_VALUES))
    kept: list[list[np.ndarray]] = [[] for _ in range(1 + len(predictions))]
    lowest, highest = np.full(len(kept), np.inf), np.full(len(kept), -np.inf)
    for number, fields in enumerate(valid_values(truth, predictions, steps)):
        if not fields[0].size:
            continue
        lowest = np.minimum(lowest, [each.min() for each in fields])
        highest = np.maximum(highest, [each.max() for each in fields])
        for collected, each in zip(kept, fields, strict=True):
            collected.append(each[number % stride :: stride].copy())
    require_values(bool(np.isfinite(lowest).all()), truth)
    found = []
    for collected, low, high in zip(kept, lowest, highest, strict=True):
        pooled = np.concatenate(collected)
        collected.clear()
        known = PERCENTILES[np.minimum(PERCENTILES, 100 - PERCENTILES) * pooled.size / 100 >= _FEWEST]
        inner = np.percentile(pooled, known) if pooled.size else np.zeros(0)
        found.append(np.concatenate([[low], inner, [high]]))
    return np.stack(found)


def _one_to_one(axes: Axes, low: float, high: float) -> None:
    margin = 0.03 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=TRUTH, linewidth=0.8, zorder=2)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def _of(steps: int, truth: xr.DataArray) -> str:
    whole = truth.sizes["time"]
    return f"all {whole} steps" if steps == whole else f"{steps} of {whole} steps"


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", " ")
