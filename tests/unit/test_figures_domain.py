"""The map of the domain."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on

from dl4ds_core import figures
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid


def mean_on(kind: str) -> xr.DataArray:
    field = field_on(kind, steps=2)
    return field.mean("time", keep_attrs=True).where(np.arange(field[0].size).reshape(field[0].shape) > 40)


@pytest.mark.parametrize("kind", KINDS)
def test_borders_and_cells_lie_where_the_grid_has_them(kind: str) -> None:
    field = mean_on(kind)
    rows, columns = field.shape
    figure = figures.domain_map(field, scale=4, cells={"here": (4, 8)})
    axes = figure.axes[0]
    assert axes.get_title() == f"{rows} × {columns} cells, {rows // 4} × {columns // 4} coarse cells"
    *borders, place = axes.lines
    assert len(borders) == rows // 4 + 1 + columns // 4 + 1
    left, right, bottom, top = (*axes.get_xlim(), *axes.get_ylim())
    for line in borders:
        assert min(line.get_xdata()) >= left - 1e-6
        assert max(line.get_xdata()) <= right + 1e-6
    # The first cell of a block of coarse cells: between two borders in both directions, near the first of them.
    (across,), (up,) = place.get_data()
    grid = Grid.of(field)
    if kind == "latlon":
        assert (across, up) == pytest.approx((grid.lon[4, 8], grid.lat[4, 8]))
        assert across - borders[rows // 4 + 1 + 2].get_xdata()[0] == pytest.approx(
            0.5 * abs(grid.lon[0, 1] - grid.lon[0, 0])
        )
    assert left < across < right
    assert bottom < up < top
    assert "here" in {text.get_text() for text in axes.texts}
    assert figure.get_figheight() <= 4.2 + 1e-9


def test_borders_of_very_many_coarse_cells_are_not_drawn() -> None:
    lat, lon = np.linspace(0, 40, 168), np.linspace(0, 10, 16)
    names = ({"units": "degrees_north"}, {"units": "degrees_east"})
    coordinates = {"lat": ("lat", lat, names[0]), "lon": ("lon", lon, names[1])}
    field = xr.DataArray(np.zeros((168, 16)), coordinates, ("lat", "lon"), "t", {"units": "K"})
    assert not figures.domain_map(field, scale=2).axes[0].lines
    assert figures.domain_map(field, scale=4).axes[0].lines


def test_a_field_of_land_of_other_cells_is_refused() -> None:
    field = mean_on("latlon")
    with pytest.raises(DataError, match="field of land: expected a field"):
        figures.domain_map(field, scale=4, land=field[1:])
