"""One training at a time for the same products: a lease, held by the job that makes them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dl4ds_core.cluster.processes import Process
from dl4ds_core.config import digest
from dl4ds_core.errors import ClusterError
from dl4ds_core.files import atomic

logger = logging.getLogger(__name__)

NAME = "lease.json"
#: Seconds between looks at whether the holder still lives.
WAIT_SECONDS = 15.0


@dataclass(frozen=True)
class Holder(Process):
    """A process that holds a lease.

    Attributes
    ----------
    work : str
        What it makes; see `work_of`.
    """

    work: str = ""


def work_of(words: Iterable[str]) -> str:
    """Return a hash of what a command makes: of its words, and of the files that are named or lie in folders named.

    Settings (`.json`) count by content, because each job has them written anew; other files by size and time.
    """
    words = list(words)
    named = [Path(word) for word in words if word]
    files = [path for path in named if path.is_file()]
    files += [file for path in named if path.is_dir() for file in sorted(path.rglob("*.nc"))]
    return digest([words, [[str(path), *_stamp(path)] for path in files]])


def _stamp(path: Path) -> list[str | int]:
    if path.suffix == ".json":
        return [path.read_text(encoding="utf-8")]
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


@contextmanager
def held(folder: str | Path, work: str = "") -> Iterator[bool]:
    """Hold the lease of a folder; wait as long as another living process holds it.

    Parameters
    ----------
    work : str
        What is going to be made; see `work_of`.

    Yields
    ------
    bool
        Whether another process that made the very same was waited for: it may have finished the work.
    """
    path = Path(folder) / NAME
    own = replace(Holder.current(), work=work)
    waited = _wait(path, own)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(asdict(own)) + "\n", encoding="utf-8")
    try:
        yield waited
    finally:
        if _holder(path) == own:
            path.unlink(missing_ok=True)


def _wait(path: Path, own: Holder) -> bool:
    waited: Holder | None = None
    while (holder := _holder(path)) is not None and _lives(holder, own):
        if holder != waited:
            logger.warning("%s: another job makes the same, and is waited for: %s", path.parent, holder)
        waited = holder
        time.sleep(WAIT_SECONDS)
    return waited is not None and waited.work == own.work


def _lives(holder: Holder, own: Holder) -> bool:
    if own.slurm_job and holder.slurm_job == own.slurm_job and holder.host != own.host:
        return False  # this very job, which SLURM has put back into the queue; here, the process itself can be seen
    try:
        # A process on a machine that can't be asked counts as dead: its lease must not block forever.
        return bool(holder.alive())
    except ClusterError as error:
        logger.warning("can't see whether %s still lives (%s); asking again", holder, error)
        return True


def _holder(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s can't be read (%s) and counts as free", path, error)
        return None
