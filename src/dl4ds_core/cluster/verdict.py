"""What the probe job's outcome means, and which key of the profile mends what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

from dl4ds_core.cluster.findings import Finding, failed, note, ok
from dl4ds_core.cluster.probe import Outcome, launcher_of
from dl4ds_core.cluster.profile import Request

#: Snakemake's default of `latency-wait`, in seconds.
LATENCY = 5.0
#: Lines of the job's log to show where nothing better is known.
LAST = 8
OUT_OF_MEMORY = r"(?i)out of memory|oom.?kill|exceeded .*memory limit"
NO_ENVIRONMENT = r"ModuleNotFoundError: .*|ImportError: .*|No module named .*|.*python: .*(?:not found|No such file).*"
NO_MPI_TYPE = r"(?i)(?:cannot find|invalid|couldn't|unable to).*\bmpi\b.*|.*mpi.*plugin.*(?:not found|invalid).*"
WRONG_MPI_TYPE = r".*(?:not built with SLURM|PMI support|OPAL ERROR|PMIX ERROR|MPI_Init).*"
NO_ROOM = r"srun: error: (Unable to create step.*|.*More processors.*|.*node configuration.*|.*Requested nodes.*)"


def judge(outcome: Outcome, training: Request, *, tasks: int, threads: int, folder: Path) -> list[Finding]:
    """Return what the probe job shows.

    Parameters
    ----------
    outcome : Outcome
        What became of it.
    training : Request
        What it asked for.
    tasks, threads : int
        Ranks that it should have had, and threads of each.
    folder : Path
        Where its log is.
    """
    if outcome.reason:
        return [_never_started(outcome, training)]
    findings = [ok("probe job", f"{outcome.job}, after {outcome.waited:.0f} s in the queue")]
    findings.append(_controller(outcome))
    if not outcome.results:
        return [*findings[1:], _died(outcome, training, folder)]
    software = outcome.results[0]["software"]
    findings.append(_environment(software))
    if len(outcome.results) > 1 or outcome.results[0]["size"] != tasks:
        return [*findings, _strangers(outcome, training, tasks)]
    result = outcome.results[0]
    findings += _ranks(result, training, threads)
    findings.append(_allreduce(result))
    findings += _shared(result, outcome.late)
    return findings


def _never_started(outcome: Outcome, training: Request) -> Finding:
    found = f"{outcome.job} was cancelled after {outcome.waited:.0f} s in the queue; SLURM's reason: {outcome.reason}"
    keys = {
        "Account": "slurm_account",
        "QOS": "qos",
        "TimeLimit": "runtime",
        "Wall": "runtime",
        "Partition": "slurm_partition",
        "Constraints": "constraint",
        "Node": "nodes",
    }
    for word, name in keys.items():
        if word in outcome.reason:
            return failed("probe job", found, f"{training.key(name)}: {training.text(name) or 'not said'}")
    return failed("probe job", found, "the queue is long: call this again with --timeout 3600, or later")


def _controller(outcome: Outcome) -> Finding:
    requeue = re.search(r"Requeue=(\d)", outcome.description)
    if requeue is None:
        return note("compute nodes", "they don't reach SLURM's controller: retries, not requeue, go on after a wall")
    if requeue[1] == "0":
        return note(
            "compute nodes",
            "this job may not be requeued, so retries go on after a wall; slurm-requeue: true asks for it",
        )
    return ok("compute nodes", "they reach the controller, and the job may be requeued")


def _died(outcome: Outcome, training: Request, folder: Path) -> Finding:
    """Return why a job that ran left no result."""
    key = training.key("launcher")
    log = f"log: {folder / 'job.log'}"
    about, text = "probe job", outcome.log
    if match := re.search(r"launcher not found: (.*)", text):
        advice = f"{key}: a command that compute nodes have, or load the module that provides it before snakemake"
        return failed("launcher", f"compute nodes don't have {match[1]!r}", advice)
    if "configuration source" in text:
        advice = f"{key}: env SLURM_CONF=<path of slurm.conf> {launcher_of(training)}"
        return failed("launcher", "srun doesn't find slurm.conf: Snakemake drops SLURM_CONF inside jobs", advice, log)
    if match := re.search(NO_ENVIRONMENT, text):
        advice = "install the environment where compute nodes see it (make setup on the shared file system), or name"
        return failed("environment", match[0].strip(), f"{advice} the container in {key}", log)
    if re.search(OUT_OF_MEMORY, text):
        asked = training.text("mem_mb_per_cpu") or training.text("mem_mb")
        return failed("memory", f"{asked} MB are too few", f"{training.key('mem_mb')}: more", log)
    if match := re.search(NO_ROOM, text):
        return failed("launcher", match[0], f"{key}: it asks for more than the job has: {launcher_of(training)}", log)
    if match := re.search(WRONG_MPI_TYPE, text) or re.search(NO_MPI_TYPE, text):
        return failed("launcher", match[0].strip(), _other_mpi(key), log)
    lines = [line for line in text.splitlines() if line.strip()][-LAST:] or ["its log is empty"]
    return failed(about, f"{outcome.job} ran, but left no result; its last lines:", *lines, log)


def _other_mpi(key: str) -> str:
    return f"{key}: another --mpi= of `srun --mpi=list`, or rebuild Horovod with the MPI that SLURM knows"


def _environment(software: dict[str, Any]) -> Finding:
    built = [name for name, key in (("MPI", "mpi"), ("Gloo", "gloo"), ("NCCL", "nccl")) if software[key]]
    versions = ", ".join(f"{name} {software[name.lower()]}" for name in ("TensorFlow", "Keras", "Horovod"))
    return ok("environment", f"{versions} (with {', '.join(built)}) on the compute nodes")


def _strangers(outcome: Outcome, training: Request, tasks: int) -> Finding:
    """Return that the ranks didn't find each other."""
    sizes = sorted(result["size"] for result in outcome.results)
    key = training.key("launcher")
    if sizes == [1] and tasks > 1:
        found, advice = f"1 rank was started instead of {tasks}", f"{key}: srun ... --ntasks=$WORKERS"
    elif max(sizes) > 1:
        found = f"ranks found each other in groups of {', '.join(map(str, sizes))}, instead of {tasks} in one"
        advice = f"{key}: srun ... --ntasks=$WORKERS"
    elif outcome.results[0]["software"]["mpi"]:
        found, advice = f"{len(sizes)} ranks were started, but each is alone", _other_mpi(key)
    else:
        found = f"{len(sizes)} ranks were started, but each is alone: this Horovod is built without MPI"
        advice = "load the MPI that SLURM knows, then make setup again"
    return failed("ranks", found, advice)


def _ranks(result: dict[str, Any], training: Request, threads: int) -> list[Finding]:
    ranks = result["ranks"]
    hosts = sorted({rank["host"] for rank in ranks})
    places = "; ".join(f"{rank['rank']} on {rank['host']}, {_share(rank)}" for rank in ranks)
    findings = [ok("ranks", f"{len(ranks)} found each other: {places}" if len(ranks) > 1 else places)]
    nodes = training.number("nodes")
    if nodes and nodes != len(hosts):
        advice = f"{training.key('launcher')}: srun ... --nodes={nodes}, or {training.key('nodes')}: {len(hosts)}"
        findings.append(failed("nodes", f"{nodes} were asked for, the ranks ran on {len(hosts)}", advice))
    few = [rank for rank in ranks if len(rank["cpus"]) < threads]
    if few:
        found = f"rank {few[0]['rank']} has {len(few[0]['cpus'])} CPUs for {threads} threads"
        advice = f"{training.key('cpus_per_task')}: {threads}, and {training.key('launcher')}: srun ..."
        findings.append(failed("CPUs", found, f"{advice} --cpus-per-task=$RANK_THREADS"))
    return findings + _gpus(result, training) + _overlaps(ranks)


def _share(rank: dict[str, Any]) -> str:
    cpus = f"{len(rank['cpus'])} CPUs ({_ranges(rank['cpus'])})"
    if not rank["gpus"]:
        return cpus
    return f"GPU {rank['gpu']} of those shown ({rank['gpus_shown'] or 'all'}): {', '.join(rank['gpus'])}, {cpus}"


def _gpus(result: dict[str, Any], training: Request) -> list[Finding]:
    asked = training.number("gpu") or "gpu" in training.text("gres") or "--gpu" in training.text("slurm_extra")
    if not asked:
        return []
    without = [rank["rank"] for rank in result["ranks"] if not rank["gpus"]]
    if without and not result["software"]["gpu_build"]:
        advice = "use the container or envs/train-gpu.yaml: docs/cluster.md"
        return [failed("GPUs", "this TensorFlow is the one for CPUs", advice)]
    if without:
        advice = f"{training.key('gpu')} or {training.key('slurm_extra')}: one GPU per rank; a container needs --nv"
        return [failed("GPUs", f"ranks {_list(without)} see none", advice)]
    if not result["software"]["nccl"]:
        return [note("GPUs", "Horovod is built without NCCL, so sums go by way of the CPUs; envs/ has both")]
    return []


def _overlaps(ranks: list[dict[str, Any]]) -> list[Finding]:
    for one, other in combinations(ranks, 2):
        if one["host"] != other["host"]:
            continue
        if one["gpus"] and (one["gpus_shown"], one["gpu"]) == (other["gpus_shown"], other["gpu"]):
            advice = "set-resources: fit: as many GPUs per node as ranks per node"
            return [failed("GPUs", f"ranks {one['rank']} and {other['rank']} share one on {one['host']}", advice)]
        if set(one["cpus"]) & set(other["cpus"]):
            return [note("CPUs", f"ranks on {one['host']} may use the same ones: SLURM doesn't bind them here")]
    return []


def _allreduce(result: dict[str, Any]) -> Finding:
    wrong = [_bytes(entry["bytes"]) for entry in result["allreduce"] if not entry["right"]]
    speeds = [
        f"{_bytes(entry['bytes'])} in {1e3 * entry['seconds']:.2g} ms"
        + (f" ({entry['bytes'] / entry['seconds'] / 1e6:.0f} MB/s)" if entry["bytes"] >= 1024 else "")
        for entry in result["allreduce"]
    ]
    if wrong:
        advice = "rebuild Horovod (make setup, after removing .venv) with the MPI that SLURM knows"
        return failed("allreduce", f"the sums of {', '.join(wrong)} are wrong", advice)
    return ok("allreduce", f"sums are right; {', '.join(speeds)}")


def _shared(result: dict[str, Any], late: float) -> list[Finding]:
    ranks = result["ranks"]
    findings, slowest = [], late
    for folder in ranks[0]["shared"]:
        name = "the folder of the results" if ".slurm-check-" in folder else "this folder"
        seen = [(rank, rank["shared"][folder]) for rank in ranks]
        blind = [rank["host"] for rank, look in seen if look["missing"] or look["error"]]
        if blind:
            advice = "use a folder on a file system that all nodes share (execution.results: for the results)"
            findings.append(failed("shared files", f"{name} isn't the same one on {_list(sorted(set(blind)))}", advice))
        slowest = max(slowest, *(look["seconds"] for _, look in seen))
    if findings:
        return findings
    if slowest > LATENCY / 2:
        advice = f"latency-wait: {max(30, round(4 * slowest))}"
        return [note("shared files", f"a file is seen elsewhere only after {slowest:.1f} s; in the profile: {advice}")]
    alone = len({rank["host"] for rank in ranks}) == 1
    where = "only one node was tried" if alone else "by all nodes"
    return [
        ok("shared files", f"seen after {slowest:.2f} s ({where}); any latency-wait from {LATENCY:.0f} s on will do")
    ]


def _bytes(number: int) -> str:
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if number >= size:
            return f"{number / size:.0f} {unit}"
    return f"{number} B"


def _ranges(numbers: Iterable[int]) -> str:
    """Return `0-3,8` for 0, 1, 2, 3, 8."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def _list(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
