"""Likelihoods against scipy, and parameters that are found again from samples of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
from keras import ops

from dl4ds_core.layers import DistributionParameters
from dl4ds_core.losses.likelihood import likelihood, log_gamma

SHAPE = (3, 4, 5, 2)
LEVELS = (0.1, 0.5, 0.9)
ZEROS = (-0.7, 0.2)
RANDOM = np.random.default_rng(3)


def positive() -> np.ndarray:
    return RANDOM.uniform(0.2, 3.0, SHAPE)


def example(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, parameters, and the negative log density in each cell by another implementation."""
    if kind == "gaussian":
        mean, deviation, truth = RANDOM.normal(size=SHAPE), positive(), RANDOM.normal(size=SHAPE)
        return truth, np.concatenate([mean, deviation], axis=-1), -scipy.stats.norm.logpdf(truth, mean, deviation)
    if kind == "bernoulli-gamma":
        probability, shape, scale = RANDOM.uniform(0.1, 0.9, SHAPE), positive(), positive()
        amount = np.where(RANDOM.random(SHAPE) < 0.5, RANDOM.gamma(2.0, 1.0, SHAPE), 0.0)
        density = np.log(probability) + scipy.stats.gamma.logpdf(np.maximum(amount, 1e-9), shape, scale=scale)
        each = -np.where(amount > 0, density, np.log(1 - probability))
        mean = probability * shape * scale + ZEROS
        return amount + ZEROS, np.concatenate([mean, probability, shape, scale], axis=-1), each
    truth, quantiles = RANDOM.normal(size=SHAPE), [RANDOM.normal(size=SHAPE) for _ in LEVELS]
    losses = [
        np.maximum(level * (truth - values), (level - 1) * (truth - values))
        for level, values in zip(LEVELS, quantiles, strict=True)
    ]
    return truth, np.concatenate([np.mean(quantiles, axis=0), *quantiles], axis=-1), np.mean(losses, axis=0)


KINDS = ("gaussian", "bernoulli-gamma", "quantiles")


def loss_of(kind: str):
    return likelihood(kind, zeros=ZEROS, levels=LEVELS)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_that_of_scipy_with_areas_and_masks(kind):
    truth, parameters, each = (values.astype(np.float32) for values in example(kind))
    area = RANDOM.uniform(0.5, 1.5, (4, 5, 1)).astype(np.float32)
    mask = (RANDOM.random(SHAPE) < 0.7).astype(np.float32)
    for weights in (area, area * mask):
        expected = (each * weights).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(loss_of(kind)(truth, parameters, weights), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_has_no_influence(kind, garbage, gradient_of):
    truth, parameters, _ = (values.astype(np.float32) for values in example(kind))
    mask = (RANDOM.random(SHAPE) < 0.6).astype(np.float32)
    found = [
        gradient_of(loss_of(kind), np.where(mask > 0, truth, np.float32(other)), parameters, mask)
        for other in (0.0, garbage)
    ]
    for one, other in zip(*found, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
    width = SHAPE[-1]
    for part in range(parameters.shape[-1] // width):
        assert (found[0][1][..., part * width : (part + 1) * width][mask == 0] == 0).all()


def test_the_gamma_function():
    values = np.concatenate([np.geomspace(1e-3, 10, 200), np.linspace(10, 200, 50)]).astype(np.float32)
    np.testing.assert_allclose(
        log_gamma(ops.convert_to_tensor(values)), scipy.special.gammaln(values), rtol=1e-5, atol=2e-5
    )


def fitted(kind: str, truth: np.ndarray, levels: tuple[float, ...] = ()) -> list[np.ndarray]:
    """The parameters that the likelihood finds for one cell with many samples, as a network would: by gradients."""
    import tensorflow as tf

    layer = DistributionParameters(kind, 1, levels)
    channels = {"gaussian": 2, "bernoulli-gamma": 3}.get(kind, len(levels))
    raw = keras.Variable(np.zeros((1, 1, 1, channels), np.float32))
    layer.build(raw.shape)
    loss = likelihood(kind, zeros=(0.0,), levels=levels)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 400))
    optimizer.build([raw])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            given = tf.repeat(layer(raw.value), len(truth), axis=0)
            total = tf.reduce_mean(loss(truth, given, tf.ones((1, 1, 1))))
        optimizer.apply([tape.gradient(total, raw.value)], [raw])

    for _ in range(400):
        step()
    return np.asarray(layer(raw)).ravel().tolist()


def test_known_parameters_are_found_again(keras_reset):
    random, size = np.random.default_rng(5), 20_000
    one = (size, 1, 1, 1)
    mean, deviation = fitted("gaussian", random.normal(0.8, 0.4, one).astype(np.float32))
    assert (mean, deviation) == (pytest.approx(0.8, abs=0.02), pytest.approx(0.4, rel=0.03))
    amounts = np.where(random.random(one) < 0.3, random.gamma(0.7, 1.5, one), 0.0).astype(np.float32)
    mean, probability, shape, scale = fitted("bernoulli-gamma", amounts)
    # Amounts that are zero to float32 accuracy are none: five standard deviations of what so many samples say.
    assert probability == pytest.approx(0.3, abs=0.02)
    assert (shape, scale) == (pytest.approx(0.7, rel=0.08), pytest.approx(1.5, rel=0.1))
    assert mean == pytest.approx(0.3 * 0.7 * 1.5, rel=0.1)
    _, *quantiles = fitted("quantiles", random.gamma(2.0, 1.0, one).astype(np.float32), LEVELS)
    np.testing.assert_allclose(quantiles, scipy.stats.gamma.ppf(LEVELS, 2.0), rtol=0.05)


@pytest.mark.parametrize("arguments", [("poisson",), ("bernoulli-gamma",), ("quantiles",)])
def test_what_lacks_something_is_refused(arguments):
    with pytest.raises(ValueError, match="expected gaussian, bernoulli-gamma with zeros, or quantiles with levels"):
        likelihood(*arguments)
