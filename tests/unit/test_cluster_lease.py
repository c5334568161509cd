"""The lease of a training: one process at a time, and nobody waits for the dead."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from dl4ds_core.cluster import lease, slurm
from dl4ds_core.cluster.lease import Holder
from dl4ds_core.cluster.slurm import Job
from dl4ds_core.errors import ClusterError

ELSEWHERE = "another-host"


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


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Run a list of things to happen, one in each pause of whoever waits; return the pauses made so far."""

    def script(*events: Callable[[], object]) -> list[float]:
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            assert len(pauses) < len(events), "waits for ever"
            pauses.append(seconds)
            events[len(pauses) - 1]()

        monkeypatch.setattr(lease, "time", type("Clock", (), {"sleep": staticmethod(sleep)}))
        return pauses

    return script


def holder_of(process: subprocess.Popen[bytes], **changes: Any) -> Holder:
    return replace(
        Holder.current(), pid=process.pid, process_started=psutil.Process(process.pid).create_time(), **changes
    )


def write(folder: Path, holder: Holder) -> Path:
    path = folder / lease.NAME
    path.write_text(json.dumps(asdict(holder)), encoding="utf-8")
    return path


def nothing() -> None:
    """Nothing happens in this pause."""


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_lease_names_its_holder_and_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    folder = tmp_path / "new" / "checkpoints"
    with lease.held(folder, "this") as waited:
        assert not waited
        content = json.loads((folder / lease.NAME).read_text(encoding="utf-8"))
        assert (content["pid"], content["slurm_job"], content["work"]) == (os.getpid(), "17", "this")
    assert list(folder.iterdir()) == []


def test_a_lease_ends_with_a_failure_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lease.held(tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_living_holder_is_waited_for(
    tmp_path: Path, other: subprocess.Popen[bytes], sleeps: Callable[..., list[float]], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, holder_of(other, work="this"))
    pauses = sleeps(nothing, nothing, lambda: end(other))
    with caplog.at_level(logging.WARNING), lease.held(tmp_path, "this") as waited:
        assert waited
    assert pauses == [lease.WAIT_SECONDS] * 3
    (said,) = caplog.messages
    assert f"another job makes the same, and is waited for: process {other.pid} on " in said


def test_a_holder_that_gives_its_lease_back_is_not_waited_for_any_longer(
    tmp_path: Path, other: subprocess.Popen[bytes], sleeps: Callable[..., list[float]]
) -> None:
    path = write(tmp_path, holder_of(other, work="this"))
    sleeps(path.unlink)
    with lease.held(tmp_path, "this") as waited:
        assert waited
    assert other.poll() is None


def test_what_a_holder_of_other_work_has_made_does_not_count(
    tmp_path: Path, other: subprocess.Popen[bytes], sleeps: Callable[..., list[float]]
) -> None:
    """Its settings were others: the training must be done again, and not at the same time."""
    path = write(tmp_path, holder_of(other, work="that"))
    pauses = sleeps(path.unlink)
    with lease.held(tmp_path, "this") as waited:
        assert not waited
    assert pauses


def test_the_last_holder_counts(
    tmp_path: Path, other: subprocess.Popen[bytes], sleeps: Callable[..., list[float]], caplog: pytest.LogCaptureFixture
) -> None:
    """One that came first while both waited."""
    path = write(tmp_path, holder_of(other, work="that"))
    second = replace(Holder.current(), work="this", pid=os.getppid(), process_started=_started())
    sleeps(lambda: write(tmp_path, second), path.unlink)
    with caplog.at_level(logging.WARNING), lease.held(tmp_path, "this") as waited:
        assert waited
    assert len(caplog.messages) == 2


def _started() -> float:
    return float(psutil.Process(os.getppid()).create_time())


def test_nobody_waits_for_the_dead(
    tmp_path: Path, other: subprocess.Popen[bytes], sleeps: Callable[..., list[float]]
) -> None:
    dead = holder_of(other)
    end(other)
    for holder in (
        dead,
        replace(dead, pid=os.getppid(), process_started=_started() - 60),  # its number was given to another process
        replace(dead, host=ELSEWHERE),  # nobody can tell
        replace(dead, slurm_job="17"),
    ):
        write(tmp_path, holder)
        assert sleeps() == []
        with lease.held(tmp_path) as waited:
            assert not waited


def test_a_zombie_is_dead(tmp_path: Path, sleeps: Callable[..., list[float]]) -> None:
    process = subprocess.Popen(["true"])
    deadline = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    write(tmp_path, holder_of(process))
    sleeps()
    with lease.held(tmp_path):
        pass
    process.wait()


def test_a_job_that_was_put_back_into_the_queue_takes_its_own_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeps: Callable[..., list[float]]
) -> None:
    """Same number, another process on another node; SLURM would say that the job runs."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setattr(slurm, "available", lambda: True)
    monkeypatch.setattr(slurm, "queued", lambda **_: [job("RUNNING")])
    write(tmp_path, Holder(ELSEWHERE, 4711, 1e9, "17"))
    sleeps()
    with lease.held(tmp_path) as waited:
        assert not waited


def test_a_job_that_was_put_back_to_its_node_takes_its_own_lease(
    tmp_path: Path,
    other: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    sleeps: Callable[..., list[float]],
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    write(tmp_path, holder_of(other, slurm_job="17"))
    end(other)
    sleeps()
    with lease.held(tmp_path) as waited:
        assert not waited


def test_an_orphan_in_the_same_job_is_waited_for(
    tmp_path: Path,
    other: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    sleeps: Callable[..., list[float]],
) -> None:
    """Snakemake was killed and started again inside of one interactive job: the training it started before lives on."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    write(tmp_path, holder_of(other, slurm_job="17"))
    pauses = sleeps(lambda: end(other))
    with lease.held(tmp_path):
        pass
    assert pauses


def job(state: str) -> Job:
    return Job("17", "run", state, "None", 0, None, "fit", "net_1")


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED"])
def test_a_job_on_another_node_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeps: Callable[..., list[float]], state: str
) -> None:
    answers: list[list[Job] | ClusterError] = [[job(state)], ClusterError("squeue is busy"), [job(state)], []]

    def queued(**asked: object) -> list[Job]:
        assert asked == {"jobs": ["17"]}
        answer = answers.pop(0)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    monkeypatch.setattr(slurm, "available", lambda: True)
    monkeypatch.setattr(slurm, "queued", queued)
    write(tmp_path, Holder(ELSEWHERE, 4711, 1e9, "17"))
    pauses = sleeps(nothing, nothing, nothing)
    with lease.held(tmp_path) as waited:
        assert waited
    assert len(pauses) == 3


def test_a_holder_whose_job_waits_for_its_next_turn_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeps: Callable[..., list[float]]
) -> None:
    """It would hold a place on the cluster for nothing; the other waits in its turn."""
    monkeypatch.setattr(slurm, "available", lambda: True)
    monkeypatch.setattr(slurm, "queued", lambda **_: [job("PENDING")])
    write(tmp_path, Holder(ELSEWHERE, 4711, 1e9, "17"))
    sleeps()
    with lease.held(tmp_path) as waited:
        assert not waited


@pytest.mark.parametrize("content", ["", "{", "[]", "[1, 2]", "null", "17", '"text"', "{}", '{"pid": 1}', "\x00\x00"])
def test_a_broken_lease_counts_as_free(
    tmp_path: Path, sleeps: Callable[..., list[float]], caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / lease.NAME).write_text(content, encoding="utf-8")
    sleeps()
    with caplog.at_level(logging.WARNING), lease.held(tmp_path) as waited:
        assert not waited
        assert json.loads((tmp_path / lease.NAME).read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert "can't be read" in caplog.messages[0]
    assert list(tmp_path.iterdir()) == []


def test_a_lease_of_an_earlier_version_is_understood(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    content = asdict(holder_of(other))
    del content["work"]
    (tmp_path / lease.NAME).write_text(json.dumps(content), encoding="utf-8")
    end(other)
    with lease.held(tmp_path) as waited:
        assert not waited


def test_the_lease_of_somebody_else_is_left_alone(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    with lease.held(tmp_path):
        write(tmp_path, holder_of(other))
    assert json.loads((tmp_path / lease.NAME).read_text(encoding="utf-8"))["pid"] == other.pid


def test_a_lease_that_was_deleted_is_no_matter(tmp_path: Path) -> None:
    with lease.held(tmp_path):
        (tmp_path / lease.NAME).unlink()
    assert list(tmp_path.iterdir()) == []


def test_real_processes_take_turns(tmp_path: Path) -> None:
    """Each notes its beginning and its end; no two may overlap."""
    code = (
        "import sys; from dl4ds_core.cluster import lease; lease.WAIT_SECONDS = 0.05\n"
        "with lease.held(sys.argv[1], sys.argv[2]) as waited:\n"
        "    print('begin', waited, flush=True); sys.stdin.readline(); print('end', flush=True)\n"
    )

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(tmp_path), "this"]
        return subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    with ExitStack() as stack:
        first = stack.enter_context(start())
        stack.callback(first.kill)
        assert first.stdout is not None
        assert first.stdout.readline() == "begin False\n"
        second = stack.enter_context(start())
        stack.callback(second.kill)
        assert second.stderr is not None
        assert "is waited for" in second.stderr.readline()
        assert first.communicate("\n", timeout=60)[0] == "end\n"
        assert second.communicate("\n", timeout=60)[0] == "begin True\nend\n"


class TestWork:
    """What is the same work: words, settings by content, data by time and size."""

    @pytest.fixture
    def words(self, tmp_path: Path) -> list[str]:
        (tmp_path / "samples" / "train").mkdir(parents=True)
        (tmp_path / "samples" / "train" / "fine.nc").write_bytes(b"1")
        (tmp_path / "spec.json").write_text("{}", encoding="utf-8")
        (tmp_path / "scalers.nc").write_bytes(b"1")
        return [
            *("code", "--settings", str(tmp_path / "spec.json"), "--seed", "1", "--data", str(tmp_path / "samples")),
            *("--scalers", str(tmp_path / "scalers.nc")),
        ]

    def test_settings_written_again_are_the_same(self, words: list[str], tmp_path: Path) -> None:
        before = lease.work_of(words)
        (tmp_path / "spec.json").unlink()
        (tmp_path / "spec.json").write_text("{}", encoding="utf-8")
        os.utime(tmp_path / "spec.json", (1, 1))
        assert lease.work_of(iter(words)) == before

    @pytest.mark.parametrize("name", ["spec.json", "scalers.nc", "samples/train/fine.nc", "samples/train/new.nc"])
    def test_other_content_is_other_work(self, words: list[str], tmp_path: Path, name: str) -> None:
        before = lease.work_of(words)
        (tmp_path / name).write_text("{ }", encoding="utf-8")
        assert lease.work_of(words) != before

    def test_data_made_anew_are_other_work(self, words: list[str], tmp_path: Path) -> None:
        before = lease.work_of(words)
        os.utime(tmp_path / "samples" / "train" / "fine.nc", (1, 1))
        assert lease.work_of(words) != before

    def test_an_empty_word_is_not_the_working_directory(
        self, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        before = lease.work_of([*words, ""])
        (tmp_path / "prediction.nc").write_bytes(b"1")
        assert lease.work_of([*words, ""]) == before

    def test_other_words_are_other_work(self, words: list[str]) -> None:
        before = lease.work_of(words)
        assert lease.work_of([*words, "--deterministic"]) != before
        assert lease.work_of(["other code", *words[1:]]) != before
