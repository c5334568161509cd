"""What holds for every loss, and their weighted sum."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from dl4ds_core.config.training import LossName
from dl4ds_core.errors import ConfigError
from dl4ds_core.losses import NAMES, NEED_DATA_RANGE, PROBABILISTIC, mean_weight, weighted_loss

each_loss = pytest.mark.parametrize("name", NAMES)


def test_the_configuration_knows_them_all():
    assert {*NAMES, *PROBABILISTIC} == set(get_args(LossName))


@each_loss
def test_one_number_per_sample_whatever_the_others_are(name, example):
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    weights = example.area * example.mask
    together = np.asarray(loss(example.truth, example.prediction, weights))
    assert together.shape == (2,)
    assert together.dtype == np.float32
    alone = [
        np.asarray(loss(example.truth[i : i + 1], example.prediction[i : i + 1], weights[i : i + 1])) for i in range(2)
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5)


@each_loss
def test_a_perfect_prediction_costs_nothing(name, example):
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    for weights in (example.area, example.area * example.mask):
        np.testing.assert_allclose(np.asarray(loss(example.truth, example.truth, weights)), 0.0, atol=1e-6)


@each_loss
def test_a_worse_prediction_costs_more(name, example):
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    worse = example.truth + 2 * (example.prediction - example.truth)
    better, worse = (np.asarray(loss(example.truth, field, example.area)) for field in (example.prediction, worse))
    assert (better > 0.01).all()
    assert (worse > 1.1 * better).all()


@each_loss
def test_weights_of_all_shapes_say_the_same(name, example):
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    shared = np.asarray(loss(example.truth, example.prediction, example.area))
    for weights in (np.stack([example.area] * 2), example.area * np.ones_like(example.truth)):
        found = np.asarray(loss(example.truth, example.prediction, weights))
        np.testing.assert_allclose(found, shared, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(mean_weight(weights)), 1.0, rtol=1e-5)


@each_loss
def test_a_loss_is_in_proportion_to_its_weights(name, example):
    """So that sums of losses divided by sums of weights are means, of samples with few valid cells too."""
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    weights = example.area * example.mask
    once, thrice = (
        np.asarray(loss(example.truth, example.prediction, factor * weights)) for factor in (np.float32(1), 3)
    )
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-5)


@each_loss
def test_channels_with_cells_of_different_number_count_by_their_weight(name, example):
    """The mean over two channels is that of each, weighted by its valid area."""
    weights = example.area * example.mask
    weights[..., 1] *= np.linspace(0, 1, 24)[:, None] > 0.6
    both = weighted_loss({name: 1.0}, data_range=example.data_range)(example.truth, example.prediction, weights)
    parts = []
    for channel in range(2):
        one = slice(channel, channel + 1)
        loss = weighted_loss({name: 1.0}, data_range=example.data_range[one])
        parts.append(np.asarray(loss(example.truth[..., one], example.prediction[..., one], weights[..., one])))
    np.testing.assert_allclose(np.asarray(both), np.mean(parts, axis=0), rtol=1e-5)


@each_loss
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30, 0.0])
def test_what_is_masked_has_no_influence(name, garbage, example, gradient_of):
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    masked = example.mask == 0
    results = [
        gradient_of(loss, truth, prediction, example.area * example.mask)
        for truth, prediction in [
            (example.truth, example.prediction),
            (np.where(masked, np.float32(garbage), example.truth), np.where(masked, 7.0, example.prediction)),
        ]
    ]
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    gradient = results[1][1]
    assert not gradient[masked].any()
    assert gradient[~masked].all()


@each_loss
def test_the_gradient_is_the_slope(name, example, gradient_of):
    """Along a random direction, against central differences."""
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    weights = example.area * example.mask
    direction = np.random.default_rng(5).normal(size=example.truth.shape).astype(np.float32)
    direction += np.sign(example.prediction - example.truth)  # or sums of both signs leave hardly anything
    _, gradient = gradient_of(loss, example.truth, example.prediction, weights)
    step = np.float32(2e-3)
    ahead, behind = (
        np.asarray(loss(example.truth, example.prediction + sign * step * direction, weights), dtype=np.float64).sum()
        for sign in (1, -1)
    )
    assert (gradient * direction).sum() == pytest.approx((ahead - behind) / (2 * float(step)), rel=0.02)


def degenerate_cases():
    """Truth, prediction and valid cells of single samples."""
    random = np.random.default_rng(3).normal(size=(24, 24, 1)).astype(np.float32)
    zeros, ones, one_cell = np.zeros_like(random), np.ones_like(random), np.zeros_like(random)
    one_cell[5, 5] = 1
    return {
        "equal fields": (random, random, ones),
        "equal constants": (ones, ones, ones),
        "different constants": (ones, 3 * ones, ones),
        "zeros": (zeros, zeros, ones),
        "a constant prediction": (random, zeros, ones),
        "the opposite": (random, -random, ones),
        "far outside of the range": (random, 1000 * random, ones),
        "one valid cell": (random, -random, one_cell),
        "no valid cell": (random, -random, zeros),
        "no truth at all": (random * np.nan, random, zeros),
    }


@each_loss
def test_value_and_gradient_are_always_finite(name, gradient_of):
    cases = degenerate_cases()
    truth, prediction, weights = (np.stack(fields) for fields in zip(*cases.values(), strict=True))
    losses, gradients = gradient_of(weighted_loss({name: 1.0}, data_range=[(-3.0, 3.0)]), truth, prediction, weights)
    for case, loss, gradient, valid in zip(cases, losses, gradients, weights, strict=True):
        assert np.isfinite(loss), case
        assert np.isfinite(gradient).all(), case
        assert not gradient[valid == 0].any(), case
        assert valid.any() or loss == 0, case


@each_loss
@pytest.mark.parametrize("size", [(1, 1), (3, 8)])
def test_small_grids(name, size, example_of):
    example = example_of(24, 23)
    truth, prediction = (field[:, : size[0], : size[1]] for field in (example.truth, example.prediction))
    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    assert np.isfinite(np.asarray(loss(truth, prediction, np.ones((*size, 1))))).all()


@each_loss
def test_batches_of_any_size_and_half_precision_in_a_compiled_step(name, example):
    import tensorflow as tf

    loss = weighted_loss({name: 1.0}, data_range=example.data_range)
    shape = tf.TensorSpec((None, *example.truth.shape[1:]))
    step = tf.function(
        lambda truth, prediction, weights: loss(truth, tf.cast(prediction, "bfloat16"), weights),
        input_signature=[shape, shape, shape],
    )
    rounded = tf.cast(tf.cast(example.prediction, "bfloat16"), "float32")
    for count in (1, 2):
        weights = (example.area * example.mask)[:count]
        found = step(example.truth[:count], example.prediction[:count], weights)
        expected = loss(example.truth[:count], rounded[:count], weights)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4)


ELSEWHERE = """
import json, sys
import numpy as np
from dl4ds_core.losses import NAMES, PROBABILISTIC, weighted_loss

fields = np.load(sys.argv[1])
losses = {}
for name in NAMES:
    loss = weighted_loss({name: 1.0}, data_range=json.loads(sys.argv[2]))
    losses[name] = np.asarray(loss(fields["truth"], fields["prediction"], fields["weights"])).tolist()
print(json.dumps(losses))
"""


def test_another_backend_gives_the_same(example, tmp_path):
    weights = example.area * example.mask
    np.savez(tmp_path / "fields.npz", truth=example.truth, prediction=example.prediction, weights=weights)
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "fields.npz"), json.dumps(example.data_range)]
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    losses = json.loads(result.stdout)
    for name in NAMES:
        here = weighted_loss({name: 1.0}, data_range=example.data_range)(example.truth, example.prediction, weights)
        np.testing.assert_allclose(np.asarray(here), losses[name], rtol=1e-4)


@pytest.mark.parametrize(
    "terms",
    [
        {"mae": 2.0, "mse": 0.5},
        {"dssim": 0.8, "mae": 0.2},
        {"dssim": 0.6, "mae": 0.2, "mse": 0.2},
        {"ms-dssim": 0.6, "mae": 0.2, "mse": 0.2},
        dict.fromkeys(NAMES, 0.1),
    ],
)
def test_weights_of_a_sum(terms, example):
    """Among them the combinations that DL4DS has as functions of their own."""
    weights = example.area * example.mask

    def value(terms):
        loss = weighted_loss(terms, data_range=example.data_range, quantile=0.8)
        return np.asarray(loss(example.truth, example.prediction, weights))

    expected = sum(weight * value({name: 1.0}) for name, weight in terms.items())
    np.testing.assert_allclose(value(terms), expected, rtol=1e-5)


def test_an_unknown_loss_lists_those_there_are():
    with pytest.raises(ValueError, match=r"expected losses among mae, mse, .*, likelihood, found 'ssim'"):
        weighted_loss({"mae": 1.0, "ssim": 1.0})


@pytest.mark.parametrize("quantile", [0.0, 1.0, np.nan])
def test_a_quantile_lies_between_0_and_1(quantile):
    with pytest.raises(ValueError, match=f"expected a quantile between 0 and 1, found {quantile}"):
        weighted_loss({"quantile": 1.0}, quantile=quantile)


@pytest.mark.parametrize("name", NEED_DATA_RANGE)
def test_similarity_needs_a_range(name):
    with pytest.raises(ValueError, match=f"the loss '{name}' needs `data_range`"):
        weighted_loss({"mae": 1.0, name: 1.0})


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_an_empty_range_says_what_to_do(bounds):
    with pytest.raises(ConfigError, match=r"found .* over the training period.*`training.data_range`"):
        weighted_loss({"dssim": 1.0}, data_range=[(0.0, 1.0), bounds])
    weighted_loss({"mae": 1.0}, data_range=[(0.0, 1.0), bounds])


@pytest.mark.parametrize("name", NEED_DATA_RANGE)
def test_there_is_a_range_for_each_channel(name, example):
    loss = weighted_loss({name: 1.0}, data_range=[(0.0, 1.0)])
    with pytest.raises(ValueError, match="expected a data range for each of 2 channels, found 1"):
        loss(example.truth, example.prediction, example.area)
