"""Training of a diffusion model in one process: both parts end the same, and learn a known distribution."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf
import xarray as xr

pytest.importorskip("horovod")

from dl4ds_core.draws import Stream
from dl4ds_core.errors import TrainingError
from dl4ds_core.models.diffusion import ResidualDiffusion, levels, solve
from dl4ds_core.training import diffusion
from dl4ds_core.training.diffusion import DiffusionTrainer
from dl4ds_core.training.stopping import Stopped

from .trainers import (
    STEPS,
    Adding,
    Fields,
    OneRank,
    outcome,
    random_mask,
    require_close,
    require_same,
    step_of_ranks,
    trainer_of,
    trainers_in,
)

pytestmark = pytest.mark.usefixtures("keras_reset")
DIFFUSION = {"mode": "diffusion", "denoiser": {"filters": 4, "levels": 2}}


@pytest.fixture
def train(monkeypatch, tmp_path, field_of):
    return trainers_in(tmp_path, field_of, monkeypatch)


def both(trainer, progress):
    rows, _ = outcome(trainer, progress)
    return rows, [variable.numpy() for variable in (*trainer.product.variables, *trainer.state)]


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(2, id="network", marks=pytest.mark.full),
        pytest.param(STEPS + 1, id="end", marks=pytest.mark.full),
        pytest.param(STEPS + 2, id="first", marks=pytest.mark.full),
        pytest.param(2 * STEPS + 4, id="denoiser"),
    ],
)
def test_stopped_after_a_step_it_ends_the_same(train, stop):
    """In the part of the network, at its end, after the first step of the denoiser, and later."""
    choices = DIFFUSION | {"masks": (random_mask(11), random_mask(5, 4)), "network": {"dropout": {}}}
    trainer, _, fit = train("whole", **choices)
    assert isinstance(trainer, DiffusionTrainer)
    expected = both(trainer, fit()[0])
    with pytest.raises(Stopped):
        train("parts", signals=(stop,), **choices)[2]()
    trainer, _, fit = train("parts", **choices)
    require_same(both(trainer, fit()[0]), expected)


def test_the_network_stays_as_it_is_in_the_second_part(train):
    trainer, _, fit = train("x", **DIFFUSION, epochs=6, diffusion={"pretrain_epochs": 3})
    progress = fit()[0]
    losses = [row["validation_loss"] for row in progress.history]
    best = int(np.argmin(losses[:3]))
    rmse = [row["validation_rmse"] for row in progress.history]
    assert rmse[3:] == pytest.approx([rmse[best]] * 3), "that of its best epoch"
    assert progress.best_epoch == 4 + int(np.argmin(losses[3:]))
    assert int(trainer.optimizer.iterations.numpy()) == int(trainer.denoising.iterations.numpy()) == 3 * STEPS
    coarse, fine, _ = trainer.samples.take(np.arange(11))
    residual = (fine - trainer.predict(coarse)).ravel()
    area = np.broadcast_to(trainer._area, (11, 8, 12, 1)).ravel()
    expected = np.sqrt(np.average(residual**2, weights=area))
    assert trainer.product.deviations.numpy() == pytest.approx([expected], rel=1e-4)


def test_each_part_has_a_schedule_of_its_own(train):
    trainer, _, fit = train("x", **DIFFUSION, epochs=5, diffusion={"pretrain_epochs": 2, "learning_rate": 0.01})
    rates = []
    real = trainer._take_step
    trainer._take_step = lambda batch, rate: (rates.append(rate), real(batch, rate))[1]
    progress = fit()[0]
    first, second = rates[: 2 * STEPS], rates[2 * STEPS :]
    for part, highest in ((first, 1e-3), (second, 1e-2)):
        size = len(part)
        cosine = 0.5 * highest * (1 + np.cos(np.pi * np.arange(size) / size))
        np.testing.assert_allclose(part, cosine, rtol=1e-6)
    assert [row["learning_rate"] for row in progress.history] == pytest.approx(rates[STEPS - 1 :: STEPS])


def test_the_denoiser_that_is_kept_has_averaged_weights(train):
    trainer, _, fit = train("x", **DIFFUSION, best_by="last", epochs=4, diffusion={"averaging": 0.5})
    weights = []
    real = trainer._take_step

    def noting(batch, rate):
        result = real(batch, rate)
        weights.append(trainer.denoiser.get_layer("stem").get_weights()[0])
        return result

    start = trainer.denoiser.get_layer("stem").get_weights()[0]
    trainer._take_step = noting
    fit()
    expected = start
    for number, now in enumerate(weights[2 * STEPS :]):
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * now
    np.testing.assert_allclose(trainer.product.denoiser.get_layer("stem").get_weights()[0], expected, atol=1e-6)


def test_masked_cells_have_no_influence(train):
    masks = (random_mask(11), random_mask(5, 4))
    masks[0][:3, :4, :4] = 0
    found = []
    for garbage in (0.0, 1e6):
        trainer, _, fit = train(f"garbage {garbage}", masks=masks, garbage=garbage, **DIFFUSION)
        found.append(both(trainer, fit()[0]))
    require_same(*found)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.full)])
def test_any_number_of_ranks_takes_the_same_step(field_of, monkeypatch, ranks):
    def take(trainer, batch):
        for weight in trainer.denoiser.trainable_variables:
            weight.assign(0.3 * np.random.default_rng(7).normal(size=weight.shape).astype("float32"))
        drawn = trainer._drawn(batch, Stream.TRAINING, 0)
        return trainer._denoising_step(*batch.arrays, *drawn, tf.constant(0.5), tf.zeros(2))

    samples = Fields(field_of(3, seed=1), random_mask(3, part=0.5))
    tf.config.run_functions_eagerly(True)
    try:
        found, expected = (step_of_ranks(samples, size, monkeypatch, take, **DIFFUSION) for size in (ranks, 1))
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(found[1]) > 10
    require_close(found, expected)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.full)])
def test_ranks_together_measure_what_the_network_leaves(field_of, monkeypatch, ranks):
    samples, parts = Fields(field_of(7, seed=1), random_mask(7, part=0.5)), []
    for rank in reversed(range(ranks)):
        adding = Adding(parts if rank == 0 else ())
        adding.rank, adding.size = rank, ranks
        trainer = trainer_of(samples, samples, adding, **DIFFUSION)
        trainer._hold_network()
        parts.append(adding)
    coarse, fine, mask = samples.take(np.arange(7))
    area = trainer._area.numpy() * mask
    expected = np.sqrt(np.average((fine - trainer.predict(coarse)) ** 2, weights=area))
    assert trainer.product.deviations.numpy() == pytest.approx([expected], rel=1e-4)


def test_a_signal_while_that_is_measured_is_heeded(train, monkeypatch):
    monkeypatch.setattr(diffusion, "STEPS_BETWEEN_LOOKS", 2)
    expected = (lambda trainer, _, fit: both(trainer, fit()[0]))(*train("whole", **DIFFUSION))
    first = STEPS + 1  # those of the first epoch and of its validation
    with pytest.raises(Stopped, match="after epoch 1 because"):
        train("parts", signals=(first + 1,), **DIFFUSION)[2]()
    require_same((lambda trainer, _, fit: both(trainer, fit()[0]))(*train("parts", **DIFFUSION)), expected)


def test_it_is_told_which_cells_have_truth(field_of, monkeypatch, tmp_path):
    known = np.ones((8, 12), np.float32)
    known[:3] = 0
    xr.Dataset({"tas": (("lat", "lon"), known)}).to_netcdf(tmp_path / "valid.nc")
    samples = Fields(field_of(3, seed=1))
    trainer = trainer_of(samples, samples, OneRank(monkeypatch), valid=tmp_path / "valid.nc", **DIFFUSION)
    np.testing.assert_array_equal(trainer.product.valid.numpy()[..., 0], known)


def test_patches_turned_and_with_static_fields(train):
    static = np.linspace(-1, 1, 96, dtype=np.float32).reshape(1, 8, 12, 1)
    trainer, _, fit = train(
        "x", **DIFFUSION, network={"localized": "none"}, static=static, patch_size=4, augment=["flip-x"]
    )
    assert len(fit()[0].history) == 3
    assert [given.name for given in trainer.denoiser.inputs][-1] == "static"


@pytest.fixture
def start(train, tmp_path):
    trainer, _, fit = train("start")
    fit()
    trainer.network.save(tmp_path / "start.keras")
    return tmp_path / "start.keras"


def test_it_can_begin_with_a_trained_network(train, start):
    trainer, _, fit = train("x", **DIFFUSION, initial=start, start_from=str(start))
    before = trainer.network.get_weights()
    progress = fit()[0]
    assert len(progress.history) == 3
    for one, other in zip(trainer.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert isinstance(trainer.product, ResidualDiffusion)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param({}, id="resnet", marks=pytest.mark.full),
        pytest.param({"backbone": "unet", "upsampling": "pin"}, id="unet"),
    ],
)
def test_it_can_begin_with_a_diffusion_model(train, tmp_path, network):
    """Its network is taken, though layers of the denoiser have the same names."""
    first, _, fit = train("first", **DIFFUSION, network=network)
    fit()
    first.product.save(tmp_path / "first.keras")
    for choices in (DIFFUSION, {}):
        second, *_ = train("x", **choices, initial=tmp_path / "first.keras", start_from="first", network=network)
        for one, other in zip(second.network.get_weights(), first.network.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_network_that_is_not_trained_is_refused(train, start):
    message = r"`start_from` that has all weights of the network, and it has none for .*; start from a network with"
    with pytest.raises(TrainingError, match=message):
        train("x", **DIFFUSION, initial=start, start_from=str(start), network={"blocks": 2})


def test_a_training_that_diverges_says_where_and_what_is_left(train, tmp_path):
    trainer, _, fit = train("x", minutes=1e-9, **DIFFUSION)
    real = trainer._take_step

    def diverging(batch, rate):
        if trainer.progress.epoch == 2 and trainer.progress.step == 1:
            for variable in trainer.denoiser.trainable_variables:
                variable.assign(np.full(variable.shape, np.nan, np.float32))
        return real(batch, rate)

    trainer._take_step = diverging
    message = (
        r"the loss is no longer finite in step 2 of epoch 3 at a learning rate of 0.000\d+; the last good checkpoint "
        rf"is that after step 1 of epoch 3, in {tmp_path}/x; lower training.learning_rate"
    )
    with pytest.raises(TrainingError, match=message):
        fit()


class Uncertain(Fields):
    """A coarse field and noise whose deviation is one in the west and a quarter in the east; others with each look."""

    random = np.random.default_rng(3)
    size = np.where(np.arange(12) < 6, 1.0, 0.25)[:, None].astype(np.float32)

    def take(self, indices):
        coarse = self.random.normal(size=(len(indices), 4, 6, 1)).astype(np.float32)
        fine = self.size * self.random.normal(size=(len(indices), 8, 12, 1)).astype(np.float32)
        return coarse, fine + coarse.repeat(2, axis=1).repeat(2, axis=2), None


def test_it_learns_how_uncertain_the_truth_is(field_of, monkeypatch, tmp_path):
    samples, validation = (Uncertain(field_of(steps)) for steps in (64, 16))
    static = np.broadcast_to(np.where(Uncertain.size == 1, 1, -1), (1, 8, 12, 1)).astype(np.float32)
    choices = {"denoiser": {"filters": 16, "levels": 1}, "epochs": 60, "learning_rate": 0.01, "batch_size": 16}
    trainer = trainer_of(
        samples, validation, OneRank(monkeypatch), static=static, **DIFFUSION | choices, diffusion={"averaging": 0.98}
    )
    trainer.fit(tmp_path, "me", 1e9)
    coarse, *_ = samples.take(np.arange(40))
    mean, product = trainer.predict(coarse), trainer.product

    @tf.function
    def guess(noisy, level):
        return product.guess(noisy, tf.fill([40], level), mean, coarse, static)

    start, strengths = samples.random.normal(size=mean.shape).astype(np.float32), levels(25, mean[0].size)
    drawn = np.asarray(solve(lambda noisy, level: guess(noisy, tf.constant(level, tf.float32)), start, strengths))
    residuals = drawn * product.deviations.numpy()
    found = residuals.std(axis=(0, 1, 3))
    np.testing.assert_allclose(found[:6], 1, rtol=0.2)
    assert (found[6:] < 0.42).all(), "less where there is less, as far as so few steps can tell"
    assert np.abs(residuals.mean(axis=(0, 1, 3))).max() < 0.2
    assert np.corrcoef(drawn[:, :, 2].ravel(), drawn[:, :, 3].ravel())[0, 1] == pytest.approx(0, abs=0.2)
