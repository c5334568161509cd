"""`make slurm-check`: can this cluster run the workflow with this profile? What a user runs first on a new cluster.

Each check prints what it found, and on failure which key of the profile to change. The last one submits a job of some
minutes with the training's own requests and launcher.
"""

from __future__ import annotations

import argparse
import getpass
import math
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dl4ds_core import config, jobs
from dl4ds_core.cluster import probe, slurm, verdict
from dl4ds_core.cluster.findings import Finding, Report, failed, note, ok
from dl4ds_core.cluster.profile import Profile, Request, read, rule_requests
from dl4ds_core.config.schema import Execution
from dl4ds_core.errors import ClusterError, DownscalingError

TRAINING = "fit"
PARTITION_FIELDS = "%R|%a|%l|%D|%c|%m|%G"
#: What sbatch says, and the names in the profile that it is about.
REFUSALS = {
    "partition": ("slurm_partition",),
    "account": ("slurm_account",),
    "qos": ("qos", "slurm_partition"),
    "node configuration": ("mem_mb", "mem_mb_per_cpu", "cpus_per_task", "tasks", "nodes", "constraint"),
    "node count": ("nodes",),
    "memory": ("mem_mb", "mem_mb_per_cpu"),
    "time limit": ("runtime",),
    "feature": ("constraint",),
    "generic resource": ("gpu", "gpu_model", "gres", "slurm_extra"),
    "policy": ("qos", "runtime", "nodes", "tasks"),
    "processor": ("tasks", "cpus_per_task"),
}


@dataclass(frozen=True)
class Partition:
    """A partition: its name, whether it is up, its time limit (minutes), nodes, and the CPUs and MB of its nodes."""

    name: str
    up: bool
    minutes: float
    nodes: int
    cpus: int
    memory: int

    def __str__(self) -> str:
        limit = "no time limit" if math.isinf(self.minutes) else f"at most {self.minutes:.0f} min"
        return f"{self.name} ({self.nodes} nodes of {self.cpus} CPUs and {self.memory} MB, {limit})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run all checks and return the exit status: 0, or 1 where the profile needs a change."""
    parser = argparse.ArgumentParser(prog="python -m dl4ds_core.cluster.check", description=__doc__)
    parser.add_argument("--profile", default="profiles/slurm", help="folder of the profile (default: %(default)s)")
    parser.add_argument("--configfile", default="config/config.yaml", help="the experiment (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="to wait in the queue")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    jobs.prefer_own_programs()
    report = Report(sys.stdout)
    try:
        _all(report, arguments)
    except DownscalingError as error:
        sys.stderr.write(f"slurm-check: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; the probe job, if there was one, is cancelled.\n")
        return 130
    return report.end(arguments.profile)


def _all(report: Report, arguments: argparse.Namespace) -> None:
    profile = read(arguments.profile)
    execution = config.load(arguments.configfile).execution
    own = rule_requests(sorted(Path("rules").glob("*.smk")))
    if TRAINING not in own:
        raise ClusterError(f"rules/: expected a rule {TRAINING!r}, found none; call this in the root of the project")
    own[TRAINING] = {"threads": execution.workers * execution.threads_per_worker} | own[TRAINING]
    own[TRAINING].setdefault("tasks", execution.workers)
    own[TRAINING].setdefault("cpus_per_task", execution.threads_per_worker)
    requests = profile.requests(own)
    training = next(request for request in requests if request.rule == TRAINING)
    report.add(check_controller)
    if report.failures:
        return
    report.add(check_accounting, profile)
    report.add(check_rules, profile, own)
    report.add(check_partitions, requests)
    report.add(check_accounts, requests)
    report.add(check_requests, [request for request in requests if request is not training], profile)
    report.add(check_signal, training)
    report.add(check_requeue)
    before = report.failures
    report.add(check_requests, [training], profile)
    report.add(check_launcher, training)
    report.add(check_results, Path(execution.results))
    if report.failures > before:
        report.add(lambda: [note("probe job", "not submitted: first change what is said above")])
    else:
        report.add(check_probe, report, training, profile, execution, arguments.timeout)


def check_controller() -> list[Finding]:
    """Check that SLURM's commands are there and its controller answers."""
    version = slurm.call("sinfo", "--version").strip()
    answer = slurm.call("scontrol", "ping").strip().splitlines()
    if not any("is UP" in line for line in answer):
        return [failed("SLURM", " ".join(answer), "its controller is down: try later")]
    return [ok("SLURM", f"{version}; {answer[0]}")]


def check_accounting(profile: Profile) -> list[Finding]:
    """Check that Snakemake can ask sacct what became of a job."""
    status = profile.settings.get("slurm-status-command")
    try:
        slurm.call("sacct", "-X", "--noheader", "--starttime=now-1hour", "--format=JobIDRaw,State")
    except ClusterError as error:
        if status == "squeue":
            return [note("accounting", f"sacct doesn't answer, and the profile does without; no cost table: {error}")]
        return [failed("accounting", str(error), "slurm-status-command: squeue")]
    return [ok("accounting", "sacct answers")]


def check_rules(profile: Profile, own: Iterable[str]) -> list[Finding]:
    """Check that the profile names rules that exist; Snakemake itself says nothing of others."""
    unknown = sorted({*profile.rules} - {*own})
    if not unknown:
        return []
    found = f"set-resources names {', '.join(unknown)}; rules that are submitted: {', '.join(sorted(own))}"
    return [note("rules", found)]


def partitions() -> dict[str, Partition]:
    """Return all partitions by name; of nodes that differ, the most CPUs and memory count."""
    found: dict[str, Partition] = {}
    for line in slurm.call("sinfo", "--noheader", "--all", f"--format={PARTITION_FIELDS}").splitlines():
        name, up, limit, *numbers, _ = line.split("|")
        seconds = slurm.seconds_of(limit)
        nodes, cpus, memory = (int(re.sub(r"\D.*", "", number) or 0) for number in numbers)
        minutes = math.inf if seconds is None else seconds / 60
        old = found.get(name, Partition(name, up == "up", minutes, 0, 0, 0))
        found[name] = Partition(
            name, up == "up", minutes, old.nodes + nodes, max(cpus, old.cpus), max(memory, old.memory)
        )
    return found


def check_partitions(requests: Sequence[Request]) -> list[Finding]:
    """Check that partitions exist, are up, and that their limits and nodes have room for each rule."""
    known = partitions()
    findings: list[Finding] = []
    for request in requests:
        for name in filter(None, request.text("slurm_partition").split(",")):
            findings += _misfits(request, known.get(name), name, known)
    named = {name for request in requests for name in request.text("slurm_partition").split(",") if name}
    if not named:
        return [note("partitions", f"none named: SLURM's default is taken. There are: {_list(known.values())}")]
    return _joined(findings) or [ok("partitions", _list(known[name] for name in sorted(named)))]


def _misfits(request: Request, partition: Partition | None, name: str, known: dict[str, Partition]) -> list[Finding]:
    key = request.key("slurm_partition")
    if partition is None:
        return [failed("partitions", f"there is no partition {name!r}", f"{key}: one of {', '.join(sorted(known))}")]
    findings = []
    if not partition.up:
        findings.append(failed("partitions", f"{name} is not up", f"{key}: another one, or wait: sinfo -p {name}"))
    if (request.number("runtime") or 0) > partition.minutes:
        found = f"{request} asks for {request.number('runtime')} min in {partition}"
        findings.append(failed("wall time", found, f"{request.key('runtime')}: at most {partition.minutes:.0f}"))
    wanted = request.number("mem_mb") if request.number("mem_mb_per_cpu") is None else None
    if wanted and partition.memory and wanted > partition.memory:
        found = f"{request} asks for {wanted} MB per node in {partition}"
        findings.append(failed("memory", found, f"{request.key('mem_mb')}: at most {partition.memory}"))
    cpus = request.number("cpus_per_task") or request.threads
    if partition.cpus and cpus > partition.cpus:
        found = f"{request.rule} asks for {cpus} CPUs per task in {partition}"
        advice = f"set-resources: {request.rule}: cpus_per_task: at most {partition.cpus}"
        findings.append(failed("CPUs", found, advice))
    return findings


def check_accounts(requests: Sequence[Request]) -> list[Finding]:
    """Check that accounts belong to the user and that QOS exist, as far as SLURM tells the user."""
    user = getpass.getuser()
    try:
        rows = slurm.call("sacctmgr", "-nP", "show", "assoc", f"user={user}", "format=Account,QOS").split()
        every = slurm.call("sacctmgr", "-nP", "show", "qos", "format=Name").split()
    except ClusterError as error:
        return [note("accounts", f"SLURM doesn't say which there are: {error}")]
    accounts = sorted({row.split("|")[0] for row in rows})
    allowed = sorted({name for row in rows for name in row.split("|")[1].split(",") if name})
    findings = []
    for request in requests:
        account, qos = request.text("slurm_account"), request.text("qos")
        if account and accounts and account.lower() not in (name.lower() for name in accounts):
            found = f"{user} has no account {account!r}"
            findings.append(failed("accounts", found, f"{request.key('slurm_account')}: one of {', '.join(accounts)}"))
        if qos and every and qos not in every:
            found = f"there is no QOS {qos!r}"
            findings.append(failed("QOS", found, f"{request.key('qos')}: one of {', '.join(allowed or every)}"))
    if accounts and not any(request.text("slurm_account") for request in requests):
        found = f"none named, so Snakemake takes that of your last job; yours: {_list(accounts)}"
        findings.append(note("accounts", f"{found}; in the profile: default-resources: slurm_account"))
    if not accounts:
        return findings or [note("accounts", f"{user} has none here, so none need be named")]
    return _joined(findings) or [ok("accounts", f"{', '.join(accounts)}; QOS: {', '.join(allowed) or 'none'}")]


def check_requests(requests: Sequence[Request], profile: Profile) -> list[Finding]:
    """Ask SLURM whether it would accept a job of each rule; none is submitted."""
    refused: dict[str, list[Request]] = {}
    answers: dict[tuple[str, ...], str] = {}
    for request in requests:
        try:
            arguments = tuple(probe.sbatch_arguments(request, profile))
        except ClusterError as error:
            refused.setdefault(str(error).partition(". ")[0], []).append(request)
            continue
        if arguments not in answers:
            answers[arguments] = _refusal(arguments)
        if answers[arguments]:
            refused.setdefault(answers[arguments], []).append(request)
    if not refused:
        rules = requests[0].rule if len(requests) == 1 else f"all {len(requests)} other rules"
        return [ok("requests", f"SLURM would accept the jobs of {rules}")]
    return [
        failed("requests", f"{_list(one.rule for one in alike)}: {reason}", *_keys(alike, reason))
        for reason, alike in refused.items()
    ]


def _refusal(arguments: Iterable[str]) -> str:
    try:
        slurm.call("sbatch", "--test-only", *arguments, "--wrap=true")
    except ClusterError as error:
        return _reason(error)
    return ""


def _reason(error: ClusterError) -> str:
    lines = str(error).removeprefix("sbatch failed: ").splitlines()
    said = [re.sub(r"^(sbatch: error|allocation failure): ", "", line) for line in lines]
    return "; ".join(line.removeprefix("Batch job submission failed: ") for line in said if line)


def _keys(requests: Sequence[Request], refusal: str) -> list[str]:
    """Return what refused jobs asked for, as keys of the profile."""
    names = [name for words, names in REFUSALS.items() if words in refusal.lower() for name in names]
    said = [f"{one.key(name)}: {one.text(name)}" for one in requests for name in names if one.text(name)]
    advice = [f"asked for: {'; '.join(dict.fromkeys(said))}"] if said else []
    if "generic resource" in refusal:
        advice.append("what the nodes have: sinfo -o '%P %G'")
    return advice or [f"look at default-resources, and set-resources: {_list(one.rule for one in requests)}"]


def check_launcher(training: Request) -> list[Finding]:
    """Check that srun knows the type of MPI that the launcher names."""
    launcher = probe.launcher_of(training)
    if not launcher:
        return [failed("launcher", "none", f"set-resources: {TRAINING}: launcher: srun --mpi=pmix ...")]
    named = re.search(r"--mpi[= ](\S+)", launcher)
    if not re.search(r"\bsrun\b", launcher):
        return [note("launcher", f"{launcher}: not srun, so the probe job alone shows whether it works")]
    known = mpi_types()
    if named and named[1] not in known:
        advice = f"{training.key('launcher')}: srun --mpi=TYPE ..., TYPE one of {', '.join(known)}"
        return [failed("launcher", f"srun knows no --mpi={named[1]}", advice)]
    found = ok("launcher", f"{launcher}; srun knows {', '.join(known)}")
    if "--kill-on-bad-exit" in launcher or re.search(r"\s-K", launcher):
        return [found]
    return [found, note("launcher", "add --kill-on-bad-exit=1: without it a dead rank leaves the others waiting")]


def mpi_types() -> list[str]:
    """Return the types that `srun --mpi` takes here."""
    answer = slurm.call("sh", "-c", "srun --mpi=list 2>&1")  # older versions print to stderr
    names = re.findall(r"^(?:srun:)?\s+([a-z]\w*)$", answer, re.MULTILINE)
    specific = re.findall(r"versions available: (.*)$", answer, re.MULTILINE)
    return names + [name.strip() for line in specific for name in line.split(",")]


def check_signal(training: Request) -> list[Finding]:
    """Check that the training hears of the wall early enough to write a checkpoint."""
    match = re.search(r"--signal[= ]((?:\w:)?\w+?)(?:@(\d+))?(?:\s|$)", training.text("slurm_extra"))
    key = training.key("slurm_extra")
    wanted = f'{key}: "--signal=USR1@120"'
    if match is None:
        found = "none ahead of the wall, so a training loses what follows its last checkpoint"
        return [note("signal", f"{found}; better: {wanted}")]
    if match[1].upper().removeprefix("SIG") not in ("USR1", "10"):
        return [failed("signal", f"{match[0].strip()} doesn't reach the ranks", wanted)]
    lead, minutes = int(match[2] or 60), training.number("runtime")
    if minutes and lead >= 60 * minutes:
        found = f"it comes {lead} s ahead of the wall, but the wall is at {60 * minutes} s"
        return [failed("signal", found, f"{training.key('runtime')}: longer, or {key}: a later signal")]
    return [ok("signal", f"{match[1]} {lead} s ahead of the wall")]


def check_requeue() -> list[Finding]:
    """Check whether a job may put itself back into the queue."""
    settings = slurm.call("scontrol", "show", "config")
    if re.search(r"^JobRequeue\s*=\s*1", settings, re.MULTILINE):
        return [ok("requeue", "allowed: a training that meets its wall goes on in the next slot by itself")]
    return [note("requeue", "off by default on this cluster; in the profile, slurm-requeue: true asks for it")]


def check_results(results: Path) -> list[Finding]:
    """Check that the folder of the results can be written to."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=results):
            free = shutil.disk_usage(results).free / 1e9
    except OSError as error:
        advice = "execution.results of the experiment: another folder"
        return [failed("results", f"{results}: {error.strerror}", advice)]
    return [ok("results", f"{results.resolve()}: {free:.0f} GB free on its file system; quotas are not looked at")]


def check_probe(
    report: Report, training: Request, profile: Profile, execution: Execution, timeout: float
) -> list[Finding]:
    """Submit a job like the training's; `dl4ds_core.cluster.verdict` says what is looked at."""
    parent = Path("logs/slurm-check")
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=parent.resolve()))
    tasks = training.number("tasks") or execution.workers
    threads = training.number("cpus_per_task") or execution.threads_per_worker
    findings: list[Finding] = []
    try:
        outcome = probe.run(
            training,
            profile,
            Path(execution.results).resolve(),
            tasks=tasks,
            threads=threads,
            folder=folder,
            timeout=timeout,
            tell=report.tell,
        )
        findings = verdict.judge(outcome, training, tasks=tasks, threads=threads, folder=folder)
    except ClusterError as error:
        findings = [failed("probe job", _reason(error), *_keys([training], str(error)))]
    finally:
        if not (folder / "job.log").exists() or not any(finding.failed for finding in findings):
            shutil.rmtree(folder, ignore_errors=True)
    return findings


def _list(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _joined(findings: Iterable[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))


if __name__ == "__main__":
    sys.exit(main())
