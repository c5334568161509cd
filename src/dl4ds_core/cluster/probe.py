"""A short job with the training's requests and launcher, to see whether the training can run here."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra
from snakemake_interface_common.exceptions import WorkflowError

from dl4ds_core.cluster import slurm
from dl4ds_core.cluster.profile import Profile, Request
from dl4ds_core.errors import ClusterError

MINUTES = 5
INTERVAL = 3.0
#: How long to look for a result that was written on another machine, in seconds.
PATIENCE = 60.0
#: A job that waits for one of these reasons would wait for ever.
HOPELESS = re.compile(r"Invalid|BadConstraints|NotAllowed|^Partition|ReqNodeNotAvail|JobHeld|PerJob|MaxWall")
#: What the executor's job step keeps of SLURM's variables; all others are dropped before the training starts.
SCRIPT = """#!/bin/bash
scontrol show job "$SLURM_JOB_ID" >{folder}/job.txt 2>{folder}/job.err
for name in ${{!SLURM_@}} ${{!SRUN_@}} ${{!SBATCH_@}}; do
    case $name in
        SLURM_JOB_ID | SLURM_JOBID | SLURM_CLUSTER_NAME | SLURM_SUBMIT_DIR | SLURM_SUBMIT_HOST) ;;
        *) unset "$name" ;;
    esac
done
export WORKERS={tasks} RANK_THREADS={threads} OMP_NUM_THREADS={threads}
launcher=({launcher})
if ! command -v "${{launcher[0]}}" >/dev/null; then
    echo "launcher not found: ${{launcher[0]}}"
    echo 127 >{folder}/status
    exit 127
fi
"${{launcher[@]}}" python -m dl4ds_core.training.allreduce --folder {folder} --shared {results}
status=$?
echo $status >{folder}/status
exit $status
"""


class Requests(dict[str, Any]):
    """Resources as the executor takes them: by key and by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


@dataclass(frozen=True)
class Outcome:
    """What became of the job.

    Attributes
    ----------
    job : str
        Its number.
    waited : float
        Seconds it spent in the queue.
    late : float
        Seconds from its end until its result was seen here.
    reason : str
        Why it was given up, in SLURM's words; empty for a job that ran.
    results : list of dict
        What `dl4ds_core.training.allreduce` found; one per group of ranks that find each other.
    log : str
        Its output.
    description : str
        `scontrol show job`, called inside the job; empty where that failed.
    """

    job: str
    waited: float
    late: float
    reason: str
    results: list[dict[str, Any]]
    log: str
    description: str


def sbatch_arguments(
    request: Request, profile: Profile, *, name: str = "dl4ds-check", log: str = "/dev/null"
) -> list[str]:
    """Return the arguments of sbatch for a job of a rule, as Snakemake's executor makes them.

    Raises
    ------
    ClusterError
        If the executor refuses the request.
    """
    job = SimpleNamespace(name=request.rule, resources=Requests(request.resources), threads=request.threads)
    account, partition = request.text("slurm_account"), request.text("slurm_partition")
    if profile.settings.get("slurm-no-account"):
        account = ""
    parameters = {
        "run_uuid": name,
        "slurm_logfile": log,
        "comment_str": name,
        "account": f"-A {shlex.quote(account)}" if account else "",
        "partition": f"-p {shlex.quote(partition)}" if partition else "",
        "workdir": str(Path.cwd()),
    }
    settings = SimpleNamespace(
        requeue=bool(profile.settings.get("slurm-requeue")),
        qos=profile.settings.get("slurm-qos"),
        reservation=profile.settings.get("slurm-reservation"),
    )
    try:
        validate_slurm_extra(job)
        command = get_submit_command(job, parameters, settings=settings) + set_gres_string(job)
    except WorkflowError as error:
        raise ClusterError(str(error)) from error
    return shlex.split(command)[1:]


def run(
    request: Request,
    profile: Profile,
    results: Path,
    *,
    tasks: int,
    threads: int,
    folder: Path,
    timeout: float,
    tell: Callable[[str], None],
) -> Outcome:
    """Submit the job, wait for it, and return what it found. It never stays in the queue.

    Parameters
    ----------
    request : Request
        Of the rule that trains.
    results : Path
        Folder of the results; whether all nodes see it is looked at too.
    tasks, threads : int
        Ranks, and threads of each.
    folder : Path
        Where the job writes, seen by all nodes.
    timeout : float
        Seconds to wait in the queue.
    tell : callable
        Is told what the job waits for.

    Raises
    ------
    ClusterError
        If SLURM refuses the job.
    """
    name = f"dl4ds-check-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix=".slurm-check-", dir=results) as shared:
        script = SCRIPT.format(
            folder=shlex.quote(str(folder)),
            results=shlex.quote(shared),
            launcher=launcher_of(request),
            tasks=tasks,
            threads=threads,
        )
        path = folder / "job.sh"
        path.write_text(script, encoding="utf-8")
        log = folder / "job.log"
        arguments = sbatch_arguments(_short(request), profile, name=name, log=str(log))
        try:
            job = slurm.call("sbatch", *arguments, str(path)).strip().split(";")[0]
            waited, reason = _wait(job, timeout, tell)
        finally:  # by its name: an interruption may come before its number does
            _cancel(name)
    late = 0.0 if reason else _wait_for_files(folder)
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("result-*.json"))]
    return Outcome(job, waited, late, reason, found, _text(log), _text(folder / "job.txt"))


def launcher_of(request: Request) -> str:
    """Return the launcher of the training, a command line."""
    return request.text("launcher") or request.text("mpi")


def _short(request: Request) -> Request:
    """Return the request for a few minutes, without a signal, which would end the job."""
    extra = re.sub(r"--signal[= ]\S+", "", request.text("slurm_extra")).strip()
    return replace(request, resources=request.resources | {"runtime": MINUTES, "slurm_extra": extra})


def _wait(job: str, timeout: float, tell: Callable[[str], None]) -> tuple[float, str]:
    """Wait until the job has ended; return its seconds in the queue, and why it was given up."""
    started = time.monotonic()
    waited = 0.0
    while True:
        queue = slurm.queued(jobs=[job])
        if not queue:
            return waited, ""
        if queue[0].state == "PENDING":
            waited = time.monotonic() - started
            reason = queue[0].reason
            why = f" ({reason})" if reason != "None" else ""
            tell(f"job {job} waits in the queue{why}, {waited:.0f} s of at most {timeout:.0f} s")
            if waited > timeout or (waited > INTERVAL and HOPELESS.search(reason)):
                return waited, reason
        else:
            tell(f"job {job} is {queue[0].state.lower()}")
        time.sleep(INTERVAL)


def _cancel(name: str) -> None:
    try:
        slurm.call("scancel", f"--name={name}")
    except ClusterError:  # it has ended, which is what is wanted
        return


def _wait_for_files(folder: Path) -> float:
    """Wait until the result is seen on this machine, or that there is none; return the seconds it took."""
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        if any(folder.glob("result-*.json")) or _text(folder / "status").strip() not in ("", "0"):
            break
        time.sleep(0.2)
    return time.monotonic() - started


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
