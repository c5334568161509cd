"""Which starts of a training count against it: those that got no further, and none that a user or SLURM repeats."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from dl4ds_core.errors import TrainingError
from dl4ds_core.training import attempts, standing
from dl4ds_core.training.attempts import KILLED, NO_TIME
from dl4ds_core.training.standing import Standing

LIMIT = 3


class Training:
    """Starts of a training, one after the other.

    A start begins with what Snakemake and SLURM tell, may write a checkpoint, and ends in one of the ways of `end`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *, job: str = "", attempt: int = 1, limit: int = LIMIT) -> None:
        attempts.begin(self.folder, job=job, attempt=attempt, limit=limit)

    def advance(self, epoch: int, step: int = 0) -> None:
        """Write a checkpoint, as the trainer does."""
        now = Standing(
            **{"epoch": epoch, "step": step, "epochs": 10, "steps": 5, "seconds_left": None, "validation_rmse": None},
            **{"best": None, "best_epoch": 0, "updated": 0.0, "job": "", "host": "", "stopped": None},
            **{"checkpoint_epoch": epoch, "checkpoint_step": step},
        )
        standing.write(self.folder, now)

    def end(self, how: str) -> None:
        """End as told: `failed`, a signal's name, or `killed`, after which nothing is recorded."""
        if how != "killed":
            attempts.end(self.folder, how=how, reason=f"the ranks ended with status {1 if how == 'failed' else 75}")

    @property
    def counted(self) -> int:
        """Starts in a row without advance, the one that has just begun left out."""
        return int(json.loads((self.folder / attempts.NAME).read_text(encoding="utf-8"))["idle"])


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path / "checkpoints")


def test_the_first_start_has_nothing_before_it(training: Training) -> None:
    assert attempts.idle(training.folder) == 0
    training.start()
    assert training.counted == 0


# Snakemake sends a failed job again: another job, attempt 2.
@pytest.mark.parametrize(
    ("how", "advance", "counted"),
    [
        ("failed", False, 1),
        ("failed", True, 0),
        ("killed", False, 1),
        ("killed", True, 0),
        ("SIGUSR1", False, 1),
        ("SIGUSR1", True, 0),
        ("SIGTERM", False, 0),
        ("SIGTERM", True, 0),
    ],
)
@pytest.mark.parametrize("first", ["", "17"])
def test_a_job_that_snakemake_sends_again(
    training: Training, first: str, how: str, advance: bool, counted: int
) -> None:
    training.start(job=first)
    if advance:
        training.advance(0, 1)
    training.end(how)
    training.start(job="18" if first else "", attempt=2)
    assert training.counted == counted


# SLURM puts a job back into the queue, or it does so itself: the same number, and Snakemake's number of before.
@pytest.mark.parametrize(
    ("how", "advance", "counted"),
    [
        ("killed", False, 0),  # a node that failed: nothing could be recorded
        ("killed", True, 0),
        ("SIGTERM", False, 0),  # preemption
        ("SIGTERM", True, 0),
        ("SIGUSR1", False, 1),  # the wall time is too short
        ("SIGUSR1", True, 0),
        ("failed", False, 1),  # an administrator's requeue of what had failed
        ("failed", True, 0),
    ],
)
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_job_that_goes_back_into_the_queue(
    training: Training, attempt: int, how: str, advance: bool, counted: int
) -> None:
    training.start(job="17", attempt=attempt)
    if advance:
        training.advance(2, 3)
    training.end(how)
    training.start(job="17", attempt=attempt)
    assert training.counted == counted


@pytest.mark.parametrize("how", ["failed", "killed", "SIGUSR1", "SIGTERM"])
@pytest.mark.parametrize("job", ["", "18"])
def test_a_new_command_starts_the_count_anew(training: Training, how: str, job: str) -> None:
    for attempt in (1, 2, 3):
        training.start(job=f"1{attempt}", attempt=attempt)
        training.end("failed")
    training.start(job=job, attempt=1)
    training.end(how)
    training.start(job=job and "19", attempt=1)
    assert training.counted == 0


def test_local_runs_are_not_taken_for_a_job_in_the_queue_again(training: Training) -> None:
    """Without SLURM no job has a number: none is the same one as before."""
    training.start()
    training.end("killed")
    training.start()
    assert training.counted == 0
    training.end("killed")
    training.start(attempt=2)
    assert training.counted == 1


def test_starts_count_from_the_last_advance(training: Training) -> None:
    for attempt, advance in ((1, None), (2, None), (3, (1, 2)), (4, None), (5, None)):
        training.start(attempt=attempt)
        if advance:
            training.advance(*advance)
        training.end("failed")
    assert training.counted == 1
    training.start(attempt=6)
    training.end("failed")
    with pytest.raises(TrainingError, match="given up: 3 starts in a row got no further than step 2 of epoch 2"):
        training.start(attempt=7)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("failed", "the ranks ended with status 1"), ("killed", KILLED), ("SIGUSR1", NO_TIME)],
)
@pytest.mark.parametrize("limit", [1, 3])
def test_a_training_is_given_up_with_its_reason(training: Training, how: str, reason: str, limit: int) -> None:
    for number in range(limit):
        training.start(job=f"1{number}", attempt=number + 1, limit=limit)
        training.end(how)
    for attempt in (limit + 1, limit + 2):  # and stays given up, however often Snakemake tries
        with pytest.raises(TrainingError) as error:
            training.start(job=f"2{attempt}", attempt=attempt, limit=limit)
        assert str(error.value) == (
            f"this training is given up: {limit} starts in a row got no further than step 0 of epoch 1. The last one: "
            f"{reason}. Mend that, then give the same command again: it goes on from the checkpoint"
        )
    training.start(job="30", limit=limit)
    assert training.counted == 0


def test_preemption_neither_counts_nor_clears_the_count(training: Training) -> None:
    for attempt in (1, 2):
        training.start(job=f"1{attempt}", attempt=attempt)
        training.end("failed")
    for _ in range(5):
        training.start(job="13", attempt=3)
        training.end("SIGTERM")
    training.start(job="13", attempt=3)
    assert training.counted == 2
    training.end("failed")
    with pytest.raises(TrainingError, match="status 1"):
        training.start(job="14", attempt=4)


def test_a_node_that_fails_leaves_the_count_as_it_is(training: Training) -> None:
    training.start(job="11")
    training.end("failed")
    for _ in range(5):
        training.start(job="12", attempt=2)
        training.end("killed")
    training.start(job="12", attempt=2)
    assert training.counted == 1


def test_walls_with_advance_never_count(training: Training) -> None:
    for number in range(20):
        training.start(job="17", limit=1)
        training.advance(number // 5, number % 5 + 1)
        training.end("SIGUSR1")
    assert training.counted == 0


def test_a_checkpoint_of_other_settings_is_no_measure(training: Training) -> None:
    """It was at epoch 5; the training that replaces it starts anew and has come to epoch 2 at its first wall."""
    training.advance(5)
    training.start(job="17", limit=1)
    training.advance(2, 3)
    training.end("SIGUSR1")
    training.start(job="17", limit=1)
    assert training.counted == 0


def test_a_training_that_only_threw_away_a_checkpoint_got_no_further(training: Training) -> None:
    """A checkpoint of other settings is left, and the training dies before its first own one."""
    training.advance(5)
    training.start(job="17")
    training.advance(0)
    training.end("failed")
    training.start(job="18", attempt=2)
    assert training.counted == 1


class TestMemory:
    """What the request for memory grows with."""

    @pytest.mark.parametrize(
        ("how", "advance", "idle"),
        [
            ("failed", False, 1),
            ("failed", True, 0),
            ("killed", False, 1),  # too little memory, mostly
            ("killed", True, 0),
            ("SIGTERM", False, 0),
            ("SIGUSR1", False, 0),
            ("SIGUSR1", True, 0),
        ],
    )
    def test_what_counts(self, training: Training, how: str, advance: bool, idle: int) -> None:
        training.start(job="17")
        if advance:
            training.advance(1)
        training.end(how)
        assert attempts.idle(training.folder) == idle

    def test_it_grows_with_each_failure_and_with_no_wall(self, training: Training) -> None:
        grown = []
        for attempt, how in enumerate(("killed", "SIGUSR1", "SIGUSR1", "SIGTERM", "failed", "SIGUSR1"), start=1):
            training.start(job=f"1{attempt}", attempt=attempt, limit=10)
            training.end(how)
            grown.append(attempts.idle(training.folder))
        assert grown == [1, 1, 1, 1, 2, 2]
        training.start(job="20", attempt=7, limit=10)
        training.advance(1)
        training.end("killed")
        assert attempts.idle(training.folder) == 0

    def test_looking_changes_nothing(self, training: Training) -> None:
        training.start()
        training.end("failed")
        before = (training.folder / attempts.NAME).read_bytes()
        assert attempts.idle(training.folder) == attempts.idle(training.folder) == 1
        assert (training.folder / attempts.NAME).read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        *(
            "",
            "{",
            "[]",
            "null",
            "3",
            "{}",
            "\x00\x00",
            '{"position": 3}',
            '{"position": [1]}',
            '{"position": ["a", 1]}',
        ),
        '{"position": [1, 2], "surprise": 1}',
    ],
)
def test_a_broken_record_is_no_obstacle(training: Training, caplog: pytest.LogCaptureFixture, content: str) -> None:
    training.folder.mkdir()
    (training.folder / attempts.NAME).write_text(content, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert attempts.idle(training.folder) == 0
        training.start(attempt=3)
    assert training.counted == 0
    assert "counting anew" in caplog.messages[0]


def test_an_end_without_a_beginning_is_recorded(training: Training) -> None:
    training.end("failed")
    training.start(attempt=2)
    assert training.counted == 1


def test_a_finished_training_is_forgotten(training: Training) -> None:
    training.start()
    attempts.remove(training.folder)
    attempts.remove(training.folder)
    assert list(training.folder.iterdir()) == []
