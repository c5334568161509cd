"""The demo through SLURM: every job by sbatch, and the results of one machine."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from running import Workflow
from slurm.conftest import Run, demo_config

LOCAL_RULES = {"inventory", "summary", "cost", "provenance", "page", "crate"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, repository: Path, demo: tuple[Run, str]) -> Path:
    """Results of the same without SLURM."""
    workflow = Workflow(tmp_path_factory.mktemp("local"), repository)
    workflow.run(demo_config(), "verify")
    return workflow.folder / "results" / "demo"


def test_every_job_goes_through_sbatch(demo: tuple[Run, str]) -> None:
    run, output = demo
    assert "(100%) done" in output
    executions = run.executions()
    assert all(states == ["COMPLETED"] for states in executions.values()), executions
    rules = Counter(comment.removeprefix("rule_").partition("_wildcards_")[0] for comment in executions)
    config = demo_config()
    trained, baselines = len(config["models"]), len(config["verification"]["baselines"])
    assert rules == {
        **{"regrid_coarsen": 1, "split": 1, "scalers": 1, "fit": trained, "predict_network": trained},
        **{"predict_baseline": baselines, "score": trained + baselines},
        **{"figures_network": trained, "figures_baseline": baselines, "ranking": 1},
    }
    assert not LOCAL_RULES & set(rules)
    assert run.queue() == []


def test_the_training_ran_on_two_nodes(demo: tuple[Run, str]) -> None:
    run, _ = demo
    lines = run.cluster.direct(
        *("sacct", "--noheader", "--parsable2", "--starttime=now-1days", "--format=JobName,NNodes,NTasks,State,WorkDir")
    ).stdout.splitlines()
    steps = [line.split("|") for line in lines if line.startswith("python|")]
    assert ["python", "2", "2", "COMPLETED"] in [step[:4] for step in steps]
    for rank in (0, 1):
        logs = list((run.folder / "logs" / "demo" / "fit").glob(f"*/rank{rank}.log"))
        assert len(logs) == len(demo_config()["models"])
        assert all(f"rank {rank} of 2" in log.read_text(encoding="utf-8") for log in logs)


def test_results_equal_those_of_one_machine(demo: tuple[Run, str], local: Path) -> None:
    run, _ = demo
    results = run.folder / "results" / "demo"
    assert _rows(results) == _rows(local)
    for model in demo_config()["models"]:
        mine, theirs = (folder / model / "seed1" for folder in (results, local))
        with zipfile.ZipFile(mine / "model.keras") as one, zipfile.ZipFile(theirs / "model.keras") as other:
            assert one.read("model.weights.h5") == other.read("model.weights.h5")
        with xr.open_dataset(mine / "prediction.nc") as one, xr.open_dataset(theirs / "prediction.nc") as other:
            for name in one.data_vars:
                np.testing.assert_array_equal(one[name], other[name])


def _rows(results: Path) -> list[list[str]]:
    with (results / "verification" / "summary.csv").open(encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_costs_are_those_of_the_accounting(demo: tuple[Run, str]) -> None:
    run, _ = demo
    with (run.folder / "results" / "demo" / "cost.csv").open(encoding="utf-8") as stream:
        rows = {row["stage"]: row for row in csv.DictReader(stream)}
    trained = len(demo_config()["models"])
    assert (rows["train"]["jobs"], rows["train"]["attempts"]) == (str(trained), str(trained))
    elapsed, cpu = float(rows["train"]["elapsed_hours"]), float(rows["train"]["cpu_hours"])
    assert cpu == pytest.approx(2 * elapsed, rel=0.02), "two CPUs of a training are charged"
    assert 100 < float(rows["train"]["peak_memory_mib"]) < 4000
    assert float(rows["total"]["elapsed_hours"]) >= elapsed
    page = (run.folder / "results" / "demo" / "report.html").read_text(encoding="utf-8")
    assert "attempts" in page.lower()


def test_status_after_the_run(demo: tuple[Run, str]) -> None:
    run, _ = demo
    outcome = run.workflow.command("dl4ds", "status", "experiment.yaml")
    assert outcome.status == 0
    assert "all there" in outcome.output
    assert "Failed" not in outcome.output


def test_single_stages_run_again(demo: tuple[Run, str]) -> None:
    run, _ = demo
    config = demo_config()
    before = run.executions()
    assert "Nothing to be done" in run.run(config, "train")
    scores = run.folder / "results" / "demo" / "bilinear" / "seed0" / "scores.csv"
    rows = scores.read_text(encoding="utf-8")
    scores.unlink()
    assert "Nothing to be done" in run.run(config, "verify"), "the summary is up to date without it"
    run.run(config, str(scores.relative_to(run.folder)))
    assert scores.read_text(encoding="utf-8") == rows
    again = {comment for comment, states in run.executions().items() if len(states) > len(before.get(comment, []))}
    assert again == {"rule_score_wildcards_bilinear_0"}
