"""The part of a source that a target needs."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.grids import Grid, needed_box

from .conftest import KINDS, made_up


def regular(south: float, north: float, west: float, east: float, step: float) -> Grid:
    lat, lon = (np.arange(lower + step / 2, upper, step) for lower, upper in ((south, north), (west, east)))
    return Grid.of(xr.Dataset(coords={"lat": lat, "lon": lon}))


def test_regular_grids():
    source, target = regular(-90, 90, 0, 360, 1.0), regular(40, 45, 10, 20, 0.25)
    assert needed_box(source, target, 0) == (slice(130, 135), slice(10, 20))
    assert needed_box(source, target, 2) == (slice(128, 137), slice(8, 22))


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_conventions_of_longitudes_do_not_matter(turn):
    source = regular(-90, 90, 0, 360, 1.0)
    target = regular(40, 45, 190 + turn, 200 + turn, 0.25)
    assert needed_box(source, target, 1) == (slice(129, 136), slice(189, 201))


def test_a_target_on_both_ends_of_the_source_needs_all_columns():
    source, target = regular(-90, 90, 0, 360, 1.0), regular(40, 45, -5, 5, 0.25)
    assert needed_box(source, target, 1) == (slice(129, 136), slice(0, 360))
    assert needed_box(regular(-90, 90, -180, 180, 1.0), target, 1) == (slice(129, 136), slice(174, 186))


def test_a_target_around_a_pole_needs_all_rows_up_to_it():
    rlat, rlon = np.arange(35.25, 44, 0.5), np.arange(-4.25, 4.5, 0.5)
    crs = xr.DataArray(0, attrs=made_up("rotated")["crs"].attrs)
    target = Grid.of(xr.Dataset(coords={"rlat": rlat, "rlon": rlon, "crs": crs}))
    rows, columns = needed_box(regular(-90, 90, 0, 360, 1.0), target, 0)
    assert rows.stop == 180
    assert 170 < rows.start < 176
    assert columns == slice(0, 360)


def test_the_margin_ends_with_the_source():
    source = regular(40, 45, 10, 20, 1.0)
    assert needed_box(source, source, 3) == (slice(0, 5), slice(0, 10))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", KINDS)
def test_every_cell_of_the_target_lies_in_the_box(kind, of):
    """The outer corners of the box lie around all centres of the target."""
    whole = Grid.of(made_up(kind, rows=40, columns=60))
    middle = whole.subset(slice(19, 22), slice(28, 32))
    target = Grid.of(made_up(of, rows=20, columns=20)) if kind == of else middle
    rows, columns = needed_box(whole, target, 0)
    part = whole.subset(rows, columns)
    assert part.shape[0] < 40 or part.shape[1] < 60
    for name, edges in (("lat", part.corners[0]), ("lon", part.corners[1])):
        assert edges.min() <= getattr(target, name).min()
        assert edges.max() >= getattr(target, name).max()


@pytest.mark.parametrize("name", ["racmo", "po", "stageiv", "crcm5"])
def test_real_files(field_from, name):
    whole = Grid.of(field_from(name))
    target = whole.subset(slice(10, 20), slice(12, 20)).coarsened(2)
    rows, columns = needed_box(whole, target, 0)
    assert (rows.start, columns.start) in {(9, 11), (10, 12), (9, 12), (10, 11)}
    assert rows.stop in (20, 21)
    assert columns.stop in (20, 21)
