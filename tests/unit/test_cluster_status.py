"""The status of an experiment: what is said of it while it runs, waits, has failed, and where SLURM is silent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from dl4ds_core import cli
from dl4ds_core.cluster import products, runs, slurm, status
from dl4ds_core.cluster.runs import Run
from dl4ds_core.cluster.slurm import Job
from dl4ds_core.config import Config, parse
from dl4ds_core.errors import ClusterError
from dl4ds_core.training import standing
from dl4ds_core.training.standing import Standing

CONFIG: dict[str, Any] = {
    "experiment": "trial",
    "sources": {"src": {"paths": ["data/*.nc"]}},
    "data": {"predictands": {"t2m": {"source": "src", "variable": "t2m"}}, "scale": 4},
    "split": {"train": ["2001", "2002"], "validation": ["2003", "2003"], "test": ["2004", "2004"]},
    "models": {name: {"backbone": "resnet", "upsampling": "spc"} for name in ("net", "other")},
    "verification": {"baselines": ["nearest"]},
}
NOW = datetime.now(UTC)
RUN = Run(
    **{"host": "login1", "pid": 4711, "process_started": 0.0, "slurm_job": ""},
    **{"run": "run-b", "started": (NOW - timedelta(hours=2)).isoformat(), "ended": None, "command": "snakemake"},
)
UNDER_WAY = Standing(
    **{"epoch": 12, "step": 30, "epochs": 60, "steps": 188, "seconds_left": 1520.0, "validation_rmse": 0.43123},
    **{"best": 0.42901, "best_epoch": 11, "updated": time.time(), "job": "98", "host": "node1"},
    **{"checkpoint_epoch": 12, "checkpoint_step": 20},
)


class Cluster:
    """Answers for SLURM's commands; None stands for a command that fails."""

    def __init__(self) -> None:
        self.squeue: str | None = ""
        self.sacct: str | None = ""
        self.calls: list[tuple[str, ...]] = []

    def call(self, *command: str, **_: object) -> str:
        self.calls.append(command)
        answer = getattr(self, command[0])
        if answer is None:
            raise ClusterError(f"{command[0]} failed: slurm is\n busy")
        return str(answer).replace("|", slurm.SEPARATOR)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    fake = Cluster()
    monkeypatch.setattr(slurm, "call", fake.call)
    return fake


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what is shown of the experiment, given records of runs and what is known of their processes."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.nc").touch()
    monkeypatch.chdir(tmp_path)

    def show(*records: Run, alive: bool | None = True) -> str:
        monkeypatch.setattr(runs, "records", lambda folder: list(records))
        monkeypatch.setattr(runs, "alive", lambda run: alive)
        return status.describe(config())

    return show


def config() -> Config:
    return parse(CONFIG)


def queued(job: str, comment: str, state: str = "RUNNING", reason: str = "None", times: str = "12:04|30:00") -> str:
    return f"{job}|run-b|{state}|{reason}|{times}|{comment}\n"


def accounted(job: str, state: str, comment: str, start: str = "2026-11-22T10:00:00") -> str:
    return f"{job}|{state}|{start}|5|5|cpu=1||{comment}|sbatch\n"


def slurm_log(job: str, name: str) -> Path:
    path = status.SLURM_LOGS / name / f"{job}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def training(text: str) -> list[str]:
    """Return the lines about trainings, without their head."""
    return text.partition("Trainings\n")[2].partition("\n\n")[0].splitlines()[1:]


def write_standing(**changes: Any) -> None:
    age = changes.pop("age", 5)
    folder = products.folder_of(config(), "net", 1) / "checkpoints"
    standing.write(folder, replace(UNDER_WAY, updated=time.time() - age, **changes))


def test_before_the_first_run(shown: Callable[..., str], cluster: Cluster) -> None:
    assert shown() == (
        "Experiment trial\n"
        "No Snakemake is running; no run of it is recorded in this folder\n\n"
        "Products\n  regrid   0 of 2\n  prepare  0 of 7\n  train    0 of 2\n  predict  0 of 3\n  verify   0 of 4\n"
        "  report   0 of 3\n"
    )
    assert not cluster.calls


def test_products_are_counted(shown: Callable[..., str], cluster: Cluster, tmp_path: Path) -> None:
    files = products.expected(config())
    assert files["train"] == [Path("results", "trial", name, "seed1", "model.keras") for name in ("net", "other")]
    for file in [*(files["predict"] or [])[:2], *(files["train"] or [])]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    text = shown()
    assert "  predict  2 of 3\n" in text
    assert "  train    2 of 2  all there\n" in text
    (tmp_path / "data" / "a.nc").unlink()
    assert "  regrid        ?  its inputs are not there yet\n" in shown()


@pytest.mark.parametrize(
    ("record", "alive", "expected"),
    [
        (RUN, True, "Snakemake runs since {started} (2 h): process 4711 on login1"),
        (RUN, None, "  at least it did: whether it still runs can only be seen on login1"),
        (RUN, False, "No Snakemake is running; the last one began {started} and was killed: process 4711 on login1"),
        (replace(RUN, ended=RUN.started), False, "No Snakemake is running; the last one ended {started} (2 h ago)"),
    ],
)
def test_the_snakemake_process(
    shown: Callable[..., str], cluster: Cluster, record: Run, alive: bool | None, expected: str
) -> None:
    # Two hours before now: the tests may have begun minutes ago.
    begun = datetime.now(UTC) - timedelta(hours=2)
    record = replace(record, started=begun.isoformat(), ended=record.ended and begun.isoformat())
    started = begun.astimezone().strftime("%Y-%m-%d %H:%M")
    assert expected.format(started=started) in shown(record, alive=alive).splitlines()


def test_of_several_unseen_processes_only_the_last_may_run(shown: Callable[..., str], cluster: Cluster) -> None:
    older = replace(RUN, host="login0", run="run-a")
    text = shown(older, RUN, alive=None)
    assert "login0" not in text
    assert "--name=run-a,run-b" in cluster.calls[0], "jobs of a run that died go on"


def test_many_jobs_of_a_rule_are_summed_up(shown: Callable[..., str], cluster: Cluster) -> None:
    cluster.squeue = "".join(
        queued(str(1000 + number), f"rule_coarsen_wildcards_t2m_{number}", "PENDING", "Priority", "0:00|1:00:00")
        for number in range(7)
    )
    cluster.squeue += queued("1010", "rule_coarsen_wildcards_t2m_x")
    cluster.squeue += queued("2000_[1-9,12,20-30%4]", "rule_coarsen_wildcards_t2m_y", "PENDING", "None", "0:00|10:00")
    cluster.squeue += queued("98", "rule_fit_wildcards_net_1")
    cluster.squeue += queued("99", "rule_fit_wildcards_other_1", "PENDING", "Resources", "0:00|UNLIMITED")
    lines = [" ".join(line.split()) for line in shown(RUN).partition("Queue\n")[2].partition("\n\n")[0].splitlines()]
    assert lines[:2] == ["elapsed job", "coarsen 1 running, 21 waiting, 7 waiting (Priority) 1000 1001 1002 ..."]
    assert lines[2:] == ["fit net_1 running 12 min 4 s of 30 min 98", "fit other_1 waiting (Resources) 99"]


def test_tasks_of_arrays() -> None:
    job = Job("7", "run", "PENDING", "", None, None, "coarsen", "")
    counts = {"7": 1, "7_3": 1, "7_[4]": 1, "7_[1-9%2]": 9, "7_[1,3-5]": 4}
    assert {name: status.tasks_of(replace(job, id=name)) for name in counts} == counts


class TestTraining:
    def test_runs(self, shown: Callable[..., str], cluster: Cluster) -> None:
        write_standing()
        cluster.squeue = queued("98", "rule_fit_wildcards_net_1")
        (line,) = training(shown(RUN))
        assert re.split(r"\s{2,}", line)[1:] == [
            *("net seed 1", "12 of 60", "30 of 188", "0.4312", "0.429 (11)", "25 min 20 s", "5 s ago", "98")
        ]

    def test_numbers_that_are_not_known_yet(self, shown: Callable[..., str], cluster: Cluster) -> None:
        write_standing(seconds_left=None, validation_rmse=None, best=None, best_epoch=0)
        cluster.squeue = queued("98", "rule_fit_wildcards_net_1")
        assert training(shown(RUN))[0].split()[9:12] == ["-", "-", "-"]

    def test_is_silent(self, shown: Callable[..., str], cluster: Cluster) -> None:
        write_standing(age=1200)
        cluster.squeue = queued("98", "rule_fit_wildcards_net_1", times="20:00|30:00")
        assert training(shown(RUN))[1] == (
            "  net seed 1: ! no sign of life for 20 min, although job 98 runs; see its log"
        )

    def test_waits_for_its_next_job(self, shown: Callable[..., str], cluster: Cluster) -> None:
        write_standing(age=1200, stopped="SIGUSR1")
        cluster.squeue = queued("98", "rule_fit_wildcards_net_1", "PENDING", "BeginTime", "0:00|30:00")
        numbers, remark = training(shown(RUN))
        assert remark == "  net seed 1: waiting (BeginTime) as job 98; it goes on from epoch 12, step 20"
        assert "25 min" not in numbers

    def test_has_just_begun_in_a_new_job(self, shown: Callable[..., str], cluster: Cluster) -> None:
        write_standing(age=1200)
        cluster.squeue = queued("99", "rule_fit_wildcards_net_1", times="0:20|30:00")
        assert training(shown(RUN))[1] == "  net seed 1: job 99 goes on from epoch 12, step 20"

    def test_has_no_job(self, shown: Callable[..., str], cluster: Cluster) -> None:
        write_standing()
        assert training(shown(RUN, alive=False))[1] == (
            "  net seed 1: ! nothing trains it now; started again, it goes on from epoch 12, step 20"
        )
        write_standing(stopped="SIGTERM", checkpoint_epoch=0, checkpoint_step=0)
        assert training(shown(RUN, alive=False))[1].endswith(
            "! stopped at a checkpoint by SIGTERM; started again, it goes on from the start"
        )
        assert training(shown(RUN))[1].endswith("stopped at a checkpoint by SIGTERM; Snakemake submits it again")

    def test_is_local(self, shown: Callable[..., str], cluster: Cluster) -> None:
        write_standing(job="")
        local = replace(RUN, run="")
        assert len(training(shown(local))) == 1
        assert "nothing trains it now" in training(shown(local, alive=False))[1]
        write_standing(job="", age=1200)
        assert training(shown(local))[1] == "  net seed 1: ! no sign of life for 20 min"
        assert not cluster.calls


class TestFailures:
    def failed(self, text: str) -> list[str]:
        return text.partition("Failed in the last run, and not made since\n")[2].partition("\n\n")[0].splitlines()

    def test_are_shown_with_their_logs(self, shown: Callable[..., str], cluster: Cluster) -> None:
        first, second = slurm_log("11", "rule_fit/net_1"), slurm_log("12", "rule_fit/net_1")
        log = Path("logs/trial/fit/net-seed1.log")
        log.parent.mkdir(parents=True)
        log.touch()
        cluster.sacct = accounted("11", "OUT_OF_MEMORY", "rule_fit_wildcards_net_1")
        cluster.sacct += accounted("12", "TIMEOUT", "")  # no comment: the path of the log says what it is
        assert self.failed(shown(RUN)) == [
            "  fit net_1: TIMEOUT, job 12 (attempts that failed: 2)",
            f"    {second}",
            f"    {log}",
        ]
        assert first != second

    def test_but_not_those_made_since_or_never_begun(self, shown: Callable[..., str], cluster: Cluster) -> None:
        for job, name in (("11", "rule_fit/net_1"), ("20", "rule_score/net_1"), ("30", "rule_split")):
            slurm_log(job, name)
        cluster.squeue = queued("20", "rule_score_wildcards_net_1")
        cluster.sacct = accounted("11", "FAILED", "rule_fit_wildcards_net_1")
        cluster.sacct += accounted("13", "COMPLETED", "rule_fit_wildcards_net_1")
        cluster.sacct += accounted("20", "REQUEUED", "rule_score_wildcards_net_1")
        cluster.sacct += accounted("20", "NODE_FAIL", "rule_score_wildcards_net_1")
        cluster.sacct += accounted("30", "NODE_FAIL", "rule_split") + accounted("30", "COMPLETED", "rule_split")
        cluster.sacct += accounted("31", "CANCELLED by 1000", "rule_overview", start="None")
        assert self.failed(shown(RUN)) == []

    def test_that_are_tried_again(self, shown: Callable[..., str], cluster: Cluster) -> None:
        log = slurm_log("11", "rule_fit/net_1")
        cluster.sacct = accounted("11", "FAILED", "rule_fit_wildcards_net_1")
        cluster.squeue = queued("12", "rule_fit_wildcards_net_1", "PENDING", "Priority", "0:00|10:00")
        assert self.failed(shown(RUN)) == ["  fit net_1: FAILED, job 11; tried again as job 12", f"    {log}"]

    def test_of_arrays_and_groups_are_known_by_their_number(self, shown: Callable[..., str], cluster: Cluster) -> None:
        slurm_log("11_2", "rule_coarsen")
        slurm_log("15", "group_regrid_coarsen")
        cluster.sacct = accounted("11_1", "COMPLETED", "rule_coarsen_wildcards_t2m_a")
        cluster.sacct += accounted("11_2", "FAILED", "rule_coarsen_wildcards_t2m_a")
        cluster.sacct += accounted("15", "FAILED", "rule_regrid_coarsen")
        assert [line for line in self.failed(shown(RUN)) if not line.startswith("    ")] == [
            "  coarsen: FAILED, job 11_2; may have been made since",
            "  regrid_coarsen: FAILED, job 15; may have been made since",
        ]

    def test_accounting_is_not_asked_without_need(self, shown: Callable[..., str], cluster: Cluster) -> None:
        old, ours = slurm_log("5", "rule_fit/net_1"), slurm_log("20", "rule_score/net_1")
        os.utime(old, (1e9, 1e9))
        cluster.squeue = queued("20", "rule_score_wildcards_net_1")
        shown(RUN)
        assert ours.exists()
        assert [command[0] for command in cluster.calls] == ["squeue"]

    def test_many_are_cut_short(self, shown: Callable[..., str], cluster: Cluster) -> None:
        slurm_log("100", "rule_coarsen/t2m_0")
        cluster.sacct = "".join(
            accounted(str(100 + number), "FAILED", f"rule_coarsen_wildcards_t2m_{number}") for number in range(25)
        )
        assert self.failed(shown(RUN))[-1] == "  and 15 more"


@pytest.mark.parametrize(
    ("name", "rule", "wildcards"),
    [
        ("coarsen/t2m/part_1.log", "coarsen", "t2m_part_1"),
        ("fit/net-seed2.log", "fit", "net_2"),
        ("predict/nearest.log", "predict_baseline", "nearest"),
        ("figures/net-seed1.log", "figures_network", "net_1"),
        ("split.log", "split", ""),
    ],
)
def test_the_log_of_a_rule(tmp_path: Path, name: str, rule: str, wildcards: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    (tmp_path / name).with_name("unlike.log").touch()
    assert status.rule_log(tmp_path, rule, wildcards) == tmp_path / name
    assert status.rule_log(tmp_path, rule, "nothing") is None


def test_silent_slurm_is_said_in_one_line_and_the_rest_is_shown(shown: Callable[..., str], cluster: Cluster) -> None:
    cluster.squeue = cluster.sacct = None
    slurm_log("11", "rule_fit/net_1")
    write_standing()
    text = shown(RUN)
    assert text.endswith("! squeue failed: slurm is busy\n! sacct failed: slurm is busy\n")
    assert len(training(text)) == 1
    write_standing(age=1200)
    assert training(shown(RUN))[1] == "  net seed 1: ! no sign of life for 20 min"


def test_lines_fit_into_a_terminal(shown: Callable[..., str], cluster: Cluster) -> None:
    write_standing(age=100_000)
    cluster.squeue = queued("12345678", "rule_fit_wildcards_net_1", times="1-23:59:59|7-00:00:00")
    assert max(map(len, shown(RUN).splitlines())) <= 110


class TestCommand:
    def test_prints_the_status(
        self, shown: Callable[..., str], cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        expected = shown()
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(CONFIG))
        assert cli.main(["status"]) == 0
        assert capsys.readouterr().out == expected

    def test_names_a_wrong_configuration(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["status", str(tmp_path / "none.yaml")]) == 1
        assert capsys.readouterr().err.startswith("dl4ds status: ")

    def test_loads_no_heavy_library(self) -> None:
        code = "import sys, dl4ds_core.cluster.status; print(*{'tensorflow', 'keras', 'matplotlib'} & {*sys.modules})"
        finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert finished.stdout.strip() == ""
