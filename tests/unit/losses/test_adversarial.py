"""What generator and discriminator play for."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from dl4ds_core.losses.adversarial import KINDS, discriminator_loss, generator_loss, gradient_penalty

REAL, FAKE = np.float32([2.0, -1.0, 0.3]), np.float32([-0.5, 1.5, 0.0])


def cross_entropy(label: int, judgement: np.ndarray) -> np.ndarray:
    probability = 1 / (1 + np.exp(-judgement.astype(np.float64)))
    return -np.log(probability if label else 1 - probability)


def test_they_are_those_of_the_papers():
    expected = {
        "vanilla": (cross_entropy(1, REAL) + cross_entropy(0, FAKE), cross_entropy(1, FAKE)),
        "least-squares": (0.5 * (REAL - 1) ** 2 + 0.5 * FAKE**2, 0.5 * (FAKE - 1) ** 2),
        "wasserstein": (FAKE - REAL, -FAKE),
    }
    assert set(expected) == set(KINDS)
    for kind, (telling, fooling) in expected.items():
        np.testing.assert_allclose(discriminator_loss(kind, REAL, FAKE), telling, rtol=1e-5)
        np.testing.assert_allclose(generator_loss(kind, ops.convert_to_tensor(FAKE)), fooling, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_judgements_far_off_are_finite(kind):
    far = np.float32([1e4, -1e4])
    assert np.isfinite(discriminator_loss(kind, ops.convert_to_tensor(-far), ops.convert_to_tensor(far))).all()
    assert np.isfinite(generator_loss(kind, ops.convert_to_tensor(far))).all()


@pytest.mark.parametrize("size", [4, 32])
def test_the_slope_is_that_over_a_change_of_one_in_each_cell(size):
    # The mean of the field has the slope one, whatever its size; twice the mean has two.
    mean = np.full((3, size, size, 1), 1 / size**2, np.float32)
    cells = np.full(3, size**2, np.float32)
    np.testing.assert_allclose(gradient_penalty(mean, cells), 0.0, atol=1e-6)
    np.testing.assert_allclose(gradient_penalty(2 * mean, cells), 1.0, rtol=1e-4)
    np.testing.assert_allclose(gradient_penalty(0 * mean, cells), 1.0, rtol=1e-4)
