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
import xarray as xr
from grid_kinds import KINDS, field_on

from dl4ds_core import io, scaling
from dl4ds_core.config.inputs import Regrid, StaticField
from dl4ds_core.grids import Grid
from dl4ds_core.prediction import predict_lazily
from dl4ds_core.regrid import on_grid
from dl4ds_core.verification import METRICS, Index, Structure
from dl4ds_core.verification.distribution import PERCENTILES

ABOUT = {"title": "A trial", "source": "ERA5", "experiment": "trial", "config_digest": "0123456789ab", "references": ""}
SCALE = 4
pytestmark = pytest.mark.xdist_group("products")  # made once, in one process
checker = pytest.mark.skipif(
    shutil.which("compliance-checker", path=str(Path(sys.executable).parent)) is None,
    reason="compliance-checker is not installed",
)


def demo_and_era5(script, make_grids, make_parts, entry, folders, demo: Path, data: Path | None) -> dict[str, Path]:
    """Products of the demo, with its 360-day calendar, and of ERA5 where it is there."""
    inputs = {"demo": (demo, entry("air_temperature", "K"))}
    if data is not None:
        inputs["era5"] = (data / "era5-uk/era5-2mt-2019-03-01_03_uk.grib", entry("t2m", "degC"))
    made = {}
    for case, (path, given) in inputs.items():
        folder = folders(case)
        grids = make_grids(folder, path, given, SCALE, about=ABOUT)
        parts = make_parts(folder, path, given, SCALE, grids["fine"], "tas", about=ABOUT)
        made |= {f"{case} {grid}": file for grid, file in parts.items()}
        made |= {f"{case} {grid} grid": file for grid, file in grids.items()}
        fine, coarse = (io.open_dataset(parts[grid]) for grid in ("fine", "coarse"))
        lazy = predict_lazily(lambda part: {"tas": np.repeat(np.repeat(part["tas"].values, 4, 1), 4, 2)}, coarse, fine)
        io.write(lazy, folder / "prediction.nc", script("coarsen").product_attributes(ABOUT, "predict"))
        normalization = {"tas": scaling.Normalization(per="cell").model_dump()}
        files = {grid: str(file) for grid, file in parts.items()}
        script("scalers").main(
            **files, static=None, normalization=normalization, about=ABOUT, scalers=str(folder / "scalers.nc")
        )
        made |= {f"{case} {kind}": folder / f"{kind}.nc" for kind in ("prediction", "scalers")}
    if data is not None and shutil.which("cdo"):
        folder = folders("static")
        made["static"] = folder / "static.nc"
        script("static").main(
            paths=[str(data / "static/etopo5_western-europe.nc")],
            grid=str(made["era5 fine grid"]),
            name="elevation",
            entry=StaticField(source="etopo", variable="elevation", units="m").model_dump(),
            regrid=Regrid(method="conservative").model_dump(),
            filters={},
            land=None,
            weights=str(folder / "weights"),
            about=ABOUT,
            output=str(made["static"]),
        )
    return made


def of_grid_kind(kind: str, script, make_grids, make_parts, entry, folder: Path) -> dict[str, Path]:
    """Products with missing cells on a grid of a kind: samples, prediction, ensemble, scores of both, and change."""
    field = field_on(kind)
    field[:, :3, :3] = np.nan
    field[5, 9, 9] = np.nan
    context = 0 if kind == "curvilinear" else 1
    io.write(on_grid(field, Grid.of(field)), folder / "input.nc", {})
    given = entry("tas", "degC")
    grids = make_grids(folder, folder / "input.nc", given, SCALE, context, about=ABOUT)
    parts = make_parts(
        folder, folder / "input.nc", given, SCALE, grids["fine"], "tas", context=context, missing="mask", about=ABOUT
    )
    made = {**parts, **{f"{grid} grid": file for grid, file in grids.items()}}
    names = ("prediction", "warmer", "ensemble", "scores", "ensemble-scores", "change", "distance")
    made |= {name: folder / f"{name}.nc" for name in names}
    files = {grid: str(file) for grid, file in parts.items()}
    for name, seed, baseline in (
        ("prediction", 1, "bilinear-corrected"),
        ("warmer", 2, "bilinear-corrected"),
        ("ensemble", 1, "climatological-ensemble"),
    ):
        script("baseline").main(
            name=baseline,
            scale=SCALE,
            context=context,
            train=files,
            coarse={"test": files["coarse"]},
            limits={"tas": {"minimum": -5.0 * seed, "dry_below": None}},
            about=ABOUT,
            predictions={"test": str(made[name])},
        )
    (folder / "statistics.json").write_text(json.dumps({"tas": [0.0, 20.0]}))
    for name, scores in (("prediction", "scores"), ("ensemble", "ensemble-scores")):
        script("verify").main(
            predictions={"test": str(made[name])},
            truths={"test": files["fine"]},
            statistics=str(folder / "statistics.json"),
            model=name,
            seed=0,
            settings={
                "bootstrap": {"block": "5d", "samples": 5, "confidence": 0.9},
                "thresholds": {},
                "indices": {},
                "regions": {"north": {"lat": [0, 90], "lon": None, "field": None, "min": None, "below": None}},
            },
            scale=SCALE,
            static=None,
            about=ABOUT,
            scores=str(made[scores]),
            rows=str(folder / f"{scores}.csv"),
        )
    script("change").main(
        predictions=[str(made["warmer"]), str(made["prediction"])],
        coarse=[files["coarse"]] * 2,
        truths=[files["fine"]] * 2,
        scale=SCALE,
        context=context,
        model="bilinear-corrected",
        seed=0,
        scenario="warmer",
        about=ABOUT,
        fields=str(made["change"]),
        rows=str(folder / "change.csv"),
        pictures=[str(folder / "change.png")],
    )
    script("static").main(
        paths=[],
        grid=str(grids["fine"]),
        name="lat_of_cell",
        entry=StaticField(derived="latitude").model_dump(),
        regrid=Regrid().model_dump(),
        filters={},
        land=None,
        weights=str(folder / "weights"),
        about=ABOUT,
        output=str(made["distance"]),
    )
    return {f"{kind} {name}": path for name, path in made.items()}


@pytest.fixture(scope="module")
def products(script, make_grids, make_parts, entry, tmp_path_factory, request) -> dict[str, Path]:
    """Files of all kinds, on grids of all kinds."""
    try:
        data = request.getfixturevalue("data_dir")
    except pytest.skip.Exception:
        data = None
    makers = (script, make_grids, make_parts, entry)
    made = demo_and_era5(*makers, tmp_path_factory.mktemp, request.getfixturevalue("demo_file"), data)
    for kind in KINDS:
        made |= of_grid_kind(kind, *makers, tmp_path_factory.mktemp(kind))
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
@pytest.mark.parametrize(
    "cases",
    [
        ("demo", "era5", "static", "rotated"),
        pytest.param(tuple(kind for kind in KINDS if kind != "rotated"), marks=pytest.mark.full),
    ],
    ids=" ".join,
)
def test_the_cf_checker_has_nothing_to_say(products, tmp_path, cases):
    chosen = {case: path for case, path in products.items() if case.startswith(cases)}
    found = complaints(list(chosen.values()), tmp_path / "report.json")
    assert set(found) == {str(path) for path in chosen.values()}
    for case, path in chosen.items():
        messages = found[str(path)]
        if case.startswith("curvilinear"):
            # Axes without coordinates are "any" for the checker, whatever their order.
            messages = [message for message in messages if "time (T), y (A), x (A)" not in message]
        assert messages == [], case


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
            if "tas" in raw.variables:
                assert raw["time"].calendar == ("360_day" if case.startswith("demo") else "standard")
                assert raw["tas"].units == ("K" if case.startswith("demo") else "degC")
                # The GRIB file has no standard name, and none is made up.
                assert getattr(raw["tas"], "standard_name", None) == (
                    "air_temperature" if case.startswith("demo") else None
                )


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_read_on_the_grid_they_were_made_on(products, kind):
    grid = Grid.of(io.open_dataset(products[f"{kind} fine grid"]))
    assert grid.kind == kind
    for name in ("fine", "prediction", "ensemble", "scores", "ensemble-scores", "change", "distance"):
        assert Grid.of(io.open_dataset(products[f"{kind} {name}"])).same(grid)
    assert Grid.of(io.open_dataset(products[f"{kind} coarse"])).same(
        Grid.of(io.open_dataset(products[f"{kind} coarse grid"]))
    )
    for name in ("prediction", "scores", "change"):
        with io.open_dataset(products[f"{kind} {name}"]) as dataset:
            # Beside the maps of scores are their series and spectra.
            fields = {field: values for field, values in dataset.data_vars.items() if values.ndim > 1}
            maps = [
                metric
                for metric in METRICS.values()
                if not (metric.members or isinstance(metric.source, Structure | Index))
            ]
            several = len(PERCENTILES) - 1
            assert len(fields) == {"prediction": 1, "scores": len(maps) + several, "change": 3}[name]
            for field, values in fields.items():
                assert values.isnull()[..., :3, :3].all()
                if not field.endswith(("ssim", "spell_bias")):  # of wider windows; where nothing extreme is predicted
                    assert values[..., 4:, 4:].notnull().all()


def test_values_are_those_of_the_input(products, demo_file):
    with io.open_dataset(products["demo fine"]) as fine, io.open_dataset(products["demo coarse"]) as coarse:
        with xr.open_dataset(demo_file, decode_times=xr.coders.CFDatetimeCoder(use_cftime=True)) as raw:
            # 37 rows and 49 columns: the last ones make no whole block.
            expected = raw["air_temperature"].values[:, :36, :48]
            np.testing.assert_array_equal(fine["tas"].values, expected)
            np.testing.assert_array_equal(fine["time"].values, raw["time"].values)
            edges = np.deg2rad(raw["latitude"].values[:37].astype(np.float64) - 0.625)
        weights = np.broadcast_to(np.diff(np.sin(edges))[:, None], (36, 48)).reshape(9, 4, 12, 4)
        blocks = expected.astype(np.float64).reshape(-1, 9, 4, 12, 4)
        means = (blocks * weights).sum(axis=(2, 4)) / weights.sum(axis=(1, 3))
        np.testing.assert_allclose(coarse["tas"].values, means, rtol=1e-6)
