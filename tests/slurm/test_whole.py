"""Whole experiments through SLURM, the demo among them: every job by sbatch, and the results of one machine."""

from __future__ import annotations

import copy
import csv
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from running import REPOSITORY, TINY, Workflow
from slurm.conftest import Run

LOCAL_RULES = {"inventory", "summary", "compare", "cost", "provenance", "page", "crate"}
EXPERIMENTS = {
    "tiny": TINY,
    "demo": yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8")),
}


@dataclass(frozen=True)
class Whole:
    """An experiment, run from scratch on the cluster.

    Attributes
    ----------
    config : dict
        Its configuration.
    run : Run
        The workflow in the folder where it ran.
    output : str
        What Snakemake said.
    """

    config: dict[str, Any]
    run: Run
    output: str

    @property
    def name(self) -> str:
        return self.config["experiment"]

    @property
    def results(self) -> Path:
        return self.run.folder / "results" / self.name


@pytest.fixture(scope="module", params=["tiny", pytest.param("demo", marks=pytest.mark.full)])
def whole(request: pytest.FixtureRequest, new_run: Callable[[str], Run]) -> Whole:
    """An experiment that has run."""
    config, run = copy.deepcopy(EXPERIMENTS[request.param]), new_run(request.param)
    return Whole(config, run, run.run(config))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, repository: Path, whole: Whole) -> Path:
    """Results of the same without SLURM; those of the small experiment to the predictions."""
    workflow = Workflow(tmp_path_factory.mktemp("local"), repository)
    workflow.run(whole.config, "predict" if whole.config == TINY else "verify")
    return workflow.folder / "results" / whole.name


def test_every_job_goes_through_sbatch(whole: Whole) -> None:
    assert "(100%) done" in whole.output
    executions = whole.run.executions()
    assert all(states == ["COMPLETED"] for states in executions.values()), executions
    rules = Counter(comment.removeprefix("rule_").partition("_wildcards_")[0] for comment in executions)
    config = whole.config
    trained, baselines = len(config["models"]), len(config["verification"]["baselines"])
    assert rules == {
        **{"regrid_coarsen": 1, "split": 1, "scalers": 1, "fit": trained, "predict_network": trained},
        **{"predict_baseline": baselines, "score": trained + baselines, "explain": trained},
        **{"figures_network": trained, "figures_baseline": baselines, "overview": 1},
    }
    assert not LOCAL_RULES & set(rules)
    assert whole.run.queue() == []


def test_the_training_ran_on_two_nodes(whole: Whole) -> None:
    lines = whole.run.cluster.direct(
        *("sacct", "--noheader", "--parsable2", "--starttime=now-1days", "--format=JobName,NNodes,NTasks,State,WorkDir")
    ).stdout.splitlines()
    steps = [line.split("|") for line in lines if line.startswith("python|")]
    assert ["python", "2", "2", "COMPLETED"] in [step[:4] for step in steps]
    for rank in (0, 1):
        logs = list((whole.run.folder / "logs" / whole.name / "fit").glob(f"*/rank{rank}.log"))
        assert len(logs) == len(whole.config["models"])
        assert all(f"rank {rank} of 2" in log.read_text(encoding="utf-8") for log in logs)


@pytest.mark.full  # test_walls compares a training with that of one machine
def test_results_equal_those_of_one_machine(whole: Whole, local: Path) -> None:
    results = whole.results
    if whole.config != TINY:
        assert _rows(results) == _rows(local)
    for model in whole.config["models"]:
        mine, theirs = (folder / model / "seed1" for folder in (results, local))
        with zipfile.ZipFile(mine / "model.keras") as one, zipfile.ZipFile(theirs / "model.keras") as other:
            assert one.read("model.weights.h5") == other.read("model.weights.h5")
        with xr.open_dataset(mine / "prediction.nc") as one, xr.open_dataset(theirs / "prediction.nc") as other:
            for name in one.data_vars:
                np.testing.assert_array_equal(one[name], other[name])


def _rows(results: Path) -> list[list[str]]:
    with (results / "verification" / "summary.csv").open(encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_costs_are_those_of_the_accounting(whole: Whole) -> None:
    with (whole.results / "cost.csv").open(encoding="utf-8") as stream:
        rows = {row["stage"]: row for row in csv.DictReader(stream)}
    trained = len(whole.config["models"])
    assert (rows["train"]["jobs"], rows["train"]["attempts"]) == (str(trained), str(trained))
    elapsed, cpu = float(rows["train"]["elapsed_hours"]), float(rows["train"]["cpu_hours"])
    assert cpu == pytest.approx(2 * elapsed, rel=0.02), "two CPUs of a training are charged"
    assert 100 < float(rows["train"]["peak_memory_mib"]) < 4000
    assert float(rows["total"]["elapsed_hours"]) >= elapsed
    page = (whole.results / "report.html").read_text(encoding="utf-8")
    assert "attempts" in page.lower()


def test_status_after_the_run(whole: Whole) -> None:
    outcome = whole.run.workflow.command("dl4ds", "status", "experiment.yaml")
    assert outcome.status == 0
    assert "all there" in outcome.output
    assert "Failed" not in outcome.output


def test_single_stages_run_again(whole: Whole) -> None:
    run, config = whole.run, whole.config
    before = run.executions()
    assert "Nothing to be done" in run.run(config, "train")
    baseline = config["verification"]["baselines"][0]
    scores = whole.results / baseline / "seed0" / "scores.csv"
    rows = scores.read_text(encoding="utf-8")
    scores.unlink()
    assert "Nothing to be done" in run.run(config, "verify"), "the summary is up to date without it"
    run.run(config, str(scores.relative_to(run.folder)))
    assert scores.read_text(encoding="utf-8") == rows
    again = {comment for comment, states in run.executions().items() if len(states) > len(before.get(comment, []))}
    assert again == {f"rule_score_wildcards_{baseline}_0"}
