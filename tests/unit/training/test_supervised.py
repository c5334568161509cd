"""The trainer in one process: stopped after any step, it goes on to bitwise the same weights and history."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("horovod")

from dl4ds_core.config import ModelSettings
from dl4ds_core.scaling import Scaler
from dl4ds_core.training import checkpoints, standing, stopping, supervised
from dl4ds_core.training.stopping import Stopped
from dl4ds_core.training.supervised import Trainer

pytestmark = pytest.mark.usefixtures("keras_reset")
EPOCHS, STEPS = 3, 4
NETWORK = {"backbone": "resnet", "upsampling": "spc", "filters": 2, "blocks": 1}


class OneRank:
    """A job of one rank, without Horovod. It counts exchanges and gets a signal before those named in ``signals``."""

    rank, size, first = 0, 1, True

    def __init__(self, monkeypatch, signals=()):
        self.exchanges, self.waits = 0, 0
        self.signals = signals
        self._monkeypatch = monkeypatch

    def flags(self):
        self.exchanges += 1
        return (1.0, 0.0) if self.exchanges in self.signals else (0.0, 0.0)

    def sum(self, tensors):
        return list(tensors)

    def wait(self):
        self.waits += 1

    def broadcast(self, variables):
        pass

    def broadcast_object(self, value):
        return value

    def require_equal(self, variables):
        return "equal"


class Fields:
    """Samples without files."""

    predictands = channels = ("tas",)
    coarse_shape = (4, 6)

    def __init__(self, fine):
        self.fine = fine.to_dataset()

    def __len__(self):
        return self.fine.sizes["time"]

    def take(self, indices):
        fine = (self.fine["tas"].values[indices, ..., None] - 280.0) / 5.0
        return fine.reshape(len(indices), 4, 2, 6, 2, 1).mean(axis=(2, 4)), fine


@pytest.fixture
def train(monkeypatch, tmp_path, field_of):
    """Train, or go on with it, in a folder; with signals before the exchanges named."""
    settings = ModelSettings.model_validate(
        {
            "network": NETWORK,
            "training": {"epochs": EPOCHS, "batch_size": 3},
            "normalization": {"tas": {}},
            "scalers": "default",
        }
    )
    scalers = {"fine.tas": Scaler(np.float32(280), np.float32(5))}

    def run(name, signals=(), minutes=1e9):
        keras.utils.set_random_seed(1)
        ranks = OneRank(monkeypatch, signals)
        monkeypatch.setattr(stopping, "flags", ranks.flags)
        samples, validation = Fields(field_of(11, seed=1)), Fields(field_of(5, seed=2))
        trainer = Trainer(settings, 1, samples, validation, None, scalers, 2, ranks)
        assert trainer.steps == STEPS
        return trainer, ranks, lambda: trainer.fit(tmp_path / name, "me", minutes)

    return run


def outcome(trainer, progress):
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in progress.history]
    return rows, [variable.numpy() for variable in trainer.network.variables]


def require_same(found, expected):
    assert found[0] == expected[0]
    for first, second in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(first, second)


def test_stopped_after_any_step_it_ends_the_same(train, tmp_path):
    """Signals before each single exchange: those of steps, and those after validations."""
    trainer, ranks, fit = train("whole")
    progress, _ = fit()
    expected = outcome(trainer, progress)
    exchanges = ranks.exchanges
    assert exchanges == EPOCHS * (STEPS + 1)

    stops = []
    for _ in range(exchanges):
        trainer, ranks, fit = train("parts", signals=(1,))
        try:
            progress, _ = fit()
            break
        except Stopped as stop:
            stops.append(str(stop).split(" because")[0])
            assert ranks.waits == 1
            found = standing.read(tmp_path / "parts")
            assert found.stopped == "SIGUSR1"
            assert (found.epoch, found.step) == (found.checkpoint_epoch, found.checkpoint_step)
    require_same(outcome(trainer, progress), expected)
    # The validation goes on from a stop after the last step; the last one isn't worth a stop.
    assert stops[:6] == [
        "stopped after step 1 of 4 of epoch 1",
        "stopped after step 2 of 4 of epoch 1",
        "stopped after step 3 of 4 of epoch 1",
        "stopped after step 4 of 4 of epoch 1",
        "stopped after epoch 1",
        "stopped after step 1 of 4 of epoch 2",
    ]
    assert len(stops) == exchanges - 1


def test_seconds_of_an_interrupted_epoch_add_up(train):
    trainer, _, fit = train("parts", signals=(3,))
    with pytest.raises(Stopped):
        fit()
    before = trainer.progress.seconds
    assert before > 0
    trainer, _, fit = train("parts")
    progress, _ = fit()
    assert progress.history[0]["seconds"] > before
    assert (progress.step, progress.total, progress.count, progress.seconds) == (0, 0, 0, 0)


def test_a_signal_during_a_long_validation_stops_it(train, monkeypatch, tmp_path):
    monkeypatch.setattr(supervised, "VALIDATION_STEPS", 1)
    _, _, fit = train("parts", signals=(STEPS + 1,))
    with pytest.raises(Stopped, match="after step 4 of 4 of epoch 1 because of SIGUSR1"):
        fit()


def test_checkpoints_at_every_step_if_asked_for(train, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoints, "save", lambda folder, identity, progress, *rest: saved.append(progress.step))
    _, _, fit = train("often", minutes=1e-9)
    fit()
    assert saved == [*([1, 2, 3, 4, 0] * EPOCHS), 0], "and a last one at the end"


def test_the_sums_are_those_of_the_samples(train):
    trainer, _, fit = train("whole", signals=(2,))
    with pytest.raises(Stopped):
        fit()
    assert trainer.progress.count == 6
    numbers = trainer._step(*(tf.zeros(shape) for shape in ((3, 4, 6, 1), (3, 8, 12, 1))), tf.ones(3), tf.ones(2))
    assert numbers.numpy()[1:].tolist() == [3, 1, 1]
