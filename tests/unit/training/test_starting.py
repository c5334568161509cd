"""Fine-tuning: which weights are taken from another network, and which layers stay as they are."""

from __future__ import annotations

import logging
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from dl4ds_core.errors import TrainingError
from dl4ds_core.layers.batch_normalization import BatchNormalization
from dl4ds_core.training.starting import freeze, take_weights

pytestmark = pytest.mark.usefixtures("keras_reset")


@keras.saving.register_keras_serializable("tests")
class Block(keras.layers.Layer):
    """A layer with layers of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Conv2D(2, 1, name="inner")

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, inputs):
        return self.inner(inputs)


def network_of(filters=2, prefix=""):
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, padding="same", name=f"{prefix}first")(inputs)
    x = BatchNormalization(name=f"{prefix}norm")(x)
    x = keras.layers.Activation("relu", name="activation")(x)
    x = Block(name=f"{prefix}block")(x)
    network = keras.Model(inputs, keras.layers.Conv2D(filters, 3, name=f"{prefix}last")(x))
    for number, weight in enumerate(network.weights):
        weight.assign(np.full(weight.shape, number + 1.0 + 100 * filters, np.float32))
    return network


@pytest.fixture
def saved(tmp_path):
    """A function that saves a network and returns its path."""

    def save(network):
        network.save(tmp_path / "model.keras")
        return tmp_path / "model.keras"

    return save


def weights_of(network):
    return {weight.path: weight.numpy() for weight in network.weights}


def test_weights_of_the_same_place_and_shape_are_taken(saved, caplog):
    source, network = network_of(3), network_of(2)
    own, given = weights_of(network), weights_of(source)
    with caplog.at_level(logging.INFO, "dl4ds_core"):
        taken = take_weights(network, saved(source))
    assert taken == set(own) - {"last/kernel", "last/bias"}
    assert "block/inner/kernel" in taken
    assert "norm/moving_variance" in taken
    for path, values in weights_of(network).items():
        np.testing.assert_array_equal(values, given[path] if path in taken else own[path])
    (line,) = caplog.messages
    assert line.startswith("8 of 10 arrays of weights are those of ")
    assert line.endswith("they begin anew: last/kernel, last/bias; not used: last/kernel, last/bias")


def test_a_network_without_any_of_them_is_refused(saved):
    message = r"training\.start_from: .*model\.keras has no weights.* first/kernel \(3, 3, 1, 2\).* other_first/kernel"
    with pytest.raises(TrainingError, match=message):
        take_weights(network_of(), saved(network_of(prefix="other_")))


@pytest.mark.parametrize("content", [None, "no network"])
def test_what_is_no_saved_network_is_refused(tmp_path, content):
    path = tmp_path / "model.keras"
    if content:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"training\.start_from: .*model\.keras can't be read as a saved network"):
        take_weights(network_of(), path)


@pytest.mark.parametrize(
    ("patterns", "trainable"),
    [
        ([], ["first", "norm", "block/inner", "last"]),
        (["first"], ["norm", "block/inner", "last"]),
        (["inner"], ["first", "norm", "last"]),
        (["block", "*r*"], ["last"]),
    ],
    ids=str,
)
def test_layers_are_frozen_by_name_at_any_depth(patterns, trainable):
    network = network_of()
    freeze(network, patterns, set(weights_of(network)))
    found = dict.fromkeys(variable.path.rpartition("/")[0] for variable in network.trainable_variables)
    assert list(found) == trainable


def test_a_pattern_without_a_layer_is_refused_with_the_names():
    with pytest.raises(
        TrainingError, match=r"layers with weights \(first, norm, block, inner, last\), found 'activation'"
    ):
        freeze(network_of(), ["first", "activation"], set(weights_of(network_of())))


def test_random_weights_are_not_frozen():
    network = network_of()
    with pytest.raises(TrainingError, match=r"'last' would keep random weights.* last/kernel, last/bias; freeze other"):
        freeze(network, ["last"], set(weights_of(network)) - {"last/kernel", "last/bias"})


def test_something_must_be_left_to_train():
    network = network_of()
    with pytest.raises(TrainingError, match=r"training\.freeze: \* leave no layer to train"):
        freeze(network, ["*"], set(weights_of(network)))
