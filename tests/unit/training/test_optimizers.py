"""Optimisers: which weights decay, and how gradients are clipped."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

from dl4ds_core.config.training import Training
from dl4ds_core.layers import LocalizedAffine, LocalizedConvolution, LocalizedRegression
from dl4ds_core.layers.batch_normalization import BatchNormalization
from dl4ds_core.training.optimizers import build_optimizer, clipped, without_decay

pytestmark = pytest.mark.usefixtures("keras_reset")


@pytest.fixture
def network():
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, padding="same", bias_initializer="ones", name="convolution")(inputs)
    x = BatchNormalization(name="norm")(x)
    x = keras.layers.Concatenate()([x, LocalizedConvolution(2, name="cellwise")(x)])
    x = keras.layers.Dense(1, name="mixed")(x)
    regression = LocalizedRegression(1, 1, size=3, name="regression")
    return keras.Model(inputs, keras.layers.Add()([LocalizedAffine(name="localized")(x), regression(inputs)]))


DECAYING = ["convolution/kernel", "mixed/kernel", "regression/kernel"]


def test_only_kernels_decay_and_of_cells_those_of_regressions(network):
    exempt = {id(weight) for weight in without_decay(network)}
    decaying = [weight.path for weight in network.trainable_variables if id(weight) not in exempt]
    assert sorted(decaying) == DECAYING


def test_decay_shrinks_by_its_share_times_the_learning_rate(network):
    optimizer = build_optimizer(Training(optimizer="adamw", weight_decay=0.5, learning_rate=0.1), network)
    before = {weight.path: weight.numpy() for weight in network.trainable_variables}
    optimizer.apply([tf.zeros(weight.shape) for weight in network.trainable_variables], network.trainable_variables)
    for weight in network.trainable_variables:
        factor = 0.95 if weight.path in DECAYING else 1.0
        np.testing.assert_allclose(weight.numpy(), factor * before[weight.path], rtol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_a_first_step_is_as_long_as_the_learning_rate(network, kind):
    decay = {"weight_decay": 0.0} if kind == "adamw" else {}
    optimizer = build_optimizer(Training(optimizer=kind, learning_rate=0.01, **decay), network)
    before = [weight.numpy() for weight in network.trainable_variables]
    optimizer.apply([tf.fill(weight.shape, 3.0) for weight in network.trainable_variables], network.trainable_variables)
    for weight, values in zip(network.trainable_variables, before, strict=True):
        np.testing.assert_allclose(weight.numpy(), values - 0.01, atol=1e-6)


def test_gradients_are_clipped_together():
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[4.0]])]  # of norm 5
    halves = clipped(gradients, 2.5)
    np.testing.assert_allclose(halves[0], [1.5, 0.0])
    np.testing.assert_allclose(halves[1], [[2.0]])
    for norm in (None, 5.5):
        np.testing.assert_allclose(np.concatenate([np.ravel(part) for part in clipped(gradients, norm)]), [3, 0, 4])


def test_no_gradient_at_all_is_clipped_to_none():
    np.testing.assert_array_equal(clipped([tf.zeros(3)], 1.0)[0], np.zeros(3))
