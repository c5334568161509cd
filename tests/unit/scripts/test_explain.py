"""What a trained network depends on, by the workflow's own script: table and maps, CF, and switched off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on

from dl4ds_core import io, scaling
from dl4ds_core.config.schema import Model, Normalization
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.models.networks import build_network
from dl4ds_core.prediction import Limits, network_predictor
from dl4ds_core.retransformation import Interface

SCALE = 4
ABOUT = {"title": "A trial", "source": "ERA5", "experiment": "trial", "config_digest": "0123456789ab", "references": ""}


@pytest.fixture
def threads_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow, in use already, refuses another number of threads, which only a job of its own can set."""
    import tensorflow as tf

    for name in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
        monkeypatch.setattr(tf.config.threading, name, lambda number: None)


def explained(script: Callable[[str], ModuleType], folder: Path, kind: str, **given: object) -> dict[str, Path]:
    """Files of an untrained network of two predictands and elevation, and what the script makes of it."""
    tas = field_on(kind, steps=12)
    tas[:, :3, :3] = np.nan
    pr = field_on(kind, steps=12, seed=2).rename("pr").assign_attrs(units="mm d-1", long_name="precipitation")
    grid = Grid.of(tas)
    fine = grid.placed(xr.Dataset({"tas": tas, "pr": pr}))
    coarse = xr.Dataset({name: coarsen(fine[name].fillna(10.0), grid, SCALE)[0] for name in fine})
    elevation = field_on(kind, steps=1, seed=3)[0].drop_vars("time").rename("elevation").assign_attrs(units="m")
    files = {name: folder / f"{name}.nc" for name in ("fine", "coarse", "static", "valid", "scalers", "saliency")}
    files |= {"model": folder / "model.keras", "importance": folder / "importance.csv"}
    io.write(fine, files["fine"], {})
    io.write(Grid.of(coarse).placed(coarse), files["coarse"], {})
    io.write(grid.placed(elevation.to_dataset()), files["static"], {})
    valid = xr.Dataset({name: fine[name].notnull().any("time").astype(np.int8) for name in fine})
    io.write(grid.placed(valid), files["valid"], {})
    methods = dict.fromkeys(("tas", "pr", "elevation"), Normalization())
    scalers = scaling.fit_all(fine, coarse, elevation.to_dataset(), methods)
    scaling.save(scalers, files["scalers"], {})
    units = {"tas": {"units": "degC"}, "pr": {"units": "mm d-1"}}
    Interface(["tas", "pr"], ["tas", "pr"], {}, units).append(files["scalers"])
    settings = Model(backbone="resnet", upsampling="spc", filters=8, blocks=1)
    shape = Grid.of(coarse).shape
    network = build_network(
        settings, coarse_shape=shape, scale=SCALE, channels=2, outputs=2, base=[0, 1], static=1, context=0
    )
    network.save(files["model"])
    script("explain").main(
        **{
            **{name: str(files[name]) for name in ("model", "scalers", "static", "coarse", "fine", "valid")},
            "train": str(files["coarse"]),
            "steps": 500,
            "repeats": 2,
            "places": {},
            "limits": {"tas": {"minimum": 0.0, "dry_below": None}},
            "about": ABOUT,
            "table": str(files["importance"]),
            "maps": str(files["saliency"]),
            "threads": 1,
        }
        | given
    )
    return files


@pytest.mark.usefixtures("keras_reset", "threads_as_they_are")
def test_table_and_maps(script, tmp_path):
    files = explained(script, tmp_path, "latlon", places={"here": (43.1, 4.0), "masked": (40.0, -5.0)})
    table = pd.read_csv(files["importance"])
    assert set(zip(table["variable"], table["input"], table["kind"], strict=True)) == {
        (name, given, kind)
        for name in ("tas", "pr")
        for given, kind in (("tas", "coarse"), ("pr", "coarse"), ("elevation", "static"))
    }
    assert table["repeat"].tolist() == [1, 2] * 6
    assert dict(zip(table["variable"], table["unit"], strict=True)) == {"tas": "K", "pr": "mm d-1"}
    # An untrained residual network is an interpolation of each field by itself.
    own = table["variable"] == table["input"]
    assert (table["increase"][own] > 0).all()
    assert (table["increase"][~own] == 0).all()
    with io.open_dataset(files["fine"]) as fine, io.open_dataset(files["coarse"]) as coarse:
        scalers = scaling.load(files["scalers"])
        predictor = network_predictor(files["model"], scalers, files["static"], ["tas", "pr"], ["tas", "pr"])
        error = Limits(minimum=0.0).apply(predictor(coarse)["tas"]) - fine["tas"]
        weights = xr.DataArray(Grid.of(fine).cell_areas, dims=("lat", "lon"))
        expected = float(np.sqrt((error**2).weighted(weights).mean()))
    assert table["reference"][table["variable"] == "tas"].to_numpy() == pytest.approx(expected, rel=1e-6)
    with io.open_dataset(files["saliency"]) as maps:
        assert maps.attrs["config_digest"] == ABOUT["config_digest"]
        assert maps["cell_name"].values.tolist() == ["here", "masked"]
        assert maps["input_name"].values.tolist() == ["tas", "pr"]
        assert maps["tas_saliency"].attrs["units"] == "K"
        assert (maps["tas_saliency"].sel(input=1) == 0).all()
        # The nearest cell with a truth of all predictands: three rows to the north, 83 km, not three columns, 128 km.
        assert maps["cell_lat"].values.tolist() == pytest.approx([43.0, 40.75])
        assert maps["cell_lon"].values.tolist() == pytest.approx([4.0, -5.0])


@pytest.mark.usefixtures("keras_reset", "threads_as_they_are")
@pytest.mark.skipif(
    shutil.which("compliance-checker", path=str(Path(sys.executable).parent)) is None,
    reason="compliance-checker is not installed",
)
def test_the_cf_checker_has_nothing_to_say(script, tmp_path):
    paths = []
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        paths.append(explained(script, tmp_path / kind, kind)["saliency"])
    program = shutil.which("compliance-checker", path=str(Path(sys.executable).parent))
    outcome = subprocess.run(
        [str(program), "--test", "cf:1.8", "--criteria", "strict", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.stdout.count("All tests passed!") == len(paths), outcome.stdout


def test_the_figures_are_drawn_where_there_is_something_to_draw(script, tmp_path, monkeypatch):
    drawn = []
    module = script("figures")
    monkeypatch.setattr(module.figures, "save", lambda figure, path: drawn.append((figure, Path(path).name)))
    for name in ("importance", "saliency"):
        monkeypatch.setattr(module.figures, name, lambda *given, name=name: (name, *given[1:]))
    monkeypatch.setattr(module.io, "open_dataset", lambda path: xr.Dataset(coords={"time": [0]}))
    (tmp_path / "importance.csv").write_text("variable\ntas\n")
    given = {"truth": "a", "coarse": "a", "prediction": "a", "scores": "a", "references": [], "folder": str(tmp_path)}
    module.main(**given, predictands=[], importance=str(tmp_path / "importance.csv"))
    assert drawn == [(("importance",), "importance.png")]
