"""Losses of the error in each cell against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.losses import mean_weight, weighted_loss

LEVEL = 0.8


def huber(error: np.ndarray) -> np.ndarray:
    size = np.abs(error)
    return np.where(size < 1, error**2 / 2, size - 0.5)


def pinball(error: np.ndarray) -> np.ndarray:
    return np.where(error < 0, LEVEL * -error, (1 - LEVEL) * error)


EXPECTED = {"mae": np.abs, "mse": np.square, "huber": huber, "quantile": pinball}
each_loss = pytest.mark.parametrize("name", list(EXPECTED))


@each_loss
def test_means_weighted_by_area(name, example):
    found = np.asarray(weighted_loss({name: 1.0}, quantile=LEVEL)(example.truth, example.prediction, example.area))
    error = EXPECTED[name]((example.prediction - example.truth).astype(np.float64))
    expected = [np.average(error[i].mean(axis=-1), weights=example.area[..., 0]) for i in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@each_loss
def test_sums_over_the_valid_area(name, example):
    weights = example.area * example.mask
    losses = np.asarray(weighted_loss({name: 1.0}, quantile=LEVEL)(example.truth, example.prediction, weights))
    error = EXPECTED[name]((example.prediction - example.truth).astype(np.float64))
    expected = np.average(error, weights=weights)
    np.testing.assert_allclose(losses.sum() / np.asarray(mean_weight(weights)).sum(), expected, rtol=1e-5)


@pytest.mark.parametrize("error", [3.0, -3.0])
def test_huber_is_linear_beyond_one(error):
    found = weighted_loss({"huber": 1.0})(np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), error), np.ones((2, 2, 1)))
    np.testing.assert_allclose(np.asarray(found), [2.5])


@pytest.mark.parametrize(("error", "expected"), [(-2.0, 1.8), (2.0, 0.2)])
def test_truth_above_the_prediction_weighs_the_quantile(error, expected):
    loss = weighted_loss({"quantile": 1.0}, quantile=0.9)
    found = loss(np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), error), np.ones((2, 2, 1)))
    np.testing.assert_allclose(np.asarray(found), [expected], rtol=1e-6)


def test_the_quantile_has_the_smallest_loss():
    truth = np.random.default_rng(4).gamma(0.5, size=(1, 100, 100, 1))
    loss, levels = weighted_loss({"quantile": 1.0}, quantile=0.9), np.linspace(0.85, 0.95, 21)
    values = [
        float(np.asarray(loss(truth, np.full_like(truth, np.quantile(truth, level)), np.ones((100, 100, 1))))[0])
        for level in levels
    ]
    assert levels[np.argmin(values)] == pytest.approx(0.9)


def test_without_a_level_the_quantile_is_half_the_absolute_error(example):
    fields = example.truth, example.prediction, example.area
    half, whole = (np.asarray(weighted_loss({name: 1.0})(*fields)) for name in ("quantile", "mae"))
    np.testing.assert_allclose(half, whole / 2, rtol=1e-6)
