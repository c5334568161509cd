"""Losses per sample against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.losses import POINTWISE, mean_weight, weighted_loss

RANDOM = np.random.default_rng(1)
TRUTH, PREDICTION = (RANDOM.normal(size=(3, 4, 5, 2)).astype(np.float32) for _ in range(2))
AREA = RANDOM.uniform(0.5, 1.5, size=(4, 5, 1)).astype(np.float32)
AREA /= AREA.mean()


def huber(error: np.ndarray) -> np.ndarray:
    size = np.abs(error)
    return np.where(size < 1, error**2 / 2, size - 0.5)


EXPECTED = {"mae": np.abs, "mse": np.square, "huber": huber}


def test_there_is_a_reference_for_each():
    assert set(EXPECTED) == set(POINTWISE)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_one_number_per_sample_weighted_by_area(name):
    found = np.asarray(weighted_loss({name: 1.0})(TRUTH, PREDICTION, AREA))
    error = EXPECTED[name]((PREDICTION - TRUTH).astype(np.float64))
    expected = [np.average(error[i].mean(axis=-1), weights=AREA[..., 0]) for i in range(3)]
    assert found.shape == (3,)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_of_a_sum():
    parts = {name: np.asarray(weighted_loss({name: 1.0})(TRUTH, PREDICTION, AREA)) for name in EXPECTED}
    found = np.asarray(weighted_loss({"mae": 2.0, "mse": 0.5})(TRUTH, PREDICTION, AREA))
    np.testing.assert_allclose(found, 2 * parts["mae"] + 0.5 * parts["mse"], rtol=1e-5)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_perfect_prediction_costs_nothing(name):
    np.testing.assert_array_equal(np.asarray(weighted_loss({name: 1.0})(TRUTH, TRUTH, AREA)), 0.0)


@pytest.mark.parametrize("error", [3.0, -3.0])
def test_huber_is_linear_beyond_one(error):
    found = weighted_loss({"huber": 1.0})(np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), error), np.ones((2, 2, 1)))
    np.testing.assert_allclose(np.asarray(found), [2.5])


MASK = (np.random.default_rng(2).uniform(size=TRUTH.shape) < 0.6).astype(np.float32)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_sums_over_the_valid_area(name):
    losses = np.asarray(weighted_loss({name: 1.0})(TRUTH, PREDICTION, AREA * MASK))
    weights = np.asarray(mean_weight(AREA * MASK))
    error = EXPECTED[name]((PREDICTION - TRUTH).astype(np.float64))
    expected = np.average(error, weights=np.broadcast_to(AREA, error.shape) * MASK)
    np.testing.assert_allclose(losses.sum() / weights.sum(), expected, rtol=1e-5)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_complete_mask_is_none_at_all(name):
    loss = weighted_loss({name: 1.0})
    with_mask = np.asarray(loss(TRUTH, PREDICTION, AREA * np.ones_like(TRUTH)))
    np.testing.assert_allclose(with_mask, np.asarray(loss(TRUTH, PREDICTION, AREA)), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(mean_weight(AREA * np.ones_like(TRUTH))), 1.0, rtol=1e-6)


@pytest.mark.parametrize("name", list(EXPECTED))
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30, 0.0])
def test_what_is_masked_has_no_influence(name, garbage):
    import tensorflow as tf

    loss = weighted_loss({name: 1.0})
    results = []
    for truth in (TRUTH, np.where(MASK > 0, TRUTH, np.float32(garbage))):
        prediction = tf.Variable(PREDICTION)
        with tf.GradientTape() as tape:
            losses = loss(truth, prediction, AREA * MASK)
        results.append((losses.numpy(), tape.gradient(losses, prediction).numpy()))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not results[1][1][MASK == 0].any()
    assert results[1][1][MASK > 0].all()


def test_an_unknown_loss_lists_those_there_are():
    with pytest.raises(ValueError, match="expected losses among mae, mse, huber, found 'ssim'"):
        weighted_loss({"mae": 1.0, "ssim": 1.0})
