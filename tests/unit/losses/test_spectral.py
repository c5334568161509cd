"""The spectral loss against sums written out, and what it knows of a field."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.losses import mean_weight, weighted_loss

LOSS = weighted_loss({"spectral": 1.0})


def amplitudes(field: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of one field (Y, X): transform by explicit sums, of the tapered difference from the weighted mean."""
    rows, columns = field.shape
    valid = weight > 0
    y, x = np.mgrid[:rows, :columns]
    taper = valid * np.sin(np.pi * (y + 0.5) / rows) ** 2 * np.sin(np.pi * (x + 0.5) / columns) ** 2
    taper /= np.sqrt((taper**2).mean())
    field = np.where(valid, field, 0)
    field = (field - np.average(field, weights=weight)) * taper
    along_y, along_x = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in (rows, columns))
    return np.abs(along_y @ field @ along_x) / np.sqrt(rows * columns)


@pytest.mark.parametrize("complete", [True, False])
def test_against_sums_written_out(complete, example):
    weights = example.area * (np.ones_like(example.mask) if complete else example.mask)
    expected = np.zeros((2, 2))
    for sample, channel in np.ndindex(2, 2):
        weight = weights[sample, ..., channel].astype(np.float64)
        of_truth, of_prediction = (
            amplitudes(field[sample, ..., channel].astype(np.float64), weight)
            for field in (example.truth, example.prediction)
        )
        expected[sample, channel] = weight.mean() * np.abs(of_truth - of_prediction).mean()
    found = np.asarray(LOSS(example.truth, example.prediction, weights))
    np.testing.assert_allclose(found, expected.mean(axis=1), rtol=1e-4)


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("size", [0.5, 4.0])
def test_white_noise_that_is_missed_costs_about_its_mean_size(size, share):
    """0.89 times its deviation (the mean of a Rayleigh distribution) where a mean absolute error is 0.80 times."""
    random = np.random.default_rng(7)
    truth = random.normal(scale=size, size=(20, 32, 48, 1))
    weights = (random.uniform(size=truth.shape) < share).astype(np.float32)
    found = np.asarray(LOSS(truth, np.zeros_like(truth), weights)).sum() / np.asarray(mean_weight(weights)).sum()
    assert found == pytest.approx(size * np.sqrt(np.pi) / 2, rel=0.03)


def test_it_is_in_proportion_to_the_fields(example):
    once = np.asarray(LOSS(example.truth, example.prediction, example.area))
    np.testing.assert_allclose(
        np.asarray(LOSS(5 * example.truth, 5 * example.prediction, example.area)), 5 * once, 1e-4
    )


def test_it_knows_no_mean(example):
    biased = np.asarray(LOSS(example.truth, example.truth + 3, example.area))
    np.testing.assert_allclose(biased, 0, atol=1e-5)


def test_it_knows_no_sign(example):
    middle = (example.truth * example.area).mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(np.asarray(LOSS(example.truth, 2 * middle - example.truth, example.area)), 0, atol=1e-5)


def test_a_wave_costs_at_its_own_length():
    """A prediction that is too smooth lacks amplitude; one with the right variance at the wrong length as well."""
    x = np.arange(48) * np.ones((32, 1))
    wave, longer, weaker = (
        (factor * np.sin(2 * np.pi * x / length))[None, ..., None]
        for factor, length in [(1.0, 4.0), (1.0, 8.0), (0.5, 4.0)]
    )
    of_longer, of_weaker = (float(np.asarray(LOSS(wave, field, np.ones((32, 48, 1))))[0]) for field in (longer, weaker))
    assert of_longer == pytest.approx(4 * of_weaker, rel=0.02)
