"""What a reader sees of a figure: its text, whether that can be read, and the lines of the legend."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def texts(figure: Figure) -> list[tuple[str, list[Bbox]]]:
    """All text that is drawn, and where: a text along a slope fills several boxes."""
    found: list[tuple[str, list[Bbox]]] = []
    draw = Text.draw

    def record(self: Text, renderer: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            found.append((self.get_text(), _boxes(self, renderer)))
        draw(self, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        FigureCanvasAgg(figure).draw()
    return found


def _boxes(text: Text, renderer: Any) -> list[Bbox]:
    angle = text.get_rotation()
    box = Text.get_window_extent(text, renderer)
    if angle % 90 == 0:
        return [box]
    text.set_rotation(0)
    level = Text.get_window_extent(text, renderer)
    text.set_rotation(angle)
    way = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]) * (level.width - level.height) / 2
    middles = [np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2 + part * way for part in np.linspace(-1, 1, 9)]
    half = level.height / 2
    return [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in middles]


def text_of(figure: Figure) -> str:
    return "\n".join(text for text, _ in texts(figure))


def require_readable(figure: Figure) -> None:
    """No text lies over another one or beyond the edge."""
    found = [(text, box) for text, boxes in texts(figure) for box in boxes]
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in found:
        assert -1 < box.x0 < box.x1 < width + 1, text
        assert -1 < box.y0 < box.y1 < height + 1, text
    for (text, box), (other, around) in combinations(found, 2):
        overlap = min(box.x1, around.x1) - max(box.x0, around.x0), min(box.y1, around.y1) - max(box.y0, around.y0)
        assert text == other == "correlation" or min(overlap) < 1, f"{text!r} lies over {other!r}"


def lines(axes: Axes) -> dict[str, Line2D]:
    """The lines of a colour and marker, by the model that the legend has them for."""
    assert axes.figure is not None
    key = {_look(entry): str(entry.get_label()) for entry in axes.figure.legends[0].get_lines()}
    return {key[_look(line)]: line for line in axes.get_lines() if _look(line) in key}


def _look(line: Line2D) -> tuple[object, ...]:
    return line.get_color() if line.get_linestyle() != "None" else line.get_markeredgecolor(), line.get_marker()


def spectrum(factor: float = 1.0, **attributes: str) -> xr.DataArray:
    numbers = xr.DataArray(np.arange(1, 33) / 640, dims="wavenumber", attrs={"units": "km-1"} | attributes)
    return factor * xr.DataArray(30.0 * np.arange(1.0, 33) ** -2.5, {"wavenumber": numbers}, ["wavenumber"])
