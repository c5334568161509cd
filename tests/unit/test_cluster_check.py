"""What the check of a cluster finds, with SLURM's answers made up: these tests need no SLURM."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dl4ds_core.cluster import check, probe, profile, slurm, verdict
from dl4ds_core.cluster.findings import Finding, Report, failed, note, ok
from dl4ds_core.errors import ClusterError

ROOT = Path(__file__).resolve().parents[2]
PROFILE = """
executor: slurm
default-resources: {slurm_partition: cpu, slurm_account: climate, runtime: 1h}
set-resources:
  fit:
    slurm_partition: train
    nodes: 2
    tasks: 2
    cpus_per_task: 1
    mem_mb: 3000
    runtime: 20
    slurm_extra: "'--signal=USR1@60'"
    launcher: srun --mpi=pmix --kill-on-bad-exit=1 --ntasks=$WORKERS --cpus-per-task=$RANK_THREADS
  split: {mem_mb: "2000 * attempt"}
"""
OWN = {"fit": {"mem_mb": 8000, "runtime": 240}, "split": {"mem_mb": 4000, "runtime": 30}}
MPI = "MPI plugin types are...\n\tpmix\n\tnone\n\tpmi2\nspecific pmix plugin versions available: pmix_v4\n"
#: What SLURM says, by the beginning of the command.
ANSWERS: dict[str, str | ClusterError] = {
    "sinfo --version": "slurm-wlm 22.05.8\n",
    "sinfo": "cpu|up|1:00:00|3|2|6000|(null)\ntrain|up|30:00|3|2+|6000+|gpu:4\n",
    "scontrol ping": "Slurmctld(primary) at login is UP\n",
    "scontrol show config": "JobRequeue              = 1\n",
    "sacctmgr -nP show assoc": "climate|normal,long|\n",
    "sacctmgr -nP show qos": "normal\nlong\n",
    "sacct": "",
    "sh": MPI,
    "sbatch": "17\n",
    "squeue": "",
    "scancel": "",
}
RANK = {"cpus": [0, 1], "gpus": [], "gpu": "", "gpus_shown": ""}
SOFTWARE = {"tensorflow": "2.18.1", "keras": "3.15.1", "horovod": "0.28.1", "mpi": True, "gloo": True, "nccl": False}
SEEN: dict[str, Any] = {"/project": {"seconds": 0.1, "missing": [], "error": ""}}
RESULT: dict[str, Any] = {
    "size": 2,
    "software": {**SOFTWARE, "gpu_build": False},
    "allreduce": [{"bytes": 4, "right": True, "seconds": 0.001}, {"bytes": 2**20, "right": True, "seconds": 0.01}],
    "ranks": [{**RANK, "rank": rank, "host": f"node{rank}", "shared": SEEN} for rank in (0, 1)],
}


class Slurm:
    """Answers as SLURM would; `calls` are the commands, `answers` may be changed."""

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.calls: list[str] = []

    def __call__(self, program: str, *arguments: str, unknown_ok: bool = False) -> str:
        command = " ".join((program, *arguments))
        self.calls.append(command)
        answer = self.answers[max((key for key in self.answers if command.startswith(key)), key=len)]
        if isinstance(answer, ClusterError):
            raise answer
        return answer


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    fake = Slurm()
    monkeypatch.setattr(slurm, "call", fake)
    monkeypatch.setattr(probe, "INTERVAL", 0.0)
    monkeypatch.setattr(probe, "PATIENCE", 0.0)
    return fake


@pytest.fixture
def adapted(tmp_path: Path) -> Callable[..., profile.Profile]:
    """Return the profile with some text of it replaced."""

    def adapt(*replacements: tuple[str, str]) -> profile.Profile:
        text = PROFILE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "config.yaml").write_text(text)
        return profile.read(tmp_path)

    return adapt


def training_of(found: profile.Profile) -> profile.Request:
    return next(request for request in found.requests(OWN) if request.rule == "fit")


def shown(findings: list[Finding]) -> str:
    return "\n".join(f"{finding.state} {finding.about}: {finding.found} {finding.advice}" for finding in findings)


def test_profile_says_what_each_rule_asks_for(adapted: Callable[..., profile.Profile]) -> None:
    fit, split = adapted().requests(OWN)
    assert fit.resources == {
        "slurm_partition": "train",
        "slurm_account": "climate",
        "nodes": 2,
        "tasks": 2,
        "cpus_per_task": 1,
        "mem_mb": 3000,
        "runtime": 20,
        "slurm_extra": "--signal=USR1@60",
        "launcher": "srun --mpi=pmix --kill-on-bad-exit=1 --ntasks=$WORKERS --cpus-per-task=$RANK_THREADS",
    }
    # A rule's own request comes before the profile's defaults, the profile's for this rule before both.
    assert (split.number("mem_mb"), split.number("runtime"), split.text("slurm_partition")) == (2000, 30, "cpu")
    assert fit.key("slurm_partition") == "set-resources: fit: slurm_partition"
    assert split.key("slurm_partition") == "default-resources: slurm_partition"
    assert split.key("runtime") == "set-resources: split: runtime"


def test_profile_may_be_lists(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "default-resources: [slurm_partition=cpu]\nset-resources: ['fit:tasks=4', \"fit:mem_mb=input.size_mb\"]\n"
    )
    (fit,) = profile.read(tmp_path).requests({"fit": {}})
    assert fit.resources == {"slurm_partition": "cpu", "tasks": 4}  # what depends on the input can't be known


@pytest.mark.parametrize("text", ["[1, 2]", "default-resources: 3", "a: [", None])
def test_what_is_no_profile_is_said(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ClusterError, match=r"expected|YAML"):
        profile.read(tmp_path)


@pytest.mark.parametrize(("value", "minutes"), [(90, 90), ("4h", 240), ("1d 12h", 2160), ("soon", None)])
def test_wall_times(value: Any, minutes: int | None) -> None:
    assert profile.minutes_of(value) == minutes


def test_requests_of_the_rules_are_found() -> None:
    found = profile.rule_requests(sorted((ROOT / "rules").glob("*.smk")))
    assert {"coarsen", "split", "fit", "predict_network", "score"} <= found.keys()
    assert not {"check", "download", "train"} & found.keys()  # these are not submitted


def test_job_is_submitted_as_snakemake_does_it(adapted: Callable[..., profile.Profile]) -> None:
    found = adapted(("executor: slurm", "slurm-qos: long\nslurm-requeue: true"))
    command = " ".join(probe.sbatch_arguments(training_of(found), found))
    for part in ("-A climate", "-p train", "--nodes=2", "--ntasks=2", "--cpus-per-task=1", "--mem 3000", "-t 20"):
        assert part in command
    for part in ("--signal=USR1@60", "--qos=long", "--requeue"):
        assert part in command


def test_one_request_that_the_executor_refuses(cluster: Slurm, adapted: Callable[..., profile.Profile]) -> None:
    found = adapted(("--signal=USR1@60", "--time=3"))
    text = shown(check.check_requests([training_of(found)], found))
    assert "not allowed in the 'slurm_extra'" in text
    assert "set-resources: fit" in text


@pytest.mark.parametrize(
    ("old", "new", "about", "advice"),
    [
        ("partition: train", "partition: gpux", "no partition 'gpux'", "fit: slurm_partition: one of cpu, train"),
        ("runtime: 20", "runtime: 2h", "asks for 120 min in train", "set-resources: fit: runtime: at most 30"),
        ("mem_mb: 3000", "mem_mb: 30000", "30000 MB per node", "set-resources: fit: mem_mb: at most 6000"),
        ("cpus_per_task: 1", "cpus_per_task: 8", "8 CPUs per task", "fit: cpus_per_task: at most 2"),
    ],
)
def test_partitions_have_room(
    cluster: Slurm, adapted: Callable[..., profile.Profile], old: str, new: str, about: str, advice: str
) -> None:
    assert "FAILED" not in shown(check.check_partitions(adapted().requests(OWN)))
    text = shown(check.check_partitions(adapted((old, new)).requests(OWN)))
    assert "FAILED" in text
    assert about in text
    assert advice in text


def test_partition_that_is_down(cluster: Slurm, adapted: Callable[..., profile.Profile]) -> None:
    cluster.answers["sinfo"] = "cpu|down|infinite|3|2|6000|(null)\ntrain|up|infinite|3|2|6000|(null)\n"
    text = shown(check.check_partitions(adapted().requests(OWN)))
    assert "cpu is not up" in text
    assert "default-resources: slurm_partition" in text


def test_memory_per_cpu_is_no_memory_per_node(cluster: Slurm, adapted: Callable[..., profile.Profile]) -> None:
    found = adapted(("mem_mb: 3000", "mem_mb_per_cpu: 3000"))
    assert "FAILED" not in shown(check.check_partitions(found.requests(OWN)))
    assert "--mem-per-cpu 3000" in " ".join(probe.sbatch_arguments(training_of(found), found))


@pytest.mark.parametrize(
    ("old", "new", "advice"),
    [
        ("climate", "weather", "default-resources: slurm_account: one of climate"),
        ("  fit:", "  fit:\n    qos: fast", "set-resources: fit: qos: one of long, normal"),
    ],
)
def test_accounts(cluster: Slurm, adapted: Callable[..., profile.Profile], old: str, new: str, advice: str) -> None:
    assert [finding.state for finding in check.check_accounts(adapted().requests(OWN))] == ["ok"]
    assert advice in shown(check.check_accounts(adapted((old, new)).requests(OWN)))


def test_accounts_where_slurm_keeps_them_secret(cluster: Slurm, adapted: Callable[..., profile.Profile]) -> None:
    cluster.answers["sacctmgr -nP show assoc"] = ClusterError("sacctmgr failed: Access/permission denied")
    assert [finding.state for finding in check.check_accounts(adapted().requests(OWN))] == ["note"]


def test_requests_that_slurm_refuses(cluster: Slurm, adapted: Callable[..., profile.Profile]) -> None:
    found = adapted()
    cluster.answers["sbatch --test-only"] = ClusterError("sbatch failed: allocation failure: Invalid qos specification")
    (finding,) = check.check_requests(found.requests(OWN), found)
    assert finding.found == "fit, split: Invalid qos specification"
    assert "set-resources: fit: slurm_partition: train" in finding.advice[0]


def test_no_accounting(cluster: Slurm, adapted: Callable[..., profile.Profile]) -> None:
    cluster.answers["sacct"] = ClusterError("sacct failed: Slurm accounting storage is disabled")
    assert "slurm-status-command: squeue" in shown(check.check_accounting(adapted()))
    squeue = adapted(("executor: slurm", "slurm-status-command: squeue"))
    assert [finding.state for finding in check.check_accounting(squeue)] == ["note"]


def test_launcher(cluster: Slurm, adapted: Callable[..., profile.Profile]) -> None:
    assert check.mpi_types() == ["pmix", "none", "pmi2", "pmix_v4"]
    assert [finding.state for finding in check.check_launcher(training_of(adapted()))] == ["ok"]
    unknown = adapted(("--mpi=pmix", "--mpi=pmix_v9"))
    assert "one of pmix, none, pmi2, pmix_v4" in shown(check.check_launcher(training_of(unknown)))
    mpirun = adapted(("srun --mpi=pmix", "mpirun"))
    assert [finding.state for finding in check.check_launcher(training_of(mpirun))] == ["note"]
    cluster.answers["sh"] = "srun: MPI types are...\nsrun: pmi2\nsrun: none\n"  # older versions
    assert check.mpi_types() == ["pmi2", "none"]


@pytest.mark.parametrize(
    ("extra", "state"),
    [("--signal=USR1@60", "ok"), ("--signal=B:USR1@60", "FAILED"), ("--signal=USR1@1200", "FAILED"), ("-v", "note")],
)
def test_signal(adapted: Callable[..., profile.Profile], extra: str, state: str) -> None:
    training = training_of(adapted(("--signal=USR1@60", extra)))
    assert [finding.state for finding in check.check_signal(training)] == [state]


def outcome(*results: dict[str, Any], log: str = "", reason: str = "", description: str = "Requeue=1") -> probe.Outcome:
    return probe.Outcome("17", 3.0, 0.0, reason, list(results), log, description)


def judged(adapted: Callable[..., profile.Profile], outcome: probe.Outcome, *replacements: tuple[str, str]) -> str:
    training = training_of(adapted(*replacements))
    return shown(verdict.judge(outcome, training, tasks=2, threads=1, folder=Path("/logs")))


def test_probe_that_went_well(adapted: Callable[..., profile.Profile]) -> None:
    text = judged(adapted, outcome(RESULT))
    assert "FAILED" not in text
    assert "TensorFlow 2.18.1, Keras 3.15.1, Horovod 0.28.1 (with MPI, Gloo)" in text
    assert "2 found each other: 0 on node0, 2 CPUs (0-1); 1 on node1" in text
    assert "1 MiB in 10 ms (105 MB/s)" in text


@pytest.mark.parametrize(
    ("log", "about", "advice"),
    [
        ("launcher not found: mysrun", "don't have 'mysrun'", "set-resources: fit: launcher"),
        ("ModuleNotFoundError: No module named 'horovod'", "No module named 'horovod'", "make setup"),
        ("slurmstepd: error: execve(): python: No such file or directory", "python: No such file", "make setup"),
        ("slurmstepd: error: Exceeded job memory limit", "3000 MB are too few", "set-resources: fit: mem_mb: more"),
        (
            "srun: error: Unable to create step for job 1: More processors requested",
            "More proc",
            "more than the job has",
        ),
        ("Couldn't find the specified plugin name for mpi/pmix_v9", "mpi/pmix_v9", "another --mpi="),
        ("OPAL ERROR: Unreachable in file ext3x_client.c", "OPAL ERROR", "another --mpi="),
        ("srun: fatal: Could not establish a configuration source", "slurm.conf", "env SLURM_CONF="),
        ("first\nSegmentation fault", "left no result", "Segmentation fault"),
    ],
)
def test_probe_without_result(adapted: Callable[..., profile.Profile], log: str, about: str, advice: str) -> None:
    text = judged(adapted, outcome(log=log))
    assert "FAILED" in text
    assert about in text
    assert advice in text


@pytest.mark.parametrize(
    ("results", "about"),
    [
        ([{**RESULT, "size": 1}] * 2, "2 ranks were started, but each is alone"),
        ([{**RESULT, "size": 1, "software": {**RESULT["software"], "mpi": False}}] * 2, "built without MPI"),
        ([{**RESULT, "size": 1}], "1 rank was started instead of 2"),
        ([{**RESULT, "size": 4}], "in groups of 4, instead of 2"),
    ],
)
def test_ranks_that_do_not_find_each_other(
    adapted: Callable[..., profile.Profile], results: list[dict[str, Any]], about: str
) -> None:
    text = judged(adapted, outcome(*results))
    assert "FAILED ranks" in text
    assert about in text


def with_ranks(**changes: Any) -> dict[str, Any]:
    return {**RESULT, "ranks": [{**rank, **changes} for rank in RESULT["ranks"]]}


def test_ranks_in_the_wrong_place(adapted: Callable[..., profile.Profile]) -> None:
    text = judged(adapted, outcome(with_ranks(host="node0")))
    assert "FAILED nodes: 2 were asked for, the ranks ran on 1" in text
    assert "note CPUs: ranks on node0 may use the same ones" in text
    assert "FAILED CPUs: rank 0 has 0 CPUs for 1 threads" in judged(adapted, outcome(with_ranks(cpus=[])))


def test_gpus(adapted: Callable[..., profile.Profile]) -> None:
    asked = ("--signal=USR1@60", "--signal=USR1@60 --gpus-per-node=1")
    gpu = {**RESULT["software"], "gpu_build": True}
    assert "this TensorFlow is the one for CPUs" in judged(adapted, outcome(RESULT), asked)
    assert "ranks 0, 1 see none" in judged(adapted, outcome({**RESULT, "software": gpu}), asked)
    both = with_ranks(gpus=["H100"], gpu="0", gpus_shown="0,1") | {"software": gpu}
    assert "built without NCCL" in judged(adapted, outcome(both), asked)
    one = with_ranks(gpus=["H100"], gpu="0", host="node0") | {"software": gpu}
    assert "ranks 0 and 1 share one on node0" in judged(adapted, outcome(one), asked)


def test_wrong_sums(adapted: Callable[..., profile.Profile]) -> None:
    wrong = {**RESULT, "allreduce": [{"bytes": 2**20, "right": False, "seconds": 0.01}]}
    assert "FAILED allreduce: the sums of 1 MiB are wrong" in judged(adapted, outcome(wrong))


def test_files_that_nodes_do_not_share(adapted: Callable[..., profile.Profile]) -> None:
    blind = with_ranks(shared={"/r/.slurm-check-1": {"seconds": 60.0, "missing": [1], "error": ""}})
    assert "the folder of the results isn't the same one on node0, node1" in judged(adapted, outcome(blind))
    slow = with_ranks(shared={"/project": {"seconds": 12.0, "missing": [], "error": ""}})
    assert "latency-wait: 48" in judged(adapted, outcome(slow))


@pytest.mark.parametrize(
    ("description", "about"), [("", "don't reach SLURM's controller"), ("Requeue=0", "may not be requeued")]
)
def test_jobs_that_cannot_requeue(adapted: Callable[..., profile.Profile], description: str, about: str) -> None:
    assert about in judged(adapted, outcome(RESULT, description=description))


def run_probe(found: profile.Profile, folder: Path, timeout: float = 600.0) -> probe.Outcome:
    options: dict[str, Any] = {
        "tasks": 2,
        "threads": 1,
        "folder": folder,
        "timeout": timeout,
        "tell": lambda text: None,
    }
    return probe.run(training_of(found), found, folder, **options)


def test_probe_is_submitted_and_read(cluster: Slurm, adapted: Callable[..., profile.Profile], tmp_path: Path) -> None:
    (tmp_path / "result-node1-1.json").write_text(json.dumps(RESULT))
    found = run_probe(adapted(), tmp_path)
    assert (found.job, found.reason, found.results) == ("17", "", [RESULT])
    script = (tmp_path / "job.sh").read_text()
    assert "launcher=(srun --mpi=pmix" in script
    assert "export WORKERS=2 RANK_THREADS=1" in script
    submission = next(call for call in cluster.calls if call.startswith("sbatch"))
    assert "-t 5" in submission
    assert "--signal" not in submission  # it would end the ranks


@pytest.mark.parametrize(("reason", "timeout"), [("Priority", -1.0), ("PartitionTimeLimit", 600.0)])
def test_probe_never_stays_in_the_queue(
    cluster: Slurm,
    adapted: Callable[..., profile.Profile],
    tmp_path: Path,
    reason: str,
    timeout: float,
) -> None:
    cluster.answers["squeue"] = (
        slurm.SEPARATOR.join(["17", "dl4ds-check", "PENDING", reason, "0:00", "5:00", ""]) + "\n"
    )
    found = run_probe(adapted(), tmp_path, timeout)
    assert found.reason == reason
    assert cluster.calls[-1].startswith("scancel --name=dl4ds-check-")
    assert f"reason: {reason}" in judged(adapted, found)


def test_probe_is_cancelled_when_interrupted(
    cluster: Slurm, adapted: Callable[..., profile.Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(**_: Any) -> list[slurm.Job]:
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm, "queued", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_probe(adapted(), tmp_path)
    assert cluster.calls[-1].startswith("scancel --name=dl4ds-check-")


def test_report() -> None:
    stream = io.StringIO()
    report = Report(stream)

    def no_answer() -> list[Finding]:
        raise ClusterError("squeue gave no answer")

    report.add(lambda: [ok("SLURM", "there"), note("requeue", "off"), failed("memory", "too much", "mem_mb: less")])
    report.add(no_answer)
    report.tell("job 17 waits, 0 s")
    report.tell("job 17 waits, 3 s")
    assert report.end("profiles/slurm") == 1
    assert stream.getvalue() == (
        "ok      SLURM: there\nnote    requeue: off\nFAILED  memory: too much\n        -> mem_mb: less\n"
        "FAILED  no_answer: squeue gave no answer\n...     job 17 waits, 0 s\n"
        "\n2 checks failed. Change what -> says in profiles/slurm, then call this again.\n"
    )


def test_all_of_it(
    cluster: Slurm,
    adapted: Callable[..., profile.Profile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("rules", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check.signal, "signal", lambda *_: None)
    monkeypatch.setattr(check.jobs, "prefer_own_programs", lambda: None)
    adapted(("  split:", "  score:"))
    monkeypatch.setattr(check.probe, "run", lambda *_, **__: outcome(RESULT))
    cluster.answers["sinfo"] = str(ANSWERS["sinfo"]).replace("1:00:00", "1-00:00:00").replace("6000", "64000")
    assert check.main(["--profile", str(tmp_path)]) == 0
    assert "This cluster can run the workflow" in capsys.readouterr().out
    cluster.answers["sbatch --test-only"] = ClusterError("sbatch failed: allocation failure: Invalid qos specification")
    assert check.main(["--profile", str(tmp_path)]) == 1
    assert "probe job: not submitted" in capsys.readouterr().out
    cluster.answers["scontrol ping"] = "Slurmctld(primary) at login is DOWN\n"
    assert check.main(["--profile", str(tmp_path)]) == 1
    assert check.main(["--profile", str(tmp_path / "nowhere")]) == 1
    assert "expected a profile" in capsys.readouterr().err


def test_jobs_of_a_group_ask_together(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "groups: [coarsen=regrid]\ngroup-components: [regrid=20]\nresources: {stack: 2}\n"
        "set-resource-scopes: {stack: local}\nset-resources: {coarsen: {stack: 1, runtime: 30}}\n",
        encoding="utf-8",
    )
    (grouped,) = profile.read(tmp_path).requests({"coarsen": {"mem_mb": 4000, "runtime": 60}})
    assert (grouped.number("mem_mb"), grouped.number("runtime"), grouped.threads) == (8000, 300, 2)
    assert str(grouped) == "coarsen (20 in a job, 2 at a time)"
