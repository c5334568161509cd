"""The Snakemake processes that run an experiment, and what one leaves behind when it dies.

Each writes a record when it starts its first job. Where the process is gone but its jobs still wait or run, a new one
must not make their products a second time: it waits for them, and so goes on with what they finish.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dl4ds_core.cluster import slurm
from dl4ds_core.cluster.processes import Process
from dl4ds_core.errors import ClusterError
from dl4ds_core.files import atomic

logger = logging.getLogger(__name__)

#: Seconds between looks at the queue while waiting; SLURM's administrators ask for seldom ones.
WAIT_SECONDS = 30.0
#: Runs whose jobs are looked for in the queue.
REMEMBERED = 50


@dataclass(frozen=True)
class Run(Process):
    """A Snakemake process that runs, or ran, an experiment.

    Attributes
    ----------
    run : str
        Name of its SLURM jobs, which all have the same one; empty for a run without SLURM.
    started, ended : str
        ISO times in UTC; ended is None while it runs, and where it died.
    command : str
        The command line.
    path : str
        File of the record.
    """

    run: str
    started: str
    ended: str | None
    command: str
    path: str = ""


def register(folder: str | Path, logs: Iterable[str | Path], slurm_job: str = "") -> Path:
    """Record that this process runs the experiment.

    Parameters
    ----------
    folder : str or Path
        `logs/<experiment>`.
    logs : iterable of str or Path
        Snakemake's logs of this run, where its SLURM executor notes the name of its jobs.
    slurm_job : str
        Number of the job that this process runs in. It is asked for because Snakemake's SLURM executor takes it out of
        the environment.

    Returns
    -------
    Path
        The record, for `finish`.
    """
    texts = (Path(log).read_text(encoding="utf-8", errors="replace") for log in logs if Path(log).is_file())
    named = re.search(r"SLURM run ID: (\S+)", "\n".join(texts))
    run = Run(
        **(asdict(Process.current()) | {"slurm_job": slurm_job}),
        run=named[1] if named else "",
        started=_now(),
        ended=None,
        command=" ".join(sys.argv),
    )
    path = Path(folder) / "runs" / f"{run.started.replace(':', '')}-{run.pid}.json"
    _write(replace(run, path=str(path)))
    return path


def finish(path: str | Path) -> None:
    """Note in a record that its process ended; nothing happens where there is no such record."""
    if Path(path).exists():
        _write(replace(_read(Path(path)), ended=_now()))


def withdraw(path: str | Path) -> None:
    """Remove a record, and the folders made for it: its process ended before it could start a job."""
    path = Path(path)
    path.unlink(missing_ok=True)
    for folder in list(path.parents)[:3]:  # runs, the experiment's, and that of all logs
        try:
            folder.rmdir()
        except OSError:  # it holds other files
            return


def records(folder: str | Path) -> list[Run]:
    """Return the runs of an experiment, oldest first; ``folder`` is `logs/<experiment>`."""
    paths = Path(folder).glob("runs/[!.]*.json")  # a name with a dot is of one that is being written
    return sorted((_read(path) for path in paths), key=lambda run: run.started)


def alive(run: Run) -> bool | None:
    """Return whether the process of a run still exists; None where this machine can't tell."""
    return False if run.ended is not None else run.alive()


def take_over(
    folder: str | Path, locks: str | Path, results: str, tell: Callable[[str], None], slurm_job: str = ""
) -> None:
    """Make way for a new run of an experiment: wait for the jobs of dead runs, and remove their locks.

    Parameters
    ----------
    folder : str or Path
        `logs/<experiment>`.
    locks : str or Path
        Snakemake's folder of locks, `.snakemake/locks`.
    results : str
        `results/<experiment>`: locks of other experiments in the same folder stay.
    tell : callable
        Says to the user what is waited for.
    slurm_job : str
        Number of the job that this process runs in. SLURM may have put it back into the queue, and so given it to this
        process and to a dead one.

    Raises
    ------
    ClusterError
        If another process runs this experiment, or may do so.
    """
    waited: set[str] = set()
    # Again after the wait, in which another run may have come first.
    while unfinished := [run for run in records(folder) if run.ended is None]:
        locked = _locks_of(locks, results)
        for run in unfinished:
            if slurm_job and run.slurm_job == slurm_job and run.host != socket.gethostname():
                continue
            if (state := alive(run)) is not False:
                raise ClusterError(_in_the_way(run, known=bool(state)))
        if locked:
            tell("The run before this one died and left a lock, which is removed now.")
        # Before the wait: later on, a lock of the same name may be that of a living run.
        for path in locked:
            path.unlink(missing_ok=True)
        _wait_for_jobs_of(unfinished, tell)
        for run in unfinished:
            finish(run.path)
            waited.add(run.run)
    # One that ended may have left jobs too: after --unlock, or where the executor had lost sight of them.
    names = [run.run for run in records(folder)[-REMEMBERED:] if run.run and run.run not in waited]
    if names and slurm.available():
        wait_for(names, tell)


def release(folder: str | Path) -> None:
    """Take runs that this machine can't see for ended: the user has looked, and given `--unlock`."""
    for run in records(folder):
        if run.ended is None and run.alive() is None:
            finish(run.path)


def _wait_for_jobs_of(dead: list[Run], tell: Callable[[str], None]) -> None:
    submitted = [run for run in dead if run.run]
    if submitted and not slurm.available():
        paths = " ".join(run.path for run in submitted)
        raise ClusterError(
            "an earlier run of this experiment, which has died, submitted jobs to SLURM, but squeue was not found. "
            f"Load the module that provides SLURM; if this is another machine, without SLURM, delete {paths}"
        )
    wait_for([run.run for run in submitted], tell)


def wait_for(names: Iterable[str], tell: Callable[[str], None], seconds: float | None = None) -> None:
    """Wait until no job of the given runs is in the queue any more.

    A queue that gives no answer is asked again: taking it for empty could start a second job for the same product.
    """
    names = list(names)
    said = ""
    while names:
        try:
            jobs = slurm.queued(runs=names)
        except ClusterError as error:
            message = f"Can't see whether jobs of an earlier run are still in the queue ({error}); asking again."
        else:
            if not jobs:
                return
            message = _waiting(jobs)
        if message != said:
            tell(message)
            said = message
        time.sleep(WAIT_SECONDS if seconds is None else seconds)


def _waiting(jobs: list[slurm.Job]) -> str:
    listing = "\n".join(f"  {job.id} {job.what}: {job.state.lower()}" for job in jobs)
    numbers = " ".join(sorted({job.id.partition("_")[0] for job in jobs}))
    return (
        f"Waiting for {len(jobs)} jobs of an earlier run of this experiment, whose Snakemake is gone:\n{listing}\n"
        f"What they finish is not made again. To do without them: scancel {numbers}"
    )


def _in_the_way(run: Run, *, known: bool) -> str:
    if known:
        return (
            f"this experiment is being run already: {run}, since {run.started} ({run.command}). See what it does "
            "with `dl4ds status`, or end it first; its jobs then go on"
        )
    return (
        f"an earlier run of this experiment was started by {run}, at {run.started}, and has not ended as it should; "
        f"this machine can't see whether it still runs. Look on {run.host} (ps {run.pid}). If it doesn't run any more, "
        "give this command once with --unlock added, and then again as it was; jobs that it left behind will be "
        "waited for"
    )


def _locks_of(folder: str | Path, results: str) -> list[Path]:
    """Return Snakemake's lock files that are about the products of an experiment."""
    locks = [path for kind in ("output", "input") for path in sorted(Path(folder).glob(f"*.{kind}.lock"))]
    return [path for path in locks if f"{results}/" in _text(path)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # another experiment's, which has just ended
        return ""


def _write(run: Run) -> None:
    content = {name: value for name, value in asdict(run).items() if name != "path"}
    with atomic(run.path) as temporary:
        temporary.write_text(json.dumps({**content, "user": _user()}, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> Run:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("user", None)
        return Run(**content, path=str(path))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ClusterError(f"{path}: the record of an earlier run can't be read ({error}); delete it") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return str(os.getuid())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
