"""Grids written as CF netCDF and read back, and described to cdo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid

from .conftest import KINDS, made_up

CHECKER = shutil.which("compliance-checker", path=str(Path(sys.executable).parent))
needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed")


def written(grid: Grid, path: Path) -> Path:
    """A file with one variable on the grid, with what ``coordinates`` and ``attributes`` say and nothing else."""
    field = xr.DataArray(np.full(grid.shape, 280.0, np.float32), dims=grid.dims, name="tas")
    field.attrs = {"standard_name": "air_temperature", "long_name": "air temperature", "units": "K"} | grid.attributes()
    dataset = field.to_dataset().assign_coords(grid.coordinates())
    dataset.attrs = {"Conventions": "CF-1.8", "title": "a trial", "institution": "none", "source": "made up"}
    dataset.attrs |= {"history": "made", "references": "none", "comment": "none"}
    for name in dataset.variables:
        dataset[name].encoding["_FillValue"] = None
    dataset.to_netcdf(path)
    return path


def variants(kind: str) -> list[Grid]:
    grid = Grid.of(made_up(kind))
    more = [] if kind == "curvilinear" else [grid.extended(1)]
    return [grid, grid.coarsened(4), *more]


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_survives_its_file(kind, tmp_path):
    for number, grid in enumerate(variants(kind)):
        with xr.open_dataset(written(grid, tmp_path / f"{number}.nc")) as dataset:
            again = Grid.of(dataset)
            assert again.digest == grid.digest
            assert again.kind == grid.kind
            assert again.mapping == grid.mapping
            for name in ("lat", "lon", "area"):
                np.testing.assert_array_equal(getattr(again, name), getattr(grid, name))
            # A field of it is on the same grid: bounds apart, which xarray leaves with the dataset.
            assert Grid.of(dataset["tas"]).same(grid)


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_survives_its_coordinates(kind):
    for grid in variants(kind):
        field = xr.DataArray(np.zeros((3, *grid.shape)), dims=("time", *grid.dims), name="tas")
        placed = grid.placed(field)
        assert Grid.of(placed).digest == grid.digest
        assert Grid.of(grid.placed(field.to_dataset())).digest == grid.digest
        # Putting a field on its grid again changes nothing; nor does another grid before.
        xr.testing.assert_identical(grid.placed(placed), placed)
        other = made_up(kind, rows=grid.shape[0], columns=grid.shape[1], steps=3)
        assert Grid.of(grid.placed(other)).digest == grid.digest


def test_a_field_of_another_size_is_not_placed():
    with pytest.raises(DataError, match="expected 8 x 12 cells"):
        Grid.of(made_up("latlon")).placed(made_up("latlon", rows=7))


def test_real_grids_survive_their_files(real_field, tmp_path):
    grid = Grid.of(real_field)
    with xr.open_dataset(written(grid, tmp_path / "field.nc")) as dataset:
        assert Grid.of(dataset).digest == grid.digest


def test_coordinates_of_a_regular_grid():
    coordinates = Grid.of(made_up("latlon", rows=2, columns=3)).coordinates()
    assert set(coordinates) == {"lat", "lon", "lat_bnds", "lon_bnds"}
    assert coordinates["lat"].attrs["units"] == "degrees_north"
    assert coordinates["lon"].attrs["axis"] == "X"
    assert coordinates["lat"].attrs["bounds"] == "lat_bnds"
    assert coordinates["lon_bnds"].values.tolist() == [[-5.375, -4.625], [-4.625, -3.875], [-3.875, -3.125]]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("latlon", {}),
        ("rotated", {"coordinates": "lat lon", "grid_mapping": "crs"}),
        ("lambert", {"coordinates": "lat lon", "grid_mapping": "crs"}),
        ("curvilinear", {"coordinates": "lat lon"}),
    ],
)
def test_attributes(kind, expected):
    assert Grid.of(made_up(kind)).attributes() == expected


def complaints(paths: list[Path], report: Path) -> dict[str, list[str]]:
    """What the checker says of each file, whatever its weight."""
    command = [str(CHECKER), "--test", "cf:1.8", "--format", "json_new", "--output", str(report), *map(str, paths)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert report.exists(), outcome.stderr
    found = {}
    for path, result in json.loads(report.read_text()).items():
        scores = result["cf:1.8"]
        assert scores["possible_points"] > 20, f"{path}: hardly anything was checked"
        entries = [entry for weight in ("high", "medium", "low") for entry in scores[f"{weight}_priorities"]]
        found[path] = [message for entry in entries for message in entry["msgs"]]
    return found


@pytest.mark.skipif(CHECKER is None, reason="compliance-checker is not installed")
def test_the_cf_checker_has_nothing_to_say(tmp_path, field_from):
    grids = {f"{kind}{k}": grid for kind in KINDS for k, grid in enumerate(variants(kind))}
    grids |= {name: Grid.of(field_from(name)) for name in ("racmo", "po", "uk", "stageiv", "gaussian")}
    files = [written(grid, tmp_path / f"{name}.nc") for name, grid in grids.items()]
    broken = written(grids["rotated0"], tmp_path / "broken.nc")
    with netCDF4.Dataset(broken, "a") as raw:
        raw["tas"].grid_mapping = "nowhere"
    found = complaints([*files, broken], tmp_path / "report.json")
    noticed = " ".join(found.pop(str(broken)))
    assert "nowhere" in noticed
    assert found == {str(path): [] for path in files}


class TestCdo:
    @needs_cdo
    @pytest.mark.parametrize("kind", KINDS)
    def test_cdo_reads_the_description(self, kind, tmp_path):
        grid = Grid.of(made_up(kind, rows=30, columns=40))
        (tmp_path / "grid.txt").write_text(grid.cdo_description())
        command = ["cdo", "-s", "-f", "nc4", "-b", "F64", "-gridarea", "-const,1,grid.txt", "area.nc"]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
        with xr.open_dataset(tmp_path / "area.nc") as dataset:
            area = dataset["cell_area"].values / 6371000.0**2
            lat = dataset["lat"].values if kind != "latlon" else dataset["lat"].values[:, np.newaxis]
            np.testing.assert_allclose(np.broadcast_to(lat, grid.shape), grid.lat, atol=1e-9)
        # Great circles for sides, and geodetic latitudes taken for those of a sphere.
        np.testing.assert_allclose(area, grid.area, rtol=4e-3 if kind == "laea" else 2e-5)

    @needs_cdo
    def test_real_grids(self, real_field, tmp_path):
        (tmp_path / "grid.txt").write_text(Grid.of(real_field).cdo_description())
        command = ["cdo", "-s", "griddes", "-const,1,grid.txt"]
        text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
        assert f"gridsize  = {real_field.size}\n" in text
        assert "bounds" in text or "gridtype  = lonlat" in text or "gridtype  = gaussian" in text
