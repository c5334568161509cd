"""What of an experiment runs, waits and has failed: read from files and from SLURM, from any machine that sees both."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from dl4ds_core.cluster import accounting, products, runs, slurm
from dl4ds_core.cluster.runs import Run
from dl4ds_core.cluster.slurm import Job
from dl4ds_core.config import Config
from dl4ds_core.errors import ClusterError
from dl4ds_core.training import standing
from dl4ds_core.training.standing import Standing, duration

T = TypeVar("T")

#: Seconds after which a training that says nothing is worth a look.
SILENCE = 600.0
_SKEW = 300.0  # by which clocks of machines and file systems may differ
#: Where Snakemake's SLURM executor keeps the logs of jobs that failed or still run.
SLURM_LOGS = Path(".snakemake", "slurm_logs")
#: States that end a job without its product.
FAILED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}
)
#: Jobs of a rule that are listed one by one, job numbers that are named, and failures that are shown.
_SINGLY, _NUMBERS, _FAILURES = 4, 3, 10
_STATES = {"PENDING": "waiting", "COMPLETING": "ending"}
_RULE = "fit"  # of the trainings


@dataclass(frozen=True)
class Failure:
    """A job of the last run that failed and has not succeeded since.

    Attributes
    ----------
    what : str
        Rule and wildcards.
    job, state : str
        Of the last attempt that failed.
    times : int
        Number of attempts that failed.
    again : str
        Number of the job in the queue that tries it again; empty if none does.
    certain : bool
        False for tasks of arrays and for jobs that run a group of rules: SLURM doesn't tell their wildcards apart.
    logs : tuple of Path
        SLURM's log and the rule's.
    """

    what: str
    job: str
    state: str
    times: int
    again: str
    certain: bool
    logs: tuple[Path, ...]


def describe(config: Config) -> str:
    """Return the status of an experiment as text for a terminal; paths are relative to the working directory."""
    folder = Path("logs") / config.experiment
    notes: list[str] = []
    records = _tried(lambda: runs.records(folder), notes) or []
    heads = _heads(records)
    queue = _tried(lambda: slurm.queued(runs=[run.run for run in records if run.run]), notes)
    failures = _tried(lambda: failed(records, queue or [], folder), notes)
    sections = [
        [f"Experiment {config.experiment}", *_head(records, heads)],
        _progress(config),
        _queue(queue or []),
        _trainings(config, queue, head=bool(heads or not records)),
        _failures(failures or []),
        notes,
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _tried(ask: Callable[[], T], notes: list[str]) -> T | None:
    """Ask; where there is no answer, note that in one line and go on."""
    try:
        return ask()
    except ClusterError as error:
        note = f"! {' '.join(str(error).split())}"
        notes += [note] if note not in notes else []
        return None


def _heads(records: Sequence[Run]) -> list[tuple[Run, bool]]:
    """Return the Snakemake processes that run, and whether that is certain.

    Two can't run in one folder, so of those that can't be seen from here only the last may be running.
    """
    answers = [(run, _alive(run)) for run in records if not run.ended]
    return [(run, bool(answer)) for run, answer in answers if answer or (answer is None and run is records[-1])]


def _alive(run: Run) -> bool | None:
    try:
        return runs.alive(run)
    except ClusterError:
        return None


def _head(records: Sequence[Run], heads: Sequence[tuple[Run, bool]]) -> list[str]:
    """Say which Snakemake processes run the experiment, or how the last one ended."""
    lines = []
    for run, certain in heads:
        lines.append(f"Snakemake runs since {_moment(run.started)} ({_since(run.started)}): {run}")
        if not certain:
            lines.append(f"  at least it did: whether it still runs can only be seen on {run.host}")
    if lines:
        return lines
    if not records:
        return ["No Snakemake is running; no run of it is recorded in this folder"]
    last = records[-1]
    if last.ended:
        return [f"No Snakemake is running; the last one ended {_moment(last.ended)} ({_since(last.ended)} ago)"]
    return [
        f"No Snakemake is running; the last one began {_moment(last.started)} and was killed: {last}",
        "  the same command goes on where it stood",
    ]


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def _since(text: str) -> str:
    return duration(time.time() - datetime.fromisoformat(text).timestamp())


def _progress(config: Config) -> list[str]:
    rows = []
    for stage, files in products.expected(config).items():
        if files is None:
            rows.append([stage, "?", "its inputs are not there yet"])
            continue
        found = sum(Path(file).is_file() for file in files)
        rows.append([stage, f"{found} of {len(files)}", "" if found < len(files) else "all there"])
    return ["Products", *_table(rows, right=[1])]


def _queue(queue: Sequence[Job]) -> list[str]:
    """Sum up the jobs in the queue by rule; of few jobs, show each."""
    rows = []
    for rule in sorted({job.rule for job in queue}):
        jobs = sorted((job for job in queue if job.rule == rule), key=lambda job: (job.wildcards, job.id))
        if sum(map(tasks_of, jobs)) <= _SINGLY:
            rows += [[job.what or "unknown", _state(job), _times(job), job.id] for job in jobs]
        else:
            states: Counter[str] = Counter()
            for job in jobs:
                states[_state(job)] += tasks_of(job)
            summed = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            rows.append([rule or "unknown", summed, "", _numbers([job.id for job in jobs])])
    return ["Queue", *_table([["", "", "elapsed", "job"], *rows])] if rows else []


def _state(job: Job) -> str:
    word = _STATES.get(job.state, job.state.lower())
    return f"{word} ({job.reason})" if job.state == "PENDING" and job.reason not in ("", "None") else word


def _times(job: Job) -> str:
    limit = "" if job.limit is None else f" of {duration(job.limit)}"
    return "" if job.state == "PENDING" or job.seconds is None else f"{duration(job.seconds)}{limit}"


def _numbers(ids: Sequence[str]) -> str:
    return " ".join([*ids[:_NUMBERS], *(["..."] if len(ids) > _NUMBERS else [])])


def tasks_of(job: Job) -> int:
    """Return how many jobs a line of the queue stands for: the tasks of an array that wait share one, `21_[3-9%2]`."""
    match = re.search(r"_\[([^\]%]+)", job.id)
    if not match:
        return 1
    parts = [part.partition("-") for part in match[1].split(",")]
    return sum(int(last) - int(first) + 1 if last.isdigit() else 1 for first, _, last in parts)


def _trainings(config: Config, queue: Sequence[Job] | None, *, head: bool) -> list[str]:
    rows, remarks = [], []
    for model, seed in products.trainings(config):
        folder = products.folder_of(config, model, seed)
        found = standing.read(folder / "checkpoints")
        if found is None:
            continue
        name, age = f"{model} seed {seed}", time.time() - found.updated
        jobs = [job for job in queue or [] if job.rule == _RULE and job.wildcards == f"{model}_{seed}"]
        remark = _remark(found, jobs, age, asked=queue is not None, head=head)
        left = "-" if found.seconds_left is None or remark else duration(found.seconds_left)
        rows.append([name, *_standing(found), left, f"{duration(age)} ago", found.job or "-"])
        remarks += [f"  {name}: {remark}"] if remark else []
    titles = ["", "epoch", "step", "validation RMSE", "best (epoch)", "time left", "last sign", "job"]
    return ["Trainings", *_table([titles, *rows], right=range(1, 7)), *remarks] if rows else []


def _standing(found: Standing) -> list[str]:
    rmse = "-" if found.validation_rmse is None else f"{found.validation_rmse:.4g}"
    return [f"{found.epoch} of {found.epochs}", f"{found.step} of {found.steps}", rmse, found.best_text]


def _remark(found: Standing, jobs: Sequence[Job], age: float, *, asked: bool, head: bool) -> str:
    """Return what is to be said of a training beside its numbers; a warning begins with an exclamation mark."""
    checkpoint = "from the start"
    if found.checkpoint_epoch or found.checkpoint_step:
        checkpoint = f"from epoch {found.checkpoint_epoch}, step {found.checkpoint_step}"
    for job in jobs:
        if job.state == "PENDING":
            return f"{_state(job)} as job {job.id}; it goes on {checkpoint}"
        if min(age, job.seconds or 0) <= SILENCE:  # it may just have begun
            return "" if job.id == found.job else f"job {job.id} goes on {checkpoint}"
        return f"! no sign of life for {duration(age)}, although job {job.id} runs; see its log"
    if found.job and not asked and not found.stopped:
        return f"! no sign of life for {duration(age)}" if age > SILENCE else ""
    if found.job and found.stopped and head:
        return f"stopped at a checkpoint by {found.stopped}; Snakemake submits it again"
    if found.job or not head:
        why = f"stopped at a checkpoint by {found.stopped}" if found.stopped else "nothing trains it now"
        return f"! {why}; started again, it goes on {checkpoint}"
    return f"! no sign of life for {duration(age)}" if age > SILENCE else ""


def failed(records: Sequence[Run], queue: Sequence[Job], folder: Path) -> list[Failure]:
    """Return the jobs of the last run on the cluster that failed and have not succeeded since.

    The accounting is asked only where there are logs of jobs that are no longer queued: the executor deletes those of
    jobs that succeed.

    Raises
    ------
    ClusterError
        If the accounting is needed and doesn't answer.
    """
    last = next((run for run in reversed(records) if run.run), None)
    if last is None:
        return []
    queued = {job.id for job in queue}
    logs = _slurm_logs(datetime.fromisoformat(last.started).timestamp() - _SKEW)
    if not set(logs) - queued:
        return []
    ended = {execution.id: execution for execution in accounting.executions([last.run], last.started)}
    made: set[tuple[str, str]] = set()
    attempts: dict[tuple[str, str, str], list[str]] = {}
    for job, execution in ended.items():
        rule, wildcards = (execution.rule, execution.wildcards) if execution.rule else _named_by(logs.get(job))
        shared = "_" in job or _is_group(logs.get(job))
        if execution.state == "COMPLETED":
            made.add((rule, wildcards))
        elif execution.state in FAILED and job not in queued and (execution.started or execution.state != "CANCELLED"):
            attempts.setdefault((rule, wildcards, job if shared else ""), []).append(job)
    return [
        Failure(
            what=f"{rule} {wildcards if not shared else ''}".strip() or "unknown",
            job=jobs[-1],
            state=ended[jobs[-1]].state,
            times=len(jobs),
            again=next((job.id for job in queue if (job.rule, job.wildcards) == (rule, wildcards)), ""),
            certain=not shared,
            logs=tuple(path for path in (logs.get(jobs[-1]), rule_log(folder, rule, wildcards)) if path),
        )
        for (rule, wildcards, shared), jobs in attempts.items()
        if shared or (rule, wildcards) not in made
    ]


def _slurm_logs(since: float) -> dict[str, Path]:
    """Return the kept SLURM logs that were written to since a moment, by the number of the job."""
    found = {}
    for path in sorted(SLURM_LOGS.rglob("*.log")):
        with suppress(FileNotFoundError):  # the executor deletes logs as jobs succeed
            if path.stat().st_mtime >= since:
                found[path.stem] = path
    return found


def _is_group(log: Path | None) -> bool:
    return log is not None and log.relative_to(SLURM_LOGS).parts[0].startswith("group_")


def _named_by(log: Path | None) -> tuple[str, str]:
    """Return rule and wildcards from the path of a SLURM log: `rule_fit/<wildcards>/<job>.log`."""
    parts = log.relative_to(SLURM_LOGS).parts if log else ("",)
    return re.sub("^(rule|group)_", "", parts[0]), parts[1] if len(parts) > 2 else ""


def rule_log(folder: Path, rule: str, wildcards: str) -> Path | None:
    """Return the log that a job of a rule writes: `fit/<model>-seed<k>.log` where the wildcards are `<model>_<k>`."""
    family = rule.partition("_")[0]
    for path in sorted((folder / family).rglob("*.log")) if wildcards else [folder / f"{family}.log"]:
        name = path.relative_to(folder / family).as_posix() if wildcards else ""
        if path.is_file() and name.removesuffix(".log").replace("-seed", "_").replace("/", "_") == wildcards:
            return path
    return None


def _failures(failures: Sequence[Failure]) -> list[str]:
    lines = []
    for failure in failures[:_FAILURES]:
        times = f" (attempts that failed: {failure.times})" if failure.times > 1 else ""
        again = f"; tried again as job {failure.again}" if failure.again and failure.certain else ""
        again += "" if failure.certain else "; may have been made since"
        lines.append(f"  {failure.what}: {failure.state}, job {failure.job}{times}{again}")
        lines += [f"    {path}" for path in failure.logs]
    if len(failures) > _FAILURES:
        lines.append(f"  and {len(failures) - _FAILURES} more")
    return ["Failed in the last run, and not made since", *lines] if lines else []


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lay out rows of cells in columns, indented."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return lines
