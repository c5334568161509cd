"""A real SLURM cluster, the profile for it, and the experiments that run on it."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from running import REPOSITORY, TINY, Workflow, copy_repository
from slurm.cluster import Cluster

NewReference = Callable[[dict[str, Any], str], Path]

#: Seconds after which something that a test waits for counts as hanging.
PATIENCE = 600.0


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "slurm")
    cluster.start()
    cluster.start_guard()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow."""
    return copy_repository(tmp_path_factory.mktemp("repository") / "checkout")


class Run:
    """The workflow on the cluster, in a folder of its own.

    Attributes
    ----------
    workflow : Workflow
        Snakemake with the profile of the test cluster.
    profile : dict
        That profile: profiles/slurm with the names of this cluster, and quicker looks at the queue.
    """

    def __init__(self, cluster: Cluster, repository: Path, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._started: list[subprocess.Popen[str]] = []
        self.cluster, self.folder = cluster, folder
        self.profile: dict[str, Any] = yaml.safe_load(
            (REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8")
        )
        self.profile["default-resources"] |= {"slurm_partition": "cpu", "slurm_account": "climate"}
        self.profile["set-resources"]["fit"] |= {"slurm_partition": "train", "nodes": 2, "runtime": 10}
        self.profile["set-resources"]["fit"]["slurm_extra"] = "--signal=USR1@30"
        self.profile |= {
            "slurm-init-seconds-before-status-checks": 3,
            "max-status-checks-per-second": 1,
            "latency-wait": 15,
        }
        self.workflow = Workflow(folder, repository, folder / "profile", cluster.environment)

    @property
    def output(self) -> str:
        """What a Snakemake started in the background has said."""
        return (self.folder / "snakemake.out").read_text(encoding="utf-8")

    def run(self, config: dict[str, Any], *arguments: str, succeeds: bool = True) -> str:
        """Run Snakemake to its end and return what it says."""
        self.write_profile()
        outcome = self.workflow.snakemake(config, *arguments)
        assert (outcome.status == 0) == succeeds, outcome.output
        return outcome.output

    def start(self, config: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake in the background."""
        self.write_profile()
        process = self.workflow.start(config, *arguments)
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what a test has left behind."""
        for process in self._started:
            process.kill()
            process.wait()
        for job in self.jobs():
            self.cluster.direct("scancel", job)

    def write_profile(self) -> None:
        (self.folder / "profile").mkdir(exist_ok=True)
        (self.folder / "profile" / "config.yaml").write_text(yaml.safe_dump(self.profile), encoding="utf-8")

    def executions(self) -> dict[str, list[str]]:
        """Return the states of all executions of each job of this folder, by its comment, requeued ones included."""
        answer = self.cluster.direct(
            *("sacct", "--allocations", "--duplicates", "--noheader", "--parsable2", "--starttime=now-1days"),
            "--format=Comment,State,WorkDir",
        )
        found: dict[str, list[str]] = {}
        for line in answer.stdout.splitlines():
            comment, state, folder = line.split("|")
            if folder == str(self.folder):
                found.setdefault(comment, []).append(state.split()[0])
        return found

    def queue(self) -> list[str]:
        """Return the comments of the jobs of this folder that wait or run."""
        return list(self.jobs().values())

    def jobs(self, *options: str) -> dict[str, str]:
        """Return the jobs of this folder that wait or run: comments by number; options are those of squeue."""
        lines = self.cluster.direct("squeue", "-h", "-o", "%A %Z %k", *options).stdout.splitlines()
        parts = [line.split(" ", 2) for line in lines]
        return {number: comment for number, folder, comment in parts if folder == str(self.folder)}


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for a condition and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)
    return value


@pytest.fixture(scope="session")
def new_run(
    cluster: Cluster, repository: Path, demo_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Run]:
    return lambda name: Run(cluster, repository, tmp_path_factory.mktemp(name))


@pytest.fixture
def run(new_run: Callable[[str], Run], request: pytest.FixtureRequest) -> Iterator[Run]:
    """The workflow in an empty folder."""
    run = new_run(re.sub(r"\W+", "-", request.node.name)[:30])
    yield run
    run.close()


def demo_config() -> dict[str, Any]:
    """Return the configuration of the demo."""
    return yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8"))


def training_of(epochs: int) -> dict[str, Any]:
    """Return an experiment with one training; see `epochs`."""
    config = copy.deepcopy(TINY)
    config["models"] = {"net": {"backbone": "resnet", "upsampling": "pin", "filters": 24, "blocks": 4}}
    config["training"] = {"epochs": epochs, "batch_size": 2}
    config["verification"]["baselines"] = ["bilinear-corrected"]
    config["execution"]["checkpoint_minutes"] = 0.05
    return config


@pytest.fixture(scope="session")
def new_reference(tmp_path_factory: pytest.TempPathFactory, repository: Path, demo_file: Path) -> NewReference:
    """A function that runs an experiment without SLURM and without interruption, and returns its results."""

    def results_of(config: dict[str, Any], target: str) -> Path:
        workflow = Workflow(tmp_path_factory.mktemp("uninterrupted"), repository)
        workflow.run(config, target)
        return workflow.results

    return results_of


@pytest.fixture(scope="session")
def epochs(new_reference: NewReference) -> int:
    """How many epochs of `training_of` take 55 s on this machine: more than a wall of a minute leaves.

    TensorFlow's start takes some of a wall, and SLURM ends it up to half a minute early.
    """
    results = new_reference(training_of(20), "train")
    seconds = pd.read_csv(results / "net" / "seed1" / "history.csv")["seconds"].median()
    return round(55 / seconds)


@pytest.fixture
def long(epochs: int) -> dict[str, Any]:
    """An experiment with one training that is longer than a wall; a test may change it."""
    return training_of(epochs)


@pytest.fixture(scope="session")
def reference(new_reference: NewReference, epochs: int) -> Path:
    """Results of the long training without SLURM and without interruption."""
    return new_reference(training_of(epochs), "train")


@pytest.fixture(scope="session")
def verified(new_reference: NewReference, epochs: int) -> Path:
    """The same to the scores."""
    return new_reference(training_of(epochs), "verify")


def pids_of(run: Run, rank: int) -> list[int]:
    """Return the processes of a rank of this folder's training."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            variables = (path / "environ").read_bytes().split(b"\0")
            folder = os.readlink(path / "cwd")
        except OSError:
            continue
        is_rank = any(word.endswith(b"/train.py") for word in words[:3])
        if is_rank and folder == str(run.folder) and f"PMIX_RANK={rank}".encode() in variables:
            found.append(int(path.name))
    return found


@pytest.fixture
def tiny_config(demo_file: Path) -> dict[str, Any]:
    """A small experiment; a test may change it."""
    return copy.deepcopy(TINY)
