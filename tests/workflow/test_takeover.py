"""A Snakemake that dies on one machine, the same command given again, and two commands at a time."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dl4ds_core.cluster import runs
from dl4ds_core.training import standing

pytest.importorskip("horovod")

#: Products of the stages before the training, and those of the training.
BEFORE = ("data/samples/train/fine.nc", "data/samples/train/coarse.nc", "data/scalers/default.nc")
TRAINED = ("model.keras", "scalers.nc", "history.csv", "spec.json")
STALE = "The run before this one died and left a lock, which is removed now."


@pytest.fixture
def config(tiny: dict[str, Any]) -> dict[str, Any]:
    """An experiment with one training, of some seconds."""
    tiny["models"] = {"net": {"backbone": "resnet", "upsampling": "pin", "filters": 8, "blocks": 2}}
    tiny["training"] = {"epochs": 30, "batch_size": 4}
    tiny["execution"]["checkpoint_minutes"] = 0.02
    return tiny


class Killed:
    """A run that is in the middle of its training, and what becomes of it.

    Attributes
    ----------
    workflow : Workflow
        Where it runs.
    process : subprocess.Popen
        Snakemake.
    """

    def __init__(self, workflow: Any, config: dict[str, Any]) -> None:
        self.workflow, self.config = workflow, config
        self.net = workflow.results / "net" / "seed1"
        self.process: subprocess.Popen[str] = workflow.start(config, "train")
        self.until(self.is_under_way, "a checkpoint of the training")

    def is_under_way(self) -> bool:
        assert self.process.poll() is None, self.output
        now = standing.read(self.net / "checkpoints")
        return now is not None and now.checkpoint_epoch >= 1

    def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + 180
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    def processes(self) -> list[psutil.Process]:
        """Return all living processes of the folder, whoever started them."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.workflow.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def ranks(self) -> set[psutil.Process]:
        """Return those that train."""
        found = set()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(word.endswith("train.py") for word in process.cmdline()[:2]):
                    found.add(process)
        return found

    @contextlib.contextmanager
    def paused(self) -> Iterator[set[psutil.Process]]:
        """Let the ranks pause, so that the training ends neither too early nor late."""
        ranks = self.ranks()
        for process in ranks:
            process.suspend()
        yield ranks
        for process in ranks:
            process.resume()

    def kill(self) -> None:
        """Kill Snakemake alone, without a warning; what it started lives on."""
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """Kill Snakemake and everything it started, as a machine that is switched off does."""
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(processes, timeout=10)

    def written(self) -> dict[str, int]:
        """Return when the products of the stages before the training were written."""
        return {name: (self.workflow.results / name).stat().st_mtime_ns for name in BEFORE}

    def said(self, rank: int) -> str:
        """Return the log of a rank, which goes on over all starts."""
        path = self.workflow.folder / "logs" / "tiny" / "fit" / "net-seed1" / f"rank{rank}.log"
        return path.read_text(encoding="utf-8")

    def starts(self, rank: int) -> int:
        """Return how often a rank was started."""
        return len(re.findall(r"^==== ", self.said(rank), re.MULTILINE))

    @property
    def output(self) -> str:
        """What all runs in the background have said."""
        return (self.workflow.folder / "snakemake.out").read_text(encoding="utf-8")

    @property
    def log(self) -> str:
        """The rule's log. Snakemake deletes it when a job of the rule starts."""
        path = self.workflow.folder / "logs" / "tiny" / "fit" / "net-seed1.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def locks(self) -> list[Path]:
        return list(self.workflow.folder.glob(".snakemake/locks/*"))


@pytest.fixture
def under_way(fresh: Any, config: dict[str, Any]) -> Iterator[Killed]:
    run = Killed(fresh, config)
    yield run
    run.kill_all()


def require_finished(run: Killed) -> None:
    """The training is complete, nothing of it is left over, and the same command has nothing more to do."""
    assert all((run.net / name).stat().st_size > 0 for name in TRAINED)
    assert len((run.net / "history.csv").read_text(encoding="utf-8").splitlines()) > 2
    assert not (run.net / "checkpoints").exists()
    assert run.locks == []
    assert run.workflow.plan(run.config, "train").rules == set()


def require_refused(run: Killed) -> None:
    """A second command ends with one message, and leaves no record of its own; a look neither waits nor fails."""
    outcome = run.workflow.snakemake(run.config, "train")
    assert outcome.status != 0, outcome.output
    assert "Traceback" not in outcome.output
    (message,) = re.findall(r"^Error: (.*)$", outcome.output, re.MULTILINE)
    assert message.startswith(f"this experiment is being run already: process {run.process.pid} on ")
    assert "Building DAG" not in outcome.output
    run.workflow.plan(run.config, "train")
    (record,) = runs.records(run.workflow.folder / "logs" / "tiny")
    assert (record.pid, record.ended, record.run) == (run.process.pid, None, "")


@pytest.mark.full
def test_a_second_command_is_refused_though_the_lock_was_removed(under_way: Killed) -> None:
    """The first one isn't disturbed."""
    run = under_way
    with run.paused():
        require_refused(run)
        outcome = run.workflow.snakemake(run.config, "train", "--unlock")
        assert outcome.status == 0, outcome.output
        assert "Traceback" not in outcome.output
        assert run.locks == []
        require_refused(run)
    assert run.process.wait(timeout=180) == 0
    assert [run.starts(rank) for rank in range(2)] == [1, 1]
    require_finished(run)


def test_ranks_that_outlive_their_snakemake_are_waited_for(under_way: Killed) -> None:
    """The same command is refused before Snakemake dies; given again, it trains neither at the same time nor anew."""
    run = under_way
    written = run.written()
    with run.paused() as ranks:
        assert len(ranks) == 2
        require_refused(run)
        run.kill()
        again = run.workflow.start(run.config, "train")
        run.until(lambda: "another job makes the same, and is waited for: process" in run.log, "the second training")
        assert run.ranks() == ranks
    assert again.wait(timeout=180) == 0, run.output
    assert run.output.count(STALE) == 1
    assert "the job that was waited for has finished this training" in run.log
    assert [run.starts(rank) for rank in range(2)] == [1, 1]
    assert run.written() == written
    require_finished(run)
    first, second = runs.records(run.workflow.folder / "logs" / "tiny")
    assert None not in (first.ended, second.ended)


@pytest.mark.full
def test_what_outlives_its_snakemake_is_not_taken_for_a_training_with_other_settings(under_way: Killed) -> None:
    run = under_way
    with run.paused():
        run.kill()
        run.config["models"]["net"]["filters"] = 4
        again = run.workflow.start(run.config, "train")
        run.until(lambda: "another job makes the same, and is waited for: process" in run.log, "the second training")
    assert again.wait(timeout=180) == 0, run.output
    assert "the job that was waited for has finished this training" not in run.log
    assert [run.starts(rank) for rank in range(2)] == [2, 2]
    first, second = (int(count) for count in re.findall(r"(\d+) weights", run.said(0)))
    assert second < first
    require_finished(run)


@pytest.mark.full
def test_after_a_kill_of_everything_the_same_command_resumes(under_way: Killed) -> None:
    run = under_way
    written = run.written()
    run.kill_all()
    assert run.ranks() == set()
    assert len(run.locks) == 2
    assert (run.net / "checkpoints" / "lease.json").exists()

    # A look doesn't take anything over.
    assert run.workflow.plan(run.config, "train").rules == {"fit", "train"}
    assert len(run.locks) == 2

    outcome = run.workflow.run(run.config, "train")
    assert outcome.output.count(STALE) == 1
    assert "another job makes the same" not in run.log
    assert re.search(r"resumed after (step|epoch) \d+", run.log)
    assert [run.starts(rank) for rank in range(2)] == [2, 2]
    assert run.written() == written
    require_finished(run)


@pytest.mark.full
def test_a_lock_can_be_removed_by_hand(under_way: Killed) -> None:
    run = under_way
    run.kill_all()
    assert run.workflow.snakemake(run.config, "--unlock").status == 0
    assert run.locks == []
    outcome = run.workflow.run(run.config, "train")
    assert STALE not in outcome.output
    require_finished(run)


def test_a_refused_start_leaves_no_record(fresh: Any, config: dict[str, Any]) -> None:
    """Inputs are looked at before the first job: what is wrong there is no dead run later on."""
    config["data"]["predictands"]["tas"]["variable"] = "no_such_variable"
    outcome = fresh.snakemake(config, "regrid")
    assert outcome.status != 0
    assert runs.records(fresh.folder / "logs" / "tiny") == []
    assert list(fresh.folder.glob(".snakemake/locks/*")) == []


def test_a_run_elsewhere_is_asked_about_and_unlocked(fresh: Any, config: dict[str, Any]) -> None:
    """It was started on another machine that shares the folder, and left record and lock."""
    logs = fresh.folder / "logs" / "tiny" / "runs"
    logs.mkdir(parents=True)
    record = {"host": "another-host", "pid": 4711, "process_started": 1e9, "slurm_job": "", "run": "", "ended": None}
    (logs / "a.json").write_text(json.dumps({**record, "started": "2026-01-01T00:00:00+00:00", "command": "snakemake"}))
    locks = fresh.folder / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/tiny/check.txt\nresults/tiny/data/samples/train/fine.nc\n")
    refused = fresh.snakemake(config, "check")
    assert refused.status != 0
    assert "an earlier run of this experiment was started by process 4711 on another-host" in refused.output
    assert "Traceback" not in refused.output
    assert fresh.snakemake(config, "check", "--unlock").status == 0
    fresh.run(config, "check")
    assert (fresh.results / "check.txt").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
def test_a_run_that_is_told_to_end_is_recorded_as_ended(
    fresh: Any, config: dict[str, Any], number: signal.Signals
) -> None:
    """It leaves nothing to be waited for: neither a lock nor a record without an end."""
    process = fresh.start(config, "regrid")
    folder = fresh.folder / "logs" / "tiny"
    deadline = time.monotonic() + 60
    output = fresh.folder / "snakemake.out"
    # Not before its first job: Snakemake itself may hang where SIGTERM meets it between planning and scheduling.
    while "Execute" not in output.read_text(encoding="utf-8"):
        assert process.poll() is None, output.read_text(encoding="utf-8")
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(timeout=60)
    assert [run.ended is not None for run in runs.records(folder)] == [True]
    assert list(fresh.folder.glob(".snakemake/locks/*")) == []
    assert STALE not in fresh.run(config, "regrid").output
