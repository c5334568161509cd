"""Batch normalisation: Keras' own numbers in one process, and the same ones from the parts of a batch."""

from __future__ import annotations

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from dl4ds_core.layers.batch_normalization import BatchNormalization, part_of_batch

SHAPES = [(5, 4, 3, 2), (5, 2, 4, 3, 2)]


def features(shape, seed=1):
    """Channels of different means and deviations."""
    random = np.random.default_rng(seed)
    return (np.array([3.0, -1.0]) + np.array([2.0, 0.5]) * random.normal(size=shape)).astype(np.float32)


def layer_of(kind=BatchNormalization, shape=SHAPES[0]):
    layer = kind(momentum=0.7, epsilon=1e-3)
    layer.build(shape)
    layer.set_weights([np.array(values, np.float32) for values in ([1.5, 0.5], [0.2, -0.3], [0.4, 0.1], [2.0, 3.0])])
    return layer


def step(layer, inputs, target, weights=None):
    """Output, gradients of weights and inputs of a loss over the samples that count, and moving statistics."""
    inputs = tf.constant(inputs)
    counts = np.ones(len(inputs)) if weights is None else weights
    counts = tf.reshape(tf.constant(counts, tf.float32), (-1, *[1] * (len(inputs.shape) - 1)))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs, training=True)
        loss = tf.reduce_sum(counts * tf.square(output - target))
    gradients = tape.gradient(loss, [*layer.trainable_variables, inputs])
    return [output.numpy(), *(values.numpy() for values in (*gradients, *layer.non_trainable_variables))]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_every_layer_must_pass(check_layer, shape):
    check_layer(BatchNormalization, {"momentum": 0.8, "epsilon": 1e-4}, shape, shape, weights=4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_numbers_of_keras(shape):
    inputs, target = features(shape), features(shape, 2)
    kinds = (BatchNormalization, keras.layers.BatchNormalization)
    found, expected = (step(layer_of(kind, shape), inputs, target) for kind in kinds)
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, rtol=2e-4, atol=2e-5)


def test_predictions_use_the_moving_statistics():
    inputs = features(SHAPES[0])
    found, expected = (kind(inputs, training=False) for kind in (layer_of(), layer_of(keras.layers.BatchNormalization)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_frozen_layer_predicts_and_keeps_its_statistics():
    layer = layer_of()
    layer.trainable = False
    inputs = features(SHAPES[0])
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs, training=False))
    for values, wanted in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(values, wanted)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_padded_samples_do_not_count(shape):
    inputs, target = features(shape), features(shape, 2)
    expected = step(layer_of(), inputs, target)
    padded, beyond = (np.concatenate([values, 100 * values[:2]]) for values in (inputs, target))
    weights = np.array([1, 1, 1, 1, 1, 0, 0], np.float32)
    layer = layer_of()
    with part_of_batch(tf.constant(weights), lambda sums: sums):
        found = step(layer, padded, beyond, weights)
    for number in (0, 3):  # the outputs, and the gradients of the inputs
        found[number] = found[number][:5]
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5)
    # Outside, all samples count again.
    assert np.abs(layer(padded, training=True)[:5] - expected[0]).max() > 0.1


class Workers:
    """Adds what threads bring, in both directions, as an exchange between processes does."""

    def __init__(self, number):
        self.barrier, self.brought = threading.Barrier(number, timeout=60), {}

    def _added(self, values):
        self.brought[threading.get_ident()] = values.numpy()
        self.barrier.wait()
        total = sum(self.brought.values())
        self.barrier.wait()
        return tf.constant(total)

    def total(self, sums):
        @tf.custom_gradient
        def add(values):
            return self._added(values), self._added

        return add(sums)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parts_of_a_batch_make_the_step_of_the_whole(shape):
    """Two workers with 3 and 2 of the samples, the second padded: outputs, gradients and statistics."""
    inputs, target = features(shape), features(shape, 2)
    expected = step(layer_of(), inputs, target)
    workers, found = Workers(2), {}
    layers = [layer_of(), layer_of()]

    def work(number):
        part = [0, 2, 4] if number == 0 else [1, 3, 0]
        weights = np.array([1, 1, 1 - number], np.float32)
        with part_of_batch(tf.constant(weights), workers.total):
            found[number] = step(layers[number], inputs[part], target[part], weights)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    output, gamma, beta, gradient, *statistics = expected
    for number, part in enumerate(([0, 2, 4], [1, 3])):
        size = len(part)
        np.testing.assert_allclose(found[number][0][:size], output[part], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[number][3][:size], gradient[part], rtol=1e-3, atol=1e-4)
        for values, wanted in zip(found[number][4:], statistics, strict=True):
            np.testing.assert_allclose(values, wanted, rtol=1e-5)
    for place, wanted in ((1, gamma), (2, beta)):
        np.testing.assert_allclose(found[0][place] + found[1][place], wanted, rtol=1e-4)
    for first, second in zip(found[0][4:], found[1][4:], strict=True):
        np.testing.assert_array_equal(first, second)
