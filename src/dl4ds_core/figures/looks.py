"""How models look in figures that compare them: the same in all figures, networks and baselines told apart."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dl4ds_core.config import BASELINES
from dl4ds_core.errors import DataError
from dl4ds_core.figures.style import BASELINE, MUTED, NETWORK

# Networks are cool and drawn through, baselines warm and dashed. Within each kind, colours differ in lightness too, so
# that colour-blind readers tell them apart.
_COOL = (NETWORK, "#009E73", "#2B1E78", "#66C2EE", "#004D40")
_WARM = (BASELINE, "#E69F00", "#7A1F4E", "#CC79A7", MUTED)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[tuple[float, ...], ...] = ((4, 1.4), (1, 1), (6, 1.2, 1, 1.2))

TRUTH = "#000000"
GRID = "#E4E4E4"
BAND = "#F4F4F4"

_MOST_COLUMNS = 5
_LETTER, _HANDLE, _ROW = 0.06, 0.55, 0.155  # inches: width of a letter, of what stands beside it, height of a row


@dataclass(frozen=True)
class Look:
    """Colour, marker and dashes of a model.

    Attributes
    ----------
    colour : str
        Of line and marker.
    marker : str
        In matplotlib's letters; filled for networks, open for baselines.
    dashes : tuple of float
        Lengths of dashes and spaces in line widths; empty for networks.
    """

    colour: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def line(self) -> dict[str, Any]:
        """What makes a line look so, without marker."""
        return {"color": self.colour, "linestyle": (0, self.dashes) if self.dashes else "-"}

    @property
    def dot(self) -> dict[str, Any]:
        """What makes a marker look so."""
        return {
            "marker": self.marker,
            "markersize": 4.5,
            "markeredgecolor": self.colour,
            "markerfacecolor": "white" if self.dashes else self.colour,
            "markeredgewidth": 0.9,
        }


def looks(models: Iterable[str], networks: Collection[str]) -> dict[str, Look]:
    """Return the look of each model, networks first.

    It depends on the place in ``networks`` and in the list of all baselines, not on what else a figure shows: so a
    model looks the same in all figures that are given the same networks.

    Parameters
    ----------
    models : iterable of str
        Names of those shown.
    networks : collection of str
        Names of all trained models, in an order if it is a sequence or a mapping, else by alphabet; all others are
        baselines.

    Raises
    ------
    DataError
        If there is no model.
    """
    shown = list(dict.fromkeys(models))
    if not shown:
        raise DataError("expected at least one model to show, found none; predict and verify the models first")
    ordered = list(networks) if isinstance(networks, Sequence | Mapping) else sorted(networks)
    others = [*BASELINES, *(name for name in shown if name not in ordered and name not in BASELINES)]
    trained = {name: _of_network(ordered.index(name)) for name in sorted(set(shown) & set(ordered), key=ordered.index)}
    simple = [name for name in others if name in shown and name not in trained]
    return trained | {name: _of_baseline(others.index(name)) for name in simple}


def handles(shown: Mapping[str, Look], *, line: bool = True, dot: bool = True) -> list[Line2D]:
    """Return what explains the models in a legend, by line, marker or both."""
    found = []
    for name, look in shown.items():
        options = (look.line if line else {"linestyle": ""}) | (look.dot if dot else {})
        found.append(Line2D([], [], label=name, **options))
    return found


def legend_below(figure: Figure, entries: Sequence[Line2D]) -> None:
    """Explain models and lines below the axes, in as many columns as their names leave room for.

    The figure becomes as much higher as the legend is, which needs a layout engine that makes room for it.
    """
    figure.set_figheight(figure.get_figheight() + legend_height(entries, figure.get_figwidth()))
    draw_legend(figure, entries, "outside lower center")


def legend_height(entries: Sequence[Line2D], width: float) -> float:
    """Return the height of a legend in a figure of some width, inches."""
    return _ROW * math.ceil(len(entries) / _columns(entries, width))


def draw_legend(
    figure: Figure, entries: Sequence[Line2D], place: Literal["outside lower center", "lower center"]
) -> None:
    """Explain models and lines at the lower edge, outside of the room of a layout engine or not."""
    columns = _columns(entries, figure.get_figwidth())
    figure.legend(handles=list(entries), loc=place, ncols=columns, handlelength=2.6, columnspacing=1.4)


def _columns(entries: Sequence[Line2D], width: float) -> int:
    """Return how many columns, filled one after the other, fit into a width in inches."""
    labels = [str(entry.get_label()) for entry in entries]
    for columns in range(min(len(labels), _MOST_COLUMNS), 1, -1):
        rows = math.ceil(len(labels) / columns)
        longest = [max(map(len, labels[first : first + rows])) for first in range(0, len(labels), rows)]
        if len(longest) == columns and sum(_HANDLE + _LETTER * letters for letters in longest) <= width:
            return columns
    return 1


def _of_network(place: int) -> Look:
    return Look(_COOL[place % len(_COOL)], _MARKERS[place % len(_MARKERS)], ())


def _of_baseline(place: int) -> Look:
    return Look(_WARM[place % len(_WARM)], _MARKERS[place % len(_MARKERS)], _DASHES[place % len(_DASHES)])
