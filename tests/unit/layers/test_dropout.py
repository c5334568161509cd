"""Dropout: what is dropped, when, and by which rank."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from dl4ds_core.layers import FeatureDropout

KINDS = ("plain", "spatial", "gaussian")
#: Samples, and channels, enough for shares to be known to a few percent.
SHAPE = (64, 4, 5, 64)


def dropped(kind: str, rate: float, inputs: np.ndarray, **settings: object) -> np.ndarray:
    return np.asarray(FeatureDropout(rate, kind, seed=3, **settings)(inputs, training=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 2, 3, 4, 5)], ids=str)
def test_what_every_layer_must_pass(check_layer, kind, shape):
    check_layer(FeatureDropout, {"rate": 0.3, "kind": kind, "at_prediction": False, "seed": 4}, shape, shape)


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("kind", ["plain", "spatial"])
def test_a_share_is_dropped_and_the_rest_divided_by_what_is_left(kind, rate):
    found = dropped(kind, rate, np.ones(SHAPE, np.float32))
    values = np.unique(found)
    np.testing.assert_allclose(values, [0.0, 1 / (1 - rate)], rtol=1e-6)
    # Of n independent draws: five standard deviations.
    draws = found.size if kind == "plain" else SHAPE[0] * SHAPE[-1]
    assert (found == 0).mean() == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / draws))


@pytest.mark.parametrize("shape", [SHAPE, (16, 3, 4, 5, 64)], ids=str)
def test_spatial_dropout_takes_whole_channels_of_a_sample(shape):
    cells = dropped("spatial", 0.5, np.ones(shape, np.float32)).reshape(shape[0], -1, shape[-1])
    assert (cells == cells[:, :1]).all()
    # But not the same ones of all samples, nor all channels of one.
    assert (cells[0] != cells[1]).any()
    assert 0 < (cells[0] == 0).mean() < 1


def test_plain_dropout_takes_single_values():
    found = dropped("plain", 0.5, np.ones(SHAPE, np.float32))
    share = (found == 0).mean(axis=(1, 2))
    assert ((share > 0) & (share < 1)).mean() > 0.99


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_gaussian_noise_has_mean_one_and_the_variance_of_dropout(rate):
    found = dropped("gaussian", rate, np.full(SHAPE, 3.0, np.float32)) / 3.0
    variance = rate / (1 - rate)
    assert found.mean() == pytest.approx(1.0, abs=5 * np.sqrt(variance / found.size))
    assert found.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / found.size))
    assert (found != found[:, :1, :1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_kept(kind):
    found = dropped(kind, 0.3, np.full(SHAPE, 2.0, np.float32))
    deviation = 2.0 * np.sqrt(0.3 / 0.7 / (SHAPE[0] * SHAPE[-1]))
    assert found.mean() == pytest.approx(2.0, abs=5 * deviation)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_dropped_when_predicting_unless_asked_for(kind):
    inputs = np.ones((2, 3, 4, 8), np.float32)
    np.testing.assert_array_equal(np.asarray(FeatureDropout(0.5, kind)(inputs, training=False)), inputs)
    np.testing.assert_array_equal(np.asarray(FeatureDropout(0.0, kind, True)(inputs, training=True)), inputs)
    layer = FeatureDropout(0.5, kind, at_prediction=True)
    members = [np.asarray(layer(inputs, training=False)) for _ in range(2)]
    assert (members[0] != inputs).any()
    assert (members[0] != members[1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_within_a_model_prediction_drops_only_if_asked_for(kind, keras_reset):
    inputs = np.ones((4, 3, 4, 8), np.float32)
    symbol = keras.Input((3, 4, 8))
    for at_prediction in (False, True):
        model = keras.Model(symbol, FeatureDropout(0.5, kind, at_prediction)(symbol))
        assert (np.asarray(model(inputs)) != inputs).any() == at_prediction
        assert (np.asarray(model(inputs, training=True)) != inputs).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_drop_what_one_process_would(kind, ranks):
    inputs = np.random.default_rng(1).normal(size=(6, 3, 4, 5)).astype(np.float32)
    single = FeatureDropout(0.4, kind, seed=7)
    several = [FeatureDropout(0.4, kind, seed=7) for _ in range(ranks)]
    for rank, layer in enumerate(several):
        layer.rank, layer.ranks = rank, ranks
    for _ in range(2):  # steps
        expected = np.asarray(single(inputs, training=True))
        for rank, layer in enumerate(several):
            found = np.asarray(layer(inputs[rank::ranks], training=True))
            np.testing.assert_array_equal(found, expected[rank::ranks])


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_repeats_the_noise_and_steps_differ(kind):
    inputs = np.ones((2, 3, 4, 16), np.float32)
    one, other = (FeatureDropout(0.5, kind, seed=9) for _ in range(2))
    first, second = (np.asarray(one(inputs, training=True)) for _ in range(2))
    np.testing.assert_array_equal(first, np.asarray(other(inputs, training=True)))
    assert (first != second).any()
    assert (np.asarray(FeatureDropout(0.5, kind, seed=8)(inputs, training=True)) != first).any()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected kind: plain, spatial or gaussian, found 'channels'"):
        FeatureDropout(0.5, "channels")
