"""What SLURM says about jobs. The only place that calls its commands and reads their answers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dl4ds_core.errors import ClusterError

#: Seconds after which a command of SLURM counts as failed: a busy controller may take its time.
PATIENCE = 60.0
SEPARATOR = "\x1f"
_QUEUE_FIELDS = {
    "id": "%i",
    "run": "%j",
    "state": "%T",
    "reason": "%r",
    "seconds": "%M",
    "limit": "%l",
    "comment": "%k",
}
_COMMENT = re.compile(r"rule_(?P<rule>.+?)(?:_wildcards_(?P<wildcards>.+))?")


@dataclass(frozen=True)
class Job:
    """A job in the queue.

    Attributes
    ----------
    id : str
        SLURM's number of the job, of an array's task `ID_TASK`.
    run : str
        Name of the job: Snakemake's SLURM executor names all jobs of a run alike.
    state : str
        `PENDING`, `RUNNING`, `COMPLETING` ...
    reason : str
        Why it waits, in SLURM's words: `Priority`, `Resources`, `BeginTime` ...
    seconds, limit : int or None
        How long it has been running, and how long it may.
    rule, wildcards : str
        What it makes; wildcards are joined by underscores, as in the names of Snakemake's SLURM logs.
    """

    id: str
    run: str
    state: str
    reason: str
    seconds: int | None
    limit: int | None
    rule: str
    wildcards: str

    @property
    def what(self) -> str:
        """What it makes, in words: `fit resnet-spc_1`."""
        return f"{self.rule} {self.wildcards}".strip()


def available() -> bool:
    """Return whether this machine has SLURM's commands."""
    return shutil.which("squeue") is not None


def require() -> None:
    """Refuse to go on without SLURM's commands.

    Raises
    ------
    ClusterError
        If they are missing.
    """
    if not available():
        raise ClusterError(
            "this profile submits jobs to SLURM, whose commands were not found. On a cluster, load the module that "
            "provides them; on one machine without SLURM, give --profile profiles/local"
        )


def queued(*, runs: Iterable[str] = (), jobs: Iterable[str] = ()) -> list[Job]:
    """Return the jobs that wait or run, of the given runs (by name) or of the given numbers.

    Raises
    ------
    ClusterError
        If SLURM doesn't answer.
    """
    names, numbers = ",".join(runs), ",".join(jobs)
    if not names and not numbers:
        return []
    chosen = [f"--name={names}"] if names else [f"--jobs={numbers}"]
    answer = call(
        "squeue", "--noheader", *chosen, f"--format={SEPARATOR.join(_QUEUE_FIELDS.values())}", unknown_ok=True
    )
    return _queue_jobs(answer)


def _queue_jobs(answer: str) -> list[Job]:
    """Read squeue's answer; what can't be read must never be taken for an empty queue."""
    jobs: list[Job] = []
    for line in answer.split("\n"):
        values = line.split(SEPARATOR, len(_QUEUE_FIELDS) - 1)
        if len(values) == len(_QUEUE_FIELDS):
            jobs.append(_queue_job(values))
        elif line and not jobs and not line.startswith("CLUSTER: "):  # a comment may go on over several lines
            raise ClusterError(f"squeue answered in another form than expected: {line!r}")
    return jobs


def _queue_job(values: Sequence[str]) -> Job:
    fields = dict(zip(_QUEUE_FIELDS, values, strict=True))
    rule, wildcards = rule_of(fields["comment"])
    return Job(
        **{name: fields[name] for name in ("id", "run", "state", "reason")},
        seconds=seconds_of(fields["seconds"]),
        limit=seconds_of(fields["limit"]),
        rule=rule,
        wildcards=wildcards,
    )


def rule_of(comment: str) -> tuple[str, str]:
    """Return rule and wildcards from the comment that Snakemake's SLURM executor gives a job; empty if it is none."""
    match = _COMMENT.fullmatch(comment)
    return (match["rule"], match["wildcards"] or "") if match else ("", "")


def seconds_of(text: str) -> int | None:
    """Return a duration of SLURM, `[days-][hours:]minutes:seconds`, in seconds; None for `UNLIMITED` and the like."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?", text.strip())
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def call(program: str, *arguments: str, unknown_ok: bool = False) -> str:
    """Return what a command of SLURM prints.

    Parameters
    ----------
    unknown_ok : bool
        Whether jobs that SLURM doesn't know (any more) are as good as none.

    Raises
    ------
    ClusterError
        If the command is missing, fails, or doesn't answer in time.
    """
    command: Sequence[str] = (program, *arguments)
    try:
        finished = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except FileNotFoundError as error:
        raise ClusterError(f"{program} was not found; on a cluster, load the module that provides SLURM") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{program} gave no answer within {PATIENCE:.0f} s; try again later") from error
    if finished.returncode == 0 or (unknown_ok and "Invalid job id" in finished.stderr):
        return finished.stdout
    raise ClusterError(f"{program} failed: {finished.stderr.strip() or finished.returncode}")
