"""Trainings of distributions, and of networks that take noise."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("horovod")

from dl4ds_core.draws import Stream
from dl4ds_core.pipeline import batches
from dl4ds_core.training.stopping import Stopped

from .trainers import (
    STEPS,
    Fields,
    outcome,
    random_mask,
    randomise,
    require_close,
    require_same,
    step_of_ranks,
    trainers_in,
)

pytestmark = pytest.mark.usefixtures("keras_reset")
NOISE = {"network": {"noise": 2}, "loss": {"crps": 1.0}, "members": 3}


@pytest.fixture
def train(monkeypatch, tmp_path, field_of):
    return trainers_in(tmp_path, field_of, monkeypatch)


@pytest.mark.parametrize(
    "choices",
    [NOISE, *({"network": {"distribution": kind}, "loss": {"likelihood": 1.0}} for kind in ("gaussian", "quantiles"))],
    ids=["crps", "gaussian", "quantiles"],
)
def test_stopped_in_the_middle_it_ends_the_same_and_learns(train, choices):
    choices = choices | {"masks": (random_mask(11), random_mask(5, 4)), "learning_rate": 0.01}
    trainer, _, fit = train("whole", **choices)
    expected = outcome(trainer, fit()[0])
    losses = [row["loss"] for row in expected[0]]
    assert losses[-1] < losses[0]
    with pytest.raises(Stopped, match="after step 2 of 4 of epoch 2"):
        train("parts", signals=(STEPS + 3,), **choices)[2]()
    trainer, _, fit = train("parts", **choices)
    require_same(outcome(trainer, fit()[0]), expected)


def test_rain_is_fitted_by_its_likelihood(train):
    trainer, _, fit = train("x", network={"distribution": "bernoulli-gamma"}, loss={"likelihood": 1.0})
    # Zero in the units of the scaler, whose offset is 280 and factor 5.
    np.testing.assert_allclose(trainer.network.get_layer("distribution").zeros.numpy(), [-56.0])
    losses = [row["loss"] for row in fit()[0].history]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_each_draw_has_noise_of_its_own_that_is_a_function_of_the_sample(train):
    trainer, *_ = train("x", **NOISE)
    (batch, *_) = batches(trainer.samples, np.array([4, 7, 4]), 3, 0, 1)
    noise = trainer.forward.noise(batch, Stream.TRAINING, 5)
    assert noise.shape == (9, 8, 12, 2)
    draws = noise.reshape(3, 3, -1)
    assert (draws[:, 0] == draws[:, 2]).all(), "sample 4 both times"
    assert len(np.unique(draws[..., 0])) == 6, "three draws of two samples"
    assert not np.array_equal(trainer.forward.noise(batch, Stream.TRAINING, 6), noise)
    assert not np.array_equal(trainer.forward.noise(batch, Stream.VALIDATION, 5), noise)


def test_the_single_prediction_is_the_mean_of_the_draws(train):
    trainer, *_ = train("x", **NOISE)
    randomise(trainer)
    (batch, *_) = batches(trainer.samples, np.arange(2), 2, 0, 1)
    noise = trainer.forward.noise(batch, Stream.TRAINING, 0)
    drawn = trainer.forward(tf.constant(batch.coarse), None, tf.constant(noise), training=False)
    assert drawn.shape == (3, 2, 8, 12, 1)
    for draw in range(3):
        alone = trainer.network([batch.coarse, noise[2 * draw : 2 * draw + 2]], training=False)
        np.testing.assert_allclose(drawn[draw], alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trainer.forward.single(drawn), np.mean(drawn, axis=0), rtol=1e-4, atol=1e-5)


def test_any_number_of_ranks_has_the_same_gradient(field_of, monkeypatch):
    """Also with dropout, of which each rank has its part."""

    def take(trainer, batch):
        return trainer._step(*batch.arrays, trainer.forward.noise(batch, Stream.TRAINING, 0), tf.zeros(2))

    samples = Fields(field_of(4, seed=1), random_mask(4, part=0.5))
    choices = NOISE | {"network": {"noise": 2, "dropout": {"rate": 0.3}}}
    tf.config.run_functions_eagerly(True)
    try:
        require_close(*(step_of_ranks(samples, size, monkeypatch, take, **choices) for size in (2, 1)))
    finally:
        tf.config.run_functions_eagerly(False)
