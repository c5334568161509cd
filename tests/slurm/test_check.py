"""`make slurm-check` on the cluster: fit for use, and each thing that a user may have to adapt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from running import Outcome
from slurm.conftest import Run


def check(run: Run, config: dict[str, Any]) -> Outcome:
    """Run the check with the profile and the configuration of a run."""
    run.write_profile()
    run.workflow.call(config)  # writes the configuration
    in_the_project = replace(run.workflow, folder=run.workflow.repository)
    return in_the_project.command(
        *("python", "-m", "dl4ds_core.cluster.check", "--profile", str(run.folder / "profile")),
        *("--configfile", str(run.folder / "experiment.yaml")),
    )


def test_a_profile_that_fits(run: Run, tiny_config: dict[str, Any]) -> None:
    outcome = check(run, tiny_config)
    assert outcome.status == 0, outcome.output
    assert "2 found each other: 0 on node" in outcome.output
    assert "sums are right" in outcome.output
    assert "MB/s" in outcome.output
    assert "shared files" in outcome.output
    assert "TensorFlow 2.18" in outcome.output
    assert run.queue() == []


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"slurm_partition": "gpux"}, "set-resources: fit: slurm_partition: one of cpu, train"),
        ({"slurm_account": "weather"}, "slurm_account: one of climate"),
        pytest.param({"qos": "fast"}, "qos: one of", marks=pytest.mark.full),
        pytest.param({"launcher": "srun --mpi=pmix_v9 --ntasks=2"}, "--mpi=", marks=pytest.mark.full),
        pytest.param({"launcher": "mysrun"}, "set-resources: fit: launcher", marks=pytest.mark.full),
        pytest.param({"mem_mb": 200}, "set-resources: fit: mem_mb", marks=pytest.mark.full),
        pytest.param({"runtime": 600}, "set-resources: fit: runtime", marks=pytest.mark.full),
    ],
)
def test_a_profile_that_does_not(run: Run, tiny_config: dict[str, Any], change: dict[str, Any], advice: str) -> None:
    run.profile["set-resources"]["fit"] |= change
    outcome = check(run, tiny_config)
    assert outcome.status == 1, outcome.output
    assert "FAILED" in outcome.output
    assert advice in outcome.output
    assert "Traceback" not in outcome.output
    assert run.queue() == []
