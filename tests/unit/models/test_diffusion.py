"""Diffusion: from noise to fields of known distributions; scalings of the denoiser; the two networks as one file."""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pytest
import scipy.stats

from dl4ds_core.config.models import Model
from dl4ds_core.config.training import Denoiser
from dl4ds_core.layers import Waves
from dl4ds_core.models.denoiser import build_denoiser
from dl4ds_core.models.diffusion import ResidualDiffusion, denoised, drawn_levels, levels, loss_weight, solve
from dl4ds_core.models.networks import build_network

from .small_networks import fields

pytestmark = pytest.mark.usefixtures("keras_reset")
CELLS = 64
STRONGEST = 80.0


def gaussian(mean: float, deviation: float):
    """The best guess of a normal number behind a noisy one, in closed form."""

    def guess(noisy, level):
        return (deviation**2 * noisy + level**2 * mean) / (deviation**2 + level**2)

    return guess


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=size)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (1.5, 0.3), (-0.5, 2.0)])
def test_normal_numbers_have_their_mean_and_deviation(mean, deviation):
    start = noise(1000)
    # Along the equation a normal number keeps its place in the distribution, which narrows with the noise.
    exact = mean + (start * STRONGEST - mean) * deviation / np.hypot(deviation, STRONGEST)
    errors = np.abs(solve(gaussian(mean, deviation), start, levels(25, CELLS)) - exact)
    assert errors.max() < 0.015 * deviation * np.abs(start).max()
    assert np.abs(solve(gaussian(mean, deviation), start, levels(250, CELLS)) - exact).max() < 0.02 * deviation


def test_with_twice_as_many_steps_the_error_is_a_quarter():
    start = noise(100)
    exact, *found = (solve(gaussian(0.5, 0.5), start, levels(steps, CELLS)) for steps in (2000, 40, 80, 160))
    errors = [np.abs(each - exact).max() for each in found]
    for many, more in pairwise(errors):
        assert many / more == pytest.approx(4, rel=0.25)


def test_two_values_are_drawn_as_often_as_they_occur():
    weights, values = np.array([0.3, 0.7]), np.array([-1.0, 1.0])

    def guess(noisy, level):
        squares = (noisy[:, None] - values) ** 2
        near = weights * np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (2 * level**2))
        return (near * values).sum(axis=1) / near.sum(axis=1)

    found = solve(guess, noise(4000), levels(25, CELLS))
    assert np.abs(np.abs(found) - 1).max() < 0.02
    assert scipy.stats.binomtest(int((found > 0).sum()), 4000, 0.7).pvalue > 1e-3


def test_one_step_is_the_best_guess():
    expected = gaussian(0.5, 0.3)(noise(10) * STRONGEST, STRONGEST)
    np.testing.assert_allclose(solve(gaussian(0.5, 0.3), noise(10), levels(1, CELLS)), expected)


@pytest.mark.parametrize("length", [1.5, 6.0])
def test_fields_have_the_variance_of_cells_and_of_the_whole_domain(length):
    """Cells that are alike over some distance, by their best guess in closed form: wave by wave."""
    size = 32
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    power = np.exp(-2 * (np.pi * length * waves) ** 2)
    power *= size**2 / power.sum()  # so that the variance of a cell is one

    def guess(noisy, level):
        return np.fft.ifft2(np.fft.fft2(noisy) * power / (power + level**2)).real

    start = np.random.default_rng(5).normal(size=(400, size, size))
    found = solve(guess, start, levels(25, size**2))
    exact = np.fft.ifft2(np.fft.fft2(start) * np.sqrt(power)).real
    assert found.var() / exact.var() == pytest.approx(1, abs=0.04)
    assert found.mean(axis=(1, 2)).var() / exact.mean(axis=(1, 2)).var() == pytest.approx(1, abs=0.04)
    assert exact.var() == pytest.approx(1, abs=0.05)


def test_levels_fall_from_the_strongest_to_none():
    for steps in (1, 2, 25):
        found = levels(steps, 400)
        assert (found.size, found[0], found[-1]) == (steps + 1, pytest.approx(200), 0)
        assert (np.diff(found) < 0).all()
    assert levels(25, 400)[-2] == pytest.approx(0.01)


def test_levels_of_the_training_are_lognormal():
    found = np.log(drawn_levels(noise(5000)))
    assert scipy.stats.kstest(found, "norm", (0.0, 1.5)).pvalue > 1e-3


def test_without_knowledge_the_guess_is_the_best_linear_one_and_its_loss_is_one():
    """Residuals of variance one, and a denoiser that gives zero."""
    network = build_denoiser(Denoiser(filters=4, levels=1), scale=2, channels=1, outputs=1)
    truth, dirt = fields(6, 40, 40, 1, seed=1), fields(6, 40, 40, 1, seed=2)
    truth, dirt = (each / each.std() for each in (truth, dirt))
    level = np.array([0.02, 0.1, 0.5, 1.0, 5.0, 50.0], np.float32)
    noisy = truth + level[:, None, None, None] * dirt
    ones = np.ones_like(noisy)
    found = np.asarray(denoised(network, noisy, level, ones, ones, fields(6, 20, 20, 1), None))
    np.testing.assert_allclose(found, noisy / (1 + level[:, None, None, None] ** 2), rtol=1e-5)
    losses = np.asarray(loss_weight(level)) * ((found - truth) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(losses, 1, rtol=0.06)


def test_cells_without_truth_are_zero_and_do_nothing():
    network = build_denoiser(Denoiser(filters=4, levels=1), scale=2, channels=1, outputs=1)
    for weight in network.trainable_weights:
        weight.assign(0.3 * np.random.default_rng(5).normal(size=weight.shape))
    valid = np.ones((8, 8, 1), np.float32)
    valid[2:5, 3:6] = 0
    noisy, level, given = fields(2, 8, 8, 1), np.array([0.3, 3.0], np.float32), fields(2, 4, 4, 1)
    found = np.asarray(denoised(network, noisy, level, noisy, valid, given, None))
    assert (found[:, 2:5, 3:6] == 0).all()
    assert (found[:, :2] != 0).all()
    other = noisy + 7 * (1 - valid)
    np.testing.assert_array_equal(np.asarray(denoised(network, other, level, noisy, valid, given, None)), found)


def test_the_two_networks_are_one_file(tmp_path):
    settings = Model(backbone="resnet", upsampling="spc", filters=4, blocks=1, dropout={"rate": 0.1})
    mean = build_network(settings, coarse_shape=(3, 4), scale=2, channels=1, outputs=1, base=[0])
    denoiser = build_denoiser(Denoiser(filters=4, levels=2), scale=2, channels=1, outputs=1)
    both = ResidualDiffusion(mean, denoiser, (6, 8))
    random = np.random.default_rng(3)
    for weight in both.weights:
        weight.assign(random.normal(size=weight.shape).astype("float32"))
    both.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert [weight.path for weight in loaded.mean.weights] == [weight.path for weight in mean.weights]
    assert len(loaded.weights) == len(mean.weights) + len(denoiser.weights) + 2
    for one, other in zip(loaded.weights, both.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    given = fields(2, 3, 4, 1)
    np.testing.assert_array_equal(np.asarray(loaded([given])), np.asarray(mean([given])))
    noisy, level = fields(2, 6, 8, 1), np.array([0.1, 2.0], np.float32)
    found, expected = (np.asarray(each.guess(noisy, level, noisy, given, None)) for each in (loaded, both))
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found).max() > 0


def test_waves_tell_numbers_apart():
    layer = Waves(3, 100.0)
    found = np.asarray(layer(np.array([[0.0], [0.5]], np.float32)))
    angles = 0.5 * np.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(found, [[0, 0, 0, 1, 1, 1], [*np.sin(angles), *np.cos(angles)]], atol=1e-5)
    assert layer.compute_output_shape((7, 1)) == (7, 6)
    assert Waves.from_config(layer.get_config()).highest == 100.0
