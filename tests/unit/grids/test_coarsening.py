"""Block means: bitwise reproducible, conservative with and without missing cells, against loops and cdo."""

from __future__ import annotations

import shutil
import subprocess

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid, coarsen, horizontal, whole_blocks

from .conftest import KINDS, made_up

EXACT = ("latlon", "rotated", "laea")


def means_without_missing(field: xr.DataArray, grid: Grid, scale: int) -> xr.DataArray:
    """The block means of the first version of this package, which knew complete fields only."""
    blocks = dict.fromkeys(horizontal(field), scale)
    weights = grid.area.assign_coords({dim: field[dim] for dim in blocks if dim in field.coords})
    total = (field.astype(np.float64) * weights).coarsen(blocks).reduce(np.sum)
    return (total / weights.coarsen(blocks).sum().values).transpose(*field.dims)


@given(
    kind=st.sampled_from(KINDS),
    scale=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 2**16),
    missing=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_the_mean_over_valid_area_is_conserved(kind, scale, seed, missing):
    field = made_up(kind, rows=12, columns=12, steps=2, seed=seed)
    grid = Grid.of(field)
    field = field.where(np.random.default_rng(seed).random(field.shape) >= missing)
    mean, fraction = coarsen(field, grid, scale, min_valid_fraction=0.0)
    assert np.array_equal(mean.isnull(), fraction == 0)
    fine, coarse = grid.area.values, grid.area.values.reshape(12 // scale, scale, 12 // scale, scale).sum(axis=(1, 3))
    if kind in EXACT:
        np.testing.assert_allclose(coarse, grid.coarsened(scale).area, rtol=1e-12)
    for step in range(2):
        values = field.values[step]
        np.testing.assert_allclose(
            np.sum(coarse * fraction.values[step]), np.sum(fine, where=np.isfinite(values)), atol=1e-15
        )
        before = np.nansum(fine * values)
        after = np.nansum(coarse * fraction.values[step] * mean.values[step])
        assert after == pytest.approx(before, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_complete_fields_give_every_bit_as_before(kind, lazy):
    field = made_up(kind, rows=24, columns=36, steps=50).astype(np.float32)
    grid = Grid.of(field)
    field = field.chunk({"time": 7}) if lazy else field
    for scale in (2, 3, 4, 12):
        mean, fraction = coarsen(field, grid, scale)
        np.testing.assert_array_equal(mean.values, means_without_missing(field, grid, scale).values)
        assert np.all(fraction.values == 1.0)


def test_missing_cells_elsewhere_change_no_bit():
    field = made_up("latlon", rows=24, columns=36, steps=5).astype(np.float32)
    grid = Grid.of(field)
    whole, _ = coarsen(field, grid, 4)
    field[:, 0:4, 0:4] = np.nan
    part, _ = coarsen(field, grid, 4)
    np.testing.assert_array_equal(part[:, 1:].values, whole[:, 1:].values)
    assert np.all(part[:, 0, 0].isnull())


@pytest.mark.parametrize("kind", KINDS)
def test_against_a_loop_over_cells(kind):
    field = made_up(kind, rows=6, columns=9, steps=2)
    field[1, 3, 4:7] = np.nan
    grid = Grid.of(field)
    mean, fraction = coarsen(field, grid, 3, min_valid_fraction=0.0)
    area = grid.area.values
    for row in range(2):
        for column in range(3):
            total = weight = whole = 0.0
            for i in range(3 * row, 3 * row + 3):
                for j in range(3 * column, 3 * column + 3):
                    whole += area[i, j]
                    if np.isfinite(field.values[1, i, j]):
                        total += area[i, j] * field.values[1, i, j]
                        weight += area[i, j]
            assert float(mean[1, row, column]) == pytest.approx(total / weight, rel=1e-12)
            assert float(fraction[1, row, column]) == pytest.approx(weight / whole, rel=1e-12)


@pytest.mark.parametrize(("least", "kept"), [(0.0, 3), (0.25, 3), (0.5, 2), (0.75, 1), (1.0, 1)])
def test_blocks_with_too_little_valid_area_are_missing(least, kept):
    # On an equal-area grid, so that the shares of area are 0, 1/4, 1/2, and 1.
    field = made_up("laea", rows=2, columns=8)
    field[:, 0:2] = np.nan
    field[0, 2:4] = np.nan
    field[1, 2] = np.nan
    field[0, 4:6] = np.nan
    mean, fraction = coarsen(field, Grid.of(field), 2, min_valid_fraction=least)
    np.testing.assert_allclose(fraction.values, [[0, 0.25, 0.5, 1]])
    assert int(mean.notnull().sum()) == kept


@pytest.mark.parametrize("kind", KINDS)
def test_names_units_and_grid_go_along(kind):
    field = made_up(kind, steps=3).assign_coords(time=[0, 1, 2])
    grid = Grid.of(field)
    mean, fraction = coarsen(field, grid, 4)
    assert mean.dims == fraction.dims == field.dims
    assert (mean.name, fraction.name) == ("tas", "tas_valid_fraction")
    assert {key: mean.attrs[key] for key in field.attrs} == field.attrs
    assert fraction.attrs["units"] == "1"
    assert mean["time"].equals(field["time"])
    assert Grid.of(mean).digest == Grid.of(fraction).digest == grid.coarsened(4).digest


def test_large_fields_stay_lazy():
    field = made_up("latlon", rows=24, columns=36)
    values = dask.array.ones((100, 24, 36), chunks=(10, 24, 36), dtype=np.float32)
    lazy = xr.DataArray(values, {name: field[name] for name in ("lat", "lon")}, ("time", "lat", "lon"), "tas")
    for part in coarsen(lazy, Grid.of(field), 4):
        assert part.chunks[0] == (10,) * 10
        # No block of the graph reaches over more than one chunk of time.
        assert part.data.nbytes == 100 * 6 * 9 * 8


def test_another_grid_is_refused():
    with pytest.raises(DataError, match="8 x 12 cells, the grid 4 x 12"):
        coarsen(made_up("latlon"), Grid.of(made_up("latlon", rows=4)), 2)


@given(st.integers(2, 100), st.integers(2, 100), st.integers(2, 16))
def test_whole_blocks(rows, columns, scale):
    kept = whole_blocks((rows, columns), scale)
    for size, all_of_them in zip(kept, (rows, columns), strict=True):
        assert size % scale == 0
        assert 0 <= all_of_them - size < scale


def test_real_files_conserve_their_means(real_field):
    rows, columns = whole_blocks(real_field.shape, 4)
    part = real_field[:rows, :columns].astype(np.float64)
    grid = Grid.of(part)
    mean, fraction = coarsen(part, grid, 4, min_valid_fraction=0.0)
    covered = grid.coarsened(4).area.values * fraction.values
    before = np.nansum(grid.area.values * part.values) / np.sum(grid.area.values, where=np.isfinite(part.values))
    spread = float(part.std())
    # Coarse cells of conformal and curvilinear grids have the area of their own polygon, not of their fine cells'.
    tolerance = 1e-12 * abs(before) if grid.kind in ("latlon", "rotated") else 2e-5 * spread
    assert np.nansum(covered * mean.values) / covered.sum() == pytest.approx(before, abs=tolerance)


@pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed: nothing to compare with")
@pytest.mark.parametrize("kind", KINDS)
def test_cdo_agrees(kind, tmp_path):
    """First-order conservative remapping to the coarse cells is the same; cdo's cells have great circles for sides."""
    field = made_up(kind, rows=16, columns=24)
    field = field.where(np.random.default_rng(3).random(field.shape) > 0.3)
    grid = Grid.of(field)
    (tmp_path / "fine.txt").write_text(grid.cdo_description())
    (tmp_path / "coarse.txt").write_text(grid.coarsened(4).cdo_description())
    xr.DataArray(field.values, dims=("y", "x"), name="tas").to_netcdf(tmp_path / "in.nc")
    command = ["cdo", "-s", "-f", "nc4", "-b", "F64", "-remapcon,coarse.txt", "-setgrid,fine.txt", "in.nc", "out.nc"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    with xr.open_dataset(tmp_path / "out.nc") as dataset:
        expected = dataset["tas"].values
    # Of deviations of 5 K, what the slivers between great circles and parallels, or coarse and fine sides, hold.
    np.testing.assert_allclose(coarsen(field, grid, 4, 0.0)[0].values, expected, atol=0.02)
