"""One log file per rank: all it says goes there, messages of C libraries included."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from dl4ds_core import jobs
from dl4ds_core.errors import TrainingError

#: Lines shown of the log of each rank after a failure, and of how many ranks.
TAIL_LINES, TAIL_RANKS = 8, 4


def redirect(folder: str | Path, rank: int) -> None:
    """Append this process's output to ``folder``/rank<rank>.log from now on, beginning with a line of its own.

    Rank 0's log messages go to the standard error of before too, so that they are in the rule's log while it runs.

    Raises
    ------
    TrainingError
        If the file can't be opened.
    """
    path = Path(folder) / f"rank{rank}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise TrainingError(f"{path}: the log of rank {rank} can't be opened ({error}); see --logs") from error
    sys.stdout.flush()
    sys.stderr.flush()
    if rank == 0:
        _keep_telling(os.dup(2))
    os.write(handle, f"==== {_attempt()}\n".encode())
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def keep_launches(folder: str | Path) -> None:
    """Append what is logged from now on to ``folder``/jobs.log too, which goes on over all jobs of a training."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(Path(folder) / "jobs.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter(jobs.FORMAT))
    logging.getLogger().addHandler(handler)


def tails(folder: str | Path) -> str:
    """Return the last lines of the logs of the first ranks."""
    parts = []
    for path in sorted(Path(folder).glob("rank*.log"))[:TAIL_RANKS]:
        with path.open(encoding="utf-8", errors="replace") as stream:
            lines = deque(stream, maxlen=TAIL_LINES)
        parts.append(f"---- {path}\n{''.join(lines).rstrip()}")
    return "\n".join(parts)


def reason(folder: str | Path, since: float) -> str:
    """Return the last error that a rank has logged since a moment (seconds since 1970), or nothing."""
    for path in sorted(Path(folder).glob("rank*.log")):
        if path.stat().st_mtime < since:
            continue
        with path.open(encoding="utf-8", errors="replace") as stream:
            lines = deque(stream, maxlen=TAIL_LINES * TAIL_RANKS)
        if errors := [match[1] for line in lines if (match := re.search(r" ERROR [\w.]+: (.+)", line))]:
            return errors[-1]
    return ""


def _attempt() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    again = f", requeued {restarts} times" if restarts else ""
    return f"{datetime.now(UTC).isoformat(timespec='seconds')} {f'SLURM job {job}{again}' if job else 'no SLURM job'}"


def _keep_telling(descriptor: int) -> None:
    handler = logging.StreamHandler(os.fdopen(descriptor, "w", encoding="utf-8"))
    handler.setFormatter(logging.Formatter(jobs.FORMAT))
    logging.getLogger().addHandler(handler)
