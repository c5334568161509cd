"""Records of the Snakemake processes that run an experiment, and what a new one does about those that have died."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from dl4ds_core.cluster import runs, slurm
from dl4ds_core.cluster.processes import Process
from dl4ds_core.cluster.slurm import Job
from dl4ds_core.errors import ClusterError

ELSEWHERE = "another-host"
RESULTS = "results/trial"
RUN_ID = "0b3c2d5e-7a9f-4f3e-9f41-2f7f1f0f9a11"
LOG = f"""Using profile profiles/slurm.
SLURM run ID: {RUN_ID}
Using shell: /usr/bin/bash
"""


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until a test ends it."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


class Experiment:
    """Logs and locks of an experiment, and what it was told to the user."""

    def __init__(self, folder: Path) -> None:
        self.logs, self.locks = folder / "logs" / "trial", folder / "locks"
        self.locks.mkdir()
        self.told: list[str] = []

    def take_over(self) -> None:
        runs.take_over(self.logs, self.locks, RESULTS, self.told.append)

    def record(self, name: str = "a", **changes: Any) -> Path:
        """Write the record of a run that is dead, on this machine, and was not ended."""
        content: dict[str, Any] = {
            **{"host": socket.gethostname(), "pid": 2**22 - 1, "process_started": 1e9, "slurm_job": "", "run": ""},
            **{"started": "2026-01-01T10:00:00+00:00", "ended": None, "command": "snakemake train", "user": "me"},
        }
        path = self.logs / "runs" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content | changes), encoding="utf-8")
        return path

    def lock(self, *files: str, name: str = "0.output.lock") -> Path:
        path = self.locks / name
        path.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
        return path

    def ended(self, name: str = "a") -> bool:
        content = json.loads((self.logs / "runs" / f"{name}.json").read_text(encoding="utf-8"))
        return content["ended"] is not None


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def living(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    return {"pid": process.pid, "process_started": psutil.Process(process.pid).create_time()}


def job(number: str, state: str = "RUNNING", rule: str = "fit", wildcards: str = "net_1") -> Job:
    return Job(number, RUN_ID, state, "None", 0, None, rule, wildcards)


Answer = list[Job] | ClusterError


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, object]]]:
    """Let the queue answer one thing after the other, without pauses; return what it was asked."""
    monkeypatch.setattr(runs, "WAIT_SECONDS", 0)
    monkeypatch.setattr(slurm, "available", lambda: True)

    def answers(*given: Answer) -> list[dict[str, object]]:
        left, asked = list(given), []

        def queued(**question: Any) -> list[Job]:
            asked.append({name: list(values) for name, values in question.items()})
            assert left, "asked again after the end"
            answer = left.pop(0)
            if isinstance(answer, ClusterError):
                raise answer
            return answer

        monkeypatch.setattr(slurm, "queued", queued)
        return asked

    return answers


class TestRecords:
    def test_a_run_is_recorded_and_finished(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["snakemake", "--profile", "profiles/slurm", "train"])
        (tmp_path / "log").write_text(LOG, encoding="utf-8")
        folder = tmp_path / "logs" / "trial"
        path = runs.register(folder, [tmp_path / "log"], "17")
        (run,) = runs.records(folder)
        own = psutil.Process()
        assert (run.host, run.pid, run.process_started) == (socket.gethostname(), own.pid, own.create_time())
        assert (run.run, run.slurm_job, run.ended, run.path) == (RUN_ID, "17", None, str(path))
        assert run.command == "snakemake --profile profiles/slurm train"
        assert abs((datetime.now(UTC) - datetime.fromisoformat(run.started)).total_seconds()) < 60
        assert runs.alive(run) is True
        assert str(run) == f"SLURM job 17, process {own.pid} on {socket.gethostname()}"
        content = json.loads(path.read_text(encoding="utf-8"))
        assert {"host", "pid", "process_started", "slurm_job", "run", "started", "ended", "command"} <= set(content)
        assert "path" not in content

        runs.finish(path)
        (finished,) = runs.records(folder)
        assert finished.ended is not None
        assert finished.ended >= finished.started
        assert runs.alive(finished) is False  # although this process lives on

    def test_a_local_run_has_no_name(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("Using profile profiles/local.\n", encoding="utf-8")
        runs.register(tmp_path, [tmp_path / "log", tmp_path / "missing"])
        (run,) = runs.records(tmp_path)
        assert run.run == ""
        assert run.slurm_job == ""

    def test_a_log_in_another_encoding_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_bytes(b"\xff\xfe\xe4 nonsense\n" + LOG.encode())
        runs.register(tmp_path, [tmp_path / "log"])
        assert [run.run for run in runs.records(tmp_path)] == [RUN_ID]

    def test_a_user_without_a_name_may_run_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a container."""

        def nameless() -> str:
            raise KeyError("getpwuid(): uid not found: 1234")

        monkeypatch.setattr(runs.getpass, "getuser", nameless)
        path = runs.register(tmp_path, [])
        assert json.loads(path.read_text(encoding="utf-8"))["user"] == str(os.getuid())

    def test_the_first_of_several_logs_counts(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text(LOG, encoding="utf-8")
        (tmp_path / "b").write_text("SLURM run ID: other\n", encoding="utf-8")
        runs.register(tmp_path, [tmp_path / "a", tmp_path / "b"])
        assert [run.run for run in runs.records(tmp_path)] == [RUN_ID]

    def test_runs_are_listed_from_the_oldest(self, experiment: Experiment) -> None:
        for name, started in (("a", "2026-03-01"), ("b", "2026-01-01"), ("c", "2026-02-01")):
            experiment.record(name, started=f"{started}T00:00:00+00:00")
        assert [Path(run.path).stem for run in runs.records(experiment.logs)] == ["b", "c", "a"]

    def test_without_any_run_there_is_no_record(self, tmp_path: Path) -> None:
        assert runs.records(tmp_path / "missing") == []
        runs.finish(tmp_path / "missing" / "runs" / "a.json")
        assert not (tmp_path / "missing").exists()

    @pytest.mark.parametrize("content", ["", "{", "[]", "3", '"text"', "null", "{}", '{"host": "a", "more": 1}'])
    def test_a_broken_record_is_explained(self, experiment: Experiment, content: str) -> None:
        path = experiment.record()
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ClusterError, match=rf"{re.escape(str(path))}: the record .* can't be read .*; delete it"):
            runs.records(experiment.logs)
        with pytest.raises(ClusterError):
            experiment.take_over()

    def test_a_record_half_written_is_none(self, experiment: Experiment) -> None:
        """Its temporary name begins with a dot; a node that dies leaves it behind."""
        experiment.record()
        (experiment.logs / "runs" / ".b.xyz.json").write_text("{", encoding="utf-8")
        assert len(runs.records(experiment.logs)) == 1


class TestAlive:
    @pytest.fixture
    def run(self, experiment: Experiment) -> Callable[..., runs.Run]:
        def make(**changes: Any) -> runs.Run:
            experiment.record(**changes)
            return runs.records(experiment.logs)[0]

        return make

    def test_a_process_here(self, run: Callable[..., runs.Run], other: subprocess.Popen[bytes]) -> None:
        living_one = run(**living(other))
        assert runs.alive(living_one) is True
        other.kill()
        other.wait()
        assert runs.alive(living_one) is False

    def test_a_number_used_again_is_another_process(
        self, run: Callable[..., runs.Run], other: subprocess.Popen[bytes]
    ) -> None:
        begun = living(other)
        assert runs.alive(run(**begun | {"process_started": begun["process_started"] - 60})) is False
        assert runs.alive(run(**begun | {"process_started": begun["process_started"] + 1})) is True

    def test_a_process_elsewhere_is_unknown(self, run: Callable[..., runs.Run]) -> None:
        assert runs.alive(run(host=ELSEWHERE, pid=os.getpid())) is None

    def test_a_job_elsewhere_is_asked_for(self, run: Callable[..., runs.Run], queue: Callable[..., Any]) -> None:
        head = run(host=ELSEWHERE, slurm_job="17")
        asked = queue([job("17")], [job("17", "COMPLETING")], [job("17", "PENDING")], [])
        assert [runs.alive(head) for _ in range(4)] == [True, True, False, False]
        assert asked == [{"jobs": ["17"]}] * 4

    def test_a_job_elsewhere_is_unknown_without_slurm(
        self, run: Callable[..., runs.Run], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slurm, "available", lambda: False)
        assert runs.alive(run(host=ELSEWHERE, slurm_job="17")) is None

    def test_the_process_of_a_job_here_is_looked_at(
        self, run: Callable[..., runs.Run], queue: Callable[..., Any]
    ) -> None:
        """Snakemake died in an interactive job that goes on."""
        assert queue() == []
        assert runs.alive(run(slurm_job="17")) is False

    def test_a_process_is_told_from_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        own = Process.current()
        assert own.alive() is True
        assert str(own).startswith("SLURM job 17, process ")


class TestTakeOver:
    def test_without_a_record_nothing_happens(self, experiment: Experiment, queue: Callable[..., Any]) -> None:
        lock = experiment.lock(f"{RESULTS}/report.html")
        assert queue() == []
        experiment.take_over()
        assert experiment.told == []
        assert lock.exists()  # Snakemake explains it
        assert not experiment.logs.exists()

    def test_runs_that_ended_may_have_left_jobs(self, experiment: Experiment, queue: Callable[..., Any]) -> None:
        lock = experiment.lock(f"{RESULTS}/report.html")
        experiment.record(run=RUN_ID, ended="2026-01-01T11:00:00+00:00")
        asked = queue([job("98")], [])
        experiment.take_over()
        assert asked == [{"runs": [RUN_ID]}] * 2
        assert "98 fit net_1: running" in experiment.told[0]
        assert lock.exists()

    def test_runs_that_ended_are_no_matter_without_slurm(
        self, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slurm, "available", lambda: False)
        experiment.record(run=RUN_ID, ended="2026-01-01T11:00:00+00:00")
        experiment.take_over()
        assert experiment.told == []

    @pytest.mark.parametrize("locked", [True, False])
    def test_a_living_run_is_in_the_way(
        self, experiment: Experiment, other: subprocess.Popen[bytes], locked: bool
    ) -> None:
        experiment.record(**living(other))
        if locked:
            experiment.lock(f"{RESULTS}/report.html")
        with pytest.raises(ClusterError) as error:
            experiment.take_over()
        assert str(error.value) == (
            f"this experiment is being run already: process {other.pid} on {socket.gethostname()}, since "
            "2026-01-01T10:00:00+00:00 (snakemake train). See what it does with `dl4ds status`, or end it first; its "
            "jobs then go on"
        )
        assert len(list(experiment.locks.iterdir())) == locked
        assert not experiment.ended()

    def test_a_living_run_is_in_the_way_whatever_died_before(
        self, experiment: Experiment, other: subprocess.Popen[bytes], queue: Callable[..., Any]
    ) -> None:
        lock = experiment.lock(f"{RESULTS}/report.html")
        experiment.record("a", run=RUN_ID)
        experiment.record("b", started="2026-02-01T10:00:00+00:00", **living(other))
        assert queue() == []
        with pytest.raises(ClusterError, match="is being run already"):
            experiment.take_over()
        assert lock.exists()
        assert not experiment.ended("a")

    def test_a_dead_local_run_leaves_nothing_to_wait_for(
        self, experiment: Experiment, queue: Callable[..., Any]
    ) -> None:
        experiment.record()
        locks = [experiment.lock(f"{RESULTS}/report.html"), experiment.lock(f"{RESULTS}/a", name="0.input.lock")]
        assert queue() == []
        experiment.take_over()
        assert experiment.told == ["The run before this one died and left a lock, which is removed now."]
        assert not any(lock.exists() for lock in locks)
        assert experiment.ended()
        experiment.take_over()
        assert len(experiment.told) == 1

    def test_a_dead_run_without_a_lock_is_no_news(self, experiment: Experiment) -> None:
        experiment.record()
        experiment.take_over()
        assert experiment.told == []
        assert experiment.ended()

    def test_jobs_of_dead_runs_are_waited_for(self, experiment: Experiment, queue: Callable[..., Any]) -> None:
        experiment.record("a", run=RUN_ID)
        experiment.record("b", run="second", started="2026-02-01T10:00:00+00:00")
        experiment.record("c", started="2026-03-01T10:00:00+00:00")
        both = [job("98"), job("100_[3-7]", "PENDING", "coarsen", "tas_a"), job("100_2", rule="coarsen", wildcards="")]
        asked = queue(both, both, both[:1], [])
        experiment.take_over()
        assert asked == [{"runs": [RUN_ID, "second"]}] * 4
        first, second = experiment.told  # nothing is said twice
        assert first == (
            "Waiting for 3 jobs of an earlier run of this experiment, whose Snakemake is gone:\n"
            "  98 fit net_1: running\n  100_[3-7] coarsen tas_a: pending\n  100_2 coarsen: running\n"
            "What they finish is not made again. To do without them: scancel 100 98"
        )
        assert "98 fit net_1" in second
        assert "100" not in second
        assert all(experiment.ended(name) for name in "abc")

    def test_a_queue_without_an_answer_is_not_an_empty_one(
        self, experiment: Experiment, queue: Callable[..., Any]
    ) -> None:
        experiment.record(run=RUN_ID)
        busy = ClusterError("squeue failed: Socket timed out")
        asked = queue(busy, busy, [job("98")], busy, [])
        experiment.take_over()
        assert len(asked) == 5
        asking = (
            "Can't see whether jobs of an earlier run are still in the queue (squeue failed: Socket timed out); asking"
        )
        assert [text.startswith(asking) for text in experiment.told] == [True, False, True]
        assert experiment.ended()

    def test_whoever_waits_and_is_killed_leaves_the_record_as_it_was(
        self, experiment: Experiment, queue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        experiment.record(run=RUN_ID)
        queue([job("98")])
        monkeypatch.setattr(runs.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            experiment.take_over()
        assert not experiment.ended()

    def test_a_lock_made_while_waiting_is_left_alone(
        self, experiment: Experiment, queue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two were waiting; the other came first, and locks under the same name as the one that had died."""
        experiment.record(run=RUN_ID)
        experiment.lock(f"{RESULTS}/report.html")
        monkeypatch.setattr(runs.time, "sleep", lambda _: experiment.lock(f"{RESULTS}/report.html"))
        queue([job("98")], [])
        experiment.take_over()
        assert (experiment.locks / "0.output.lock").exists()

    def test_a_run_begun_while_waiting_is_in_the_way(
        self,
        experiment: Experiment,
        queue: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        other: subprocess.Popen[bytes],
    ) -> None:
        experiment.record(run=RUN_ID)
        monkeypatch.setattr(runs.time, "sleep", lambda _: experiment.record("b", **living(other)))
        queue([job("98")], [])
        with pytest.raises(ClusterError, match="is being run already"):
            experiment.take_over()

    def test_a_record_deleted_while_waiting_is_no_matter(
        self, experiment: Experiment, queue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = experiment.record(run=RUN_ID)
        monkeypatch.setattr(runs.time, "sleep", lambda _: path.unlink())
        queue([job("98")], [])
        experiment.take_over()
        assert not path.exists()

    def test_jobs_cannot_be_waited_for_without_slurm(
        self, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Results may have been copied to another machine: it must not wait for ever, nor take the queue for empty."""
        path = experiment.record(run=RUN_ID)
        monkeypatch.setattr(slurm, "available", lambda: False)
        with pytest.raises(ClusterError, match="squeue was not found") as error:
            experiment.take_over()
        assert str(path) in str(error.value)
        assert not experiment.ended()

    @pytest.mark.parametrize("locked", [True, False])
    def test_another_host_is_asked_about(self, experiment: Experiment, queue: Callable[..., Any], locked: bool) -> None:
        """Whether there is a lock says nothing: Snakemake removes all of them when another experiment ends."""
        if locked:
            experiment.lock(f"{RESULTS}/report.html")
        experiment.record(host=ELSEWHERE, run=RUN_ID, pid=4711)
        assert queue() == []
        with pytest.raises(ClusterError) as error:
            experiment.take_over()
        assert str(error.value).startswith(
            "an earlier run of this experiment was started by process 4711 on another-host, at "
            "2026-01-01T10:00:00+00:00, and has not ended as it should; this machine can't see whether it still runs. "
            "Look on another-host (ps 4711)."
        )
        assert "--unlock" in str(error.value)
        assert len(list(experiment.locks.iterdir())) == locked
        assert not experiment.ended()

    def test_another_host_is_released_by_unlock_and_its_jobs_are_waited_for(
        self, experiment: Experiment, queue: Callable[..., Any], other: subprocess.Popen[bytes]
    ) -> None:
        experiment.record("a", host=ELSEWHERE, run=RUN_ID)
        experiment.record("b", started="2026-02-01T10:00:00+00:00", **living(other))
        runs.release(experiment.logs)
        assert experiment.ended("a")
        assert not experiment.ended("b"), "one that lives here is not released"
        (experiment.logs / "runs" / "b.json").unlink()
        asked = queue([job("98")], [])
        experiment.take_over()
        assert len(asked) == 2

    def test_a_head_job_elsewhere_is_in_the_way_while_it_runs(
        self, experiment: Experiment, queue: Callable[..., Any]
    ) -> None:
        experiment.record(host=ELSEWHERE, slurm_job="17", run=RUN_ID)
        queue([job("17", rule="")])
        with pytest.raises(ClusterError, match="is being run already: SLURM job 17, process"):
            experiment.take_over()

    def test_a_head_job_put_back_into_the_queue_is_not_in_its_own_way(
        self, experiment: Experiment, queue: Callable[..., Any]
    ) -> None:
        """SLURM gives it the same number again, on another node."""
        experiment.record(host=ELSEWHERE, slurm_job="17", run=RUN_ID)
        asked = queue([])
        runs.take_over(experiment.logs, experiment.locks, RESULTS, experiment.told.append, "17")
        assert asked == [{"runs": [RUN_ID]}]
        assert experiment.ended()

    def test_a_head_job_that_is_over_leaves_its_lock(self, experiment: Experiment, queue: Callable[..., Any]) -> None:
        lock = experiment.lock(f"{RESULTS}/report.html")
        experiment.record(host=ELSEWHERE, slurm_job="17", run=RUN_ID)
        asked = queue([], [job("98")], [])
        experiment.take_over()
        assert asked == [{"jobs": ["17"]}, {"runs": [RUN_ID]}, {"runs": [RUN_ID]}]
        assert not lock.exists()
        assert experiment.ended()

    def test_a_head_job_that_cannot_be_asked_for_is_an_error(
        self, experiment: Experiment, queue: Callable[..., Any]
    ) -> None:
        lock = experiment.lock(f"{RESULTS}/report.html")
        experiment.record(host=ELSEWHERE, slurm_job="17")
        queue(ClusterError("squeue failed: busy"))
        with pytest.raises(ClusterError, match="busy"):
            experiment.take_over()
        assert lock.exists()
        assert not experiment.ended()

    def test_locks_of_other_experiments_stay(self, experiment: Experiment) -> None:
        experiment.record()
        mine = [
            experiment.lock("results/other/a", f"{RESULTS}/report.html", name="0.output.lock"),
            experiment.lock("data/a.nc", f"{RESULTS}/data/b.nc", name="3.input.lock"),
        ]
        others = [
            experiment.lock("results/other/report.html", name="1.output.lock"),
            experiment.lock("results/trial-2/report.html", "results/trial.html", name="2.output.lock"),
            experiment.lock("data/a.nc", name="1.input.lock"),
        ]
        experiment.take_over()
        assert not any(lock.exists() for lock in mine)
        assert all(lock.exists() for lock in others)

    def test_a_lock_that_vanishes_is_no_matter(self, experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another experiment's, which ends in this moment."""
        experiment.record()
        mine = experiment.lock(f"{RESULTS}/report.html", name="1.output.lock")
        (experiment.locks / "0.output.lock").symlink_to("gone")
        experiment.take_over()
        assert not mine.exists()

    def test_without_a_folder_of_locks_nothing_is_locked(self, experiment: Experiment) -> None:
        experiment.locks.rmdir()
        experiment.record()
        experiment.take_over()
        assert experiment.ended()


def test_nothing_is_waited_for_without_a_name(queue: Callable[..., Any]) -> None:
    assert queue() == []
    runs.wait_for([], print)


def test_the_queue_is_asked_seldom(queue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(runs, "WAIT_SECONDS", 30.0)
    monkeypatch.setattr(runs.time, "sleep", pauses.append)
    queue([job("98")], ClusterError("busy"), [])
    runs.wait_for([RUN_ID], lambda _: None)
    assert pauses == [30.0, 30.0]


def test_a_withdrawn_record_leaves_nothing(tmp_path: Path) -> None:
    runs.withdraw(runs.register(tmp_path / "logs" / "trial", []))
    assert not (tmp_path / "logs").exists()


def test_a_withdrawn_record_leaves_other_files(experiment: Experiment) -> None:
    kept = experiment.record()
    path = runs.register(experiment.logs, [])
    runs.withdraw(path)
    assert list(experiment.logs.rglob("*.json")) == [kept]
