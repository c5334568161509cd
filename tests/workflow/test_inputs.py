"""Inputs of several origins, masks, scenarios and folds, from files to scores."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from running import TINY, Workflow

STEPS = 60


def field(path: Path, name: str, units: str, *, rows: int, step: float, start: str, warming: float = 0.0) -> np.ndarray:
    """Write a daily field on square cells around 45 N, 5 E: a common signal in time, a slope in space, noise."""
    time = pd.date_range(start, periods=STEPS)
    lat, lon = (middle + step * (np.arange(rows) - (rows - 1) / 2) for middle in (45.0, 5.0))
    signal = np.sin(np.arange(STEPS) / 5.0)[:, None, None] * 5 + warming
    noise = np.random.default_rng(rows).normal(scale=0.1, size=(STEPS, rows, rows))
    values = (signal + (lat - 45)[:, None] + noise + 280).astype(np.float32)
    if name == "tas":
        values[:, :3, :3] = np.nan  # sea
        values[10:20, 5, 5] = np.nan  # a station that fell silent
    coordinates = {
        "time": time,
        "lat": ("lat", lat, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", lon, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    xr.DataArray(values, coordinates, ("time", "lat", "lon"), name, {"units": units}).to_netcdf(path)
    return values


def explicit_pairs(folder: Path) -> dict[str, Any]:
    """Write explicit pairs on three grids; return a configuration with context, a mask, two scenarios and a network."""
    tiny = copy.deepcopy(TINY)
    truth = field(folder / "truth.nc", "tas", "K", rows=16, step=0.25, start="2001-01-01")
    assert np.isnan(truth).any()
    field(folder / "model.nc", "t", "K", rows=8, step=1.0, start="2001-01-01")
    field(folder / "upper.nc", "z", "m", rows=6, step=1.5, start="2001-01-01")
    for period, warming in (("past", 0.0), ("future", 3.0)):
        field(folder / f"{period}.nc", "t", "K", rows=8, step=1.0, start="2050-01-01", warming=warming)
        field(folder / f"{period}-z.nc", "z", "m", rows=6, step=1.5, start="2050-01-01", warming=warming)
    names = ("truth", "model", "upper", "past", "future", "past-z", "future-z")
    tiny["sources"] = {name: {"paths": [str(folder / f"{name}.nc")]} for name in names}
    tiny["data"] = {
        "predictands": {"tas": {"source": "truth", "variable": "tas", "units": "degC"}},
        "coarse": {"from": "model", "variables": {"tas": "t"}},
        "predictors": {"z": {"source": "upper", "variable": "z"}},
        "scale": 4,
        "context": 1,
        "missing": "mask",
    }
    tiny["split"] = {
        "train": ["2001-01-01", "2001-02-04"],
        "validation": ["2001-02-05", "2001-02-14"],
        "test": ["2001-02-15", "2001-03-01"],
    }
    tiny["models"] = {"net": {"backbone": "resnet", "upsampling": "spc", "filters": 8, "blocks": 1}}
    tiny["training"] = {"epochs": 2, "batch_size": 8}
    tiny["verification"] = {
        "baselines": ["bilinear-corrected"],
        "bootstrap": {"samples": 20, "block": "2d"},
    }
    tiny["execution"] = {"workers": 1}
    tiny["prediction"] = {
        "scenarios": {
            "past": {
                "sources": {"model": "past", "upper": "past-z"},
                "reference": "past",
                "harmonise": "mean-variance",
            },
            "future": {
                "sources": {"model": "future", "upper": "future-z"},
                "reference": "past",
                "harmonise": "mean-variance",
            },
        }
    }
    return tiny


@pytest.fixture
def explicit(tmp_path: Path, demo_file: Path) -> dict[str, Any]:
    return explicit_pairs(tmp_path)


SMALL = {"filters": 4, "blocks": 1, "localized": "none"}
KINDS: dict[str, dict[str, Any]] = {
    "window": {
        **{"backbone": "densenet", "upsampling": "rc", "time_window": 3, "calendar": ["season", "day-of-year"]},
        "training": {"best_by": "mae"},
    },
    "patches": {"backbone": "unet", "upsampling": "dc", "training": {"patch_size": 8, "augment": ["flip-x"]}},
    "tuned": {
        **{"backbone": "unet", "upsampling": "dc", "norm": "none"},
        "training": {"start_from": "patches", "freeze": ["down1_*"], "loss": {"dssim": 0.6, "mae": 0.2, "mse": 0.2}},
    },
}
SWEPT = SMALL | {"backbone": "convnext", "upsampling": ["pin"], "localized": "regression", "neighbourhood": 3}


@pytest.fixture(scope="module")
def kinds(
    tmp_path_factory: pytest.TempPathFactory, repository: Path, demo_file: Path
) -> tuple[Workflow, dict[str, Any]]:
    """One run for all that is asked below of explicit pairs, a mask, scenarios, and networks of several kinds."""
    workflow = Workflow(tmp_path_factory.mktemp("kinds"), repository)
    config = explicit_pairs(workflow.folder)
    config["models"] = {name: SMALL | model for name, model in KINDS.items()}
    config["execution"]["mixed_precision"] = True
    products = [f"{name}/seed1/prediction.nc" for name in ("window", "tuned")]
    products += ["window/seed1/scenarios/future-change.nc", "bilinear-corrected/seed0/scenarios/future-change.csv"]
    products += ["verification/scenarios/future-inputs.csv"]
    workflow.run(config, *(f"results/tiny/{name}" for name in products))
    return workflow, config


def test_coarse_samples_come_from_two_other_grids(kinds: Any) -> None:
    with xr.open_dataset(kinds[0].results / "data/samples/train/coarse.nc") as coarse:
        assert [name for name in coarse.data_vars if "bnds" not in str(name)] == ["tas", "z"]
        assert dict(coarse.sizes) == {"time": 35, "lat": 6, "lon": 6, "bnds": 2}
        assert coarse["tas"].attrs["units"] == "degC"
        assert float(coarse["tas"].mean()) < 100


def require_whole(workflow: Workflow, name: str) -> None:
    """A prediction has all steps, as windows are filled at the beginning, and misses nothing but the sea."""
    with xr.open_dataset(workflow.results / name / "seed1/prediction.nc") as prediction:
        assert dict(prediction.sizes) == {"time": 15, "lat": 16, "lon": 16, "bnds": 2}
        absent = prediction["tas"].isnull()
        assert bool(absent[:, :3, :3].all())
        assert int(absent.sum()) == 15 * 9


def test_networks_and_trainings_of_other_kinds(kinds: Any) -> None:
    workflow, config = kinds
    for name in ("window", "tuned"):
        require_whole(workflow, name)
    for name in KINDS:
        history = pd.read_csv(workflow.results / name / "seed1" / "history.csv")
        metric = "validation_mae" if name == "window" else "validation_rmse"
        assert history[metric][history["kept"] == 1].item() == history[metric].min()
    log = (workflow.folder / "logs/tiny/fit/tuned-seed1/rank0.log").read_text(encoding="utf-8")
    assert "arrays of weights are those of results/tiny/patches/seed1/model.keras" in log
    plan = workflow.plan({**config, "models": config["models"] | {"swept": SWEPT}}, "train")
    assert plan.about("Training") == ["Training swept_upsampling-pin, seed 1, on 1 ranks"]


@pytest.mark.full
def test_a_network_of_patches_predicts_the_whole_domain(kinds: Any) -> None:
    workflow, config = kinds
    workflow.run(config, "predict")
    require_whole(workflow, "patches")


def require_change(rows: pd.DataFrame) -> None:
    """The coarse field warms by 3 K, and the corrected interpolation by what harmonising leaves of that."""
    change_of = rows.set_index("metric")["value"]
    # Harmonising scales departures from the reference's mean, the change among them, by the ratio of the deviations.
    signal = np.sin(np.arange(STEPS) / 5.0)
    assert change_of["change"] == pytest.approx(3.0 * signal[:35].std() / signal.std(), abs=0.02)
    assert change_of["coarse_change"] == pytest.approx(3.0, abs=0.05)


def test_scenarios_change_and_leave_the_range_of_the_training(kinds: Any) -> None:
    results = kinds[0].results
    with xr.open_dataset(results / "window/seed1/scenarios/future-change.nc") as change:
        assert {"tas_change", "tas_coarse_change"} <= set(change.data_vars)
        assert float(change["tas_coarse_change"].mean()) == pytest.approx(3.0, abs=0.05)
    require_change(pd.read_csv(results / "bilinear-corrected/seed0/scenarios/future-change.csv"))
    shares = pd.read_csv(results / "verification/scenarios/future-inputs.csv").set_index("variable")
    assert shares.loc["tas", "above"] > 0.2
    assert shares.loc["tas", "below"] < 0.1


@pytest.mark.full
def test_summary_and_report_of_scenarios_on_explicit_pairs(fresh: Any, explicit: dict[str, Any]) -> None:
    fresh.run(explicit, "report")
    summary = pd.read_csv(fresh.results / "verification/summary.csv")
    require_change(summary[(summary["model"] == "bilinear-corrected") & (summary["scenario"] == "future")])
    page = (fresh.results / "report.html").read_text(encoding="utf-8")
    assert "The coarse fields come from another data set, model" in page


@pytest.mark.full
def test_every_network_on_explicit_pairs(fresh: Any, explicit: dict[str, Any]) -> None:
    methods = ["pin", "spc", "rc", "dc"]
    explicit["models"] = {
        "step": SMALL | {"backbone": ["convnet", "resnet", "densenet", "unet", "convnext"], "upsampling": methods},
        "window": SMALL | {"backbone": ["convnet", "resnet", "densenet"], "upsampling": methods, "time_window": 2},
    }
    explicit["training"]["epochs"] = 1
    del explicit["prediction"]
    fresh.run(explicit, "predict")
    found = sorted(path.parts[-3] for path in fresh.results.glob("*/seed1/model.keras"))
    assert len(found) == 5 * 4 + 3 * 4
    for name in found:
        with xr.open_dataset(fresh.results / name / "seed1" / "prediction.nc") as prediction:
            assert int(prediction["tas"].notnull().sum()) == 15 * (16 * 16 - 9)


@pytest.fixture
def folded(tiny: dict[str, Any]) -> dict[str, Any]:
    """A baseline and a network, fitted in each of three folds."""
    tiny["split"] = {"method": "kfold", "folds": 3}
    tiny["models"] = {"net": {"backbone": "resnet", "upsampling": "spc", "filters": 4, "blocks": 1}}
    tiny["training"] = {"epochs": 1, "batch_size": 32}
    tiny["execution"] = {"workers": 1}
    tiny["verification"] = {"baselines": ["bilinear-corrected"], "bootstrap": {"samples": 20, "block": "5y"}}
    return tiny


def require_pooled(run: Path) -> None:
    """The prediction of a run has the steps of all folds in order."""
    decoder = xr.coders.CFDatetimeCoder(use_cftime=True)
    steps = []
    for fold in ("fold1", "fold2", "fold3"):
        with xr.open_dataset(run / fold / "prediction.nc", decode_times=decoder) as part:
            steps += list(part["time"].values)
    with xr.open_dataset(run / "prediction.nc", decode_times=decoder) as pooled:
        assert list(pooled["time"].values) == sorted(steps)
        assert len(set(steps)) == len(steps) == 240, "every year is tested on once"


def test_folds(fresh: Any, folded: dict[str, Any]) -> None:
    """Pooled for a baseline; a network is trained once for each."""
    fresh.run(folded, "results/tiny/bilinear-corrected/seed0/prediction.nc")
    require_pooled(fresh.results / "bilinear-corrected/seed0")
    trainings = fresh.plan(folded, "predict").about("Training")
    assert sorted(trainings) == [f"Training net, seed 1/fold{fold}, on 1 ranks" for fold in (1, 2, 3)]


@pytest.mark.full
def test_folds_of_a_network_to_the_summary(fresh: Any, folded: dict[str, Any]) -> None:
    fresh.run(folded, "results/tiny/verification/summary.csv")
    require_pooled(fresh.results / "net/seed1")
    summary = pd.read_csv(fresh.results / "verification/summary.csv")
    assert set(summary["model"]) == {"net", "bilinear-corrected"}
    assert set(summary["split"]) == {"validation", "test"}
