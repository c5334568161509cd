"""Many small jobs, jobs that need more memory, and jobs that always fail."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from slurm.conftest import Run

YEARS = 24
"""So many years the experiment has."""


def many(tiny_config: dict[str, Any], demo_file: Path, tmp_path: Path, files: int) -> dict[str, Any]:
    """Return the small experiment from so many files of a year each, or of two if that makes enough of them."""
    years = 1 if files >= YEARS else 2
    with xr.open_dataset(demo_file) as source:
        for index in range(files):
            source.isel(time=slice(index * years, (index + 1) * years)).to_netcdf(tmp_path / f"year{index:03d}.nc")
    tiny_config["sources"]["hadgem2"]["paths"] = [str(tmp_path / "year*.nc")]
    tiny_config["split"] = {"train": ["1860", "1869"], "validation": ["1870", "1874"], "test": ["1875", "1883"]}
    return tiny_config


@pytest.mark.parametrize(
    ("files", "size", "limit"),
    [
        (12, 4, 2),
        pytest.param(200, 20, 4, marks=pytest.mark.full),
        pytest.param(200, None, 4, marks=pytest.mark.full),
    ],
)
def test_many_small_jobs(
    run: Run, tiny_config: dict[str, Any], demo_file: Path, tmp_path: Path, files: int, size: int | None, limit: int
) -> None:
    """In groups of some size, or each by itself."""
    config = many(tiny_config, demo_file, tmp_path, files)
    run.profile["jobs"] = limit
    if size is None:
        del run.profile["groups"], run.profile["group-components"]
    else:
        run.profile["group-components"] = [f"regrid={size}", f"inputs={size}"]
    calls, submitted = run.cluster.calls("sacct"), run.cluster.calls("sbatch")
    most, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(1):
            most = max(most, len(run.queue()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    try:
        run.run(config, "regrid")
    finally:
        ended.set()
        watcher.join()
    seconds = time.monotonic() - began
    made = list((run.workflow.results / "data" / "regridded").glob("*/tas/*.nc"))
    assert len(made) == 2 * files
    assert 0 < most <= limit
    jobs = run.cluster.calls("sbatch") - submitted
    assert jobs == files // (size or 1)
    # One call per look at the queue, whatever the number of jobs: at least as far apart as the profile says.
    assert run.cluster.calls("sacct") - calls <= seconds / run.profile["slurm-init-seconds-before-status-checks"] + 2


@pytest.mark.full
def test_a_job_out_of_memory_is_sent_again_with_more(run: Run, tiny_config: dict[str, Any]) -> None:
    run.profile["retries"] = 5
    run.profile["set-resources"]["split"] = {"mem_mb": "120 * attempt"}
    run.run(tiny_config, "prepare")
    states = run.executions()["rule_split"]
    assert len(states) >= 2, states
    assert states.count("COMPLETED") == 1
    assert set(states) <= {"COMPLETED", "FAILED", "OUT_OF_MEMORY", "CANCELLED"}


@pytest.mark.full
def test_a_job_that_always_fails(run: Run, tiny_config: dict[str, Any]) -> None:
    run.profile["retries"] = 4
    tiny_config["models"]["unet-pin"]["training"] = {"learning_rate": 1e30, "epochs": 2}
    output = run.run(tiny_config, "verify", succeeds=False)
    assert "logs/tiny/fit/unet-pin-seed1.log" in output
    assert "the loss is no longer finite" in output, "the last lines of the log are shown"
    assert "this training is given up: 3 starts in a row got no further" in output
    log = (run.folder / "logs" / "tiny" / "fit" / "unet-pin-seed1" / "jobs.log").read_text(encoding="utf-8")
    assert log.count("launch: srun") == 3, "the ranks are started three times, and no more"
    assert len(run.executions()["rule_fit_wildcards_unet-pin_1"]) == 5
    for name in ("resnet-spc/seed1", *(f"{name}/seed0" for name in tiny_config["verification"]["baselines"])):
        assert (run.workflow.results / name / "scores.csv").exists(), "what doesn't depend on it is finished"
    assert not (run.workflow.results / "verification" / "summary.csv").exists()
    assert run.queue() == []
    outcome = run.workflow.command("dl4ds", "status", "experiment.yaml")
    assert "FAILED" in outcome.output
    assert "unet-pin" in outcome.output
