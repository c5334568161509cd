"""Trainers in one process, without Horovod and without files."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from dl4ds_core.config import ModelSettings
from dl4ds_core.pipeline import batches
from dl4ds_core.scaling import Scaler
from dl4ds_core.training import stopping

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
    base = (0,)
    coarse_shape, fine_shape = (4, 6), (8, 12)

    def __init__(self, fine, mask=None, garbage=0.0):
        self.fine = fine.to_dataset()
        self.mask, self.garbage = mask, garbage

    def __len__(self):
        return self.fine.sizes["time"]

    def take(self, indices):
        fine = (self.fine["tas"].values[indices, ..., None] - 280.0) / 5.0
        coarse = fine.reshape(len(indices), 4, 2, 6, 2, 1).mean(axis=(2, 4))
        if self.mask is None:
            return coarse, fine, None
        mask = self.mask[indices]
        return coarse, np.where(mask > 0, fine, np.float32(self.garbage)), mask


def trainer_of(samples, validation, ranks, network=None, static=None, initial=None, valid=None, **training):
    from dl4ds_core.training.adversarial import AdversarialTrainer
    from dl4ds_core.training.diffusion import DiffusionTrainer
    from dl4ds_core.training.supervised import Trainer

    """A trainer of a small network; keys of `network` and `training` besides those that all have."""
    settings = {
        "network": NETWORK | (network or {}),
        "training": {"epochs": EPOCHS, "batch_size": 3} | training,
        "normalization": {"tas": {}},
        "scalers": "default",
    }
    keras.utils.set_random_seed(1)
    scalers = {"fine.tas": Scaler(np.float32(280), np.float32(5))}
    chosen = ModelSettings.model_validate(settings)
    kinds = {"supervised": Trainer, "adversarial": AdversarialTrainer, "diffusion": DiffusionTrainer}
    return kinds[chosen.training.mode](chosen, 1, samples, validation, static, scalers, 2, 0, ranks, initial, valid)


def random_mask(steps, seed=3, part=0.7):
    return (np.random.default_rng(seed).uniform(size=(steps, 8, 12, 1)) < part).astype(np.float32)


class Adding(OneRank):
    """Notes what it is to add over the ranks, and adds what others noted."""

    def __init__(self, others=()):
        self.noted, self.others = [], others

    def sum(self, tensors):
        self.noted.append(list(tensors))
        parts = [other.noted[len(self.noted) - 1] for other in self.others]
        return [sum(values) for values in zip(tensors, *parts, strict=True)]


def randomise(trainer):
    random = np.random.default_rng(7)
    for variable in trainer.network.trainable_variables:
        variable.assign(0.3 * random.normal(size=variable.shape).astype("float32"))


def trainers_in(folder, field_of, monkeypatch):
    """A function that makes a trainer for a folder, with signals before the exchanges named, and what trains it."""

    def run(name, signals=(), minutes=1e9, masks=(None, None), garbage=0.0, **choices):
        ranks = OneRank(monkeypatch, signals)
        monkeypatch.setattr(stopping, "flags", ranks.flags)
        samples = Fields(field_of(11, seed=1), masks[0], garbage)
        validation = Fields(field_of(5, seed=2), masks[1], garbage)
        trainer = trainer_of(samples, validation, ranks, **choices)
        assert trainer.steps == STEPS
        return trainer, ranks, lambda: trainer.fit(folder / name, "me", minutes)

    return run


def outcome(trainer, progress):
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in progress.history]
    return rows, [variable.numpy() for variable in trainer.network.variables]


def require_same(found, expected):
    assert found[0] == expected[0]
    for first, second in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(first, second)


def step_of_ranks(samples, size, monkeypatch, take, **choices):
    """The numbers and the gradients applied of one step over all samples by so many ranks.

    ``take`` is called with a trainer and its part of the batch, and returns the numbers.
    """
    parts: list[Adding] = []
    for rank in reversed(range(size)):
        adding = Adding(parts if rank == 0 else ())
        adding.rank, adding.size = rank, size
        trainer = trainer_of(samples, samples, adding, **choices)
        randomise(trainer)
        applied = []
        others = (getattr(trainer, name, None) for name in ("opponent", "denoising"))
        for optimizer in filter(None, (trainer.optimizer, *others)):
            monkeypatch.setattr(optimizer, "apply", lambda gradients, _, applied=applied: applied.extend(gradients))
        (batch,) = batches(samples, np.arange(len(samples)), len(samples), rank, size)
        numbers = take(trainer, batch).numpy()
        parts.append(adding)
    return numbers, applied


def require_close(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    assert len(found[1]) == len(expected[1])
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-6)
