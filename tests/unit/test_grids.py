"""Grids: bounds, exact areas, coarsening that conserves."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from dl4ds_core import io
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid, coarsen, whole_blocks
from dl4ds_core.regrid import cdo_grid, fine_field

SCALES = (2, 3, 4, 5, 8)
CASES = {
    "era5": ("era5-uk/era5_t2m_hourly_2019-03_uk.nc", "t2m"),
    "demo": ("", "air_temperature"),
}


def spherical_area(lower: float, upper: float, west: float, east: float) -> float:
    """Area of a latitude-longitude cell on the unit sphere, in closed form."""
    return math.radians(east - west) * (math.sin(math.radians(upper)) - math.sin(math.radians(lower)))


def grid_of(lat: np.ndarray, lon: np.ndarray) -> Grid:
    return Grid.of(xr.Dataset(coords={"lat": lat, "lon": lon}))


@pytest.fixture(params=list(CASES))
def real(request: pytest.FixtureRequest) -> tuple[Path, str]:
    """A real file and the name of its variable."""
    path, variable = CASES[request.param]
    if request.param == "demo":
        return request.getfixturevalue("demo_file"), variable
    return request.getfixturevalue("data_dir") / path, variable


class TestGrid:
    def test_bounds_lie_half_way(self):
        grid = grid_of(np.array([10.0, 11.0, 13.0]), np.array([0.0, 2.0]))
        assert grid.lat_bounds.tolist() == [9.5, 10.5, 12.0, 14.0]
        assert grid.lon_bounds.tolist() == [-1.0, 1.0, 3.0]
        assert grid.shape == (3, 2)

    def test_bounds_given_are_used(self, field_of):
        field = field_of(rows=2, columns=2)
        pairs = ("lat", "bnds"), np.array([[39.0, 40.4], [40.4, 45.0]])
        assert Grid.of(field.to_dataset().assign_coords(lat_bnds=pairs)).lat_bounds.tolist() == [39.0, 40.4, 45.0]

    def test_poles_end_the_grid(self):
        grid = grid_of(np.linspace(-90, 90, 19), np.arange(0.0, 360.0, 10.0))
        assert grid.lat_bounds[0] == -90.0
        assert grid.lat_bounds[-1] == 90.0
        assert float(grid.area.sum()) == pytest.approx(4 * math.pi, rel=1e-14)

    def test_a_gaussian_grid_covers_the_sphere(self):
        lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))
        lon = np.arange(0.0, 360.0, 5.625)
        area = grid_of(lat, lon).area.values
        assert np.ptp(area, axis=1).max() < 1e-15
        # The outermost edges lie half a spacing beyond the last centre, not at the pole.
        edges = grid_of(lat, lon).lat_bounds
        assert area.sum() == pytest.approx(spherical_area(edges[0], edges[-1], 0.0, 360.0), rel=1e-14)

    def test_areas_are_exact(self):
        grid = grid_of(np.array([49.0, 50.0, 51.5]), np.array([3.0, 4.0]))
        expected = [
            [spherical_area(*lat, *lon) for lon in ((2.5, 3.5), (3.5, 4.5))]
            for lat in ((48.5, 49.5), (49.5, 50.75), (50.75, 52.25))
        ]
        np.testing.assert_allclose(grid.area, expected, rtol=1e-13)
        assert grid.area.attrs["units"] == "sr"

    @pytest.mark.parametrize(
        "lat",
        [[1.0], [2.0, 1.0], [1.0, 1.0], [1.0, float("nan")], [0.0, float("inf")]],
        ids=["one", "descending", "twice", "nan", "infinite"],
    )
    def test_axes_that_make_no_grid_are_refused(self, lat):
        with pytest.raises(DataError, match="lat"):
            grid_of(np.array(lat), np.array([0.0, 1.0]))

    def test_coordinates_are_cf(self):
        coordinates = grid_of(np.array([49.0, 50.0]), np.array([3.0, 4.0, 5.0])).coordinates()
        assert coordinates["lat"].attrs["units"] == "degrees_north"
        assert coordinates["lon"].attrs["axis"] == "X"
        assert coordinates["lat"].attrs["bounds"] == "lat_bnds"
        assert coordinates["lon_bnds"].values.tolist() == [[2.5, 3.5], [3.5, 4.5], [4.5, 5.5]]

    def test_a_grid_survives_its_own_coordinates(self):
        lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(12)[0]))
        coarse = grid_of(lat, np.arange(12.0)).coarsened(4)
        again = Grid.of(xr.Dataset(coords=coarse.coordinates()))
        for name in ("lat", "lon", "lat_bounds", "lon_bounds"):
            np.testing.assert_array_equal(getattr(again, name), getattr(coarse, name))

    def test_a_scale_that_does_not_divide_is_refused(self):
        with pytest.raises(DataError, match="4 x 6 cells can't be coarsened by 4"):
            grid_of(np.arange(4.0), np.arange(6.0)).coarsened(4)

    @given(st.integers(2, 100), st.integers(2, 100), st.integers(2, 16))
    def test_whole_blocks(self, rows, columns, scale):
        kept = whole_blocks((rows, columns), scale)
        for size, all_of_them in zip(kept, (rows, columns), strict=True):
            assert size % scale == 0
            assert 0 <= all_of_them - size < scale


class TestCoarsen:
    def test_against_a_loop_over_cells(self, field_of):
        field = field_of(steps=2, rows=6, columns=9, step=5.0)
        coarse = coarsen(field, Grid.of(field), 3)
        edges = Grid.of(field)
        for row in range(2):
            for column in range(3):
                total = weight = 0.0
                for i in range(3 * row, 3 * row + 3):
                    for j in range(3 * column, 3 * column + 3):
                        area = spherical_area(*edges.lat_bounds[i : i + 2], *edges.lon_bounds[j : j + 2])
                        total += area * float(field.values[1, i, j])
                        weight += area
                assert float(coarse[1, row, column]) == pytest.approx(total / weight, rel=1e-12)

    def test_units_time_and_name_are_kept(self, field_of):
        field = field_of(calendar="360_day")
        coarse = coarsen(field, Grid.of(field), 4)
        assert coarse.name == "tas"
        assert coarse.attrs == field.attrs
        assert coarse.dims == field.dims
        assert coarse["time"].equals(field["time"])
        assert coarse["lat"].values.tolist() == [40.75, 42.75]

    @pytest.mark.parametrize("scale", SCALES)
    def test_the_area_weighted_mean_is_conserved(self, real, scale):
        field = fine_field(*real, None, None, scale)
        grid = Grid.of(field)
        coarse = coarsen(field, grid, scale).astype(np.float32)  # as it is written
        fine_area, coarse_area = grid.area.values, grid.coarsened(scale).area.values
        assert coarse_area.sum() == pytest.approx(fine_area.sum(), rel=1e-13)
        before = np.average(field.values.astype(np.float64).reshape(len(field), -1), weights=fine_area.ravel(), axis=1)
        after = np.average(
            coarse.values.astype(np.float64).reshape(len(field), -1), weights=coarse_area.ravel(), axis=1
        )
        np.testing.assert_allclose(after, before, rtol=1e-6)

    @pytest.mark.parametrize("scale", [2, 4, 8])
    def test_cdo_agrees(self, real, scale, tmp_path):
        if shutil.which("cdo") is None:
            pytest.skip("cdo is not installed, so there is nothing to compare with")
        field = fine_field(*real, None, None, scale).isel(time=[0, -1])
        grid = Grid.of(field)
        fine_text, coarse_text = tmp_path / "fine.txt", tmp_path / "coarse.txt"
        fine_text.write_text(cdo_grid(grid))
        coarse_text.write_text(cdo_grid(grid.coarsened(scale)))
        field.rename("x").to_netcdf(tmp_path / "in.nc")
        command = ["cdo", "-s", "-f", "nc4", "-b", "F64", f"-remapcon,{coarse_text}", f"-setgrid,{fine_text}"]
        subprocess.run([*command, str(tmp_path / "in.nc"), str(tmp_path / "out.nc")], check=True, capture_output=True)
        expected = io.open_variable(tmp_path / "out.nc", "x", "K").values
        np.testing.assert_allclose(coarsen(field, grid, scale).values, expected, rtol=1e-4)
