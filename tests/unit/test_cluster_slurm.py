"""What is read from SLURM's answers: a queue that can't be read is never an empty one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dl4ds_core.cluster import slurm
from dl4ds_core.cluster.slurm import Job, queued, rule_of, seconds_of
from dl4ds_core.errors import ClusterError

RUN = "0b3c2d5e-7a9f-4f3e-9f41-2f7f1f0f9a11"
UNKNOWN = "slurm_load_jobs error: Invalid job id specified"
#: Lines of squeue 22.05, with | for the separator.
RUNNING = f"98|{RUN}|RUNNING|None|1:02:03|1-00:00:00|rule_fit_wildcards_resnet-spc_1"
PENDING = f"99|{RUN}|PENDING|BeginTime|0:00|UNLIMITED|rule_score_wildcards_net_2"
ARRAY = f"100_[3-7]|{RUN}|PENDING|Resources|0:00|30:00|rule_coarsen"

Squeue = Callable[..., Path]


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Squeue:
    """Put a squeue in place that says something and ends with a status; its arguments go to the file returned."""

    def install(*lines: str, error: str = "", status: int = 0, raw: bytes = b"", before: str = "") -> Path:
        answer = "".join(f"{line}\n" for line in lines).replace("|", slurm.SEPARATOR)
        (tmp_path / "out").write_bytes(answer.encode() + raw)
        (tmp_path / "err").write_text(error, encoding="utf-8")
        program = tmp_path / "squeue"
        program.write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"$@\" >>{tmp_path}/called\n{before}\n"
            f"cat {tmp_path}/out\ncat {tmp_path}/err >&2\nexit {status}\n"
        )
        program.chmod(0o755)
        return tmp_path / "called"

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return install


def test_a_queue_is_read(squeue: Squeue) -> None:
    called = squeue(RUNNING, PENDING, ARRAY)
    running, pending, array = queued(runs=[RUN, "other"])
    assert running == Job("98", RUN, "RUNNING", "None", 3723, 86400, "fit", "resnet-spc_1")
    assert running.what == "fit resnet-spc_1"
    assert (pending.reason, pending.seconds, pending.limit) == ("BeginTime", 0, None)
    assert (array.id, array.what) == ("100_[3-7]", "coarsen")
    arguments = called.read_text(encoding="utf-8").splitlines()
    assert "--noheader" in arguments
    assert f"--name={RUN},other" in arguments
    assert f"--format={slurm.SEPARATOR.join(['%i', '%j', '%T', '%r', '%M', '%l', '%k'])}" in arguments


def test_the_queue_is_asked_for_jobs_by_number(squeue: Squeue) -> None:
    called = squeue(RUNNING)
    assert [job.id for job in queued(jobs=["98", "99"])] == ["98"]
    assert "--jobs=98,99" in called.read_text(encoding="utf-8").splitlines()


def test_nothing_is_asked_about_nothing(squeue: Squeue) -> None:
    """Without any name squeue would show the jobs of everybody."""
    called = squeue(RUNNING)
    assert queued() == []
    assert queued(runs=[], jobs=iter(())) == []
    assert not called.exists()


@pytest.mark.parametrize(
    ("comment", "rule", "wildcards"),
    [
        ("", "", ""),
        ("(null)", "", ""),
        ("rule_fit", "fit", ""),
        ("rule_fit_wildcards_net_1", "fit", "net_1"),
        ("rule_predict_network_wildcards_net_1", "predict_network", "net_1"),
        ("rule_fit_wildcards_my_wildcards_1", "fit", "my_wildcards_1"),
        ("rule_fit_wildcards_ä b|c_1", "fit", f"ä b{slurm.SEPARATOR}c_1"),
        ("rule_fit_wildcards_a\u2028b\x0cc_1", "fit", "a\u2028b\x0cc_1"),  # lines for str.splitlines, not for squeue
        ("a user's own: 100% 'free', \"text\"", "", ""),
        ("rule_", "", ""),
    ],
)
def test_comments_of_any_kind(squeue: Squeue, comment: str, rule: str, wildcards: str) -> None:
    squeue(f"98|{RUN}|RUNNING|None|1:00|5:00|{comment}", PENDING)
    first, second = queued(runs=[RUN])
    assert (first.id, second.id) == ("98", "99")
    assert (first.rule, first.wildcards) == (rule, wildcards)


def test_a_comment_of_several_lines_hides_no_job(squeue: Squeue) -> None:
    squeue(f"98|{RUN}|RUNNING|None|1:00|5:00|first\nsecond\n\nfourth", PENDING)
    assert [job.id for job in queued(jobs=["98", "99"])] == ["98", "99"]


def test_a_comment_in_another_encoding_is_no_obstacle(squeue: Squeue) -> None:
    squeue(raw=RUNNING.replace("|", slurm.SEPARATOR).encode() + b"_\xe4\xff\n")
    assert [job.rule for job in queued(runs=[RUN])] == ["fit"]


def test_the_name_of_a_cluster_is_no_job(squeue: Squeue) -> None:
    """As squeue prints where SLURM_CLUSTERS is set."""
    squeue("CLUSTER: north", RUNNING, "CLUSTER: south")
    assert [job.id for job in queued(runs=[RUN])] == ["98"]


def test_an_answer_in_another_form_is_not_taken_for_an_empty_queue(squeue: Squeue) -> None:
    squeue("98 uuid RUNNING None 1:00 5:00 rule_fit")
    with pytest.raises(ClusterError, match=r"squeue answered in another form than expected: '98 uuid"):
        queued(runs=[RUN])


def test_jobs_that_are_unknown_are_none(squeue: Squeue) -> None:
    squeue(error=f"{UNKNOWN}\n", status=1)
    assert queued(jobs=["12345"]) == []


def test_known_jobs_beside_unknown_ones_are_seen(squeue: Squeue) -> None:
    squeue(RUNNING, error=f"{UNKNOWN}\n", status=1)
    assert [job.id for job in queued(jobs=["98", "12345"])] == ["98"]


@pytest.mark.parametrize(
    "error",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "slurm_load_jobs error: Socket timed out on send/recv operation",
        "squeue: fatal: Unable to process configuration file",
    ],
)
def test_a_squeue_that_fails_is_an_error(squeue: Squeue, error: str) -> None:
    squeue(error=f"{error}\n", status=1)
    with pytest.raises(ClusterError, match=re.escape(f"squeue failed: {error}")):
        queued(runs=[RUN])


def test_a_squeue_that_fails_silently_is_an_error(squeue: Squeue) -> None:
    squeue(status=3)
    with pytest.raises(ClusterError, match="squeue failed: 3"):
        queued(runs=[RUN])


def test_a_squeue_that_gives_no_answer_is_an_error(squeue: Squeue, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue(RUNNING, before="exec sleep 30")
    monkeypatch.setattr(slurm, "PATIENCE", 0.2)
    with pytest.raises(ClusterError, match="squeue gave no answer within 0 s; try again later"):
        queued(runs=[RUN])


def test_a_missing_squeue_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not slurm.available()
    with pytest.raises(ClusterError, match="squeue was not found; on a cluster, load the module that provides SLURM"):
        queued(runs=[RUN])


def test_an_unknown_job_is_an_error_where_it_matters(squeue: Squeue) -> None:
    squeue(error=f"{UNKNOWN}\n", status=1)
    with pytest.raises(ClusterError, match="Invalid job id"):
        slurm.call("squeue", "--jobs=1")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00", 0),
        ("59:59", 3599),
        ("1:00:00", 3600),
        ("2-03:04:05", 183845),
        (" 10:00 ", 600),
        ("05:06.789", 306),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("INVALID", None),
        ("Partition_Limit", None),
        ("", None),
        ("-1:00", None),
    ],
)
def test_durations(text: str, seconds: int | None) -> None:
    assert seconds_of(text) == seconds


def test_a_rule_is_read_whole() -> None:
    assert rule_of("rule_fit_wildcards_net_1 and more") == ("fit", "net_1 and more")
    assert rule_of("my rule_fit") == ("", "")
