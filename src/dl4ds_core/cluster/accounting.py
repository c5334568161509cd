"""What SLURM's accounting says about the jobs of runs: every execution of them, with its state and its cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dl4ds_core.cluster import slurm

# SubmitLine is the last: it is the only one that may hold line breaks.
_FIELDS = ("JobID", "State", "Start", "ElapsedRaw", "CPUTimeRAW", "AllocTRES", "MaxRSS", "Comment", "SubmitLine")
_MARGIN = timedelta(days=1)  # the clocks of the nodes, and of the machine that runs Snakemake, may differ
_MIB = {"": 1 / 2**20, "K": 1 / 2**10, "M": 1.0, "G": 2.0**10, "T": 2.0**20}


@dataclass(frozen=True)
class Execution:
    """One execution of a job; a requeued job has several.

    Attributes
    ----------
    id : str
        SLURM's number of the job, of an array's task `ID_TASK`.
    rule, wildcards : str
        What it makes; both are empty where the site stores neither comments nor the command of the submission.
    state : str
        `COMPLETED`, `FAILED`, `TIMEOUT`, `REQUEUED` ...
    started : bool
        Whether it has begun; if not, it was cancelled or still waits.
    seconds : int
        Elapsed time.
    cpu_seconds, gpu_seconds : int
        CPUs and GPUs that were allocated, times the elapsed time.
    memory_mib : float
        Largest memory of any single process that SLURM started in any step of the job, its children included; of
        several ranks that is the largest rank. All executions of one id share it.
    """

    id: str
    rule: str
    wildcards: str
    state: str
    started: bool
    seconds: int
    cpu_seconds: int
    gpu_seconds: int
    memory_mib: float


def executions(runs: Iterable[str], since: str) -> list[Execution]:
    """Ask the accounting, in one call, for all executions of the jobs of some runs, in the order of submission.

    Parameters
    ----------
    runs : iterable of str
        Names of the jobs.
    since : str
        When the first run began, as an ISO date and time; without a time zone it is taken for local time.

    Raises
    ------
    ClusterError
        If SLURM doesn't answer.
    """
    names = ",".join(runs)
    if not names:
        return []
    # sacct takes local times.
    start = (datetime.fromisoformat(since).astimezone() - _MARGIN).strftime("%Y-%m-%dT%H:%M:%S")
    answer = slurm.call(
        "sacct",
        *("--noheader", "--parsable2", f"--delimiter={slurm.SEPARATOR}", "--duplicates"),
        *(f"--name={names}", f"--starttime={start}", f"--format={','.join(_FIELDS)}"),
    )
    return parse(answer)


def parse(answer: str, separator: str = slurm.SEPARATOR) -> list[Execution]:
    """Read the answer of sacct: a line per execution, each followed by lines of its steps (`17.batch`, `17.0`)."""
    found: list[Execution] = []
    memory: dict[str, float] = {}
    for row in _rows(answer, separator):
        job, _, step = row["JobID"].partition(".")
        memory[job] = max(memory.get(job, 0.0), mib_of(row["MaxRSS"]))
        if not step:
            found.append(_execution(row))
    return [replace(execution, memory_mib=memory[execution.id]) for execution in found]


def _rows(answer: str, separator: str) -> Iterator[dict[str, str]]:
    for line in answer.split("\n"):
        values = line.split(separator)
        if len(values) >= len(_FIELDS):  # else it goes on with the command of the line before
            yield dict(zip(_FIELDS, values, strict=False))


def _execution(row: dict[str, str]) -> Execution:
    rule, wildcards = slurm.rule_of(row["Comment"])
    if not rule:
        rule, wildcards = slurm.rule_of(_comment(row["SubmitLine"]))
    seconds = int(row["ElapsedRaw"] or 0)
    return Execution(
        id=row["JobID"],
        rule=rule,
        wildcards=wildcards,
        state=row["State"].partition(" ")[0],  # CANCELLED by 1000
        started=row["Start"][:1].isdigit(),
        seconds=seconds,
        cpu_seconds=int(row["CPUTimeRAW"] or 0),
        gpu_seconds=gpus_of(row["AllocTRES"]) * seconds,
        memory_mib=0.0,
    )


def _comment(command: str) -> str:
    match = re.search(r"--comment[= ]['\"]?(rule_[^\s'\"]+)", command)
    return match[1] if match else ""


def gpus_of(resources: str) -> int:
    """Return the number of GPUs among allocated resources.

    >>> gpus_of("billing=8,cpu=8,gres/gpu:a100=2,gres/gpu=2,mem=16G,node=2"), gpus_of("cpu=1,gres/gpu:v100=1")
    (2, 1)
    """
    counts = re.findall(r"(?:^|,)gres/gpu(:[^=,]+)?=(\d+)", resources)
    total = [int(count) for kind, count in counts if not kind]
    return total[0] if total else sum(int(count) for _, count in counts)


def mib_of(text: str) -> float:
    """Return an amount of memory in MiB; SLURM's K, M and G are powers of 1024. Nothing is 0.

    >>> mib_of("67846K"), mib_of("1.50G"), mib_of("")
    (66.255859375, 1536.0, 0.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return float(match[1]) * _MIB[match[2]] if match else 0.0
