"""The denoiser: on any grid, with windows, context and static fields; it looks at all it is given."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.config.training import Denoiser
from dl4ds_core.models.denoiser import build_denoiser

from .small_networks import fields

pytestmark = pytest.mark.usefixtures("keras_reset")
SMALL = Denoiser(filters=4, levels=3)


def inputs_of(scale: int, window: int | None, context: int, static: int, rows: int = 3, columns: int = 5):
    steps = [window] if window else []
    cells = rows * scale, columns * scale
    given = [fields(2, *cells, 1, seed=2), np.array([[-1.0], [0.5]], np.float32), fields(2, *cells, 1, seed=3)]
    given += [(fields(2, *cells, 1, seed=4) > 0.1).astype(np.float32)]
    given += [fields(2, *steps, rows + 2 * context, columns + 2 * context, 2)]
    return [*given, fields(1, *cells, static)] if static else given


def randomised(network: keras.Model) -> keras.Model:
    random = np.random.default_rng(3)
    for weight in network.trainable_weights:
        weight.assign(0.3 * random.normal(size=weight.shape).astype("float32"))
    return network


@pytest.mark.parametrize("scale", [2, 3, 5])
@pytest.mark.parametrize(("window", "context", "static"), [(None, 0, 0), (3, 1, 2), (None, 2, 1)])
def test_it_gives_fields_like_the_noisy_ones(scale, window, context, static):
    network = build_denoiser(
        SMALL, scale=scale, channels=2, outputs=1, static=static, context=context, time_window=window
    )
    given = inputs_of(scale, window, context, static)
    assert not np.asarray(network(given)).any(), "before the training the guess is that of no knowledge"
    assert randomised(network)(given).shape == given[0].shape
    patch = inputs_of(scale, window, context, static, 2, 4)
    assert network(patch).shape == patch[0].shape


def test_it_looks_at_all_inputs_and_every_weight_learns(tmp_path):
    import tensorflow as tf

    network = build_denoiser(SMALL, scale=3, channels=2, outputs=1, static=1, context=1, time_window=2)
    given = [tf.constant(each) for each in inputs_of(3, 2, 1, 1)]
    randomised(network)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        total = tf.reduce_sum(network(given) ** 2)
    for each, gradient in zip(network.inputs, tape.gradient(total, given), strict=True):
        assert np.abs(gradient).max() > 0, each.name
    for weight, gradient in zip(
        network.trainable_variables, tape.gradient(total, network.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, weight.path
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(np.asarray(loaded(given)), np.asarray(network(given)))


def test_one_level_and_many_filters():
    network = build_denoiser(Denoiser(filters=8, levels=1), scale=2, channels=2, outputs=1)
    given = inputs_of(2, None, 0, 0)
    assert randomised(network)(given).shape == given[0].shape


def test_samples_do_not_mix():
    network = randomised(build_denoiser(SMALL, scale=2, channels=2, outputs=1))
    given = inputs_of(2, None, 0, 0)
    together = np.asarray(network(given))
    np.testing.assert_allclose(np.asarray(network([each[1:] for each in given])), together[1:], rtol=1e-4, atol=1e-5)
