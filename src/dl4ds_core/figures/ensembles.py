"""Whether the members of ensembles are as probable as they say: rank histograms and reliability diagrams."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.looks import GRID, TRUTH, Look, handles, legend_below, looks
from dl4ds_core.figures.style import MUTED, WIDTH, power_of_ten, style
from dl4ds_core.report.text import unit_text

_COLUMNS = 3
_RAREST = 1e-5  # share of the forecasts of a bin that is shown: of fewer, the frequency is chance
_HIGHEST = 4.0  # times the flat share, which the axis shows at most


def rank_histogram(shares: Mapping[str, xr.DataArray], *, networks: Collection[str]) -> Figure:
    """Show how often the truth had each rank among the members, a panel per model.

    Shares are given relative to that of a flat histogram, so that ensembles of several sizes compare. Bars beyond the
    axis have their height written in them.

    Parameters
    ----------
    shares : mapping of str to xarray.DataArray
        Share ``(rank,)`` of each rank by model, which add up to 1.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.

    Raises
    ------
    DataError
        If there is no model, or shares are not those of ranks.
    """
    shown = looks(shares, networks)
    for name in shown:
        if shares[name].dims != ("rank",) or not np.isclose(float(shares[name].sum()), 1, atol=1e-3):
            raise DataError(f"{name}: expected shares of ranks that add up to 1; verify the model again")
    heights = {name: np.asarray(shares[name].values, dtype=np.float64) * shares[name].size for name in shown}
    top = min(_HIGHEST, max(1.5, *(1.08 * float(each.max()) for each in heights.values())))
    columns = 2 if len(shown) == 4 else min(len(shown), _COLUMNS)
    rows = -(-len(shown) // columns)
    with style():
        figure = Figure(figsize=(WIDTH * (0.55 if columns == 1 else 1), 0.5 + 1.75 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, (name, look) in zip(panels.flat, shown.items(), strict=False):
            _draw_ranks(axes, heights[name], look, top)
            axes.set_title(f"{name}, {heights[name].size - 1} members")
        for axes in list(panels.flat)[len(shown) :]:
            axes.set_visible(False)
        for number, axes in enumerate(panels.flat):
            if number + columns >= len(shown):  # the lowest of its column
                axes.set_xlabel("members below the truth")
        for axes in panels[:, 0]:
            axes.set_ylabel("share / flat share")
        flat = Line2D([], [], color=TRUTH, linewidth=1.0, linestyle="--", label="flat: all ranks equally frequent")
        legend_below(figure, [flat])
    return figure


def _draw_ranks(axes: Axes, heights: np.ndarray, look: Look, top: float) -> None:
    ranks = np.arange(heights.size)
    # Open for baselines, as their markers are.
    face = "white" if look.dashes else look.colour
    axes.bar(ranks, heights, width=0.9, facecolor=face, edgecolor=look.colour, linewidth=0.8)
    around = [] if look.dashes else [withStroke(linewidth=2.4, foreground="white")]  # to be seen on dark bars
    axes.axhline(1.0, color=TRUTH, linewidth=1.0, linestyle="--", path_effects=around)
    axes.set_ylim(0, top)
    axes.set_xlim(-0.6, heights.size - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for rank in np.flatnonzero(heights > top):
        axes.text(
            rank,
            0.97 * top,
            f"{heights[rank]:.2g}",
            ha="center",
            va="top",
            rotation=90,
            fontsize=6.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def reliability(diagrams: Mapping[str, xr.Dataset], *, networks: Collection[str], units: str = "") -> Figure:
    """Show how often events happened that were predicted with some probability, and below how often that was.

    A panel per threshold. A line below the diagonal at high probabilities, and above it at low ones, is that of an
    ensemble that is too sure of itself. Bins with less than a hundred-thousandth of the forecasts are left out.

    Parameters
    ----------
    diagrams : mapping of str to xarray.Dataset
        ``frequency``, ``forecast`` and ``count``, each ``(threshold, bin)``, by model: frequency of events and mean
        probability in each bin, and its share of the forecasts. All models have the same thresholds.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.
    units : str
        Of the predictand.

    Raises
    ------
    DataError
        If there is no model, or thresholds differ.
    """
    shown = looks(diagrams, networks)
    thresholds = diagrams[next(iter(shown))]["threshold"].values
    for name in shown:
        if not np.array_equal(diagrams[name]["threshold"].values, thresholds):
            raise DataError(f"{name}: expected the thresholds {thresholds.tolist()}; verify the model again")
    columns = len(thresholds)
    with style():
        width = WIDTH * (0.6 if columns == 1 else 1)
        figure = Figure(figsize=(width, 0.75 + 1.385 * (width - 0.65) / columns), layout="constrained")
        panels = figure.subplots(2, columns, squeeze=False, sharex=True, sharey="row", height_ratios=[2.6, 1])
        least = 1.0
        for place, threshold in enumerate(thresholds):
            chosen = {name: _bins(diagrams[name], place) for name in shown}
            least = min(least, *(float(count.min()) for *_, count in chosen.values() if count.size))
            _draw_reliability(panels[0, place], panels[1, place], chosen, shown)
            panels[0, place].set_title(f"event: at least {threshold:.4g} {unit_text(units)}".strip())
            panels[1, place].set_xlabel("predicted probability")
        panels[0, 0].set_ylabel("frequency of the event")
        panels[1, 0].set_ylabel("share of\nforecasts")
        panels[1, 0].set_ylim(max(_RAREST, least) / 2, 2)
        entries = [
            *handles(shown),
            Line2D([], [], color=TRUTH, linewidth=1.0, linestyle="--", label="reliable"),
            Line2D([], [], color=MUTED, linewidth=0.9, linestyle=":", label="frequency of all"),
        ]
        legend_below(figure, entries)
    return figure


def _bins(diagram: xr.Dataset, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return forecast, frequency and count of the bins that have forecasts enough."""
    forecast, frequency, count = (
        np.asarray(diagram[name].values[place], dtype=np.float64) for name in ("forecast", "frequency", "count")
    )
    known = np.isfinite(forecast) & np.isfinite(frequency) & (count >= _RAREST)
    return forecast[known], frequency[known], count[known]


def _draw_reliability(
    above: Axes, below: Axes, chosen: Mapping[str, tuple[np.ndarray, ...]], shown: Mapping[str, Look]
) -> None:
    above.plot([0, 1], [0, 1], color=TRUTH, linewidth=1.0, linestyle="--", zorder=1)
    base = [float((frequency * count).sum()) for _, frequency, count in chosen.values()]
    above.axhline(float(np.median(base)), color=MUTED, linewidth=0.9, linestyle=":", zorder=1)
    for name, look in shown.items():
        forecast, frequency, count = chosen[name]
        for axes, values in ((above, frequency), (below, count)):
            axes.plot(forecast, values, linewidth=1.1, **look.line, **look.dot)
    above.set_xlim(-0.03, 1.03)
    above.set_ylim(-0.03, 1.03)
    above.set_aspect("equal")
    below.set_yscale("log")
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    for axes in (above, below):
        axes.grid(color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)
