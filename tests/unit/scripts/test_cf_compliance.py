"""Products pass the CF checker and keep calendar, units and provenance."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from dl4ds_core import io, scaling
from dl4ds_core.grids import Grid
from dl4ds_core.prediction import predict_lazily
from dl4ds_core.regrid import fine_field

ABOUT = {"title": "A trial", "source": "ERA5", "experiment": "trial", "config_digest": "0123456789ab", "references": ""}
SCALE = 4
checker = pytest.mark.skipif(
    shutil.which("compliance-checker", path=str(Path(sys.executable).parent)) is None,
    reason="compliance-checker is not installed",
)


@pytest.fixture(scope="module")
def products(script, tmp_path_factory, request) -> dict[str, Path]:
    """Files of all kinds: of ERA5 where it is there, and of the demo with its 360-day calendar."""
    demo = request.getfixturevalue("demo_file")
    inputs = {"demo": (str(demo), "air_temperature", "K", None)}
    try:
        data = request.getfixturevalue("data_dir")
    except pytest.skip.Exception:
        data = None
    if data is not None:
        inputs["era5"] = (str(data / "era5-uk/era5-2mt-2019-03-01_03_uk.grib"), "t2m", "degC", None)
    made = {}
    for case, (path, variable, units, domain) in inputs.items():
        folder = tmp_path_factory.mktemp(case)
        made |= {f"{case} {grid}": folder / f"{grid}.nc" for grid in ("fine", "coarse")}
        script("coarsen").main(
            path=path,
            name="tas",
            variable=variable,
            units=units,
            domain=domain,
            scale=SCALE,
            about=ABOUT,
            fine=str(folder / "fine.nc"),
            coarse=str(folder / "coarse.nc"),
        )
        fine, coarse = (io.open_dataset(folder / f"{grid}.nc") for grid in ("fine", "coarse"))
        lazy = predict_lazily(lambda part: {"tas": np.repeat(np.repeat(part["tas"].values, 4, 1), 4, 2)}, coarse, fine)
        io.write(lazy, folder / "prediction.nc", script("coarsen").product_attributes(ABOUT, "predict"))
        normalization = {"tas": scaling.Normalization(per="cell")}
        script("scalers").main(
            str(folder / "fine.nc"),
            str(folder / "coarse.nc"),
            None,
            {"tas": normalization["tas"].model_dump()},
            ABOUT,
            str(folder / "scalers.nc"),
        )
        made |= {f"{case} {kind}": folder / f"{kind}.nc" for kind in ("prediction", "scalers")}
    if data is not None and shutil.which("cdo"):
        folder = tmp_path_factory.mktemp("static")
        made["static"] = folder / "static.nc"
        script("remap").main(
            paths=[str(data / "static/etopo5_western-europe.nc")],
            fine=str(made["era5 fine"]),
            name="elevation",
            variable="elevation",
            units="m",
            regrid={"engine": "cdo", "method": "conservative"},
            about=ABOUT,
            target=str(made["static"]),
        )
    return made


def complaints(paths: list[Path], report: Path) -> dict[str, list[str]]:
    """What the checker says of each file, whatever its weight."""
    program = shutil.which("compliance-checker", path=str(Path(sys.executable).parent))
    command = [str(program), "--test", "cf:1.8", "--format", "json_new", "--output", str(report), *map(str, paths)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert report.exists(), outcome.stderr
    found = {}
    for path, result in json.loads(report.read_text()).items():
        scores = result["cf:1.8"]
        assert scores["possible_points"] > 20, f"{path}: hardly anything was checked"
        entries = [entry for weight in ("high", "medium", "low") for entry in scores[f"{weight}_priorities"]]
        found[path] = [message for entry in entries for message in entry["msgs"]]
    return found


@checker
def test_the_cf_checker_has_nothing_to_say(products, tmp_path):
    assert complaints(list(products.values()), tmp_path / "report.json") == {str(p): [] for p in products.values()}


@checker
def test_the_cf_checker_would_notice(products, tmp_path):
    broken = tmp_path / "broken.nc"
    shutil.copyfile(products["demo fine"], broken)
    with netCDF4.Dataset(broken, "a") as raw:
        raw["tas"].units = "bananas"
    assert any("bananas" in message for message in complaints([broken], tmp_path / "report.json")[str(broken)])


def test_calendar_units_source_and_provenance(products):
    for case, path in products.items():
        with netCDF4.Dataset(path) as raw:
            assert raw.Conventions == "CF-1.8"
            assert raw.title == "A trial"
            assert raw.source == "ERA5"
            assert raw.config_digest == "0123456789ab"
            assert raw.dl4ds_core_version
            assert raw.dl4ds_core_commit
            assert "dl4ds_core" in raw.history
            assert "references" not in raw.ncattrs()
            if "time" in raw.variables:
                assert raw["time"].calendar == ("360_day" if case.startswith("demo") else "standard")
                assert raw["tas"].units == ("K" if case.startswith("demo") else "degC")
                # The GRIB file has no standard name, and none is made up.
                assert getattr(raw["tas"], "standard_name", None) == (
                    "air_temperature" if case.startswith("demo") else None
                )


def test_values_are_those_of_the_input(products, demo_file):
    with io.open_dataset(products["demo fine"]) as fine, io.open_dataset(products["demo coarse"]) as coarse:
        expected = fine_field(demo_file, "air_temperature", "K", None, SCALE)
        np.testing.assert_array_equal(fine["tas"].values, expected.values)
        np.testing.assert_array_equal(fine["time"].values, expected["time"].values)
        grid = Grid.of(expected)
        weights = grid.area.values.reshape(9, 4, 12, 4)
        blocks = expected.values.astype(np.float64).reshape(-1, 9, 4, 12, 4)
        means = (blocks * weights).sum(axis=(2, 4)) / weights.sum(axis=(1, 3))
        np.testing.assert_allclose(coarse["tas"].values, means, rtol=1e-6)
