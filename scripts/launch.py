"""Start the ranks of a training, once per job, and see to it that it goes on where the job ends before it.

Exit status: 0 trained; 75 stopped at a checkpoint, to be started again; 1 anything wrong.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from dl4ds_core import jobs
from dl4ds_core.cluster import lease, slurm
from dl4ds_core.errors import ClusterError, TrainingError
from dl4ds_core.identity import code_digest
from dl4ds_core.training import attempts, checkpoints, ranklogs, standing, stopping

logger = logging.getLogger("dl4ds_core.launch")

TRAIN = os.path.relpath(Path(__file__).with_name("train.py"))
#: How long a job waits for its end after it has gone back into the queue.
REQUEUE_SECONDS = 60.0


def main(
    launcher: str, ranks: int, threads: int, attempt: int, limit: int, folder: str, logs: str, training: list[str]
) -> None:
    """Train: alone for these products, with a count of starts that get no further."""
    state = Path(folder) / "checkpoints"
    job = os.environ.get("SLURM_JOB_ID", "")
    ranklogs.keep_launches(logs)
    command = _split(launcher.replace("$WORKERS", str(ranks)).replace("$RANK_THREADS", str(threads)))
    status, stopped = 0, None
    with lease.held(state, lease.work_of([code_digest(TRAIN), *training])) as waited:
        if waited and (Path(folder) / "model.keras").exists():
            logger.warning("%s: the job that was waited for has finished this training", folder)
        else:
            attempts.begin(state, job=job, attempt=attempt, limit=limit)
            began = time.time()
            status = _run([*command, "python", TRAIN, *training, "--folder", folder, "--logs", logs], threads)
            if status:
                stopped = _stopped(state, began)
                reason = ranklogs.reason(logs, began)
                how = stopped or ("error" if reason else "failed")
                attempts.end(state, how=how, reason=reason or f"the ranks ended with status {status}")
        if status == 0:
            attempts.remove(state)
            checkpoints.remove(state)
    if status == 0:
        _remove_if_empty(state)
        return
    if stopped and job and (stopped == signal.SIGUSR1.name or _is_preempted(job)):
        _requeue(job)
    if stopped:
        sys.exit(stopping.EXIT_STATUS)
    raise TrainingError(f"the ranks of the training ended with status {status}; logs: {logs}\n{ranklogs.tails(logs)}")


def _split(launcher: str) -> list[str]:
    try:
        command = shlex.split(launcher)
    except ValueError as error:
        raise TrainingError(f"the launcher of the training can't be read ({error}): {launcher}") from error
    if not command or shutil.which(command[0]) is None:
        raise TrainingError(
            f"the launcher of the training, {command[0] if command else 'an empty word'}, was not found. Install "
            "Horovod (make setup), load its module, or name another launcher: in the profile, or with "
            "--set-resources 'fit:launcher=...'"
        )
    return command


def _run(command: list[str], threads: int) -> int:
    """Run the ranks; SIGTERM, which SLURM sends to all processes of a job, is theirs to answer."""
    logger.info("%s", shlex.join(command))
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return process.wait()


def _stopped(state: Path, began: float) -> str | None:
    """Return the signal that the ranks stopped for at a checkpoint, if they did so since ``began``."""
    now = standing.read(state)
    return now.stopped if now and now.updated >= began else None


def _is_preempted(job: str) -> bool:
    """Return whether a job that was told to end still runs for SLURM: it has been granted time, and is not cancelled.

    SLURM takes a preempted job that ends within that time for failed, and would not put it back into the queue.
    """
    try:
        return any(found.state == "RUNNING" for found in slurm.queued(jobs=[job]))
    except ClusterError as error:
        logger.warning("can't see whether this job is preempted or cancelled (%s)", error)
        return False


def _requeue(job: str) -> None:
    """Put this very job back into the queue: it starts again by itself, whether or not Snakemake still lives."""
    logger.info("job %s goes back into the queue (scontrol requeue), and on from the checkpoint", job)
    try:
        slurm.call("scontrol", "requeue", job)
    except ClusterError as error:
        logger.warning("%s. The job ends as failed instead; Snakemake submits it again (profile: `retries`)", error)
        return
    time.sleep(REQUEUE_SECONDS)  # SLURM ends this job now


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog="What follows -- goes to train.py.")
    for name, meaning in (
        ("launcher", "command that starts the ranks; $WORKERS and $RANK_THREADS in it are replaced"),
        ("folder", "folder of the model's products"),
        ("logs", "folder for one log file per rank"),
    ):
        parser.add_argument(f"--{name}", required=True, help=meaning)
    for name, meaning in (
        ("ranks", "number of processes"),
        ("threads", "threads of each"),
        ("attempt", "Snakemake's number of this attempt"),
        ("limit", "starts without advance after which the training is given up"),
    ):
        parser.add_argument(f"--{name}", type=int, required=True, help=meaning)
    parser.add_argument("training", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    jobs.run(main, **vars(_arguments()))
