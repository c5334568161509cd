"""Figures of what predictions depend on: bars of inputs, and maps of where a network looks."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dl4ds_core import figures
from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import Canvas
from dl4ds_core.figures.style import ACCENT, BASELINE, NETWORK
from dl4ds_core.grids import Grid, coarsen

INPUTS = {"tas": "coarse", "z_500": "predictor", "elevation": "static", "calendar.day_of_year": "calendar"}
INCREASES = {"tas": 2.0, "z_500": 0.0, "elevation": 0.5, "calendar.day_of_year": -0.01}


def table(variables: tuple[str, ...] = ("tas",), repeats: int = 3, unit: str = "K") -> pd.DataFrame:
    rows = [
        (variable, name, kind, repeat + 1, 0.7, INCREASES[name] * (1 + 0.1 * repeat) / (1 + number), unit)
        for number, variable in enumerate(variables)
        for name, kind in INPUTS.items()
        for repeat in range(repeats)
    ]
    found = pd.DataFrame(rows, columns=["variable", "input", "kind", "repeat", "reference", "increase", "unit"])
    return found.assign(rmse=found["reference"] + found["increase"])


def fields(
    kind: str = "latlon", cells: tuple[str, ...] = ("middle",), inputs: tuple[str, ...] = ("tas",)
) -> xr.Dataset:
    """As of ``explaining.saliency``, of fine cells 9, 14 and those above."""
    fine = field_on(kind, steps=2)
    grid = Grid.of(fine)
    coarse = Grid.of(coarsen(fine, grid, 4)[0])
    values = np.random.default_rng(1).uniform(size=(len(cells), len(inputs), *coarse.shape))
    rows = 9 + np.arange(len(cells))
    places = {"lat": grid.lat[rows, 14], "lon": grid.lon[rows, 14]}
    if kind in ("rotated", "projected"):
        y, x = grid.centres
        places |= {grid.dims[0]: y[rows], grid.dims[1]: np.repeat(x[14], len(cells))}
    found = xr.Dataset(
        {"tas_saliency": (("cell", "input", *coarse.dims), values, {"units": "K"})}, coords=coarse.coordinates()
    )
    return found.assign_coords(
        {"cell_name": ("cell", list(cells)), "input_name": ("input", list(inputs))}
        | {f"cell_{name}": ("cell", where) for name, where in places.items()}
    )


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def require_readable(figure: Figure) -> None:
    """No text that is drawn lies over another one or beyond the edge."""
    found: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def record(self: Text, renderer: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            found.append((self.get_text(), Text.get_window_extent(self, renderer)))
        draw(self, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        FigureCanvasAgg(figure).draw()
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in found:
        assert -1 < box.x0 < box.x1 < width + 1, text
        assert -1 < box.y0 < box.y1 < height + 1, text
    for (text, box), (other, around) in combinations(found, 2):
        overlap = min(box.x1, around.x1) - max(box.x0, around.x0), min(box.y1, around.y1) - max(box.y0, around.y0)
        assert min(overlap) < 1, f"{text!r} lies over {other!r}"


class TestImportance:
    def test_bars_are_means_and_dots_are_repeats(self) -> None:
        axes = figures.importance(table()).axes[0]
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names == ["tas", "elevation", "z_500", "calendar.day_of_year"], "the most important first"
        widths = [patch.get_width() for patch in axes.patches]
        np.testing.assert_allclose(widths, [1.1 * INCREASES[name] for name in names])
        dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
        np.testing.assert_allclose(dots[1].get_xdata(), [0.5, 0.55, 0.6])
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
        assert axes.get_xlim()[0] < -0.01

    def test_kinds_have_colours_that_the_legend_explains(self) -> None:
        figure = figures.importance(table())
        colours = [patch.get_facecolor() for patch in figure.axes[0].patches]
        assert colours[:3] == [to_rgba(colour) for colour in (NETWORK, ACCENT, BASELINE)]
        explained = [text.get_text() for text in figure.legends[0].get_texts()]
        assert explained == ["coarse predictand", "predictor", "static field", "calendar", "one permutation"]

    def test_what_is_not_drawn_is_not_explained(self) -> None:
        rows = table(repeats=1)
        figure = figures.importance(rows[rows["input"] == "tas"])
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["coarse predictand"]
        assert not [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]

    @pytest.mark.parametrize("variables", [("tas",), ("tas", "pr"), ("tas", "pr", "wind", "humidity")])
    def test_a_panel_per_predictand_with_inputs_in_one_order(self, variables: tuple[str, ...]) -> None:
        figure = figures.importance(table(variables))
        assert [axes.get_title() for axes in figure.axes] == [f"{name}: RMSE 0.700 K" for name in variables]
        assert len({len(axes.patches) for axes in figure.axes}) == 1
        assert texts(figure).count("increase of the RMSE (K)") == len(variables)
        require_readable(figure)

    def test_numbers_stand_at_the_bars(self) -> None:
        found = texts(figures.importance(table()))
        assert {"2.2", "0.55", "0", "−0.011"} <= set(found)

    def test_nothing_matters(self) -> None:
        rows = table()
        rows["increase"] = 0.0
        assert texts(figures.importance(rows)).count("0") == 4

    @pytest.mark.parametrize(
        "given", [table().drop(columns="increase"), table()[:0]], ids=["without increase", "without rows"]
    )
    def test_what_cannot_be_drawn_is_refused(self, given: pd.DataFrame) -> None:
        with pytest.raises(DataError, match=r"expected the columns variable, input.*make importance.csv again"):
            figures.importance(given)


class TestSaliency:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_cell_is_marked_in_its_coarse_cell(self, kind: str) -> None:
        given = fields(kind)
        figure = figures.saliency(given, "tas")
        axes = figure.axes[0]
        assert axes.get_title() == "middle: tas"
        np.testing.assert_allclose(axes.collections[0].get_array(), given["tas_saliency"][0, 0])
        ring = next(line for line in axes.get_lines() if line.get_marker() == "o")
        (x,), (y,) = ring.get_xdata(), ring.get_ydata()
        # Fine cell 9, 14 lies in the second of four rows and the third of four columns of the coarse cell 2, 3.
        across, up = Canvas(Grid.of(given)).edges
        if across.ndim == 1:
            assert x == pytest.approx(across[3] + 0.625 * (across[4] - across[3]))
            assert y == pytest.approx(up[2] + 0.375 * (up[3] - up[2]))
        else:
            assert across[2, 3] < x < across[2, 4]
            assert up[2, 3] < y < up[3, 3]

    def test_all_maps_have_one_scale_from_zero(self) -> None:
        given = fields(cells=("London", "Leeds"), inputs=("tas", "z_500", "q_850"))
        given["tas_saliency"][0, 0] *= 10
        figure = figures.saliency(given, "tas")
        meshes = [axes.collections[0] for axes in figure.axes[:6]]
        assert {mesh.get_clim() for mesh in meshes} == {(0.0, float(given["tas_saliency"].max()))}
        titles = [axes.get_title() for axes in figure.axes[:6]]
        assert titles == [f"{cell}: {name}" for cell in ("London", "Leeds") for name in ("tas", "z_500", "q_850")]
        assert "Mean change of tas at the ring (K per standard deviation)" in texts(figure)

    @pytest.mark.parametrize(("cells", "inputs"), [(1, 2), (3, 1), (4, 1), (2, 5), (1, 7)])
    def test_nothing_lies_outside_the_figure(self, cells: int, inputs: int) -> None:
        given = fields(
            cells=tuple(f"place{number}" for number in range(cells)),
            inputs=tuple(f"predictor_{number}" for number in range(inputs)),
        )
        figure = figures.saliency(given, "tas")
        assert len([axes for axes in figure.axes if axes.get_title()]) == cells * inputs
        require_readable(figure)

    def test_a_network_that_looks_nowhere(self, tmp_path: Path) -> None:
        given = fields()
        given["tas_saliency"][:] = 0.0
        figures.save(figures.saliency(given, "tas"), tmp_path / "a.png")
        assert (tmp_path / "a.png").stat().st_size

    def test_what_cannot_be_drawn_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"expected pr_saliency .*found tas_saliency; make saliency.nc again"):
            figures.saliency(fields(), "pr")


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figures.save(figures.importance(table()), tmp_path / f"importance-{name}.png")
        figures.save(figures.saliency(fields(), "tas"), tmp_path / f"saliency-{name}.png")
    for kind in ("importance", "saliency"):
        assert (tmp_path / f"{kind}-a.png").read_bytes() == (tmp_path / f"{kind}-b.png").read_bytes()
