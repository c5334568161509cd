"""Axes, centres, corners and exact areas of all kinds of grids."""

from __future__ import annotations

import math
import shutil
import subprocess

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid, horizontal, projections, sphere, with_bounds

from .conftest import KINDS

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed: nothing to compare with")


def spherical_area(lower: float, upper: float, west: float, east: float) -> float:
    """Area of a latitude-longitude cell on the unit sphere, in closed form."""
    return math.radians(east - west) * (math.sin(math.radians(upper)) - math.sin(math.radians(lower)))


def grid_of(lat: np.ndarray, lon: np.ndarray, dims: tuple[str, str] = ("lat", "lon"), **more) -> Grid:
    return Grid.of(xr.Dataset(coords={dims[0]: lat, dims[1]: lon, **more}))


class TestLatitudeLongitude:
    def test_bounds_lie_half_way(self):
        grid = grid_of(np.array([10.0, 11.0, 13.0]), np.array([0.0, 2.0]))
        assert grid.y_bounds.tolist() == [9.5, 10.5, 12.0, 14.0]
        assert grid.x_bounds.tolist() == [-1.0, 1.0, 3.0]
        assert grid.shape == (3, 2)
        assert grid.kind == "latlon"
        assert grid.dims == ("lat", "lon")

    def test_centres_are_two_dimensional(self):
        grid = grid_of(np.array([10.0, 11.0, 13.0]), np.array([0.0, 2.0]))
        assert grid.lat.tolist() == [[10, 10], [11, 11], [13, 13]]
        assert grid.lon.tolist() == [[0, 2]] * 3

    def test_corners_go_counter_clockwise_from_the_lowest(self):
        lat, lon = grid_of(np.array([10.0, 11.0, 13.0]), np.array([0.0, 2.0])).corners
        assert lat[2, 0].tolist() == [12, 12, 14, 14]
        assert lon[2, 0].tolist() == [-1, 1, 1, -1]

    @pytest.mark.parametrize("pairs", [[[39.0, 40.4], [40.4, 45.0]], [[40.4, 39.0], [45.0, 40.4]]], ids=["up", "down"])
    def test_bounds_given_are_used(self, field_on, pairs):
        field = with_bounds(field_on("latlon", rows=2), {"lat_bnds": xr.DataArray(pairs, dims=("lat", "bnds"))})
        assert Grid.of(field).y_bounds.tolist() == [39.0, 40.4, 45.0]

    @pytest.mark.parametrize(
        "pairs",
        [[[40.0, 40.0], [40.5, 40.5]], [[39.75, 40.25], [40.3, 40.75]], [[np.nan, 40.25], [40.25, 40.75]]],
        ids=["points", "gap", "nan"],
    )
    def test_bounds_that_are_no_edges_are_not_used(self, field_on, pairs, caplog):
        field = with_bounds(field_on("latlon", rows=2), {"lat_bnds": xr.DataArray(pairs, dims=("lat", "bnds"))})
        assert Grid.of(field).y_bounds.tolist() == [39.75, 40.25, 40.75]
        assert "bounds of lat" in caplog.text

    def test_bounds_of_longitudes_may_have_the_other_convention(self):
        pairs = xr.DataArray([[359.0, 1.0], [1.0, 3.0]], dims=("lon", "bnds"))
        grid = grid_of(np.array([0.0, 1.0]), np.array([0.0, 2.0]), lon_bnds=pairs)
        assert grid.x_bounds.tolist() == [-1.0, 1.0, 3.0]

    def test_poles_end_the_grid(self):
        grid = grid_of(np.linspace(-90, 90, 19), np.arange(0.0, 360.0, 10.0))
        assert grid.y_bounds[[0, -1]].tolist() == [-90.0, 90.0]
        assert float(grid.area.sum()) == pytest.approx(4 * math.pi, rel=1e-14)

    def test_areas_are_exact(self):
        grid = grid_of(np.array([49.0, 50.0, 51.5]), np.array([3.0, 4.0]))
        expected = [
            [spherical_area(*lat, *lon) for lon in ((2.5, 3.5), (3.5, 4.5))]
            for lat in ((48.5, 49.5), (49.5, 50.75), (50.75, 52.25))
        ]
        np.testing.assert_allclose(grid.area, expected, rtol=1e-13)
        assert grid.area.attrs["units"] == "sr"
        assert grid.area.attrs["standard_name"] == "cell_area"
        assert grid.area.dims == ("lat", "lon")

    @pytest.mark.parametrize(
        "lat",
        [[1.0], [2.0, 1.0], [1.0, 1.0], [1.0, float("nan")], [0.0, float("inf")]],
        ids=["one", "descending", "twice", "nan", "infinite"],
    )
    def test_axes_that_make_no_grid_are_refused(self, lat):
        with pytest.raises(DataError, match="lat"):
            grid_of(np.array(lat), np.array([0.0, 1.0]))


class TestWholeSphere:
    """Whatever the grid, the areas of cells that cover the sphere sum to 4 pi."""

    def test_rotated(self):
        mapping = xr.DataArray(
            0,
            attrs={"grid_mapping_name": projections.ROTATED, "grid_north_pole_latitude": 30.0}
            | {"grid_north_pole_longitude": 100.0},
        )
        axes = np.linspace(-88, 88, 45), np.arange(-178.0, 180.0, 4.0)
        grid = grid_of(*axes, dims=("rlat", "rlon"), crs=mapping)
        assert grid.kind == "rotated"
        assert float(grid.area.sum()) == pytest.approx(4 * math.pi, rel=1e-13)

    def test_equal_area(self):
        # The cylinder around the sphere, once around and from pole to pole.
        radius = 6371229.0
        mapping = {"grid_mapping_name": "lambert_cylindrical_equal_area", "standard_parallel": 0.0}
        mapping |= {"longitude_of_central_meridian": 0.0, "earth_radius": radius}
        y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in (20, 30))
        grid = grid_of(
            xr.DataArray(2 * radius * y, dims="y", attrs={"units": "m"}),
            xr.DataArray(2 * math.pi * radius * x, dims="x", attrs={"units": "m"}),
            dims=("y", "x"),
            crs=xr.DataArray(0, attrs=mapping),
        )
        assert float(grid.area.sum()) == pytest.approx(4 * math.pi, rel=1e-13)
        np.testing.assert_allclose(np.sin(np.deg2rad(grid.lat[:, 0])), 2 * y, atol=1e-7)

    def test_polygons(self):
        # Corners of a grid around both poles, made into spherical polygons.
        lat, lon = np.linspace(-90, 90, 31), np.linspace(-180, 180, 61)
        corners = sphere.grid_corners(sphere.vectors(lat[:, np.newaxis], lon[np.newaxis, :]))
        assert sphere.signed_areas(corners).sum() == pytest.approx(4 * math.pi, rel=1e-13)


class TestPolygons:
    def test_an_octant(self):
        # A triangle with three right angles, as a quadrilateral with a corner in the middle of a side.
        corners = sphere.vectors(np.array([0.0, 0.0, 45.0, 90.0]), np.array([0.0, 90.0, 90.0, 0.0]))
        assert sphere.signed_areas(corners) == pytest.approx(math.pi / 2, rel=1e-14)
        assert sphere.signed_areas(corners[::-1]) == pytest.approx(-math.pi / 2, rel=1e-14)

    def test_small_cells_keep_their_digits(self):
        # Ten metres at the equator, where the cell is as good as flat.
        side = math.degrees(10 / 6.371e6)
        corners = sphere.vectors(np.array([0, 0, side, side]), np.array([0, side, side, 0]))
        assert sphere.signed_areas(corners) == pytest.approx(math.radians(side) ** 2, rel=1e-8)


class TestRotated:
    def test_places_agree_with_proj(self, field_on):
        pyproj = projections.library()
        grid = Grid.of(field_on("rotated"))
        inverse = pyproj.Transformer.from_crs(
            "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371229",
            "+proj=longlat +R=6371229",
            always_xy=True,
        )
        lon, lat = inverse.transform(*np.meshgrid(grid.x, grid.y))
        np.testing.assert_allclose(grid.lat, lat, atol=1e-9)
        np.testing.assert_allclose(grid.lon, lon, atol=1e-9)

    def test_the_longitude_of_the_north_pole_turns_the_grid(self, field_on):
        field = field_on("rotated")
        turned = field.assign_coords(rlon=field["rlon"] + 30.0)
        turned["crs"] = turned["crs"].assign_attrs(north_pole_grid_longitude=30.0)
        np.testing.assert_allclose(Grid.of(turned).lat, Grid.of(field).lat, atol=1e-12)
        np.testing.assert_allclose(Grid.of(turned).lon, Grid.of(field).lon, atol=1e-12)

    @pytest.mark.parametrize("name", ["racmo", "crcm5", "rcm"])
    def test_places_are_those_of_the_file(self, field_from, name):
        field = field_from(name)
        grid = Grid.of(field)
        assert grid.kind == "rotated"
        distance = sphere.vectors(grid.lat, grid.lon) - sphere.vectors(field["lat"].values, field["lon"].values)
        assert np.abs(distance).max() < np.deg2rad(2e-5)  # float32 in the files

    def test_there_and_back(self, field_on):
        grid = Grid.of(field_on("rotated"))
        y, x = projections.projected(grid.mapping, grid.lat, grid.lon)
        np.testing.assert_allclose(y, np.broadcast_to(grid.y[:, np.newaxis], grid.shape), atol=1e-12)
        np.testing.assert_allclose(x, np.broadcast_to(grid.x, grid.shape), atol=1e-12)

    @needs_cdo
    def test_areas_agree_with_cdo(self, field_from, tmp_path):
        """``cdo gridarea`` has great circles for sides: on 0.44 degrees its areas are some 5e-6 larger."""
        bare = field_from("racmo").drop_vars(["lat", "lon"])  # cdo makes the corners itself, from the grid mapping
        bare.attrs["grid_mapping"] = "crs"
        bare.reset_coords("crs").to_netcdf(tmp_path / "field.nc")
        command = ["cdo", "-s", "-f", "nc4", "-b", "F64", "-gridarea", "field.nc", "area.nc"]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
        with xr.open_dataset(tmp_path / "area.nc") as dataset:
            expected = dataset["cell_area"].values / 6371000.0**2  # cdo's radius of the earth
        np.testing.assert_allclose(Grid.of(field_from("racmo")).area.values, expected, rtol=6e-6)

    def test_a_wrong_pole_in_the_file_is_noticed(self, field_from, caplog):
        grid = Grid.of(field_from("hirham"))
        assert grid.kind == "curvilinear"
        assert "rotated_latitude_longitude puts cells up to" in caplog.text
        np.testing.assert_array_equal(grid.lat, field_from("hirham")["lat"].values)


class TestProjected:
    def test_laea_areas_are_the_product_of_the_sides(self, field_from):
        grid = Grid.of(field_from("po"))
        # Authalic radius of GRS80: Moritz (2000), Geodetic Reference System 1980, doi:10.1007/s001900050278.
        np.testing.assert_allclose(grid.area.values * 6371007.181**2, 25e6, rtol=1e-9)
        assert grid.describe() == "57 x 80 projected 5 x 5 km"

    def test_laea_areas_are_near_the_polygons(self, field_from):
        # Polygons take geodetic latitudes for those of a sphere, which is some 0.3% off at 45 degrees.
        grid = Grid.of(field_from("po"))
        polygons = sphere.signed_areas(sphere.vectors(*grid.corners))
        np.testing.assert_allclose(polygons, grid.area, rtol=4e-3)

    def test_a_known_point(self, field_from):
        # Milan cathedral, 45.4642 N 9.1900 E, in EPSG:3035 by hand with `cs2cs`: 4257.7 km, 2484.7 km within 1 km.
        grid = Grid.of(field_from("po"))
        y, x = projections.projected(grid.mapping, np.array(45.4642), np.array(9.19))
        row, column = np.abs(grid.y - y).argmin(), np.abs(grid.x - x).argmin()
        assert abs(grid.lat[row, column] - 45.4642) < 0.03
        assert abs(grid.lon[row, column] - 9.19) < 0.04

    def test_places_are_those_of_the_file(self, field_from):
        field = field_from("uk")
        grid = Grid.of(field)
        np.testing.assert_allclose(grid.lat, field["lat"], atol=1e-6)
        np.testing.assert_allclose(grid.lon, field["lon"], atol=1e-5)

    def test_kilometres(self, field_on):
        field = field_on("laea")
        inverse = {name: (name, field[name].values / 1000, {"units": "km"}) for name in ("y", "x")}
        mapping = field["crs"].attrs
        mapping = mapping | {name: mapping[name] / 1000 for name in ("false_easting", "false_northing")}
        small = Grid.of(field.assign_coords(inverse).assign_coords(crs=xr.DataArray(0, attrs=mapping)))
        assert small.digest == Grid.of(field).digest

    def test_other_units_are_refused(self, field_on):
        field = field_on("laea")
        field["x"] = field["x"].assign_attrs(units="degrees")
        with pytest.raises(DataError, match="x: expected the unit m or km, found 'degrees'"):
            Grid.of(field)

    def test_lambert_areas_follow_from_the_scale_of_the_map(self, field_on):
        """A conformal map magnifies lengths by k: the area is the map's over k squared (Snyder 1987, eq. 15-4)."""
        grid = Grid.of(field_on("lambert"))
        one, two = math.radians(30), math.radians(60)
        cone = math.log(math.cos(one) / math.cos(two)) / math.log(
            math.tan(math.pi / 4 + two / 2) / math.tan(math.pi / 4 + one / 2)
        )
        lat = np.deg2rad(grid.lat)
        magnified = (
            math.cos(one)
            * math.tan(math.pi / 4 + one / 2) ** cone
            / (np.cos(lat) * np.tan(math.pi / 4 + lat / 2) ** cone)
        )
        np.testing.assert_allclose(grid.area, (12500 / magnified / 6371229) ** 2, rtol=1e-5)

    def test_well_known_text_alone_is_enough(self, field_on):
        field = field_on("laea")
        text = projections.crs(projections.cleaned(field["crs"].attrs)).to_wkt()
        field["crs"] = xr.DataArray(0, attrs={"spatial_ref": text})
        grid = Grid.of(field)
        assert grid.mapping["grid_mapping_name"] == "lambert_azimuthal_equal_area"
        np.testing.assert_allclose(grid.lat, Grid.of(field_on("laea")).lat, atol=1e-9)
        np.testing.assert_allclose(grid.area, Grid.of(field_on("laea")).area, rtol=1e-12)

    @pytest.mark.parametrize("attributes", [{}, {"grid_mapping_name": "flat_earth"}, {"grid_mapping_name": 3}])
    def test_mappings_that_are_none_are_refused(self, field_on, attributes):
        field = field_on("lambert")
        field["crs"] = xr.DataArray(0, attrs=attributes)
        with pytest.raises(DataError):
            assert Grid.of(field).lat is not None

    def test_cells_that_the_projection_cannot_show_are_refused(self, field_on):
        field = field_on("laea")
        field["x"] = ("x", field["x"].values + 3e7, {"units": "m"})
        with pytest.raises(DataError, match="outside what the projection"):
            assert Grid.of(field).lat is not None


class TestCurvilinear:
    def stretched(self, lat0: float, lon0: float, size: int = 9, step: float = 0.5) -> Grid:
        """A grid of great circles around a point, known by its centres only."""
        pyproj = projections.library()
        flat = pyproj.Proj(f"+proj=gnom +lat_0={lat0} +lon_0={lon0} +R=1 +units=m")
        side = math.radians(step) * (np.arange(size) - (size - 1) / 2)
        lon, lat = flat(*np.meshgrid(side, side), inverse=True)
        return Grid.of(xr.Dataset(coords={"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}))

    @pytest.mark.parametrize("place", [(0.0, 0.0), (50.0, 180.0), (90.0, 0.0), (-89.0, 30.0)])
    def test_areas_do_not_depend_on_where_the_grid_lies(self, place):
        # Of a gnomonic plane at distance 1, the sphere's part is 1 / (1 + r^2)^1.5.
        grid = self.stretched(*place)
        side = math.radians(0.5) * (np.arange(9) - 4)
        expected = math.radians(0.5) ** 2 / (1 + side[:, np.newaxis] ** 2 + side**2) ** 1.5
        # At the edges the centres are continued linearly.
        np.testing.assert_allclose(grid.area, expected, rtol=6e-4)
        np.testing.assert_allclose(grid.area[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-4)
        assert np.abs(grid.corners[1] - grid.lon[..., np.newaxis]).max() <= 180.0

    def test_corners_of_a_regular_grid_are_found(self):
        lat, lon = np.meshgrid(np.arange(40.0, 45.0), np.arange(175.0, 185.0), indexing="ij")
        lon = np.where(lon > 180, lon - 360, lon)
        grid = Grid.of(xr.Dataset(coords={"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}))
        np.testing.assert_allclose(grid.corners[0][2, 3], [41.5, 41.5, 42.5, 42.5], atol=3e-3)
        np.testing.assert_allclose(grid.corners[1][2, 5], [179.5, 180.5, 180.5, 179.5], atol=1e-9)
        np.testing.assert_allclose(grid.corners[1][2, 6], [-179.5, -178.5, -178.5, -179.5], atol=1e-9)
        # The outermost cells are continued.
        np.testing.assert_allclose(grid.corners[0][0, 3], [39.5, 39.5, 40.5, 40.5], atol=3e-3)

    @pytest.mark.parametrize("shift", range(4))
    @pytest.mark.parametrize("way", [1, -1])
    def test_corners_of_the_file_may_begin_anywhere(self, field_on, shift, way):
        grid = Grid.of(field_on("curvilinear"))
        order = np.roll(np.arange(4)[::way], shift)
        lat, lon = (corners[..., order] for corners in grid.corners)
        dims = ("y", "x", "vertices")
        vertices = {
            "lat_vertices": xr.DataArray(lat + 0.01, dims=dims),
            "lon_vertices": xr.DataArray(lon + 360, dims=dims),
        }
        given = with_bounds(field_on("curvilinear"), vertices)
        again = Grid.of(given)
        np.testing.assert_allclose(again.corners[0], grid.corners[0] + 0.01, atol=1e-12)
        np.testing.assert_allclose(again.corners[1], grid.corners[1], atol=1e-12)

    def test_corners_go_counter_clockwise_where_rows_go_south(self, field_on):
        field = field_on("curvilinear").isel(y=slice(None, None, -1))
        grid = Grid.of(field)
        assert np.all(sphere.signed_areas(sphere.vectors(*grid.corners)) > 0)
        np.testing.assert_allclose(grid.area, Grid.of(field_on("curvilinear")).area.values[::-1], rtol=1e-12)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_places_that_are_not_finite_are_refused(self, field_on, value):
        field = field_on("curvilinear")
        field["lon"].values[3, 4] = value
        with pytest.raises(DataError, match="expected finite values of lon, found 1"):
            Grid.of(field)

    def test_no_places_at_all_are_refused(self, field_on):
        with pytest.raises(DataError, match=r"expected lat\(y, x\)"):
            Grid.of(field_on("curvilinear").drop_vars(["lat", "lon"]))

    def test_a_real_file(self, field_from):
        """Stage IV: a polar stereographic grid of 4.7625 km at 60 degrees north, whose scale is 1 + sin(60)."""
        grid = Grid.of(field_from("stageiv"))
        assert grid.describe().startswith("118 x 87 curvilinear, about 4.0")
        magnified = (1 + math.sin(math.radians(60))) / (1 + np.sin(np.deg2rad(grid.lat)))
        expected = (4762.5 / magnified / 6371200) ** 2
        # The file's places are float32: a metre or so in 4.7 km.
        np.testing.assert_allclose(grid.area, expected, rtol=5e-3)
        assert float(grid.area.sum()) == pytest.approx(expected.sum(), rel=5e-4)


class TestAllKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_coarsened_cells_cover_the_same_area(self, field_on, kind):
        grid = Grid.of(field_on(kind))
        coarse = grid.coarsened(4)
        assert coarse.shape == (2, 3)
        exact = kind in ("latlon", "rotated", "laea")
        fine = grid.area.values.reshape(2, 4, 3, 4).sum(axis=(1, 3))
        np.testing.assert_allclose(coarse.area, fine, rtol=1e-13 if exact else 2e-4)

    @pytest.mark.parametrize("kind", KINDS)
    def test_coarsened_centres_lie_amid_their_block(self, field_on, kind):
        grid = Grid.of(field_on(kind))
        coarse = grid.coarsened(2)
        amid = sphere.vectors(grid.lat, grid.lon).reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
        distance = np.linalg.norm(sphere.vectors(coarse.lat, coarse.lon) - amid, axis=-1)
        assert distance.max() < 0.01 * math.sqrt(float(coarse.area.min()))

    def test_curvilinear_corners_are_those_of_the_outer_cells(self, field_on):
        grid = Grid.of(field_on("curvilinear"))
        coarse = grid.coarsened(4)
        for part, fine in zip(coarse.corners, grid.corners, strict=True):
            expected = fine[4, 8, 0], fine[4, 11, 1], fine[7, 11, 2], fine[7, 8, 3]
            np.testing.assert_allclose(part[1, 2], expected, atol=1e-12)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_scale_that_does_not_divide_is_refused(self, field_on, kind):
        with pytest.raises(DataError, match="8 x 12 cells can't be coarsened by 3"):
            Grid.of(field_on(kind)).coarsened(3)

    @pytest.mark.parametrize("kind", KINDS)
    def test_subset(self, field_on, kind):
        field = field_on(kind)
        part = Grid.of(field).subset(slice(2, 7), slice(3, None))
        whole = Grid.of(field)
        assert part.shape == (5, 9)
        np.testing.assert_array_equal(part.lat, whole.lat[2:7, 3:])
        np.testing.assert_array_equal(part.area, whole.area[2:7, 3:])
        np.testing.assert_allclose(part.corners[1], whole.corners[1][2:7, 3:], atol=1e-12)

    def test_an_empty_subset_is_refused(self, field_on):
        with pytest.raises(DataError, match="adjoining rows or columns"):
            Grid.of(field_on("latlon")).subset(slice(8, 9), slice(None))

    @pytest.mark.parametrize("kind", ["latlon", "rotated", "laea", "lambert"])
    def test_extended(self, field_on, kind):
        grid = Grid.of(field_on(kind))
        larger = grid.extended(2)
        assert larger.shape == (12, 16)
        inner = larger.subset(slice(2, -2), slice(2, -2))
        assert inner.digest == grid.digest
        assert np.ptp(np.diff(larger.y)) < 1e-9 * abs(larger.y).max()
        # Taking a larger field in the first place is the same.
        field = field_on(kind, rows=12, columns=16)
        steps = {name: float(field[name][1] - field[name][0]) for name in grid.dims}
        shifted = field.assign_coords({name: field[name] - 2 * steps[name] for name in grid.dims})
        for name in ("y", "x"):
            if name in shifted.coords:
                shifted[name].attrs["units"] = "m"
        assert larger.same(Grid.of(shifted))
        np.testing.assert_allclose(larger.area, Grid.of(shifted).area, rtol=1e-9)

    def test_no_context_changes_nothing(self, field_on):
        for kind in KINDS:
            grid = Grid.of(field_on(kind))
            assert grid.extended(0) is grid

    def test_beyond_a_pole_is_refused(self):
        grid = grid_of(np.arange(80.0, 90.0), np.arange(0.0, 10.0))
        with pytest.raises(DataError, match="beyond a pole"):
            grid.extended(1)

    def test_curvilinear_grids_are_not_extended(self, field_on):
        with pytest.raises(DataError, match="curvilinear grid can't be continued"):
            Grid.of(field_on("curvilinear")).extended(1)

    def test_beyond_the_projection_is_refused(self, field_on):
        with pytest.raises(DataError, match="outside what the projection"):
            Grid.of(field_on("laea")).extended(2000)

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_digest_knows_the_geometry(self, field_on, kind):
        field = field_on(kind)
        grid = Grid.of(field)
        assert len(grid.digest) == 12
        assert Grid.of(field_on(kind, seed=2)).digest == grid.digest
        others = {grid.coarsened(2).digest, grid.subset(slice(0, 7), slice(None)).digest}
        name = "lat" if kind in ("latlon", "curvilinear") else grid.dims[0]
        others.add(Grid.of(field.assign_coords({name: field[name] + 1e-3})).digest)
        assert len(others | {grid.digest}) == 4

    def test_the_digest_is_the_same_on_all_machines(self):
        assert grid_of(np.array([10.0, 11.0, 13.0]), np.array([0.0, 2.0])).digest == "89fac0b53f76"

    @pytest.mark.parametrize("kind", KINDS)
    def test_same(self, field_on, kind):
        field = field_on(kind)
        grid = Grid.of(field)
        assert grid.same(Grid.of(field))
        for name in ("lat", "lon"):
            if name in field.coords:
                assert grid.same(Grid.of(field.assign_coords({name: field[name].astype(np.float32)})))
                assert not grid.same(Grid.of(field.assign_coords({name: field[name] + 0.01})))
        assert not grid.same(grid.subset(slice(0, 7), slice(None)))

    def test_same_whatever_the_convention_of_longitudes(self):
        lat = np.arange(3.0)
        lon = np.array([350.0, 351.1, 352.3])
        assert grid_of(lat, lon).same(grid_of(lat, lon - 360.0))
        assert grid_of(lat, lon.astype(np.float32)).same(grid_of(lat, lon))

    def test_other_kinds_are_others(self, field_on):
        assert not Grid.of(field_on("rotated")).same(Grid.of(field_on("latlon")))

    def test_horizontal(self, field_on):
        assert [horizontal(field_on(kind, steps=2)) for kind in KINDS] == [
            ("lat", "lon"),
            ("rlat", "rlon"),
            ("y", "x"),
            ("y", "x"),
            ("y", "x"),
        ]
        with pytest.raises(DataError, match="two horizontal dimensions"):
            horizontal(xr.DataArray([1.0], dims="x"))

    def test_dimensions_of_another_name_are_refused(self, field_on):
        with pytest.raises(DataError, match="expected the horizontal dimensions"):
            Grid.of(field_on("latlon").rename(lat="north"))

    def test_describe(self, field_on):
        assert Grid.of(field_on("latlon")).describe() == "8 x 12 latlon 0.5 x 0.75 deg"
        assert Grid.of(field_on("rotated")).describe() == "8 x 12 rotated 0.5 x 0.75 deg"
        assert Grid.of(field_on("lambert")).describe() == "8 x 12 projected 12.5 x 12.5 km"
        uneven = grid_of(np.array([10.0, 11.0, 13.0]), np.array([0.0, 2.0]))
        assert uneven.describe() == "3 x 2 latlon, about 1.5 x 2 deg"
