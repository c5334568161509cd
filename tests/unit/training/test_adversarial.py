"""Adversarial training in one process: both networks go on to bitwise the same, and masked cells do nothing."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import warnings

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("horovod")

from dl4ds_core.draws import Stream
from dl4ds_core.errors import TrainingError
from dl4ds_core.layers import Detail
from dl4ds_core.training.adversarial import TERMS, AdversarialTrainer, _deviations
from dl4ds_core.training.stopping import Stopped

from .trainers import STEPS, Fields, outcome, random_mask, require_close, require_same, step_of_ranks, trainers_in

pytestmark = pytest.mark.usefixtures("keras_reset")
KINDS = ("vanilla", "least-squares", "wasserstein")
#: The most involved kind alone, unless all are asked for.
MOSTLY = [*(pytest.param(kind, marks=pytest.mark.full) for kind in KINDS[:-1]), KINDS[-1]]
GAN = {"mode": "adversarial", "discriminator": {"filters": 8, "blocks": 1}}


@pytest.fixture
def train(monkeypatch, tmp_path, field_of):
    return trainers_in(tmp_path, field_of, monkeypatch)


def both(trainer, progress):
    rows, weights = outcome(trainer, progress)
    return rows, [*weights, *(variable.numpy() for variable in trainer.state)]


@pytest.mark.parametrize(
    ("kind", "stop"),
    [
        pytest.param("vanilla", 2, marks=pytest.mark.full),
        pytest.param("least-squares", STEPS + 3, marks=pytest.mark.full),
        ("wasserstein", 2 * STEPS + 4),
    ],
)
def test_stopped_after_a_step_both_networks_end_the_same(train, kind, stop):
    """In the epoch of the generator alone, and in two of both."""
    choices = GAN | {"adversarial": {"loss": kind, "pretrain_epochs": 1}, "network": {"noise": 2}}
    trainer, _, fit = train("whole", **choices)
    assert isinstance(trainer, AdversarialTrainer)
    expected = both(trainer, fit()[0])
    rows = expected[0]
    assert set(TERMS) - set(rows[0]) == set(TERMS), "the first epoch is of the generator alone"
    for row in rows[1:]:
        assert np.isfinite([row[name] for name in TERMS]).all()
        assert 0 <= row["discriminator_accuracy"] <= 1
        assert row["loss"] == pytest.approx(row["pixel_loss"] + 0.1 * row["adversarial_loss"], rel=1e-5)
    with pytest.raises(Stopped):
        train("parts", signals=(stop,), **choices)[2]()
    trainer, _, fit = train("parts", **choices)
    require_same(both(trainer, fit()[0]), expected)


def test_the_last_epoch_is_kept_unless_a_score_is_named(train):
    options = {"adversarial": {"pretrain_epochs": 1}}
    assert train("last", **GAN, **options)[2]()[0].best_epoch == 3
    progress = train("rmse", **GAN, **options, best_by="rmse")[2]()[0]
    rmse = [row["validation_rmse"] for row in progress.history]
    assert progress.best_epoch == 2 + int(np.argmin(rmse[1:])), "of those after the first, which knows no discriminator"


def test_the_generator_rests_while_the_discriminator_takes_steps(train):
    trainer, _, fit = train("x", **GAN, adversarial={"discriminator_steps": 3, "learning_rate": 1e-2})
    fit()
    steps = 3 * STEPS
    assert int(trainer.opponent.iterations.numpy()) == steps
    assert int(trainer.optimizer.iterations.numpy()) == steps // 3
    ratio = float(trainer.opponent.learning_rate.numpy()) / float(trainer.optimizer.learning_rate.numpy())
    assert ratio == pytest.approx(10.0, rel=1e-5)


@pytest.mark.parametrize("kind", MOSTLY)
def test_masked_cells_have_no_influence(train, kind):
    masks = (random_mask(11), random_mask(5, 4))
    masks[0][:3, :4, :4] = 0
    found = []
    for garbage in (0.0, 1e6):
        trainer, _, fit = train(f"garbage {garbage}", masks=masks, garbage=garbage, **GAN, adversarial={"loss": kind})
        found.append(both(trainer, fit()[0]))
    require_same(*found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.full)])
def test_any_number_of_ranks_takes_the_same_step(field_of, monkeypatch, ranks, kind):
    """The gradients of both networks over all ranks are those of one that has all samples."""

    def take(trainer, batch):
        noise = trainer.forward.noise(batch, Stream.TRAINING, 0)
        return trainer._adversarial_step(*batch.arrays, noise, trainer._mixing(batch), tf.zeros(2), both=True)

    samples = Fields(field_of(3, seed=1), random_mask(3, part=0.5))
    choices = GAN | {"network": {"noise": 1}, "adversarial": {"loss": kind}}
    tf.config.run_functions_eagerly(True)
    try:
        found, expected = (step_of_ranks(samples, size, monkeypatch, take, **choices) for size in (ranks, 1))
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(found[1]) > 10
    require_close(found, expected)


def test_patches_turned_and_with_static_fields(train):
    static = np.linspace(-1, 1, 96, dtype=np.float32).reshape(1, 8, 12, 1)
    trainer, _, fit = train(
        "x", **GAN, network={"localized": "none", "noise": 1}, static=static, patch_size=4, augment=["flip-x"]
    )
    assert len(fit()[0].history) == 3
    assert [given.name for given in trainer.discriminator.inputs] == ["coarse", "fine", "valid", "static"]


class TwoPredictands:
    """Samples whose second predictand has ten times the detail, other missing cells, and garbage in them."""

    def __init__(self):
        random = np.random.default_rng(4)
        self.fine = random.normal(size=(11, 8, 12, 2)).astype(np.float32) * np.float32([1, 10])
        self.mask = (random.uniform(size=self.fine.shape) < [0.9, 0.5]).astype(np.float32)

    def __len__(self):
        return len(self.fine)

    def take(self, indices):
        mask = self.mask[indices]
        return None, np.where(mask > 0, self.fine[indices], np.float32(1e6)), mask


def test_the_discriminator_knows_how_large_detail_is():
    samples, layer = TwoPredictands(), Detail(2)
    values = np.where(samples.mask > 0, samples.fine, np.nan).astype(float)
    blocks = values.reshape(11, 4, 2, 6, 2, 2)
    wide = np.pad(values, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=np.nan)
    with warnings.catch_warnings(action="ignore"):  # where there is no valid cell
        within = np.nanmean((blocks - np.nanmean(blocks, axis=(2, 4), keepdims=True)) ** 2, axis=(0, 1, 2, 3, 4))
        around = np.nanmean([wide[:, row : row + 8, column : column + 12] for row, column in np.ndindex(3, 3)], axis=0)
    near = np.nanmean((values - around) ** 2, axis=(0, 1, 2))
    np.testing.assert_allclose(_deviations(samples, layer), np.sqrt([*within, *near]), rtol=1e-4)


def test_a_field_without_detail_is_not_magnified(train):
    trainer, *_ = train("x", **GAN)
    trainer.samples.take = lambda indices: (None, np.full((len(indices), 8, 12, 1), 0.1, np.float32), None)
    np.testing.assert_array_equal(_deviations(trainer.samples, Detail(2)), 1.0)


def test_the_discriminator_learns_to_tell(train):
    """Against a generator that hardly moves, its judgements get better than chance."""
    _, _, fit = train(
        "x", **GAN, adversarial={"learning_rate": 1e-2}, learning_rate=1e-7, epochs=20, schedule="constant"
    )
    history = fit()[0].history
    assert history[-1]["discriminator_accuracy"] > 0.9
    assert history[-1]["discriminator_loss"] < history[0]["discriminator_loss"]


@pytest.mark.parametrize(
    "choices",
    [
        pytest.param({}, id="mae"),
        pytest.param(GAN, id="gan"),
        pytest.param({"network": {"noise": 1}, "loss": {"crps": 1.0}}, id="crps", marks=pytest.mark.full),
    ],
)
def test_a_training_that_diverges_says_where_and_what_is_left(train, choices, tmp_path):
    trainer, _, fit = train("x", minutes=1e-9, learning_rate=1e-3, **choices)
    real = trainer._take_step

    def diverging(batch, rate):
        if trainer.progress.epoch == 1 and trainer.progress.step == 2:
            for variable in trainer.network.trainable_variables:
                variable.assign(np.full(variable.shape, np.nan, np.float32))
        return real(batch, rate)

    trainer._take_step = diverging
    message = (
        r"the loss is no longer finite in step 3 of epoch 2 at a learning rate of 0.000\d+; the last good checkpoint "
        rf"is that after step 2 of epoch 2, in {tmp_path}/x; lower training.learning_rate"
    )
    with pytest.raises(TrainingError, match=message):
        fit()


def test_a_validation_that_is_not_finite_stops_it(train):
    trainer, _, fit = train("x", minutes=1e9)
    trainer._validate = lambda: (
        {"validation_loss": float("nan"), "validation_rmse": 1.0, "validation_mae": 1.0},
        [0, 0],
    )
    message = r"the loss over the validation period is not finite after epoch 1 .*; there is no checkpoint yet"
    with pytest.raises(TrainingError, match=message):
        fit()


def test_patience_counts_from_the_end_of_the_pretraining(train):
    options = {"pretrain_epochs": 4}
    trainer, _, fit = train("x", **GAN, adversarial=options, best_by="rmse", patience=2, epochs=9)
    scored = iter([0.1, 0.9, 0.9, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9])
    trainer._validate = lambda: (
        dict.fromkeys(("validation_loss", "validation_rmse", "validation_mae"), next(scored)),
        [0, 0],
    )
    progress = fit()[0]
    assert (progress.epoch, progress.best_epoch) == (7, 5)


def test_a_gradient_that_is_not_finite_stops_it_before_a_checkpoint(train):
    trainer, _, fit = train("x", minutes=1e9)
    real = trainer._take_step
    trainer._take_step = lambda batch, rate: (*real(batch, rate)[:4], float("inf"))
    with pytest.raises(TrainingError, match=r"the gradient is no longer finite in step 1 .*; there is no checkpoint"):
        fit()
