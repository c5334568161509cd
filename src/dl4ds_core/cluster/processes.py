"""Whether a process that wrote a record still exists, here or in a job of SLURM."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Self

import psutil

from dl4ds_core.cluster import slurm

#: Seconds by which two readings of when a process started may differ.
_CLOCK = 2.0


@dataclass(frozen=True)
class Process:
    """A process, named so that no other one is taken for it.

    Attributes
    ----------
    host, pid, process_started
        Where it is, its number, and when it started (seconds since 1970).
    slurm_job : str
        Number of the SLURM job that it runs in; empty outside of one.
    """

    host: str
    pid: int
    process_started: float
    slurm_job: str

    @classmethod
    def current(cls) -> Self:
        """Return this process."""
        started = psutil.Process().create_time()
        return cls(socket.gethostname(), os.getpid(), started, os.environ.get("SLURM_JOB_ID", ""))

    def alive(self) -> bool | None:
        """Return whether it still exists; None where this machine can't tell.

        Raises
        ------
        ClusterError
            If it runs in a job and SLURM gives no answer.
        """
        if self.host == socket.gethostname():
            return self._exists()
        if self.slurm_job and slurm.available():
            return any(job.state != "PENDING" for job in slurm.queued(jobs=[self.slurm_job]))
        return None

    def _exists(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.process_started) < _CLOCK and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        job = f"SLURM job {self.slurm_job}, " if self.slurm_job else ""
        return f"{job}process {self.pid} on {self.host}"
