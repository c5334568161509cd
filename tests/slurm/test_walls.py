"""Walls: a training longer than its wall time goes through several jobs and ends with the same weights."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from slurm.conftest import PATIENCE, Run, until


def weights(folder: Path) -> bytes:
    """Return the stored weights of the network."""
    with zipfile.ZipFile(folder / "net" / "seed1" / "model.keras") as archive:
        return archive.read("model.weights.h5")


def history(folder: Path) -> pd.DataFrame:
    """Return the history of the training without the measured times."""
    return pd.read_csv(folder / "net" / "seed1" / "history.csv").drop(columns="seconds")


def require_progress(run: Run, config: dict[str, Any], process: int) -> None:
    """Once the training is under way, `dl4ds status` shows how far it has come."""
    standing = run.workflow.results / "net" / "seed1" / "checkpoints" / "standing.json"
    until(lambda: standing.exists() and '"epoch": 0,' not in standing.read_text(encoding="utf-8"), "an epoch")
    outcome = run.workflow.command("dl4ds", "status", "experiment.yaml")
    assert outcome.status == 0
    assert "fit net_1" in outcome.output
    assert "running" in outcome.output
    assert f" of {config['training']['epochs']} " in outcome.output
    assert f"process {process}" in outcome.output


@pytest.mark.parametrize("target", ["train", pytest.param("report", marks=pytest.mark.full)])
def test_a_training_passes_through_walls(run: Run, long: dict[str, Any], reference: Path, target: str) -> None:
    run.profile["set-resources"]["fit"] |= {"runtime": 1, "slurm_extra": "--signal=USR1@5"}
    # SLURM sends the signal up to 30 s early: on a busy machine a job may end before its first step.
    long["execution"]["attempts"] = 10
    process = run.start(long, target)
    require_progress(run, long, process.pid)
    assert process.wait(timeout=PATIENCE) == 0, run.output
    states = run.executions()["rule_fit_wildcards_net_1"]
    assert len(states) >= 2, states
    assert states.count("COMPLETED") == 1
    assert set(states) <= {"COMPLETED", "REQUEUED"}, "it went on in the same job, without an attempt of Snakemake"
    assert weights(run.workflow.results) == weights(reference)
    pd.testing.assert_frame_equal(history(run.workflow.results), history(reference))
    logs = run.folder / "logs" / "tiny" / "fit"
    assert (logs / "net-seed1" / "jobs.log").read_text(encoding="utf-8").count("goes back into the queue") >= 1
    log = (logs / "net-seed1.log").read_text(encoding="utf-8")
    assert f"of {long['training']['epochs']}: loss" in log, "rank 0's progress is in the rule's log"
    rest = {comment: found for comment, found in run.executions().items() if "fit" not in comment}
    assert all(found == ["COMPLETED"] for found in rest.values()), rest
    if target == "report":
        costs = pd.read_csv(run.workflow.results / "cost.csv").set_index("stage")
        assert costs.loc["train", "attempts"] == len(states)


@pytest.mark.full
def test_a_wall_without_warning_costs_an_attempt_and_goes_on(run: Run, long: dict[str, Any], reference: Path) -> None:
    run.profile["set-resources"]["fit"] |= {"runtime": 1, "slurm_extra": ""}
    long["execution"]["attempts"] = 1
    run.run(long, "train")
    states = run.executions()["rule_fit_wildcards_net_1"]
    assert "TIMEOUT" in states
    assert weights(run.workflow.results) == weights(reference)
