"""The file of weights, which cdo and xesmf read too, and the folder that keeps them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.config.schema import Regrid
from dl4ds_core.errors import RegridError
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import on_grid, weights
from dl4ds_core.regrid.weights import Weights

pytestmark = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed")
METHODS = ("conservative", "bilinear", "bicubic", "nearest")
BILINEAR = Regrid(method="bilinear")


@pytest.fixture(params=["cdo", "xesmf"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both engines; xesmf where it is installed."""
    if request.param == "xesmf":
        pytest.importorskip("esmpy", reason="esmpy (ESMF) is not installed; it is on conda-forge only")
        pytest.importorskip("xesmf")
    return str(request.param)


@pytest.mark.parametrize("method", METHODS)
class TestFile:
    @pytest.mark.parametrize("kind", ["latlon", "rotated", "curvilinear"])
    def test_it_is_read_back(self, wide, target, tmp_path, engine, method, kind):
        made = weights.make(Grid.of(wide(kind)), target(), method, engine)
        made.save(tmp_path / "w.nc")
        read = Weights.load(tmp_path / "w.nc")
        assert np.abs(read.matrix - made.matrix).max() == 0
        for name in ("method", "engine", "source_shape", "target_shape", "digests"):
            assert getattr(read, name) == getattr(made, name)
        for name in ("source_lat", "source_lon", "target_lat", "target_lon", "covered"):
            np.testing.assert_allclose(getattr(read, name), getattr(made, name), atol=1e-12)

    @pytest.mark.parametrize("to", ["latlon", "lambert"])
    @pytest.mark.parametrize("kind", ["latlon", "rotated", "curvilinear"])
    def test_cdo_applies_it_to_the_same_result(self, wide, target, tmp_path, run_cdo, engine, method, kind, to):
        field = wide(kind, steps=3)
        made = weights.make(Grid.of(field), target(to), method, engine)
        made.save(tmp_path / "w.nc")
        found = run_cdo(field, "remap,w.nc", target(to))
        expected = made.matrix @ field.values.reshape(3, -1).T.astype(np.float64)
        np.testing.assert_allclose(found.reshape(3, -1), expected.T, rtol=1e-12)

    def test_xesmf_applies_it_to_the_same_result(self, wide, target, tmp_path, engine, method):
        pytest.importorskip("esmpy", reason="esmpy (ESMF) is not installed; it is on conda-forge only")
        xesmf = pytest.importorskip("xesmf")
        field = wide("rotated", steps=3)
        made = weights.make(Grid.of(field), target(), method, engine)
        made.save(tmp_path / "w.nc")
        to = xr.Dataset(coords={"lat": target().y, "lon": target().x})
        regridder = xesmf.Regridder(on_grid(field, Grid.of(field)), to, "bilinear", weights=str(tmp_path / "w.nc"))
        found = regridder(field.astype(np.float64).drop_vars("crs"))
        expected = made.matrix @ field.values.reshape(3, -1).T.astype(np.float64)
        np.testing.assert_allclose(found.values.reshape(3, -1), expected.T, rtol=1e-12)


class TestPartlyCoveredCells:
    def test_cdo_knows_the_share_of_area(self, wide, field_on, tmp_path, run_cdo):
        field, target = wide(), Grid.of(field_on("latlon", 40, 44, 0.43))
        made = weights.make(Grid.of(field), target, "conservative", "cdo")
        made.save(tmp_path / "w.nc")
        expected = run_cdo(field, "remapcon", target, CDO_REMAP_NORM="destarea")
        found = run_cdo(field, "remap,w.nc", target)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        np.testing.assert_allclose(
            (made.matrix @ field.values.ravel()).reshape(target.shape), np.nan_to_num(expected), rtol=1e-6
        )
        assert np.isnan(expected).any()


class TestDamagedFiles:
    @pytest.mark.parametrize("content", [b"", b"no netCDF", b"\x89HDF\r\n\x1a\n cut"])
    def test_loading_is_refused(self, tmp_path, content):
        (tmp_path / "w.nc").write_bytes(content)
        with pytest.raises(RegridError, match=r"w\.nc: can't be read as weights"):
            Weights.load(tmp_path / "w.nc")

    def test_other_files_are_refused(self, tmp_path, wide):
        wide().to_netcdf(tmp_path / "w.nc")
        with pytest.raises(RegridError, match=r"w\.nc: expected weights of format 1"):
            Weights.load(tmp_path / "w.nc")

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(RegridError, match=r"w\.nc: can't be read"):
            Weights.load(tmp_path / "w.nc")


class TestCache:
    @staticmethod
    def only_file(folder: Path) -> Path:
        (path,) = folder.iterdir()
        return path

    def test_weights_are_made_once(self, wide, target, tmp_path, monkeypatch):
        first = weights.cached(Grid.of(wide()), target(), BILINEAR, tmp_path / "w")
        monkeypatch.setenv("PATH", "")  # no engine any more
        again = weights.cached(Grid.of(wide()), target(), BILINEAR, tmp_path / "w")
        assert np.abs(first.matrix - again.matrix).max() == 0
        name = self.only_file(tmp_path / "w").name
        assert name == f"weights-{Grid.of(wide()).digest}-{target().digest}-bilinear-cdo-v1.nc"

    def test_other_grids_and_methods_have_other_files(self, wide, target, tmp_path):
        for settings in (BILINEAR, Regrid(method="nearest"), Regrid(method="bilinear", outside="refuse")):
            for kind in ("latlon", "rotated"):
                weights.cached(Grid.of(wide(kind)), target(), settings, tmp_path)
        assert len(list(tmp_path.iterdir())) == 4

    @pytest.mark.parametrize("damage", ["empty", "cut", "other"])
    def test_a_damaged_file_is_made_anew(self, wide, target, tmp_path, damage, caplog):
        made = weights.cached(Grid.of(wide()), target(), BILINEAR, tmp_path)
        path = self.only_file(tmp_path)
        if damage == "other":
            weights.make(Grid.of(wide()), target(), "nearest", "cdo").save(path)
        else:
            path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 3000])
        found = weights.cached(Grid.of(wide()), target(), BILINEAR, tmp_path)
        assert np.abs(found.matrix - made.matrix).max() == 0
        assert "made anew" in caplog.text
        assert np.abs(Weights.load(path).matrix - made.matrix).max() == 0

    def test_failures_leave_nothing(self, wide, target, tmp_path, monkeypatch):
        def fail(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr(weights, "_put", fail)
        with pytest.raises(RuntimeError):
            weights.cached(Grid.of(wide()), target(), BILINEAR, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_no_folder_no_file(self, wide, target, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        weights.cached(Grid.of(wide()), target(), BILINEAR, None)
        assert list(tmp_path.iterdir()) == []

    def test_settings_without_a_method_are_refused(self, wide, target, tmp_path):
        with pytest.raises(ValueError, match="expected settings with a method"):
            weights.cached(Grid.of(wide()), target(), Regrid(), tmp_path)
