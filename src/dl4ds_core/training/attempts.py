"""How often a training was started, and whether it got any further: one that does not is given up.

A training may need any number of jobs. What counts against it is only a start that got no further than the one before.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dl4ds_core.errors import TrainingError
from dl4ds_core.files import atomic
from dl4ds_core.training import standing

logger = logging.getLogger(__name__)

NAME = "attempts.json"
KILLED = "it was killed without warning: too little memory, the wall time without a signal before it, or its node"
NO_TIME = "the wall time leaves no time for a single step; ask for more (resource `runtime` of the rule fit)"


@dataclass(frozen=True)
class Attempts:
    """The starts of a training.

    Attributes
    ----------
    position : tuple of int
        Epoch and step of the checkpoint that the last start began with.
    job : str
        SLURM's number of the job; empty outside of one.
    idle : int
        Starts in a row, before the last one, that did not get further.
    explained : int
        How many of them ended for a reason that more memory would not mend.
    reason : str
        Why the last of them ended; empty if there was none.
    ended : str
        How the last start ended: with an `error` of its own, `failed` without one, the name of the signal that it
        stopped for at a checkpoint; empty where the whole job was killed, and while it runs.
    """

    position: tuple[int, int] = (0, 0)
    job: str = ""
    idle: int = 0
    explained: int = 0
    reason: str = ""
    ended: str = ""


def begin(folder: str | Path, *, job: str, attempt: int, limit: int) -> None:
    """Note a start.

    Parameters
    ----------
    folder : str or Path
        That of the checkpoints.
    job : str
        SLURM's number of this job; the same one where SLURM has put it back into the queue.
    attempt : int
        Snakemake's number of the attempt: the first one is a user's command, for which nothing before counts.
    limit : int
        Starts without advance after which the training is given up.

    Raises
    ------
    TrainingError
        If the limit is reached.
    """
    before = _read(folder)
    again = before is not None and (attempt > 1 or (bool(job) and before.job == job))
    now = _next(folder, before, job) if before is not None and again else Attempts(_position(folder), job)
    if now.idle >= limit:
        epoch, step = now.position
        raise TrainingError(
            f"this training is given up: {now.idle} starts in a row got no further than step {step} of epoch "
            f"{epoch + 1}. The last one: {now.reason}. Mend that, then give the same command again: it goes on from "
            "the checkpoint"
        )
    _write(folder, now)


def end(folder: str | Path, *, how: str, reason: str = "") -> None:
    """Note how a start ended: `error`, `failed`, or the name of the signal that it stopped for at a checkpoint."""
    _write(folder, replace(_read(folder) or Attempts(), ended=how, reason=reason))


def idle(folder: str | Path) -> int:
    """Return how many starts in a row got no further, the last one included; for the memory of the next one.

    Those that a wall time or an error of their own ended are left out: more memory would not help them.
    """
    before = _read(folder)
    if before is None:
        return 0
    now = _next(folder, before, "")
    return now.idle - now.explained


def remove(folder: str | Path) -> None:
    """Forget the starts of a finished training."""
    (Path(folder) / NAME).unlink(missing_ok=True)


def _next(folder: str | Path, before: Attempts, job: str) -> Attempts:
    """Return the start that follows one, whose end may have gone unrecorded."""
    now = Attempts(_position(folder), job)
    # A checkpoint of other settings is replaced by earlier ones.
    if now.position not in (before.position, (0, 0)):
        return now
    if before.ended == "SIGTERM" or (not before.ended and job and before.job == job):
        # Preempted, or a node that failed: SLURM has put the job back into the queue.
        return replace(now, idle=before.idle, explained=before.explained, reason=before.reason)
    reason = NO_TIME if before.ended == "SIGUSR1" else before.reason if before.ended else KILLED
    explained = before.explained + (before.ended in ("SIGUSR1", "error"))
    return replace(now, idle=before.idle + 1, explained=explained, reason=reason)


def _position(folder: str | Path) -> tuple[int, int]:
    now = standing.read(folder)
    return (now.checkpoint_epoch, now.checkpoint_step) if now else (0, 0)


def _read(folder: str | Path) -> Attempts | None:
    path = Path(folder) / NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        epoch, step = values.pop("position")
        return Attempts((int(epoch), int(step)), **values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s can't be read (%s); counting anew", path, error)
        return None


def _write(folder: str | Path, attempts: Attempts) -> None:
    with atomic(Path(folder) / NAME) as temporary:
        temporary.write_text(json.dumps(asdict(attempts)) + "\n", encoding="utf-8")
