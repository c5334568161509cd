"""Costs: every execution counts once, what was allocated is charged, benchmarks fill in where SLURM knows nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dl4ds_core.cluster import accounting, cost, slurm
from dl4ds_core.cluster.runs import Run
from dl4ds_core.errors import ClusterError

STAGES = {"download": "regrid", "coarsen": "regrid", "remap": "regrid", "split": "prepare", "fit": "train"}
STAGES |= {"predict": "predict", "score": "verify", "summary": "verify", "figures": "report"}
# What a real cluster answered (SLURM 22.05), commands shortened: a job that succeeds, one that
# fails, one of two nodes with steps, one that requeues itself, an array of three tasks, one cancelled as it waited.
ANSWER = """\
17|COMPLETED|2026-11-22T10:52:29|3|3|billing=1,cpu=1,mem=100M,node=1||rule_coarsen_wildcards_t2m_a_b|sbatch --wrap sleep
17.batch|COMPLETED|2026-11-22T10:52:29|3|3|cpu=1,mem=100M,node=1|370K||
18|FAILED|2026-11-22T10:52:29|2|2|billing=1,cpu=1,mem=100M,node=1||rule_predict_network_wildcards_net_1|sbatch
18.batch|FAILED|2026-11-22T10:52:29|2|2|cpu=1,mem=100M,node=1|348K||
19|COMPLETED|2026-11-22T10:52:29|7|14|billing=2,cpu=2,mem=200M,node=2||rule_fit_wildcards_net_1|sbatch
19.batch|COMPLETED|2026-11-22T10:52:29|7|7|cpu=1,mem=100M,node=1|4712K||
19.0|COMPLETED|2026-11-22T10:52:29|4|8|cpu=2,mem=200M,node=2|193K||srun -n2 sleep 4
19.1|COMPLETED|2026-11-22T10:52:33|3|3|cpu=1,mem=100M,node=1|67846K||srun -n1 -N1 python3 -c x=bytearray(60000000)
20|REQUEUED|2026-11-22T10:52:29|2|2|billing=1,cpu=1,mem=100M,node=1||rule_score_wildcards_net_1|sbatch
20.batch|CANCELLED|2026-11-22T10:52:29|2|2|cpu=1,mem=100M,node=1|364K||
21_1|COMPLETED|2026-11-22T10:52:29|2|2|billing=1,cpu=1,mem=100M,node=1||rule_remap_wildcards_orog|sbatch --array=1-3%2
21_2|COMPLETED|2026-11-22T10:52:31|2|2|billing=1,cpu=1,mem=100M,node=1||rule_remap_wildcards_orog|sbatch --array=1-3%2
21_2.batch|COMPLETED|2026-11-22T10:52:31|2|2|cpu=1,mem=100M,node=1|406K||
21_3|COMPLETED|2026-11-22T10:52:31|2|2|billing=1,cpu=1,mem=100M,node=1||rule_remap_wildcards_orog|sbatch --array=1-3%2
21_3.batch|COMPLETED|2026-11-22T10:52:31|2|2|cpu=1,mem=100M,node=1|417K||
22|CANCELLED by 0|None|0|0|||rule_regrid_coarsen|sbatch --parsable -p cpu -n1 --mem=100 --hold
20|COMPLETED|2026-11-22T10:54:32|2|2|billing=1,cpu=1,mem=100M,node=1||rule_score_wildcards_net_1|sbatch
20.batch|COMPLETED|2026-11-22T10:54:32|2|2|cpu=1,mem=100M,node=1|575K||
"""
RUNS = [
    Run(
        **{"host": "login1", "pid": number, "process_started": 0.0, "slurm_job": "", "ended": None},
        **{"run": name, "started": f"2026-11-{20 + number}T08:00:00+00:00", "command": "snakemake"},
    )
    for number, name in enumerate(("", "run-a", "run-b"), 1)
]


def answer(text: str = ANSWER) -> str:
    return text.replace("|", slurm.SEPARATOR)


def line(job: str, rule: str, **changes: str) -> str:
    """Return a job's line of sacct: of 3600 s on 2 CPUs, unless said otherwise."""
    values = {"state": "COMPLETED", "start": "2026-11-22T10:00:00", "tres": "cpu=2,node=1", "command": "sbatch x"}
    values |= changes
    return f"{job}|{values['state']}|{values['start']}|3600|7200|{values['tres']}||{rule}|{values['command']}\n"


def benchmark(path: Path, seconds: float = 7.2, cpu: float = 3.6, memory: float = 50.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t0:00:07\t{memory}\t{cpu}\n")


@pytest.fixture
def sacct(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[tuple[str, ...]]]:
    """Let sacct give an answer; returns the list of commands it was called with."""

    def prepare(text: str) -> list[tuple[str, ...]]:
        calls: list[tuple[str, ...]] = []

        def call(*command: str, **_: object) -> str:
            calls.append(command)
            return answer(text)

        monkeypatch.setattr(slurm, "call", call)
        return calls

    return prepare


def row(table: pd.DataFrame, stage: str) -> list[float]:
    return table.set_index("stage").loc[stage].tolist()


def test_executions_are_read_with_the_memory_of_their_steps() -> None:
    found = accounting.parse(answer())
    assert [execution.id for execution in found] == ["17", "18", "19", "20", "21_1", "21_2", "21_3", "22", "20"]
    training = found[2]
    assert (training.rule, training.wildcards, training.seconds, training.cpu_seconds) == ("fit", "net_1", 7, 14)
    assert training.memory_mib == pytest.approx(67846 / 1024)
    assert [(execution.state, execution.started) for execution in found[-2:]] == [
        *(("CANCELLED", False), ("COMPLETED", True))
    ]


def test_costs_of_a_real_cluster() -> None:
    table = cost.summed(accounting.parse(answer()), [], STAGES)
    assert tuple(table.columns) == cost.COLUMNS
    assert list(table["stage"]) == ["regrid", "train", "predict", "verify", "total"]
    assert row(table, "regrid")[:2] == [4, 4], "an array's tasks are jobs; the one that never began is none"
    assert row(table, "train") == [1, 1, 0.00194, 0.00389, 0.0, 66.3]
    assert row(table, "verify")[:2] == [1, 2], "the requeued job is one job of two attempts"
    assert row(table, "total")[:2] == [7, 8]


def test_a_repeated_submission_is_an_attempt_of_the_same_job() -> None:
    text = line("1", "rule_fit_wildcards_net_1", state="TIMEOUT") + line("2", "rule_fit_wildcards_net_1")
    text += line("3", "rule_fit_wildcards_net_2") + line("4", "rule_split", state="FAILED") + line("5", "rule_split")
    table = cost.summed(accounting.parse(answer(text)), [], STAGES)
    assert row(table, "train")[:4] == [2, 3, 3.0, 6.0]
    assert row(table, "prepare")[:2] == [1, 2]


def test_groups_belong_to_the_stage_they_are_named_after_or_to_that_of_their_rules() -> None:
    text = line("1", "rule_regrid_coarsen") + line("2", "rule_regrid_coarsen") + line("3", "rule_mine_fit")
    text += line("4", "rule_predict_predict_baseline_predict_network")
    table = cost.summed(accounting.parse(answer(text)), [], STAGES)
    assert dict(zip(table["stage"], table["jobs"], strict=True)) == {"regrid": 2, "train": 1, "predict": 1, "total": 4}


def test_gpu_hours() -> None:
    text = line("1", "rule_fit_wildcards_a_1", tres="billing=9,cpu=2,gres/gpu:a100=2,gres/gpu=2,node=1")
    text += line("2", "rule_fit_wildcards_b_1", tres="cpu=2,gres/gpu:v100=1,gres/gpu:a100=3")
    assert row(cost.summed(accounting.parse(answer(text)), [], STAGES), "train")[4] == 6.0


def test_rule_from_the_command_where_comments_are_not_stored() -> None:
    command = "sbatch --parsable --job-name x --comment {} -t 10 --wrap first\nsecond line of it"
    text = line("1", "", command=command.format("rule_fit_wildcards_net_1"))
    text += line("2", "", command=command.format("'rule_score_wildcards_a'"))
    text += line("3", "")
    assert [(found.rule, found.wildcards) for found in accounting.parse(answer(text))] == [
        *(("fit", "net_1"), ("score", "a"), ("", ""))
    ]
    table = cost.summed(accounting.parse(answer(text)), [], STAGES)
    assert list(table["stage"]) == ["train", "verify", "other", "total"]


def test_a_job_is_not_counted_twice(tmp_path: Path, sacct: Callable[[str], list[tuple[str, ...]]]) -> None:
    """Jobs under SLURM leave benchmarks too; those of local rules are the only trace of them."""
    calls = sacct(line("1", "rule_fit_wildcards_net_1") + line("2", "rule_regrid_coarsen"))
    benchmark(tmp_path / "fit" / "net-seed1.tsv", memory=900.0)
    benchmark(tmp_path / "coarsen" / "t2m" / "a.tsv")
    benchmark(tmp_path / "download" / "src" / "a.nc.tsv")
    table = cost.collect(tmp_path, RUNS, STAGES)
    assert row(table, "train") == [1, 1, 1.0, 2.0, 0.0, 900.0]
    assert row(table, "regrid") == [2, 2, 1.002, 2.001, 0.0, 50.0], "a group of coarsenings, and a download"
    (command,) = calls
    assert command[0] == "sacct"
    assert "--name=run-a,run-b" in command
    assert "--duplicates" in command
    assert next(part for part in command if part.startswith("--starttime=")).startswith("--starttime=2026-11-2")


def test_local_runs_ask_no_cluster(tmp_path: Path, sacct: Callable[[str], list[tuple[str, ...]]]) -> None:
    calls = sacct("")
    benchmark(tmp_path / "fit" / "net-seed1.tsv")
    benchmark(tmp_path / "figures" / "net-seed1.tsv")
    table = cost.collect(tmp_path, RUNS[:1], STAGES)
    assert row(table, "train") == [1, 1, 0.002, 0.001, 0.0, 50.0]
    assert row(table, "total") == [2, 2, 0.004, 0.002, 0.0, 50.0]
    assert not calls


def test_without_accounting_benchmarks_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def call(*command: str, **_: object) -> str:
        raise ClusterError("sacct failed: slurmdbd is down")

    monkeypatch.setattr(slurm, "call", call)
    benchmark(tmp_path / "fit" / "net-seed1.tsv")
    with caplog.at_level(logging.WARNING):
        assert row(cost.collect(tmp_path, RUNS, STAGES), "train")[:2] == [1, 1]
    assert "slurmdbd is down" in caplog.text


def test_nothing_has_been_run(tmp_path: Path) -> None:
    table = cost.collect(tmp_path, [], STAGES)
    assert table.to_numpy().tolist() == [["total", 0, 0, 0.0, 0.0, 0.0, 0.0]]
    cost.write(table, tmp_path / "cost.csv")
    assert (tmp_path / "cost.csv").read_text().splitlines() == [",".join(cost.COLUMNS), "total,0,0,0.0,0.0,0.0,0.0"]
