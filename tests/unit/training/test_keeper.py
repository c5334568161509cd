"""What rank 0 does beside the training: when it writes, what it says, and that a full disk doesn't end a training."""

from __future__ import annotations

import logging

import pytest

from dl4ds_core.errors import TrainingError
from dl4ds_core.training import keeper as module
from dl4ds_core.training import standing
from dl4ds_core.training.checkpoints import Progress
from dl4ds_core.training.keeper import Keeper, Pace

ROW = {"loss": 0.5, "validation_loss": 0.6, "validation_rmse": 1.5, "learning_rate": 1e-3, "seconds": 8.0}


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def saved():
    return []


@pytest.fixture
def keeper(tmp_path, clock, saved):
    """Of a training of 3 epochs of 4 steps, with a checkpoint every minute."""
    return Keeper(tmp_path, lambda progress: saved.append((progress.epoch, progress.step)), 1.0, 3, 4)


def run(keeper, progress, clock, steps, seconds):
    for _ in range(steps):
        clock.now += seconds
        progress.add_step(0.5, 1.0, {}, seconds)
        keeper.after_step(progress, seconds)


def end_epoch(keeper, progress, clock, seconds):
    clock.now += seconds
    progress.end_epoch(ROW)
    progress.best, progress.best_epoch = 1.5, progress.epoch
    keeper.after_epoch(progress, seconds)


def test_a_pace_leaves_out_the_first():
    pace = Pace()
    means = []
    for seconds in (9.0, 1.0, 2.0):
        means.append(pace.mean)
        pace.add(seconds)
    assert [*means, pace.mean] == [None, None, 1.0, 1.5]
    assert pace.first == 9.0


def test_checkpoints_when_the_time_has_come(keeper, clock, saved):
    progress = Progress()
    keeper.begin(progress)
    run(keeper, progress, clock, 4, 25.0)
    assert saved == [(0, 3)]
    found = standing.read(keeper.folder)
    assert (found.checkpoint_epoch, found.checkpoint_step) == (0, 3)
    assert (found.epoch, found.step) == (0, 4)
    end_epoch(keeper, progress, clock, 40.0)
    assert saved == [(0, 3), (1, 0)]


def test_the_standing_from_the_start_to_a_stop(keeper, clock):
    progress = Progress()
    keeper.begin(progress)
    found = standing.read(keeper.folder)
    assert (found.epoch, found.epochs, found.steps, found.seconds_left, found.best) == (0, 3, 4, None, None)
    run(keeper, progress, clock, 4, 2.0)
    end_epoch(keeper, progress, clock, 5.1)
    found = standing.read(keeper.folder)
    assert (found.epoch, found.step, found.validation_rmse, found.best, found.best_epoch) == (1, 0, 1.5, 1.5, 1)
    assert found.seconds_left == pytest.approx(8 * 2.0 + 2 * 5.1)
    assert found.updated == clock.now
    assert found.stopped is None
    keeper.stop(progress, "SIGTERM")
    assert standing.read(keeper.folder).stopped == "SIGTERM"


def test_the_standing_isnt_written_all_the_time(keeper, clock):
    progress = Progress()
    keeper.begin(progress)
    run(keeper, progress, clock, 3, 1.0)
    assert standing.read(keeper.folder).step == 0


def test_a_resumed_training_starts_with_its_checkpoint(keeper):
    keeper.begin(Progress(epoch=2, step=3))
    found = standing.read(keeper.folder)
    assert (found.checkpoint_epoch, found.checkpoint_step) == (2, 3)


def test_a_stop_writes_a_checkpoint_once(keeper, clock, saved):
    progress = Progress()
    keeper.begin(progress)
    run(keeper, progress, clock, 1, 1.0)
    keeper.stop(progress, "SIGUSR1")
    keeper.stop(progress, "SIGUSR1")
    assert saved == [(0, 1)]


def test_lines_within_long_epochs(keeper, clock, caplog):
    progress = Progress()
    keeper.begin(progress)
    with caplog.at_level(logging.INFO, "dl4ds_core"):
        run(keeper, progress, clock, 4, 20.0)
    assert caplog.messages == [
        "epoch 1 of 3: step 2 of 4, loss 0.5000, 20.00 s per step, about 3 min 20 s left",
        "epoch 1 of 3: step 4 of 4, loss 0.5000, 20.00 s per step, about 2 min 40 s left",
    ]


def test_lines_after_epochs(keeper, clock, caplog):
    progress = Progress()
    keeper.begin(progress)
    with caplog.at_level(logging.INFO, "dl4ds_core"):
        for _ in range(3):
            run(keeper, progress, clock, 4, 0.25)
            end_epoch(keeper, progress, clock, 0.5)
    first, last = caplog.messages
    assert first.startswith("epoch 1 of 3: loss 0.5000, validation loss 0.6000, validation RMSE 1.5000 (best 1.5000")
    assert first.endswith("8.00 s per epoch, about 3 s left")
    assert last.startswith("epoch 3 of 3")
    assert last.endswith("8.00 s per epoch")


def test_another_score_is_named(keeper, clock, caplog):
    keeper.best_by = "mae"
    progress = Progress()
    keeper.begin(progress)
    run(keeper, progress, clock, 4, 2.0)
    with caplog.at_level(logging.INFO, "dl4ds_core"):
        end_epoch(keeper, progress, clock, 5.1)
    assert "validation RMSE 1.5000 (best MAE 1.5000 in epoch 1)" in caplog.text
    assert standing.read(keeper.folder).best_by == "mae"


def test_lines_come_further_apart_in_long_jobs(keeper, clock, caplog):
    keeper.begin(Progress())
    clock.now += 100_000
    keeper.after_step(Progress(step=1, total=1.0, count=1.0), 1.0)
    with caplog.at_level(logging.INFO, "dl4ds_core"):
        clock.now += 900
        keeper.after_step(Progress(step=2, total=1.0, count=1.0), 1.0)
        assert not caplog.messages
        clock.now += 200
        keeper.after_step(Progress(step=3, total=1.0, count=1.0), 1.0)
        assert len(caplog.messages) == 1


def test_a_full_disk_ends_no_training(keeper, clock, monkeypatch, caplog):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(standing, "write", fail)
    monkeypatch.setattr(keeper, "_save", fail)
    progress = Progress()
    keeper.begin(progress)
    run(keeper, progress, clock, 3, 50.0)
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len([line for line in said if "where the training stands can't be written" in line]) == 1
    assert "the checkpoint can't be written" in said[-1]
    with pytest.raises(TrainingError, match=r"SIGUSR1.*No space left on device"):
        keeper.stop(progress, "SIGUSR1")
