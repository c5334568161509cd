"""The discriminator: for every scale, with and without static fields, windows and context, on any grid."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.config.training import Discriminator
from dl4ds_core.models.discriminator import build_discriminator

from .small_networks import fields

pytestmark = pytest.mark.usefixtures("keras_reset")
SMALL = Discriminator(filters=8, blocks=1)


def inputs_of(scale: int, window: int | None, context: int, static: int, rows: int = 3, columns: int = 5):
    steps = [window] if window else []
    cells = rows * scale, columns * scale
    given = [fields(2, *steps, rows + 2 * context, columns + 2 * context, 2), fields(2, *cells, 1, seed=2)]
    given += [(fields(2, *cells, 1, seed=3) > 0.1).astype(np.float32)]
    given[1] = given[1] * given[2]
    return [*given, fields(1, *cells, static)] if static else given


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize(("window", "context", "static"), [(None, 0, 0), (3, 1, 2), (None, 2, 1)])
def test_it_judges_each_coarse_cell(scale, window, context, static):
    network = build_discriminator(
        SMALL, scale=scale, channels=2, outputs=1, static=static, context=context, time_window=window
    )
    assert network(inputs_of(scale, window, context, static)).shape == (2, 3, 5, 1)
    assert network(inputs_of(scale, window, context, static, 2, 4)).shape == (2, 2, 4, 1), "on a patch"


def test_it_looks_at_all_inputs_and_every_weight_learns(tmp_path):
    import tensorflow as tf

    network = build_discriminator(SMALL, scale=3, channels=2, outputs=1, static=1, context=1, time_window=2)
    given = [tf.constant(each) for each in inputs_of(3, 2, 1, 1)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        judged = tf.reduce_sum(network(given) ** 2)
    for gradient in tape.gradient(judged, given):
        assert np.abs(gradient).max() > 0
    for weight, gradient in zip(
        network.trainable_variables, tape.gradient(judged, network.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, weight.path
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(np.asarray(loaded(given)), np.asarray(network(given)))


def test_samples_do_not_mix():
    network = build_discriminator(SMALL, scale=2, channels=2, outputs=1)
    given = inputs_of(2, None, 0, 0)
    together = np.asarray(network(given))
    np.testing.assert_allclose(np.asarray(network([each[1:] for each in given])), together[1:], rtol=1e-5, atol=1e-6)
