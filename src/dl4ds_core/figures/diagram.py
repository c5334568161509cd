"""The Taylor diagram: standard deviation, correlation and centred error of several models in one picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from dl4ds_core.errors import DataError
from dl4ds_core.figures.looks import GRID, TRUTH, Look, draw_legend, handles, legend_height, looks
from dl4ds_core.figures.style import MUTED, WIDTH, style

_CLOSE = 0.4  # of the whole diagram: models and truth in a square smaller than this are also shown enlarged
_SMALLEST = 0.04  # side of such a square at least, in units of the truth's standard deviation
_TICKS = 12.8  # correlations are named where they are apart by at least this part of the angle
_NAMED = (0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)
_SIDE, _LEFT, _BELOW, _ABOVE, _BETWEEN, _RIGHT = 2.75, 0.3, 0.45, 0.42, 0.85, 0.6  # of the panels, inches
_DEVIATION = "standard deviation / that of the truth"


def taylor(rows: Mapping[str, tuple[float, float]], *, networks: Collection[str]) -> Figure:
    """Show standard deviation and correlation of all models in a Taylor diagram.

    The distance from the origin is the ratio of standard deviations, the angle the arc cosine of the correlation; the
    distance from the truth is then the centred RMSE, in units of the truth's standard deviation. Models that all lie
    close to the truth are shown enlarged as well.

    Parameters
    ----------
    rows : mapping of str to tuple of float
        Ratio of the standard deviations (model over truth) and correlation by model. Models without a finite pair are
        named, but not drawn.
    networks : collection of str
        Names of the trained models, see `looks`; all others are baselines.

    Raises
    ------
    DataError
        If there is no model with finite values, a ratio is negative, or a correlation is beyond -1 and 1.

    References
    ----------
    Taylor, K. E. (2001). Summarizing multiple aspects of model performance in a single diagram. Journal of Geophysical
    Research, 106, 7183-7192. doi:10.1029/2000JD900719
    """
    shown = looks(rows, networks)
    points = _points({name: (float(rows[name][0]), float(rows[name][1])) for name in shown})
    places = np.array(list(points.values()))
    high = max(1.5, 1.08 * float(np.abs(places).max()))
    half = bool((places.real < -1e-9).any())
    corner, side = _square(places)
    enlarged = side < _CLOSE * high
    entries = _entries(shown, points)
    with style():
        side_in = 2 * _SIDE if half else _SIDE
        width = WIDTH if half or enlarged else _LEFT + _SIDE + _BETWEEN + 0.6
        key = legend_height(entries, width) + 0.1
        height = _SIDE + _BELOW + _ABOVE + key
        figure = Figure(figsize=(width, height))
        left = (width - side_in) / 2 if half or not enlarged else _LEFT
        # A half circle fills the middle of a square.
        bottom = _BELOW + key - (_SIDE / 2 if half else 0.0)
        axes = figure.add_axes((left / width, bottom / height, side_in / width, side_in / height), projection="polar")
        _draw_whole(cast(PolarAxes, axes), np.pi if half else np.pi / 2, high, places)
        for name, place in points.items():
            axes.plot([np.angle(place)], [abs(place)], linestyle="", clip_on=False, zorder=6, **shown[name].dot)
        if enlarged and not half:
            left = width - _RIGHT - _SIDE
            panel = figure.add_axes((left / width, (_BELOW + key) / height, _SIDE / width, _SIDE / height))
            _draw_enlarged(panel, corner, side, places)
            for name, place in points.items():
                panel.plot([place.real], [place.imag], linestyle="", zorder=6, **shown[name].dot)
            outline = corner + side * np.array([0, 1, 1 + 1j, 1j, 0])
            outline = np.concatenate([np.linspace(*ends, 20) for ends in pairwise(outline)])
            axes.plot(np.angle(outline), np.abs(outline), color=MUTED, linewidth=0.8, clip_on=False, zorder=3)
        draw_legend(figure, entries, "lower center")
    return figure


def _points(rows: Mapping[str, tuple[float, float]]) -> dict[str, complex]:
    """Return the place of each model in the plane, whose real axis is that of perfect correlation."""
    points = {}
    for name, (ratio, correlation) in rows.items():
        if ratio < 0 or abs(correlation) > 1 + 1e-9:
            raise DataError(
                f"{name}: expected a ratio of standard deviations of at least 0 and a correlation from -1 to 1, found "
                f"{ratio:g} and {correlation:g}"
            )
        if np.isfinite(ratio) and np.isfinite(correlation):
            points[name] = complex(ratio * np.exp(1j * np.arccos(np.clip(correlation, -1, 1))))
    if not points:
        raise DataError(
            f"expected the ratio of standard deviations and the correlation of at least one model, found none of "
            f"{', '.join(rows)}; constant predictions have none"
        )
    return points


def _entries(shown: Mapping[str, Look], points: Collection[str]) -> list[Line2D]:
    entries = [Line2D([], [], color=TRUTH, marker="*", markersize=9, linestyle="", label="truth")]
    entries += handles({name: look for name, look in shown.items() if name in points}, line=False)
    entries += [Line2D([], [], linestyle="", label=f"{name}: undefined") for name in shown if name not in points]
    entries.append(Line2D([], [], color=MUTED, linewidth=0.8, linestyle=":", label="centred RMSE / std. of truth"))
    return entries


def _square(places: np.ndarray) -> tuple[complex, float]:
    """Return the lower left corner and the side of a square on the real axis around truth and models."""
    right, left = max(places.real.max(), 1.0), min(places.real.min(), 1.0)
    extent = max(right - left, places.imag.max(), _SMALLEST)
    side = 1.3 * extent
    return complex(max((right + left - side) / 2, 0.0), 0.0), float(side)


def _draw_whole(axes: PolarAxes, angle: float, high: float, places: np.ndarray) -> None:
    axes.set_thetamin(0.0)
    axes.set_thetamax(float(np.rad2deg(angle)))
    axes.set_ylim(0.0, high)
    ticks = _correlations(angle)
    axes.xaxis.set_major_locator(FixedLocator([float(np.arccos(tick)) for tick in ticks]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _text(float(np.cos(at)))))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _text(value)))
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(pad=3)
    _beside(axes, _DEVIATION, (0.0, 0.0 if angle > 2 else high / 2), (0, -17), va="top")
    middle = angle / 2
    out = (25 * np.cos(middle), 25 * np.sin(middle))
    _beside(axes, "correlation", (middle, high), out, rotation=np.rad2deg(middle) - 90)
    turn, ratio = np.meshgrid(np.linspace(0, angle, 181), np.linspace(0, high, 181))
    levels = _levels(high if angle < 2 else 1 + high)
    axes.contour(turn, ratio, abs(ratio * np.exp(1j * turn) - 1), levels=levels, **_CONTOUR)
    arc = np.linspace(0, angle, 100)
    axes.plot(arc, np.ones_like(arc), color=TRUTH, linewidth=0.7, linestyle="--", zorder=2)
    axes.plot([0.0], [1.0], "*", color=TRUTH, markersize=10, clip_on=False, zorder=5)

    def inside(where: np.ndarray) -> np.ndarray:
        margin = 0.06 * high
        edge = where.imag if angle > 2 else np.minimum(where.imag, where.real)
        return np.asarray((abs(where) < high - margin) & (edge > margin))

    for level, where in _free(levels, inside, places, 0.06 * high):
        _name_contour(axes, float(np.angle(where)), abs(where), level)


def _draw_enlarged(axes: Axes, corner: complex, side: float, places: np.ndarray) -> None:
    """Draw part of the diagram along the coordinates of the plane; its lower side is that of correlation 1."""
    left, right = corner.real, corner.real + side
    axes.set_xlim(left, right)
    axes.set_ylim(0.0, side)
    axes.set_box_aspect(1)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _text(value)))
    axes.set_xlabel(_DEVIATION)
    x, y = np.meshgrid(np.linspace(left, right, 181), np.linspace(0, side, 181))
    ratios = MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(left, abs(right + 1j * side))
    axes.contour(x, y, abs(x + 1j * y), levels=ratios, colors=GRID, linewidths=0.5, zorder=0.5)
    axes.contour(x, y, abs(x + 1j * y), levels=[1.0], colors=TRUTH, linewidths=0.7, linestyles="--", zorder=2)
    for correlation in _correlations(float(np.arctan2(side, left))):
        slope = np.tan(np.arccos(correlation))
        end = (right, right * slope) if right * slope <= side else (side / slope, side)
        axes.plot([0.0, end[0]], [0.0, end[1]], color=GRID, linewidth=0.5, zorder=0.5)
        at_right = end[0] == right
        if at_right:
            _beside(axes, _text(correlation), end, (3, 0), ha="left", fontsize=7)
        else:
            _beside(axes, _text(correlation), end, (0, 3), va="bottom", fontsize=7)
    _beside(axes, "correlation", (right, side / 2), (32, 0), rotation=-90)
    levels = _levels(side)
    axes.contour(x, y, abs(x + 1j * y - 1), levels=levels, **_CONTOUR)
    axes.plot([1.0], [0.0], "*", color=TRUTH, markersize=10, clip_on=False, zorder=5)
    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=MUTED, linewidth=0.8))

    def inside(where: np.ndarray) -> np.ndarray:
        edges = np.minimum(np.minimum(where.real - left, right - where.real), np.minimum(where.imag, side - where.imag))
        return np.asarray(edges > 0.06 * side)

    for level, where in _free(levels, inside, places, 0.06 * side):
        _name_contour(axes, where.real, where.imag, level)


_CONTOUR: dict[str, Any] = {"colors": MUTED, "linewidths": 0.7, "linestyles": ":", "zorder": 1.5}


def _beside(axes: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], **options: Any) -> None:
    """Write text some points (1/72 inch) away from a point of the diagram."""
    chosen: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, **options}
    axes.annotate(text, point, offset, textcoords="offset points", annotation_clip=False, **chosen)


def _levels(high: float) -> list[float]:
    levels = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(0.0, high)
    return [float(level) for level in levels if level > 0]


def _free(
    levels: list[float], inside: Callable[[np.ndarray], np.ndarray], places: np.ndarray, size: float
) -> list[tuple[float, complex]]:
    """Return a place on each circle around the truth where its radius can be written: far from models and texts."""
    taken = np.append(places, 1.0)
    found = []
    for level in levels:
        around = 1 + level * np.exp(1j * np.linspace(0, np.pi, 121))
        around = around[inside(around) & (abs(abs(around) - 1) > 0.5 * size)]  # not on the arc of the truth's deviation
        if around.size:
            room = abs(around[:, None] - taken).min(axis=1)
            place = around[np.argmax(np.minimum(room, 2 * size))]
            taken = np.append(taken, place)
            found.append((level, complex(place)))
    return found


def _name_contour(axes: Axes, x: float, y: float, level: float) -> None:
    text = axes.text(x, y, _text(level), fontsize=6, color=MUTED, ha="center", va="center", zorder=4)
    text.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _correlations(angle: float) -> list[float]:
    """Return round correlations whose angles, up to this one, are far enough apart to be named."""
    chosen: list[float] = []
    tenths = [round(0.1 * step, 1) for step in range(1, 10)]
    others = [round(1 - 10.0**-digits * step, 6) for digits in (2, 3, 4, 5) for step in range(1, 10)]
    candidates = [1.0, 0.0, -1.0, *tenths, *(-value for value in tenths), *_NAMED, *others]
    for value in candidates:
        at = np.arccos(value)
        if at <= angle + 1e-9 and all(abs(at - np.arccos(other)) >= angle / _TICKS for other in chosen):
            chosen.append(value)
    return sorted(chosen, reverse=True)


def _text(value: float) -> str:
    return f"{round(value, 6) + 0.0:g}".replace("-", "−")
