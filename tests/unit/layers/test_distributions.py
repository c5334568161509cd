"""Parameters of distributions: in their bounds, the mean first."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.layers import DistributionParameters, raw_channels
from dl4ds_core.layers.distributions import mean_weights

LEVELS = [0.1, 0.3, 0.5, 0.7, 0.9]


def parameters(kind: str, raw: np.ndarray, outputs: int = 2, zeros: tuple[float, ...] = (0.0, 0.0)) -> list[np.ndarray]:
    layer = DistributionParameters(kind, outputs, LEVELS if kind == "quantiles" else ())
    layer.build(raw.shape)
    layer.set_zeros(zeros)
    return np.split(np.asarray(layer(raw)), layer.compute_output_shape(raw.shape)[-1] // outputs, axis=-1)


def raw_of(kind: str, outputs: int = 2, size: float = 3.0) -> np.ndarray:
    shape = (4, 3, 5, raw_channels(kind, outputs, len(LEVELS)))
    return (size * np.random.default_rng(1).normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "levels", "given", "expected", "weights"),
    [("gaussian", [], 4, 4, 0), ("bernoulli-gamma", [], 6, 8, 1), ("quantiles", LEVELS, 10, 12, 0)],
)
def test_what_every_layer_must_pass(check_layer, kind, levels, given, expected, weights):
    arguments = {"kind": kind, "outputs": 2, "levels": levels}
    check_layer(DistributionParameters, arguments, (2, 3, 4, given), (2, 3, 4, expected), weights)


def test_they_start_at_one():
    (_, deviation), (_, probability, shape, scale) = (
        parameters(kind, np.zeros_like(raw_of(kind))) for kind in ("gaussian", "bernoulli-gamma")
    )
    np.testing.assert_allclose(probability, 0.5, rtol=1e-6)
    for start in (deviation, shape, scale):
        np.testing.assert_allclose(start, 1.0, rtol=2e-3)


def test_a_gaussian_keeps_its_mean_and_has_a_positive_deviation():
    raw = raw_of("gaussian", size=30.0)
    mean, deviation = parameters("gaussian", raw)
    np.testing.assert_array_equal(mean, raw[..., :2])
    assert deviation.min() >= 1e-3


def test_the_mean_of_rain_is_that_of_its_parameters():
    mean, probability, shape, scale = parameters("bernoulli-gamma", raw_of("bernoulli-gamma"), zeros=(-0.5, 0.25))
    np.testing.assert_allclose(mean, probability * shape * scale + [-0.5, 0.25], rtol=1e-5)
    for extreme in (-1e4, 1e4):
        _, certain, *_ = parameters("bernoulli-gamma", np.full((1, 1, 1, 6), extreme, np.float32))
        assert np.isfinite(np.log(certain)).all()
        assert np.isfinite(np.log(1 - certain)).all()


def test_quantiles_ascend_about_their_mean():
    raw = raw_of("quantiles")
    mean, *quantiles = parameters("quantiles", raw)
    np.testing.assert_array_equal(mean, raw[..., :2])
    np.testing.assert_allclose(np.tensordot(mean_weights(LEVELS), quantiles, 1), mean, atol=1e-5)
    assert (np.diff(quantiles, axis=0) > 0).all()


@pytest.mark.parametrize(
    "levels", [LEVELS, [0.5, 0.9, 0.99], [0.01, 0.02], [round(0.05 + 0.1 * n, 2) for n in range(10)]]
)
def test_their_mean_is_that_of_what_is_drawn_from_them(levels):
    """Straight lines between quantiles, and on beyond the outermost."""
    values = np.sort(np.random.default_rng(2).normal(size=len(levels)))
    draws = (np.arange(200_000) + 0.5) / 200_000
    below = np.clip(np.searchsorted(levels, draws) - 1, 0, len(levels) - 2)
    share = (draws - np.take(levels, below)) / np.take(np.diff(levels), below)
    drawn = values[below] + share * np.diff(values)[below]
    assert mean_weights(levels) @ values == pytest.approx(drawn.mean(), rel=1e-6, abs=1e-6)
    assert mean_weights(levels).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("kind", "levels"), [("poisson", ()), ("quantiles", ()), ("gaussian", (0.1, 0.9))])
def test_what_is_not_known_is_refused(kind, levels):
    with pytest.raises(ValueError, match="expected"):
        DistributionParameters(kind, 1, levels)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="expected 4 channels"):
        DistributionParameters("gaussian", 2)(np.zeros((1, 2, 2, 3), np.float32))
