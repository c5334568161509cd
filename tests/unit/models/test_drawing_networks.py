"""Networks that give distributions, and networks that take noise."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from .small_networks import FEW, build, fields, interpolated, marked, predicted

pytestmark = pytest.mark.usefixtures("keras_reset")
#: Channels of each predictand, and of its mean's place.
CHANNELS = {"gaussian": 2, "bernoulli-gamma": 4, "quantiles": 11}
EACH = marked(FEW)
SIZES = {"shape": (5, 6), "context": 1, "channels": 3, "outputs": 2, "base": (2, 0), "static": 1}


def inputs(window: int | None, scale: int = 3) -> list[np.ndarray]:
    steps = [window] if window else []
    return [fields(2, *steps, 5, 6, 3), fields(1, 3 * scale, 4 * scale, 1)]


def saved_and_loaded(model: keras.Model, folder) -> keras.Model:
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras", compile=False)


@pytest.mark.parametrize(("backbone", "upsampling", "window"), EACH)
@pytest.mark.parametrize("kind", CHANNELS)
def test_distributions(kind, backbone, upsampling, window, tmp_path):
    model = build(backbone, upsampling, 3, blocks=1, time_window=window, distribution=kind, **SIZES)
    given = inputs(window)
    output = predicted(model, *given)
    assert model.output_shape == (None, *output.shape[1:]) == (None, 9, 12, 2 * CHANNELS[kind])
    if kind != "bernoulli-gamma":  # whose mean is that of its parameters
        last = given[0][:, -1] if window else given[0]
        np.testing.assert_allclose(output[..., :2], interpolated(last[..., [2, 0]], 3, context=1), atol=1e-5)
    np.testing.assert_array_equal(predicted(saved_and_loaded(model, tmp_path), *given), output)


@pytest.mark.parametrize(("backbone", "upsampling", "window"), EACH)
def test_noise_reaches_the_output_once_it_has_learned(backbone, upsampling, window, tmp_path):
    model = build(backbone, upsampling, 3, blocks=1, time_window=window, noise=2, **SIZES)
    assert [given.name for given in model.inputs] == ["coarse", "static", "noise"]
    given = inputs(window)
    one, other = (fields(2, 9, 12, 2, seed=seed) for seed in (5, 6))
    # It starts as the interpolation; then the weights of the output are no longer zero.
    np.testing.assert_array_equal(predicted(model, *given, one), predicted(model, *given, other))
    model.get_layer("output").set_weights([fields(*weight.shape) for weight in model.get_layer("output").weights])
    found = [predicted(model, *given, noise) for noise in (one, other)]
    assert (found[0] != found[1]).mean() > 0.99
    np.testing.assert_array_equal(predicted(saved_and_loaded(model, tmp_path), *given, one), found[0])


def test_noise_reaches_across_coarse_cells_where_the_network_works_on_them():
    model = build("resnet", "spc", 4, blocks=1, noise=1, localized="none", shape=(6, 6))
    model.get_layer("output").set_weights([fields(*weight.shape) for weight in model.get_layer("output").weights])
    coarse, noise = fields(1, 6, 6, 1), fields(1, 24, 24, 1)
    changed = noise.copy()
    changed[0, 12, 12] += 3
    reached = predicted(model, coarse, noise) != predicted(model, coarse, changed)
    rows = np.flatnonzero(reached[0, ..., 0].any(axis=1))
    assert rows.max() - rows.min() > 8, "more than two coarse cells"


@pytest.mark.parametrize("kind", CHANNELS)
def test_constraints_hold_for_the_mean(kind):
    constraints = [("non-negative", "none"), ("multiplicative", "none")]
    model = build("resnet", "spc", 2, blocks=1, distribution=kind, constraints=constraints, **SIZES)
    coarse = np.abs(fields(2, 5, 6, 3))
    mean = predicted(model, coarse, fields(1, 6, 8, 1))[..., :2]
    assert mean[..., 0].min() >= 0
    means = mean[..., 1].reshape(2, 3, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(means, coarse[:, 1:-1, 1:-1, 0], rtol=1e-4)
