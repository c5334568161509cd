"""Faults during a training: the same command, given again at most once, ends with identical results."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from slurm.conftest import Run, pids_of, until
from slurm.test_walls import history, weights

FIT = "rule_fit_wildcards_net_1"


@pytest.fixture
def config(long: dict[str, Any]) -> dict[str, Any]:
    """An experiment with one training."""
    return long


def start(run: Run, config: dict[str, Any], target: str = "verify") -> subprocess.Popen[str]:
    """Start the run and return when the training has written a checkpoint after its second epoch."""
    process = run.start(config, target)
    standing = run.workflow.results / "net" / "seed1" / "checkpoints" / "standing.json"
    marks = ('"checkpoint_epoch": 0', '"checkpoint_epoch": 1,')

    def advanced() -> bool:
        assert process.poll() is None, run.output
        return standing.exists() and not any(mark in standing.read_text(encoding="utf-8") for mark in marks)

    until(advanced, "a checkpoint")
    return process


def finish(process: subprocess.Popen[str], run: Run, reference: Path) -> dict[str, list[str]]:
    """Wait for the run, which must succeed with the results of an uninterrupted one; return all executions."""
    assert process.wait(timeout=600) == 0, run.output
    assert weights(run.workflow.results) == weights(reference)
    pd.testing.assert_frame_equal(history(run.workflow.results), history(reference))
    tables = [folder / "verification" / "summary.csv" for folder in (run.workflow.results, reference)]
    assert len({table.exists() for table in tables}) == 1
    if tables[0].exists():
        pd.testing.assert_frame_equal(*map(pd.read_csv, tables))
    executions = run.executions()
    others = {comment: states for comment, states in executions.items() if comment != FIT}
    assert all(states == ["COMPLETED"] for states in others.values()), f"a stage ran twice: {others}"
    assert executions[FIT].count("COMPLETED") == 1
    assert run.queue() == []
    return executions


@pytest.mark.full
def test_a_rank_is_killed(run: Run, config: dict[str, Any], reference: Path) -> None:
    process = start(run, config, "train")
    began = time.monotonic()
    for pid in pids_of(run, 1):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not pids_of(run, 0), "the end of the other rank", seconds=60)
    assert time.monotonic() - began < 45, "the step ends at once, not at the wall"
    states = finish(process, run, reference)[FIT]
    assert len(states) == 2, states
    assert "restart" in run.output.lower()
    log = (run.folder / "logs" / "tiny" / "fit" / "net-seed1.log").read_text(encoding="utf-8")
    assert "resumed" in log


@pytest.mark.full
def test_a_node_goes_down(run: Run, config: dict[str, Any], verified: Path) -> None:
    process = start(run, config)
    node = run.cluster.direct("squeue", "-h", "-p", "train", "-t", "RUNNING", "-o", "%B").stdout.split()[0]
    run.cluster.direct("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        states = finish(process, run, verified)[FIT]
    finally:
        run.cluster.direct("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert len(states) >= 2, states


@pytest.mark.full
def test_preemption(run: Run, config: dict[str, Any], verified: Path) -> None:
    process = start(run, config)
    urgent = run.cluster.direct(
        *("sbatch", "--parsable", "--qos=urgent", "--account=climate", "--partition=train", "--nodes=3", "--exclusive"),
        *("--output=/dev/null", "--wrap", "sleep 20"),
    ).stdout.strip()
    assert urgent.isdigit()
    until(lambda: {"PREEMPTED", "REQUEUED"} & set(run.executions().get(FIT, [])), "preemption", seconds=120)
    states = finish(process, run, verified)[FIT]
    run.cluster.direct("scancel", urgent)
    assert set(states) <= {"PREEMPTED", "REQUEUED", "COMPLETED"}, states
    log = (run.folder / "logs" / "tiny" / "fit" / "net-seed1" / "rank0.log").read_text(encoding="utf-8")
    assert "because of SIGTERM; the checkpoint is written" in log


@pytest.mark.full
def test_a_requeue_by_hand(run: Run, config: dict[str, Any], verified: Path) -> None:
    process = start(run, config)
    (job,) = run.jobs("--partition=train")
    assert run.cluster.direct("scontrol", "requeue", job).returncode == 0
    assert len(finish(process, run, verified)[FIT]) >= 2


@pytest.mark.full
def test_the_controller_restarts(run: Run, config: dict[str, Any], verified: Path) -> None:
    process = start(run, config)
    run.cluster.end("slurmctld")
    time.sleep(10)
    run.cluster.launch("slurmctld", "slurmctld", "-D")
    assert finish(process, run, verified)[FIT] == ["COMPLETED"]


@pytest.mark.full
def test_sacct_fails_for_a_while(run: Run, config: dict[str, Any], verified: Path) -> None:
    process = start(run, config)
    failing = run.cluster.folder / "failing" / "sacct"
    calls = run.cluster.calls("sacct")
    failing.touch()
    try:
        until(lambda: run.cluster.calls("sacct") > calls + 10, "calls of sacct that fail", seconds=180)
    finally:
        failing.unlink()
    assert finish(process, run, verified)[FIT] == ["COMPLETED"]


@pytest.mark.full
def test_snakemake_is_killed_and_started_again(run: Run, config: dict[str, Any], verified: Path) -> None:
    first = start(run, config)
    first.kill()
    first.wait()
    (job,) = run.jobs("--partition=train")
    second = run.start(config, "verify")
    until(lambda: "Waiting for 1 jobs of an earlier run" in run.output, "the message", seconds=60)
    assert f"{job} fit net_1: running" in run.output
    assert finish(second, run, verified)[FIT] == ["COMPLETED"], "the training was not sent a second time"


@pytest.mark.full
def test_a_second_snakemake_is_refused(run: Run, config: dict[str, Any], verified: Path) -> None:
    first = start(run, config)
    message = run.run(config, "verify", succeeds=False)
    assert "is being run already" in message
    assert f"process {first.pid}" in message
    assert "Traceback" not in message
    finish(first, run, verified)
