"""What a finished experiment leaves: every product, whole, described and in its place."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xarray as xr
from running import TINY

DECODER = xr.coders.CFDatetimeCoder(use_cftime=True)
NETWORKS = ("resnet-spc", "unet-pin")
BASELINES = tuple(TINY["verification"]["baselines"])
RUNS = [f"{name}/seed1" for name in NETWORKS] + [f"{name}/seed0" for name in BASELINES]
SPLITS = ("train", "validation", "test")
SAMPLES = [f"data/samples/{split}/{grid}.nc" for split in SPLITS for grid in ("fine", "coarse")]
METRICS = {"bias", "mae", "rmse", "pearson", "spearman", "std_ratio", "ssim"}
COLUMNS = (
    "model,seed,fold,scenario,split,variable,metric,threshold,scale,season,region,unit,value,lower,upper,reference"
)
FIELDS = [*SAMPLES, *(f"{run}/{name}.nc" for run in RUNS for name in ("prediction", "prediction-validation"))]
FIGURES = ("maps-largest-error", "maps-largest-value", "maps-random", "scores", "density")
OF_NETWORKS = (
    *("model.keras", "scalers.nc", "spec.json", "history.csv", "importance.csv", "saliency.nc"),
    *(f"figures/{name}.{kind}" for name in ("training", "importance", "saliency-tas") for kind in ("png", "pdf")),
)
OVERVIEW = ("ranking", "taylor", "spectra", "quantiles", "percentiles", "errors-in-time", "places", "domain")
# A job of each of these leaves a log and a benchmark of this name.
JOBS = (
    [
        "check",
        "grids",
        "coarsen/tas/A1B_north_america",
        "split",
        "scalers/default",
        "summary",
        "compare",
        "overview",
        "cost",
    ]
    + ["provenance", "report", "archive"]
    + [f"{stage}/{name}-seed1" for stage in ("fit", "predict", "explain", "score", "figures") for name in NETWORKS]
    + [f"figures/{name}" for name in BASELINES]
    + [f"{stage}/{name}-seed0" for stage in ("predict", "score") for name in BASELINES]
)


def test_every_product_is_there(finished: Any) -> None:
    expected = [
        *SAMPLES,
        *("check.txt", "data/samples/statistics.json", "data/scalers/default.nc"),
        *("data/grids/fine.nc", "data/grids/coarse.nc", "data/samples/valid.nc", "data/samples/notes.txt"),
        *(f"data/regridded/{grid}/tas/A1B_north_america.nc" for grid in ("fine", "coarse")),
        *(
            "verification/summary.csv",
            "verification/comparisons.csv",
            "cost.csv",
            "report.html",
            "provenance.json",
            "archive.zip",
        ),
        *(f"{run}/{name}" for run in RUNS for name in ("prediction.nc", "prediction-validation.nc")),
        *(f"{run}/{name}" for run in RUNS for name in ("scores.nc", "scores.csv")),
        *(f"{run}/figures/{name}-tas.{kind}" for run in RUNS for name in FIGURES for kind in ("png", "pdf")),
        *(f"{name}/seed1/{file}" for name in NETWORKS for file in OF_NETWORKS),
        *(f"verification/figures/{name}-tas.{kind}" for name in OVERVIEW for kind in ("png", "pdf")),
        "verification/figures/animation-tas.gif",
    ]
    absent = [name for name in expected if not (finished.results / name).is_file()]
    empty = [name for name in expected if name not in absent and not (finished.results / name).stat().st_size]
    assert not absent
    assert not empty


def test_nothing_is_written_elsewhere(finished: Any, list_files: Callable[..., set[str]]) -> None:
    found = {path.name for path in finished.folder.iterdir()}
    assert found <= {"experiment.yaml", "results", "logs", "benchmarks", ".snakemake"}
    assert [path.name for path in (finished.folder / "results").iterdir()] == ["tiny"]
    original = Path(__file__).resolve().parents[2]
    for part in ("rules", "scripts", "workflow", "profiles"):
        extra = list_files(finished.repository / part, ("__pycache__",)) - list_files(original / part)
        assert not extra


def test_no_temporary_file_or_checkpoint_is_left(finished: Any, list_files: Callable[..., set[str]]) -> None:
    found = list_files(finished.folder, (".snakemake",))
    own = ".snakemake_timestamp"  # Snakemake's, in a folder that is a product
    hidden = [name for name in found if Path(name).name.startswith(".") and Path(name).name != own]
    assert not hidden
    assert not [name for name in found if "checkpoints" in name]


def test_every_job_has_a_log_and_a_benchmark(finished: Any) -> None:
    absent = [f"logs/tiny/{job}.log" for job in JOBS] + [f"benchmarks/tiny/{job}.tsv" for job in JOBS]
    assert not [name for name in absent if not (finished.folder / name).is_file()]


def test_benchmarks_have_a_duration(finished: Any) -> None:
    for job in JOBS:
        table = pd.read_csv(finished.folder / f"benchmarks/tiny/{job}.tsv", sep="\t")
        assert (table["s"] > 0).all(), job


def test_summary_has_every_model_split_and_metric(finished: Any) -> None:
    path = finished.results / "verification" / "summary.csv"
    assert path.read_text(encoding="utf-8").splitlines()[0] == COLUMNS
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["model"], row["seed"], row["split"], row["metric"]) for row in rows}
    expected = {(*run.split("/seed"), split, metric) for run in RUNS for split in SPLITS[1:] for metric in METRICS}
    assert expected <= found
    assert {model for model, *_ in found} == {*NETWORKS, *BASELINES}


def test_summary_values_are_sound(finished: Any) -> None:
    rows = pd.read_csv(finished.results / "verification" / "summary.csv")
    assert rows["value"].notna().all()
    rmse = rows[rows["metric"] == "rmse"]
    assert rmse["value"].between(0.01, 20).all()
    assert set(rmse["unit"]) <= {"degC", "K"}
    assert (rmse["lower"] <= rmse["upper"]).all()


@pytest.mark.parametrize(("name", "epochs"), [("resnet-spc", 2), ("unet-pin", 1)])
def test_history_has_one_row_per_epoch(finished: Any, name: str, epochs: int) -> None:
    history = pd.read_csv(finished.results / name / "seed1" / "history.csv")
    assert list(history.columns) == [
        *("epoch", "loss", "validation_loss", "validation_rmse", "validation_mae", "learning_rate", "seconds", "kept")
    ]
    assert history["kept"].sum() == 1
    assert history["validation_rmse"][history["kept"] == 1].item() == history["validation_rmse"].min()
    assert list(history["epoch"]) == list(range(1, epochs + 1))
    assert (history[["loss", "validation_loss", "validation_rmse", "seconds"]] > 0).all(axis=None)


@pytest.mark.parametrize("name", FIELDS)
def test_fields_keep_calendar_and_name_units_and_provenance(finished: Any, name: str) -> None:
    with xr.open_dataset(finished.results / name, decode_times=DECODER) as dataset:
        assert dataset["time"].dt.calendar == "360_day"
        assert list(dataset["tas"].dims) == ["time", "lat", "lon"]
        assert dataset["tas"].dtype == "float32"
        assert dataset["tas"].attrs["units"] == "degC"
        assert dataset["tas"].attrs["standard_name"] == "air_temperature"
        assert dataset["tas"].notnull().all()
        for axis in ("lat", "lon"):
            assert dataset.indexes[axis].is_monotonic_increasing
        provenance = ("Conventions", "history", "source", "config_digest", "dl4ds_core_version", "dl4ds_core_commit")
        assert all(dataset.attrs[key] for key in provenance)
        assert dataset.attrs["source"] == "HadGEM2, SRES A1B"


@pytest.mark.parametrize(
    "name",
    [
        "data/samples/train/coarse.nc",
        "data/scalers/default.nc",
        "unet-pin/seed1/prediction.nc",
        "regression/seed0/prediction.nc",
        "unet-pin/seed1/scores.nc",
    ],
)
def test_products_pass_the_cf_checker(finished: Any, name: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [str(Path(sys.executable).parent / "compliance-checker"), "--test=cf:1.8", "--criteria=strict"]
    command += ["--format=json", f"--output={report}", str(finished.results / name)]
    subprocess.run(command, check=False, capture_output=True)
    result = json.loads(report.read_text(encoding="utf-8"))["cf:1.8"]
    assert [problem["msgs"] for problem in result["high_priorities"] if problem["msgs"]] == []


def test_periods_are_whole_and_apart(finished: Any) -> None:
    steps = {}
    for split in SPLITS:
        with xr.open_dataset(finished.results / f"data/samples/{split}/fine.nc", decode_times=DECODER) as dataset:
            steps[split] = list(dataset["time"].dt.year.values)
    assert steps == {
        "train": list(range(1860, 1890)),
        "validation": list(range(1890, 1900)),
        "test": list(range(1900, 1914)),
    }


def test_report_needs_no_network(finished: Any) -> None:
    page = (finished.results / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert all(name in page for name in (*NETWORKS, *BASELINES))
    assert not [tag for tag in ('<script src="', '<link rel="stylesheet" href="', 'src="http') if tag in page]


def test_snakemakes_own_report_has_the_figures_and_the_page(
    finished: Any, tiny: dict[str, Any], tmp_path: Path
) -> None:
    outcome = finished.run(tiny, "report", "--report", str(tmp_path / "own.html"))
    page = (tmp_path / "own.html").read_text(encoding="utf-8")
    assert "finished" in outcome.output.lower() or "created" in outcome.output.lower()
    for name in ("scores-tas.png", "training.png", "ranking-tas.png", "report.html", "summary.csv"):
        assert name in page
    assert "Models side by side" in page


def test_costs_have_every_stage(finished: Any) -> None:
    cost = pd.read_csv(finished.results / "cost.csv")
    assert list(cost.columns) == [
        *("stage", "jobs", "attempts", "elapsed_hours", "cpu_hours", "gpu_hours", "peak_memory_mib")
    ]
    cost = cost[cost["stage"] != "check"]  # may come after the table
    assert list(cost["stage"]) == ["regrid", "prepare", "train", "predict", "verify", "report", "total"]
    # The stage verify joins the scores and compares the models.
    assert list(cost["jobs"])[:-2] == [2, 2, len(NETWORKS), len(RUNS), len(RUNS) + 2]
    assert (cost["attempts"] == cost["jobs"]).all()
    assert cost["peak_memory_mib"].max() == cost["peak_memory_mib"].iloc[-1] > 100
    assert cost["elapsed_hours"].iloc[-1] == pytest.approx(cost["elapsed_hours"].iloc[:-1].sum(), abs=0.01)


def test_provenance_has_the_experiment_alone(finished: Any) -> None:
    """Nothing of the demo's configuration gets into an experiment, neither its title nor its models."""
    record = json.loads((finished.results / "provenance.json").read_text(encoding="utf-8"))
    config = record["config"]
    assert config["experiment"] == "tiny"
    assert config["title"] == ""
    assert set(config["models"]) == set(NETWORKS)
    assert config["normalization"] == {}
