"""Weights of cdo and of xesmf: against closed forms, against cdo's own remapping, and against each other."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.errors import RegridError
from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import vectors
from dl4ds_core.regrid import weights

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed")
KINDS = ("latlon", "rotated", "lambert", "curvilinear")
PAIRS = list(itertools.product(KINDS, KINDS))
OPERATORS = {"conservative": "remapcon", "bilinear": "remapbil", "bicubic": "remapbic", "nearest": "remapnn"}


@pytest.fixture
def esmf() -> None:
    """Skip where xesmf and ESMF are not installed."""
    pytest.importorskip("esmpy", reason="esmpy (ESMF) is not installed; it is on conda-forge only")
    pytest.importorskip("xesmf")


@pytest.fixture
def regular() -> Callable[..., Grid]:
    """The function that makes regular grids around a place, with cells of a size in degrees."""

    def make(north: float, size: float, cells: int = 14) -> Grid:
        axis = size * (np.arange(cells) - (cells - 1) / 2)
        axes = {"lat": north + axis, "lon": 0.11 * size + axis}
        return Grid.of(xr.DataArray(np.zeros((cells, cells)), axes, ("lat", "lon")))

    return make


def shares(edges: np.ndarray, bounds: np.ndarray, *, sine: bool) -> np.ndarray:
    """Matrix of the parts of target intervals that source intervals cover."""
    measure = (lambda x: np.sin(np.deg2rad(x))) if sine else (lambda x: x)
    lower = np.maximum(edges[None, :-1], bounds[:-1, None])
    upper = np.minimum(edges[None, 1:], bounds[1:, None])
    overlap = np.where(upper > lower, measure(upper) - measure(np.minimum(lower, upper)), 0.0)
    return overlap / np.diff(measure(bounds))[:, None]


@needs_cdo
class TestCdo:
    def test_conservative_weights_are_shares_of_area(self, wide, field_on):
        source, target = Grid.of(wide()), Grid.of(field_on("latlon", 40, 44, 0.43))  # reaches beyond the source
        found = weights.make(source, target, "conservative", "cdo")
        expected = np.kron(
            shares(source.y_bounds, target.y_bounds, sine=True), shares(source.x_bounds, target.x_bounds, sine=False)
        )
        np.testing.assert_allclose(found.matrix.toarray(), expected, atol=1e-10)
        np.testing.assert_allclose(found.covered, expected.sum(axis=1), atol=1e-10)
        assert ((found.covered > 0.01) & (found.covered < 0.99)).sum() > 50

    @pytest.mark.parametrize("method", OPERATORS)
    @pytest.mark.parametrize(("source", "to"), PAIRS)
    def test_as_cdo_itself_remaps(self, wide, target, run_cdo, method, source, to):
        field = wide(source)
        grid = target(to)
        found = weights.make(Grid.of(field), grid, method, "cdo")
        expected = run_cdo(field, OPERATORS[method], grid)
        values = (found.matrix @ field.values.ravel().astype(np.float64)).reshape(grid.shape)
        assert found.covered.min() > 1 - 1e-6
        if method == "nearest":  # a tie may go either way
            assert np.mean(values == expected) > 0.97
        else:
            np.testing.assert_allclose(values, expected, rtol=1e-5 if method == "bicubic" else 1e-7)

    def test_bicubic_on_a_globe_is_that_of_cdo_on_both_sides_of_the_seam(self, run_cdo):
        coordinates = {"lat": np.arange(-86.0, 87, 4), "lon": np.arange(0.0, 360, 5)}
        values = np.random.default_rng(0).normal(size=(44, 72))
        field = xr.DataArray(values, coordinates, ("lat", "lon"), "tas", {"units": "K"})
        target = Grid.of(
            xr.DataArray(np.zeros((7, 9)), {"lat": np.arange(30.0, 37), "lon": np.arange(-4.0, 5)}, ("lat", "lon"))
        )
        found = weights.make(Grid.of(field), target, "bicubic", "cdo").matrix @ values.ravel()
        np.testing.assert_allclose(found, run_cdo(field, "remapbic", target).ravel(), atol=1e-10)

    def test_bicubic_at_the_edge_keeps_a_plane_where_cdo_mixes_both_edges(self, wide, field_on, run_cdo):
        field = wide()
        field[:] = (field["lon"] + 0 * field["lat"]).values.T
        target = Grid.of(field_on("latlon", 10, 66, 0.22))  # its first and last columns lie in the outermost cells
        found = weights.make(Grid.of(field), target, "bicubic", "cdo")
        values = (found.matrix @ field.values.ravel()).reshape(target.shape)
        assert found.covered.all()
        np.testing.assert_allclose(values, np.broadcast_to(target.x, target.shape), atol=1e-5)
        assert np.abs(run_cdo(field, "remapbic", target) - target.x).max() > 0.1

    def test_cells_that_may_not_be_used_have_no_weight(self, wide, target):
        source = Grid.of(wide())
        valid = np.random.default_rng(1).random(source.shape) > 0.3
        for method in ("conservative", "bilinear", "nearest"):
            found = weights.make(source, target(), method, "cdo", valid).matrix
            assert np.abs(found[:, ~valid.ravel()]).sum() == 0
            assert found.sum() > 0

    def test_the_users_own_settings_of_cdo_change_nothing(self, wide, field_on, monkeypatch):
        source, target = Grid.of(wide()), Grid.of(field_on("latlon", 40, 44, 0.43))
        before = [weights.make(source, target, method, "cdo").matrix for method in OPERATORS]
        monkeypatch.setenv("CDO_REMAP_NORM", "fracarea")
        monkeypatch.setenv("REMAP_EXTRAPOLATE", "on")
        after = [weights.make(source, target, method, "cdo").matrix for method in OPERATORS]
        for one, other in zip(before, after, strict=True):
            assert np.abs(one - other).max() == 0

    def test_nothing_is_left_in_the_folder_for_temporary_files(self, wide, target, tmp_path, monkeypatch):
        folder = tmp_path / "a; touch harm; $(touch harm) ä"
        folder.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        assert weights.make(Grid.of(wide("rotated")), target(), "conservative", "cdo").covered.min() > 0.99
        assert list(tmp_path.rglob("*")) == [folder]

    def test_failures_are_told(self, wide, target, tmp_path, monkeypatch):
        program = tmp_path / "cdo"
        program.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        with pytest.raises(RegridError, match=r"30 x 30 latlon .* no such luck"):
            weights.make(Grid.of(wide()), target(), "bilinear", "cdo")


def test_without_cdo_the_message_says_what_to_install(wide, target, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RegridError, match=r"apt install cdo.*conda-forge"):
        weights.make(Grid.of(wide()), target(), "bilinear", "cdo")


def test_without_esmf_the_message_says_what_to_install(wide, target, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "esmpy", None)
    with pytest.raises(RegridError, match=r"esmpy.*conda install -c conda-forge xesmf.*engine: cdo"):
        weights.make(Grid.of(wide()), target(), "bilinear", "xesmf")


def test_unknown_methods_and_engines_are_refused(wide, target):
    for method, engine in (("linear", "cdo"), ("bilinear", "esmf")):
        with pytest.raises(ValueError, match="expected a method and an engine"):
            weights.make(Grid.of(wide()), target(), method, engine)


@needs_cdo
@pytest.mark.usefixtures("esmf")
class TestBothEngines:
    @pytest.mark.parametrize(("source", "to"), PAIRS)
    def test_conservative_weights_agree_where_cells_are_the_same_polygons(self, wide, target, polygons, source, to):
        grids = polygons(Grid.of(wide(source))), polygons(target(to))
        cdo, esmf = (weights.make(*grids, "conservative", engine).matrix for engine in ("cdo", "xesmf"))
        assert np.abs(cdo - esmf).max() < 1e-6

    def test_on_regular_grids_they_agree_where_parallels_are_great_circles(self, regular):
        """Near the equator, to 1e-6."""
        grids = regular(0.0, 0.02), regular(0.003, 0.017, 8)
        cdo, esmf = (weights.make(*grids, "conservative", engine).matrix for engine in ("cdo", "xesmf"))
        assert cdo.nnz > 100
        assert np.abs(cdo - esmf).max() < 1e-6

    @pytest.mark.parametrize("north", [20.0, 45.0, 70.0])
    @pytest.mark.parametrize("size", [0.1, 1.0])
    def test_on_regular_grids_they_differ_by_the_areas_between_parallels_and_great_circles(self, regular, north, size):
        source, target = grids = regular(north, size), regular(north + 0.15 * size, 0.85 * size, 8)
        cdo, esmf = (weights.make(*grids, "conservative", engine).matrix for engine in ("cdo", "xesmf"))
        # A great circle over a width w lies at most w^2 sin(lat) cos(lat) / 8 north of the parallel: that part of a
        # target cell's height is given to another cell.
        width, height = np.deg2rad(np.diff(source.x_bounds)[0]), np.deg2rad(np.diff(target.y_bounds)[0])
        strip = width**2 * np.abs(np.sin(2 * np.deg2rad(source.lat))).max() / 16 / height
        assert 0.05 * strip < np.abs(cdo - esmf).max() < strip
        assert np.abs(esmf.sum(axis=1) - 1).max() < 1e-6
        assert np.abs(cdo.sum(axis=1) - 1).max() < 1e-6

    @pytest.mark.parametrize(("source", "to"), PAIRS)
    def test_nearest_cells_are_as_near(self, wide, target, source, to):
        grids = Grid.of(wide(source)), target(to)
        here, there = (vectors(grid.lat.ravel(), grid.lon.ravel()) for grid in grids)
        distances = []
        for engine in ("cdo", "xesmf"):
            found = weights.make(*grids, "nearest", engine).matrix
            assert np.array_equal(found.sum(axis=1), np.ones((there.shape[0], 1)))
            distances.append(np.linalg.norm(found @ here - there, axis=1))
        np.testing.assert_allclose(*distances, atol=1e-7)

    @pytest.mark.parametrize("method", ["bilinear", "bicubic"])
    @pytest.mark.parametrize(("source", "to"), PAIRS)
    def test_a_smooth_field_comes_out_alike(self, wide, target, source, to, method):
        grids = Grid.of(wide(source)), target(to)
        values = np.sin(np.deg2rad(10 * grids[0].lat)) + np.cos(np.deg2rad(7 * grids[0].lon))
        cdo, esmf = (weights.make(*grids, method, engine).matrix @ values.ravel() for engine in ("cdo", "xesmf"))
        np.testing.assert_allclose(cdo, esmf, atol=2e-3)

    def test_cells_that_may_not_be_used_have_no_weight(self, wide, target):
        source = Grid.of(wide())
        valid = np.random.default_rng(1).random(source.shape) > 0.3
        found = weights.make(source, target(), "conservative", "xesmf", valid).matrix
        assert np.abs(found[:, ~valid.ravel()]).sum() == 0
        assert found.sum() > 0

    def test_cells_that_do_not_adjoin_are_refused(self, wide, target, polygons):
        grid = polygons(Grid.of(wide()))
        lat, lon = grid.corners
        apart = dataclasses.replace(grid, vertices=(lat, lon + 0.1 * np.arange(30)[:, None]))
        with pytest.raises(RegridError, match="share their corners"):
            weights.make(apart, target(), "conservative", "xesmf")
