"""The map of the domain."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dl4ds_core import figures
from dl4ds_core.errors import DataError
from dl4ds_core.figures.canvas import Canvas
from dl4ds_core.grids import Grid


def mean_on(kind: str) -> xr.DataArray:
    field = field_on(kind, steps=2)
    return field.mean("time", keep_attrs=True).where(np.arange(field[0].size).reshape(field[0].shape) > 40)


@pytest.mark.parametrize("kind", KINDS)
def test_borders_and_cells_lie_where_the_grid_has_them(kind: str) -> None:
    field = mean_on(kind)
    rows, columns = field.shape
    cell = (4, 9)
    axes = figures.domain_map(field, scale=4, cells={"here": cell}).axes[0]
    assert axes.get_title() == f"{rows} × {columns} cells, {rows // 4} × {columns // 4} coarse cells"
    *borders, place = axes.lines
    across, up = Canvas(Grid.of(field)).edges
    if across.ndim == 1:
        across, up = np.meshgrid(across, up)
    expected = [(across[row], up[row]) for row in range(0, rows + 1, 4)]
    expected += [(across[:, column], up[:, column]) for column in range(0, columns + 1, 4)]
    for border, line in zip(borders, expected, strict=True):
        np.testing.assert_allclose(border.get_data(), line)
    # The middle of the cell is that of its corners.
    corners = np.s_[cell[0] : cell[0] + 2, cell[1] : cell[1] + 2]
    np.testing.assert_allclose(np.ravel(place.get_data()), [across[corners].mean(), up[corners].mean()], atol=0.5)
    assert "here" in {text.get_text() for text in axes.texts}


def latlon(rows: int, columns: int) -> xr.DataArray:
    lat, lon = 40 + 0.25 * np.arange(rows), 5 + 0.25 * np.arange(columns)
    coordinates = {
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    values = np.random.default_rng(1).normal(size=(rows, columns))
    return xr.DataArray(values, coordinates, ("lat", "lon"), "t", {"units": "K", "long_name": "2 metre temperature"})


@pytest.mark.parametrize("shape", [(120, 40), (160, 32), (32, 48), (16, 96)])
def test_nothing_is_cut_off(shape: tuple[int, int]) -> None:
    cells = {"largest error": (shape[0] - 1, shape[1] - 1), "typical error": (0, 0)}
    figure = figures.domain_map(latlon(*shape), scale=4, cells=cells)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    axes, bar = figure.axes
    for text in (axes.title, *axes.texts, bar.yaxis.label):
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    assert figure.get_figheight() <= 4.2 + 1e-9


def test_borders_of_very_many_coarse_cells_are_not_drawn() -> None:
    field = latlon(168, 16)
    assert not figures.domain_map(field, scale=2).axes[0].lines
    assert figures.domain_map(field, scale=4).axes[0].lines


def test_a_field_of_land_of_other_cells_is_refused() -> None:
    field = mean_on("latlon")
    with pytest.raises(DataError, match="field of land: expected a field"):
        figures.domain_map(field, scale=4, land=field[1:])
