"""What starts the ranks of a training: how a job ends, what is left for the next one. The ranks here are made up."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from dl4ds_core.cluster import lease
from dl4ds_core.cluster.lease import Holder
from dl4ds_core.training import attempts, standing
from dl4ds_core.training.standing import Standing

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH = REPOSITORY / "scripts" / "launch.py"
#: Runs the script with short pauses while it waits for another one.
DRIVER = """
import runpy, sys
from dl4ds_core.cluster import lease
lease.WAIT_SECONDS = 0.1
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
#: In place of launcher and ranks. It notes how it was called, then does what the test says.
RANKS = """
import json, os, signal, sys, time
from pathlib import Path
words = sys.argv[1:]
folder, logs = (Path(words[words.index(name) + 1]) for name in ("--folder", "--logs"))
note = {"words": words, "threads": os.environ["OMP_NUM_THREADS"]}
with open(Path(__file__).with_name("called"), "a") as stream:
    print(json.dumps(note), file=stream)
def stand(stopped, epoch=1, ago=0.0):
    values = json.loads(os.environ["STANDING"])
    values |= {"stopped": stopped, "checkpoint_epoch": epoch, "updated": time.time() - ago}
    (folder / "checkpoints" / "standing.json").write_text(json.dumps(values))
def finish():
    for name in ("model.keras", "history.csv"):
        (folder / name).touch()
    (folder / "checkpoints" / "standing.json").unlink(missing_ok=True)
def stop_on_sigterm(*_):
    stand("SIGTERM")
    sys.exit(75)
"""
STANDING = Standing(
    **{"epoch": 1, "step": 0, "epochs": 9, "steps": 5, "seconds_left": None, "validation_rmse": None, "best": None},
    **{"best_epoch": 0, "updated": 0.0, "job": "", "host": "here", "checkpoint_epoch": 1},
)


@dataclass
class Launched:
    """How a job ended."""

    status: int
    said: str


class Job:
    """Starts `launch.py` as the rule does, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.base, self.folder, self.logs = folder, folder / "net" / "seed 1", folder / "logs"
        self.state = self.folder / "checkpoints"
        self.folder.mkdir(parents=True)
        self.logs.mkdir()
        (self.folder / "spec.json").write_text("{}", encoding="utf-8")
        self.variables = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        self.variables["STANDING"] = json.dumps(asdict(STANDING))

    def command(self, behaviour: str, *, launcher: str | None = None, attempt: int = 1, limit: int = 3) -> list[str]:
        script = self.base / "ranks.py"
        script.write_text(RANKS + behaviour, encoding="utf-8")
        fake = f"{sys.executable} {shlex.quote(str(script))} -np $WORKERS --threads=$RANK_THREADS"
        return [
            *(sys.executable, "-c", DRIVER, str(LAUNCH)),
            *("--launcher", fake if launcher is None else launcher, "--ranks", "2", "--threads", "3"),
            *("--attempt", str(attempt), "--limit", str(limit), "--folder", str(self.folder), "--logs", str(self.logs)),
            *("--", "--settings", str(self.folder / "spec.json"), "--seed", "1"),
        ]

    def start(self, behaviour: str = "finish()", **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(behaviour, **options),
            env=self.variables,
            cwd=self.base,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, behaviour: str = "finish()", **options: Any) -> Launched:
        return end(self.start(behaviour, **options))

    @property
    def called(self) -> list[dict[str, Any]]:
        path = self.base / "called"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    @property
    def attempts(self) -> dict[str, Any]:
        return dict(json.loads((self.state / attempts.NAME).read_text(encoding="utf-8")))

    def in_slurm(self, scontrol: str) -> Path:
        """Let the job have a number, and put an scontrol in place; the file that is returned has its arguments."""
        programs = self.base / "programs"
        programs.mkdir()
        (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >"{self.base}/scontrol.tmp"\n{scontrol}\n')
        (programs / "scontrol").chmod(0o755)
        self.variables |= {"SLURM_JOB_ID": "17", "PATH": f"{programs}:{self.variables['PATH']}"}
        return self.base / "scontrol.tmp"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def end(process: subprocess.Popen[str]) -> Launched:
    said, _ = process.communicate(timeout=60)
    assert "Traceback" not in said, said
    return Launched(process.returncode, said)


def until_it_waits(process: subprocess.Popen[str]) -> str:
    """Read what a job says until it says that it waits for another."""
    said = ""
    while "is waited for" not in said:
        assert process.stdout
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_training_that_ends_well_leaves_nothing_behind(job: Job) -> None:
    ended = job.run("stand(None); finish()")
    assert ended.status == 0, ended.said
    (called,) = job.called
    assert called["threads"] == "3"
    assert called["words"] == [
        *("-np", "2", "--threads=3", "python", os.path.relpath(LAUNCH.with_name("train.py"), job.base)),
        *("--settings", str(job.folder / "spec.json"), "--seed", "1", "--folder", str(job.folder)),
        *("--logs", str(job.logs)),
    ]
    assert "-np 2 --threads=3 python" in ended.said  # the command, to be repeated by hand
    assert {path.name for path in job.folder.iterdir()} == {"spec.json", "model.keras", "history.csv"}


def test_what_others_keep_beside_the_checkpoint_stays(job: Job) -> None:
    assert job.run("(folder / 'checkpoints' / 'notes.txt').touch()").status == 0
    assert [path.name for path in job.state.iterdir()] == ["notes.txt"]


def test_a_failure_shows_the_ends_of_the_logs(job: Job) -> None:
    for rank in range(6):
        lines = "".join(f"rank {rank} line {number}\n" for number in range(20))
        (job.logs / f"rank{rank}.log").write_bytes(lines.encode() + b"\xff\n")
    (job.logs / "other.log").write_text("of no interest\n", encoding="utf-8")
    ended = job.run("sys.exit(3)")
    assert ended.status == 1
    assert f"the ranks of the training ended with status 3; logs: {job.logs}" in ended.said
    for rank in range(4):
        assert f"---- {job.logs / f'rank{rank}.log'}\nrank {rank} line 13\n" in ended.said
        assert f"rank {rank} line 19\n" in ended.said
        assert f"rank {rank} line 12\n" not in ended.said
    assert "rank 4" not in ended.said
    assert "of no interest" not in ended.said
    assert job.attempts | {"ended": "failed", "reason": "the ranks ended with status 3"} == job.attempts
    assert not (job.state / lease.NAME).exists()


def test_a_failure_without_logs_is_a_failure_too(job: Job) -> None:
    job.logs.rmdir()
    ended = job.run("os.kill(os.getpid(), signal.SIGKILL)")
    assert ended.status == 1
    assert "ended with status -9" in ended.said


# That of the ranks, or of a launcher which has its own.
@pytest.mark.parametrize("status", [75, pytest.param(1, marks=pytest.mark.full)])
def test_a_stop_outside_of_slurm_ends_with_75(job: Job, status: int) -> None:
    ended = job.run(f"stand('SIGUSR1'); sys.exit({status})")
    assert ended.status == 75
    assert "scontrol" not in ended.said
    assert job.attempts["ended"] == "SIGUSR1"
    assert (job.state / standing.NAME).exists()
    assert not (job.state / lease.NAME).exists()


@pytest.mark.parametrize(
    "how",
    [
        "stand('SIGUSR1', ago=60); sys.exit(1)",
        pytest.param("stand(None); sys.exit(75)", marks=pytest.mark.full),
        pytest.param("sys.exit(75)", marks=pytest.mark.full),
    ],
)
def test_what_stopped_an_earlier_job_does_not_count(job: Job, how: str) -> None:
    """A rank that dies at the start of a job finds the standing of the one before."""
    assert job.run("stand('SIGUSR1'); sys.exit(75)").status == 75
    scontrol = job.in_slurm("exit 0")
    ended = job.run(how, attempt=2)
    assert ended.status == 1
    assert "the ranks of the training ended with status" in ended.said
    assert not scontrol.exists()
    assert job.attempts["ended"] == "failed"


def test_a_job_at_its_wall_goes_back_into_the_queue(job: Job) -> None:
    scontrol = job.in_slurm("exit 0")
    process = job.start("stand('SIGUSR1'); sys.exit(75)")
    until(lambda: scontrol.exists() and scontrol.read_text(), "scontrol is called")
    assert scontrol.read_text(encoding="utf-8") == "requeue 17\n"
    # It waits for its end now, and has put everything in order before: the next start may come at once.
    assert process.poll() is None
    assert not (job.state / lease.NAME).exists()
    assert job.attempts | {"job": "17", "ended": "SIGUSR1", "position": [0, 0]} == job.attempts
    process.terminate()
    time.sleep(0.3)
    assert process.poll() is None  # SLURM's SIGTERM doesn't make a failure of it
    process.kill()
    said, _ = process.communicate()
    assert "job 17 goes back into the queue (scontrol requeue), and on from the checkpoint" in said

    again = job.run("stand('SIGUSR1', epoch=2); finish()")
    assert again.status == 0, again.said


def test_a_job_that_may_not_go_back_ends_with_75(job: Job) -> None:
    scontrol = job.in_slurm("echo 'Requested operation is presently disabled for job 17' >&2; exit 1")
    ended = job.run("stand('SIGUSR1'); sys.exit(75)")
    assert ended.status == 75
    assert scontrol.exists()
    assert "scontrol failed: Requested operation is presently disabled for job 17. The job ends as failed" in ended.said
    assert "Snakemake submits it again" in ended.said


def test_without_scontrol_the_job_ends_with_75(job: Job) -> None:
    job.variables |= {"SLURM_JOB_ID": "17", "PATH": "/nowhere"}
    ended = job.run("stand('SIGUSR1'); sys.exit(75)")
    assert ended.status == 75
    assert "scontrol was not found" in ended.said


def test_a_preempted_job_is_left_to_slurm(job: Job) -> None:
    scontrol = job.in_slurm("exit 0")
    ended = job.run("stand('SIGTERM'); sys.exit(75)")
    assert ended.status == 75
    assert not scontrol.exists()
    assert job.attempts["ended"] == "SIGTERM"


def test_sigterm_reaches_the_ranks(job: Job) -> None:
    process = job.start("signal.signal(signal.SIGTERM, stop_on_sigterm); (folder / 'ready').touch(); time.sleep(60)")
    until((job.folder / "ready").exists, "the ranks run")
    assert (job.state / lease.NAME).exists()
    process.terminate()
    ended = end(process)
    assert ended.status == 75
    assert job.attempts["ended"] == "SIGTERM"
    assert not (job.state / lease.NAME).exists()


def test_ctrl_c_is_for_the_ranks_to_answer(job: Job) -> None:
    """It goes to all processes of a terminal; this one waits for what they do about it."""
    process = job.start("(folder / 'ready').touch(); time.sleep(0.5); finish()")
    until((job.folder / "ready").exists, "the ranks run")
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert ended.status == 0, ended.said


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("no-such-launcher -n $WORKERS", "the launcher of the training, no-such-launcher, was not found."),
        ("", "the launcher of the training, an empty word, was not found."),
        ("  ", "the launcher of the training, an empty word, was not found."),
        ("srun 'as it were", "the launcher of the training can't be read (No closing quotation): srun 'as it were"),
    ],
)
def test_a_launcher_that_cannot_be_is_explained(job: Job, launcher: str, message: str) -> None:
    ended = job.run(launcher=launcher)
    assert ended.status == 1
    assert message in ended.said
    assert not job.state.exists()  # it counts for nothing


def test_a_training_that_gets_no_further_is_not_started_again(job: Job) -> None:
    for attempt in (1, 2):
        assert job.run("sys.exit(3)", attempt=attempt, limit=2).status == 1
    for attempt in (3, 4):
        ended = job.run(attempt=attempt, limit=2)
        assert ended.status == 1
        assert "given up: 2 starts in a row got no further" in ended.said
        assert "The last one: the ranks ended with status 3" in ended.said
        assert not (job.state / lease.NAME).exists()
    assert len(job.called) == 2
    assert job.run(attempt=1, limit=2).status == 0  # a new command
    assert not job.state.exists()


def test_a_job_that_was_put_back_into_the_queue_goes_on_counting(job: Job) -> None:
    """Its command is the same, attempt 1 for ever; its number tells that it is no new one."""
    job.in_slurm("exit 1")
    for _ in range(3):
        assert job.run("stand('SIGUSR1', epoch=0); sys.exit(75)").status == 75
    ended = job.run()
    assert ended.status == 1
    assert (
        "the wall time leaves no time for a single step; ask for more (resource `runtime` of the rule fit)"
        in ended.said
    )


class TestTwoAtATime:
    """A training that goes on after its Snakemake died, and the one that the next Snakemake starts."""

    @pytest.fixture
    def orphan(self, job: Job) -> subprocess.Popen[str]:
        """One under way, which finishes as soon as it finds a file `go`."""
        process = job.start(
            "(folder / 'ready').touch()\nwhile not (folder / 'go').exists():\n    time.sleep(0.05)\nfinish()"
        )
        until((job.folder / "ready").exists, "the first training runs")
        return process

    def second(self, job: Job, orphan: subprocess.Popen[str]) -> Launched:
        """Start another, and let the first one finish while it waits."""
        process = job.start("(folder / 'second').touch(); finish()", attempt=1)
        said = until_it_waits(process)
        assert len(job.called) == 1
        (job.folder / "go").touch()
        assert end(orphan).status == 0
        ended = end(process)
        return Launched(ended.status, said + ended.said)

    def test_the_second_waits_and_takes_what_the_first_has_made(self, job: Job, orphan: subprocess.Popen[str]) -> None:
        (job.folder / "spec.json").write_text("{}", encoding="utf-8")  # as the rule does for each job
        ended = self.second(job, orphan)
        assert ended.status == 0
        assert f"another job makes the same, and is waited for: process {orphan.pid} on " in ended.said
        assert "the job that was waited for has finished this training" in ended.said
        assert len(job.called) == 1
        assert not job.state.exists()

    def test_with_other_settings_the_second_trains_after_the_first(
        self, job: Job, orphan: subprocess.Popen[str]
    ) -> None:
        """The network that the first one leaves was trained with the settings of before."""
        (job.folder / "spec.json").write_text('{"filters": 8}', encoding="utf-8")
        ended = self.second(job, orphan)
        assert ended.status == 0
        assert len(job.called) == 2
        assert (job.folder / "second").exists()

    def test_the_second_goes_on_where_the_first_has_failed(self, job: Job, orphan: subprocess.Popen[str]) -> None:
        process = job.start("(folder / 'second').touch(); finish()")
        (ranks,) = (child for child in psutil.Process(orphan.pid).children() if "ranks.py" in " ".join(child.cmdline()))
        until_it_waits(process)
        ranks.kill()
        assert end(orphan).status == 1
        ended = end(process)
        assert ended.status == 0
        assert (job.folder / "second").exists()
        assert not job.state.exists()


def test_a_lease_of_the_dead_is_no_obstacle(job: Job) -> None:
    job.state.mkdir()
    dead = Holder("another-host", 4711, 1e9, "")
    (job.state / lease.NAME).write_text(json.dumps(asdict(dead)), encoding="utf-8")
    assert job.run().status == 0
    assert not job.state.exists()
