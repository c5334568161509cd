"""Every valid combination: shape, a few steps of training, saving, and a second grid."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from .small_networks import COMBINATIONS, FEW, UPSAMPLINGS, WINDOW, build, fields, interpolated, predicted

pytestmark = pytest.mark.usefixtures("keras_reset")
SCALES = (2, 3, 4, 5, 8, 16)
#: One scale for each of the few of `make test`, so that all but the largest occur.
EVERY = [
    pytest.param(*combination, scale, marks=[] if few else pytest.mark.full)
    for combination in COMBINATIONS
    for scale in SCALES
    for few in [combination in FEW and SCALES[FEW.index(combination) % 5] == scale]
]


def window_of(window: int | None) -> tuple[int, ...]:
    return () if window is None else (window,)


def train(model: keras.Model, inputs: list[np.ndarray], truth: np.ndarray, steps: int = 6) -> list[float]:
    """Gradient descent in steps of 0.05 at most; the loss before each. Optimisers have their own tests."""
    losses, reached = [], set()
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(inputs, training=True) - truth))
        gradients = tape.gradient(loss, model.trainable_variables)
        rate = 0.05 / max(1.0, float(tf.linalg.global_norm(gradients)))
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            assert gradient is not None, f"no gradient reaches {variable.path}"
            variable.assign(variable - rate * gradient)
            reached |= {variable.path} if np.abs(gradient).max() > 0 else set()
        losses.append(float(loss))
    assert reached == {variable.path for variable in model.trainable_variables}, "some weights have learned nothing"
    return losses


@pytest.mark.parametrize(("backbone", "upsampling", "window", "scale"), EVERY)
def test_it_is_built_trained_saved_and_used_elsewhere(backbone, upsampling, window, scale, tmp_path):
    model = build(backbone, upsampling, scale, blocks=1, time_window=window, localized="none", activation="elu")
    coarse = fields(3, *window_of(window), 3, 5, 1)
    last = coarse[:, -1] if window else coarse
    # It starts as the interpolation that it adds to.
    output = predicted(model, coarse)
    assert output.shape == (3, 3 * scale, 5 * scale, 1)
    assert model.output_shape == (None, None, None, 1)
    np.testing.assert_allclose(output, interpolated(last, scale), atol=1e-5)

    truth = interpolated(last, scale) + 0.5 + 0.5 * np.repeat(np.repeat(last, scale, axis=1), scale, axis=2) ** 2
    losses = train(model, [coarse], truth.astype(np.float32))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.95 * losses[0]

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(predicted(loaded, coarse), predicted(model, coarse))

    # Of another size, and with cells that may not be halved.
    elsewhere = predicted(loaded, fields(2, *window_of(window), 7, 4, 1))
    assert elsewhere.shape == (2, 7 * scale, 4 * scale, 1)
    assert np.isfinite(elsewhere).all()


@pytest.mark.parametrize("scale", [pytest.param(s, marks=[] if s == 7 else pytest.mark.full) for s in range(2, 17)])
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_every_scale(upsampling, scale):
    model = build("convnet", upsampling, scale, blocks=1, filters=1, shape=(2, 3), context=0)
    coarse = fields(1, 2, 3, 1)
    assert model.output_shape == (None, 2 * scale, 3 * scale, 1)
    np.testing.assert_allclose(predicted(model, coarse), interpolated(coarse, scale), atol=1e-5)


CONTEXTS = [
    pytest.param(*combination, scale, marks=[] if (combination, scale) == (few, 3) else pytest.mark.full)
    for combination in COMBINATIONS
    for scale in (2, 3, 7)
    for few in [combination if combination in FEW[::2] else None]
]


@pytest.mark.parametrize(("backbone", "upsampling", "window", "scale"), CONTEXTS)
def test_with_context_and_static_fields(backbone, upsampling, window, scale, tmp_path):
    """Cells around the domain, predictands among other channels, weights per cell: shape, start, saving."""
    sizes = {"shape": (5, 6), "context": 1, "channels": 3, "outputs": 2, "base": (2, 0), "static": 2}
    model = build(backbone, upsampling, scale, blocks=1, time_window=window, localized="convolution", **sizes)
    coarse, static = fields(2, *window_of(window), 5, 6, 3), fields(1, 3 * scale, 4 * scale, 2)
    output = predicted(model, coarse, static)
    assert model.output_shape == (None, *output.shape[1:]) == (None, 3 * scale, 4 * scale, 2)
    last = coarse[:, -1] if window else coarse
    np.testing.assert_allclose(output, interpolated(last[..., [2, 0]], scale, context=1), atol=1e-5)
    truth = output + 0.5
    losses = train(model, [coarse, static], truth, 3)
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(predicted(loaded, coarse, static), predicted(model, coarse, static))


def test_the_few_have_every_backbone_and_every_upsampling():
    assert {(backbone, window) for backbone, _, window in FEW} == {(b, w) for b, _, w in COMBINATIONS}
    assert {upsampling for _, upsampling, _ in FEW} == set(UPSAMPLINGS)
    assert len(COMBINATIONS) == len(set(COMBINATIONS)) == 32
    assert {window for _, _, window in FEW} == {None, WINDOW}
