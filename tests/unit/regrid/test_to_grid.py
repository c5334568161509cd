"""Remapping of fields: values, missing cells, cells outside, laziness."""

from __future__ import annotations

import logging
import shutil

import dask.array
import numpy as np
import pytest
import xarray as xr

from dl4ds_core.config.schema import Regrid
from dl4ds_core.errors import RegridError
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import apply, operator, outside_count, to_grid, weights

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed")
KINDS = ("latlon", "rotated", "lambert", "curvilinear")
METHODS = ("conservative", "bilinear", "bicubic", "nearest")


class TestSameCells:
    @pytest.mark.parametrize("kind", KINDS)
    def test_they_are_only_cut(self, wide, kind, monkeypatch):
        monkeypatch.setenv("PATH", "")  # no engine is needed
        field = wide(kind, steps=4)
        target = Grid.of(field).subset(slice(3, 20), slice(5, 29))
        found = to_grid(field.chunk(time=2), target, Regrid(outside="refuse"), None, "x")
        assert isinstance(found.data, dask.array.Array)
        assert found.dims == field.dims
        np.testing.assert_array_equal(found.values, field.values[:, 3:20, 5:29])
        assert Grid.of(found).same(target)
        assert found.attrs["units"] == "K"

    @pytest.mark.parametrize("kind", KINDS[:3])
    def test_beyond_the_edges_they_are_continued(self, wide, kind, monkeypatch):
        monkeypatch.setenv("PATH", "")
        field = wide(kind, steps=2)
        field[1, 3, 5] = np.nan
        part = field[:, 2:12, 4:10]
        target = Grid.of(part).extended(3)
        found = to_grid(part, target, Regrid(), None, "x")
        np.testing.assert_array_equal(found.values[:, 3:-3, 3:-3], part.values)
        if kind == "latlon":
            np.testing.assert_array_equal(found.values[:, 5:-3, :3], np.repeat(part.values[:, 2:, :1], 3, axis=2))
        assert np.isnan(found.values).sum() == 1
        assert outside_count(Grid.of(part), target, Regrid()) == 16 * 12 - 10 * 6
        with pytest.raises(RegridError, match="132 of 192 target cells lie outside"):
            to_grid(part, target, Regrid(outside="refuse"), None, "x")

    @pytest.mark.parametrize("shift", [360.0, -360.0])
    def test_longitudes_may_follow_another_convention(self, shift, monkeypatch):
        monkeypatch.setenv("PATH", "")
        lon = np.arange(0.0, 360, 30)
        field = xr.DataArray(np.arange(36.0).reshape(3, 12), {"lat": [40.0, 41, 42], "lon": lon}, ("lat", "lon"), "tas")
        wanted = np.array([-60.0, -30, 0, 30]) + (shift if shift > 0 else 0)
        target = Grid.of(xr.DataArray(np.zeros((2, 4)), {"lat": [41.0, 42], "lon": wanted}, ("lat", "lon")))
        found = to_grid(field, target, Regrid(), None, "x")
        np.testing.assert_array_equal(found.values, field.values[1:][:, [10, 11, 0, 1]])
        np.testing.assert_allclose(found["lon"], wanted)

    def test_coordinates_in_single_precision_are_the_same(self, wide, monkeypatch):
        monkeypatch.setenv("PATH", "")
        field = wide()
        rounded = field.assign_coords(lon=field["lon"].astype(np.float32), lat=field["lat"].astype(np.float32))
        np.testing.assert_array_equal(to_grid(rounded, Grid.of(field), Regrid(), None, "x"), field)

    def test_larger_cells_with_some_of_the_centres_are_others(self, field_on, monkeypatch):
        monkeypatch.setenv("PATH", "")
        other = Grid.of(field_on("latlon", 5, 5, 1.5))
        assert np.isin(other.y.round(6), Grid.of(field_on("latlon", 31, 31, 0.5)).y.round(6)).all()
        with pytest.raises(RegridError, match="cdo is not installed"):
            to_grid(field_on("latlon", 31, 31, 0.5), other, Regrid(), None, "x")

    @pytest.mark.parametrize("kind", KINDS)
    def test_cells_shifted_by_half_are_others(self, field_on, kind, monkeypatch):
        monkeypatch.setenv("PATH", "")
        field = field_on(kind, 8, 9, 0.5)
        other = Grid.of(field_on(kind, 8, 10, 0.5))
        with pytest.raises(RegridError, match=r"x: weights from .* are needed, and the regridding engine cdo"):
            to_grid(field, other, Regrid(), None, "x")


@needs_cdo
class TestValues:
    @pytest.mark.parametrize("kind", KINDS)
    def test_conservative_means_keep_the_integral(self, wide, field_on, kind):
        field = wide("latlon", steps=2)
        inner = field * 0
        inner[:, 8:22, 8:22] = field[:, 8:22, 8:22]  # nothing near the edges, so that the target holds all of it
        inner.attrs = field.attrs
        target = Grid.of(field_on(kind, 60, 60, 0.23))
        found = to_grid(inner, target, Regrid(method="conservative"), None, "x").astype(np.float64)
        expected = (inner.values * Grid.of(field).cell_areas).sum(axis=(1, 2))
        np.testing.assert_allclose((found.values * target.cell_areas).sum(axis=(1, 2)), expected, rtol=2e-4)

    @pytest.mark.parametrize("method", METHODS)
    def test_chunks_change_nothing_and_nothing_is_read_early(self, wide, target, method, monkeypatch):
        field, settings = wide("rotated", steps=7), Regrid(method=method)
        expected = to_grid(field, target(), settings, None, "x")
        monkeypatch.setattr(operator, "BLOCK_VALUES", 400)  # of some hundred cells
        monkeypatch.setattr(apply, "CHUNK_VALUES", 700)
        reads = []

        def read(block):
            reads.append(block.shape)
            return block

        lazy = field.chunk(time=5).map_blocks(read, template=field.chunk(time=5))
        found = to_grid(lazy, target(), settings, None, "x")
        assert reads == []
        assert 1 < max(found.chunksizes["time"]) < 5
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.dtype == np.float32
        assert found.dims == ("time", "lat", "lon")
        np.testing.assert_array_equal(found["time"], field["time"])

    def test_the_method_follows_from_the_quantity(self, wide, target, tmp_path):
        for attributes in ({"units": "K"}, {"units": "mm d-1"}):
            to_grid(wide().assign_attrs(attributes | {"standard_name": ""}), target(), Regrid(), tmp_path, "x")
        assert sorted(path.name.split("-")[3] for path in tmp_path.iterdir()) == ["bilinear", "conservative"]

    def test_only_the_part_around_the_target_is_used(self, field_on, target, tmp_path):
        field = field_on("latlon", 150, 140, 0.5)
        found = to_grid(field, target(), Regrid(method="bilinear"), tmp_path, "x")
        (path,) = tmp_path.iterdir()
        assert np.prod(weights.Weights.load(path).source_shape) < 400
        whole = weights.make(Grid.of(field), target(), "bilinear", "cdo").matrix @ field.values.ravel()
        np.testing.assert_allclose(found.values.ravel(), whole, rtol=1e-6)

    def test_across_greenwich_from_longitudes_of_0_to_360(self):
        lat, lon = np.arange(30.0, 61, 2), np.arange(0.0, 360, 2)
        place = xr.DataArray(lon, dims="lon")
        plane = np.cos(np.deg2rad(place)) + xr.DataArray(lat, dims="lat")
        field = plane.transpose("lat", "lon").assign_coords(lat=lat, lon=lon).assign_attrs(units="K").rename("tas")
        x = np.arange(-7.5, 8)
        target = Grid.of(xr.DataArray(np.zeros((3, 16)), {"lat": [41.0, 42, 43], "lon": x}, ("lat", "lon")))
        for method in ("bilinear", "bicubic", "conservative"):
            found = to_grid(field, target, Regrid(method=method, outside="refuse"), None, "x")
            expected = np.cos(np.deg2rad(x)) + np.array([[41.0], [42], [43]])
            np.testing.assert_allclose(found.values, expected, atol=0.6 if method == "conservative" else 1e-3)


@needs_cdo
class TestMissingCells:
    @pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
    @pytest.mark.parametrize("changing", [False, True])
    @pytest.mark.parametrize("least", [0.01, 0.5, 1.0])
    def test_means_are_over_what_is_there(self, wide, target, method, changing, least):
        field = wide(steps=5)
        gone = np.random.default_rng(4).random(field.shape if changing else field.shape[1:]) < 0.3
        field = field.where(~gone).assign_attrs(units="K")
        found = to_grid(field, target(), Regrid(method=method, min_valid_fraction=least), None, "x").values
        matrix = weights.make(Grid.of(field), target(), method, "cdo").matrix
        for step in range(5):
            values = field.values[step].ravel().astype(np.float64)
            valid = np.isfinite(values)
            share = matrix @ valid.astype(float)
            with np.errstate(invalid="ignore"):
                expected = np.where(share >= least - 1e-6, (matrix @ np.where(valid, values, 0)) / share, np.nan)
            np.testing.assert_allclose(found[step].ravel(), expected, rtol=1e-6)

    def test_as_cdo_where_any_part_is_enough(self, wide, target, run_cdo):
        field = wide().where(np.random.default_rng(4).random((30, 30)) > 0.3)
        expected = run_cdo(field, "remapcon", target(), CDO_REMAP_NORM="fracarea")
        found = to_grid(field, target(), Regrid(method="conservative", min_valid_fraction=1e-5), None, "x")
        np.testing.assert_allclose(found.values, expected, rtol=1e-6)
        assert np.isnan(expected).any()

    def test_bicubic_keeps_bounds_beside_missing_cells(self, wide, target):
        field = wide().where(np.random.default_rng(4).random((30, 30)) > 0.3)
        whole, part = (to_grid(one, target(), Regrid(method="bicubic"), None, "x").values for one in (wide(), field))
        touched = whole != part
        assert touched.mean() > 0.2
        assert np.nanmin(part[touched]) >= np.nanmin(field)
        assert np.nanmax(part[touched]) <= np.nanmax(field)

    def test_infinite_values_are_not_hidden(self, wide, target):
        field = wide()
        field[15, 15] = np.inf
        found = to_grid(field, target(), Regrid(method="conservative"), None, "x")
        assert np.isinf(found.values).any()


@needs_cdo
class TestOutside:
    @pytest.mark.parametrize("method", METHODS)
    def test_they_are_refused_and_counted(self, wide, field_on, method):
        target = Grid.of(field_on("latlon", 20, 40, 0.5))
        settings = Regrid(method=method, outside="refuse")
        count = outside_count(Grid.of(wide()), target, settings)
        # Beyond the outermost centres, or cells: 5 of 40 columns on each side, or more.
        assert 200 <= count <= 280
        with pytest.raises(RegridError, match=rf"x: {count} of 800 target cells lie outside .*data\.domain.*outside"):
            to_grid(wide(), target, settings, None, "x")

    @pytest.mark.parametrize("kind", KINDS)
    def test_they_get_the_value_of_the_nearest_cell(self, wide, field_on, kind, caplog):
        field, target = wide(kind, steps=3), Grid.of(field_on("latlon", 34, 36, 0.5))
        settings = Regrid(method="bilinear")
        with caplog.at_level(logging.WARNING):
            found = to_grid(field, target, settings, None, "x").values
        source = Grid.of(field)
        covered = weights.make(source, target, "bilinear", "cdo").covered.reshape(target.shape)
        assert f"{outside_count(source, target, settings)} of {covered.size} target cells lie outside" in caplog.text
        assert int((covered == 0).sum()) == outside_count(source, target, settings) > 50
        for row, column in np.argwhere(covered == 0)[::17]:
            # The haversine formula, an independent distance.
            lat, lon = np.deg2rad(target.lat[row, column]), np.deg2rad(target.lon[row, column])
            a, b = np.deg2rad(source.lat), np.deg2rad(source.lon)
            distance = np.sin((a - lat) / 2) ** 2 + np.cos(lat) * np.cos(a) * np.sin((b - lon) / 2) ** 2
            np.testing.assert_array_equal(found[:, row, column], field.values[:, distance == distance.min()][:, 0])

    def test_the_nearest_cell_that_has_a_value_at_that_time(self, wide, field_on):
        field = wide(steps=4)
        field[1, :, -1] = np.nan
        field[2, :, -3:] = np.nan
        field[3] = np.nan
        target = Grid.of(field_on("latlon", 30, 34, 0.5))  # its columns are those of the field and two on each side
        found = to_grid(field, target, Regrid(method="bilinear"), None, "x").values
        for step, column in ((0, -1), (1, -2), (2, -4)):
            np.testing.assert_array_equal(found[step, :, -1], field.values[step, :, column])
        assert np.isnan(found[3]).all()

    def test_cells_covered_by_less_than_the_share_are_outside(self, wide, field_on):
        source, target = Grid.of(wide()), Grid.of(field_on("latlon", 30, 40, 0.5 * 0.93))
        covered = weights.make(source, target, "conservative", "cdo").covered
        for least in (0.05, 0.5, 0.95):
            settings = Regrid(method="conservative", min_valid_fraction=least)
            assert outside_count(source, target, settings) == (covered < least).sum()
        assert ((covered > 0.05) & (covered < 0.95)).any()

    @pytest.mark.parametrize("method", METHODS)
    def test_a_field_elsewhere_is_refused_whatever_is_said(self, wide, method):
        field = wide()
        far = Grid.of(field.assign_coords(lon=field["lon"] + 90))
        with pytest.raises(RegridError, match=r"x: its grid lies elsewhere than the target's .*longitude"):
            to_grid(field, far, Regrid(method=method), None, "x")

    def test_same_cells_are_none(self, wide, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert outside_count(Grid.of(wide()), Grid.of(wide()), Regrid()) == 0
