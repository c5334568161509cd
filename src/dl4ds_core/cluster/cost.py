"""What an experiment has cost, per stage: from SLURM's accounting and from Snakemake's benchmarks.

Every execution counts, also those that failed, were requeued or repeated, because all of them are charged.

- CPU and GPU hours of SLURM jobs are those *allocated*: CPUs (GPUs) of the job times its elapsed time, used or not.
  That is what budgets on clusters are charged. Jobs without SLURM have no allocation: theirs are the CPU hours *used*,
  and no GPU hours.
- Peak memory is the largest that was measured in any job of the stage, in MiB. SLURM measures each process that it
  starts, with the children of that process: of several ranks it is the largest rank, not their sum. Snakemake's
  benchmark measures all processes of a job on the machine where it begins. Where there are both, the larger counts.
- Jobs are distinct by rule and wildcards. Tasks of arrays, and jobs that run a group of rules, are known to SLURM by
  their number alone, so each submission of them is a job.
- Of jobs without SLURM only the last execution is known.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dl4ds_core import provenance
from dl4ds_core.cluster import accounting
from dl4ds_core.cluster.accounting import Execution
from dl4ds_core.cluster.runs import Run
from dl4ds_core.errors import ClusterError
from dl4ds_core.files import atomic

logger = logging.getLogger(__name__)

COLUMNS = ("stage", "jobs", "attempts", "elapsed_hours", "cpu_hours", "gpu_hours", "peak_memory_mib")
#: Stage of jobs whose rule is not known.
OTHER = "other"
_HOUR = 3600.0
_HOURS = ["elapsed_hours", "cpu_hours", "gpu_hours"]


def collect(benchmarks: str | Path, runs: Iterable[Run], stages: Mapping[str, str]) -> pd.DataFrame:
    """Return the cost of an experiment so far.

    Parameters
    ----------
    benchmarks : str or Path
        Folder of the experiment's benchmark files.
    runs : iterable of Run
        Records of the Snakemake processes that ran the experiment, the oldest first.
    stages : mapping of str to str
        Stage of each rule, in the order of the table. A rule is named as its benchmark, which is the rule's name up to
        the first underscore.

    Returns
    -------
    pandas.DataFrame
        A row per stage and the last one for all, with the columns `COLUMNS`.

    Raises
    ------
    DataError
        If a benchmark file can't be read.
    """
    on_cluster = [run for run in runs if run.run]
    executed: list[Execution] = []
    try:
        executed = accounting.executions([run.run for run in on_cluster], on_cluster[0].started if on_cluster else "")
    except ClusterError as error:
        logger.warning("%s; the cost is taken from Snakemake's benchmarks alone, without queued attempts", error)
    return summed(executed, provenance.jobs_of(benchmarks), stages)


def summed(
    executed: Sequence[Execution], benchmarks: Sequence[Mapping[str, Any]], stages: Mapping[str, str]
) -> pd.DataFrame:
    """Sum executions and benchmarks per stage.

    A job under SLURM leaves a benchmark file too. So of rules that SLURM knows, benchmarks count for the memory alone.
    """
    begun = [execution for execution in executed if execution.started]
    known = {rule for execution in begun for rule in rules_of(execution.rule, stages)}
    entries = [_of_execution(execution, stages) for execution in begun]
    entries += [_of_benchmark(job, stages, counts=job["rule"] not in known) for job in benchmarks]
    return _summed(pd.DataFrame(entries), [*dict.fromkeys([*stages.values(), OTHER])])


def write(cost: pd.DataFrame, path: str | Path) -> None:
    """Write the table as CSV."""
    with atomic(path) as temporary:
        cost.to_csv(temporary, index=False, columns=list(COLUMNS))


def rules_of(name: str, stages: Mapping[str, str]) -> set[str]:
    """Return the rules, by the names of their benchmarks, that a SLURM job runs.

    Snakemake names a job that runs a group `<group>_<rule>_<rule>`, any other by its rule, such as `predict_network`.
    """
    return {part for part in name.split("_") if part in stages or part in stages.values()}


def stage_of(name: str, stages: Mapping[str, str]) -> str:
    """Return the stage of a rule, of a group (by its name or its rules), or of a benchmark; `other` if unknown."""
    for part in name.split("_"):
        if part in stages:
            return stages[part]
        if part in stages.values():
            return part
    return OTHER


def _of_execution(execution: Execution, stages: Mapping[str, str]) -> dict[str, Any]:
    plain = execution.wildcards or execution.rule.split("_")[0] in stages
    distinct = plain and "_" not in execution.id
    return {
        "stage": stage_of(execution.rule, stages),
        "job": f"{execution.rule} {execution.wildcards}" if distinct else execution.id,
        "attempts": 1,
        "elapsed_hours": execution.seconds / _HOUR,
        "cpu_hours": execution.cpu_seconds / _HOUR,
        "gpu_hours": execution.gpu_seconds / _HOUR,
        "peak_memory_mib": execution.memory_mib,
    }


def _of_benchmark(job: Mapping[str, Any], stages: Mapping[str, str], *, counts: bool) -> dict[str, Any]:
    return {
        "stage": stage_of(job["rule"], stages),
        "job": job["name"] if counts else None,
        "attempts": int(counts),
        "elapsed_hours": counts * job["seconds"] / _HOUR,
        "cpu_hours": counts * job["cpu_seconds"] / _HOUR,
        "gpu_hours": 0.0,
        "peak_memory_mib": job["max_rss_mib"],
    }


def _summed(entries: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    if entries.empty:
        entries = pd.DataFrame(columns=["stage", "job", *COLUMNS[2:]])
    groups = entries.groupby("stage")
    cost = pd.DataFrame(
        {
            "jobs": groups["job"].nunique(),
            **{name: groups[name].sum() for name in ("attempts", *_HOURS)},
            "peak_memory_mib": groups["peak_memory_mib"].max(),
        }
    )
    cost = cost.reindex([stage for stage in order if stage in cost.index])
    cost.loc["total"] = [*cost.iloc[:, :-1].sum(), cost["peak_memory_mib"].max() if len(cost) else 0.0]
    cost = cost.rename_axis("stage").reset_index()
    cost[_HOURS] = cost[_HOURS].astype(float).round(5)
    cost["peak_memory_mib"] = cost["peak_memory_mib"].astype(float).round(1)
    return cost.astype({"jobs": int, "attempts": int})
