"""A copy of the workflow, a small experiment on real data, and Snakemake as a user calls it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "rules", "scripts", "src", "envs", "config", "profiles", "workflow", "pyproject.toml")
CONFIG_FILE = "experiment.yaml"

TINY: dict[str, Any] = {
    "experiment": "tiny",
    "sources": {
        "hadgem2": {
            "paths": ["package://iris_sample_data/sample_data/A1B_north_america.nc"],
            "citation": "HadGEM2, SRES A1B",
        }
    },
    "data": {
        "predictands": {"tas": {"source": "hadgem2", "variable": "air_temperature", "units": "degC"}},
        "domain": {"lat": [20, 39], "lon": [240, 269]},  # 16 x 16 cells
        "scale": 4,
    },
    "split": {"train": ["1860", "1889"], "validation": ["1890", "1899"], "test": ["1900", "1913"]},
    "training": {"epochs": 2, "batch_size": 7},
    "models": {
        "resnet-spc": {"backbone": "resnet", "upsampling": "spc", "filters": 4, "blocks": 1},
        "unet-pin": {"backbone": "unet", "upsampling": "pin", "filters": 4, "blocks": 2, "training": {"epochs": 1}},
    },
    "verification": {
        "baselines": ["bilinear-corrected", "regression"],
        "bootstrap": {"samples": 20, "block": "2y"},
    },
    "execution": {"workers": 2},
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit status, and stdout and stderr together."""

    status: int
    output: str


@dataclass(frozen=True)
class Plan:
    """What a dry run would do.

    Attributes
    ----------
    jobs : collections.Counter
        Number of jobs by rule.
    messages : list of str
        What each job would say, such as 'Training unet-pin, seed 1, on 2 ranks'.
    """

    jobs: Counter[str]
    messages: list[str]

    @property
    def rules(self) -> set[str]:
        return set(self.jobs)

    def about(self, word: str) -> list[str]:
        """Return the messages that have a word, such as 'Training'."""
        return [message for message in self.messages if word in message]


@dataclass(frozen=True)
class Workflow:
    """Snakemake in a working directory of its own.

    Attributes
    ----------
    folder, repository : Path
        Where it runs, and the copy of the workflow.
    profile : Path, optional
        By default the local one of the copy.
    variables : dict
        What the environment has besides that of the tests.
    """

    folder: Path
    repository: Path
    profile: Path | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        return self.folder / "results" / "tiny"

    def call(self, config: dict[str, Any], *arguments: str) -> list[str]:
        """Write ``config`` as the experiment's file and return the command that runs it."""
        (self.folder / CONFIG_FILE).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return [
            *("snakemake", "--snakefile", str(self.repository / "Snakefile")),
            *("--configfile", CONFIG_FILE, "--directory", str(self.folder)),
            *("--profile", str(self.profile or self.repository / "profiles" / "local"), *arguments),
        ]

    def snakemake(self, config: dict[str, Any], *arguments: str) -> Outcome:
        """Run Snakemake."""
        return self.command(*self.call(config, *arguments))

    def start(self, config: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake in a session of its own; its output goes to `snakemake.out`."""
        with (self.folder / "snakemake.out").open("a") as output:
            return subprocess.Popen(
                self.call(config, *arguments),
                cwd=self.folder,
                env=self.environment,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, config: dict[str, Any], *targets: str) -> Outcome:
        """Run Snakemake, which must succeed."""
        outcome = self.snakemake(config, *targets)
        assert outcome.status == 0, outcome.output
        return outcome

    def plan(self, config: dict[str, Any], *targets: str) -> Plan:
        """Return what a run would do."""
        output = self.run(config, "--dry-run", *targets).output
        stats = output.partition("Job stats:")[2].partition("\n\n")[0]
        jobs = Counter({name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)})
        jobs.pop("total", None)
        return Plan(jobs, re.findall(r"^Job \d+: (.+)$", output, re.MULTILINE))

    def command(self, *command: str) -> Outcome:
        """Run a command with the environment of the tests and the library of this copy."""
        finished = subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return Outcome(finished.returncode, finished.stdout)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.repository / "src"),
            **self.variables,
        }


def files_below(folder: Path, skip: Sequence[str] = ()) -> set[str]:
    """Return all files below a folder, relative to it, but not those in folders named in ``skip``."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not set(path.parts) & set(skip)}


def copy_repository(target: Path) -> Path:
    """Copy all that the workflow consists of: tests may change code there."""
    target.mkdir(parents=True)
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / part)
    return target
