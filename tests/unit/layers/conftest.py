"""What every layer must pass, in one place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
from keras import ops

Shape = tuple[int, ...]


def _inputs(shapes: list[Shape], dtype: str = "float32") -> Any:
    """Random arrays; a layer with one input gets one array and no list."""
    random = np.random.default_rng(1)
    arrays = [ops.convert_to_tensor(random.normal(size=shape).astype("float32"), dtype=dtype) for shape in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def _randomise(weights: list[Any]) -> None:
    random = np.random.default_rng(2)
    for weight in weights:
        weight.assign(random.normal(size=weight.shape).astype("float32"))


def _gradients(layer: Any, inputs: Any) -> list[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        output = layer(inputs)
        loss = tf.reduce_sum(tf.square(tf.cast(output, "float32")) + tf.cast(output, "float32"))
    return tape.gradient(loss, layer.trainable_variables)


def _check(
    kind: type,
    arguments: dict[str, Any],
    shapes: list[Shape],
    expected: Shape,
    folder: Path,
    weights: int = 0,
    any_grid: bool = True,
) -> None:
    """Configuration round trip, building, shapes, precision, gradients, saving, and grids of unknown size."""
    layer = kind(**arguments, name="under_test")

    # The configuration alone makes the same layer, and holds every argument.
    config = layer.get_config()
    again = kind.from_config(config)
    assert again.get_config() == config
    assert arguments.items() <= config.items()
    assert again.name == "under_test"

    # Symbolic and eager shapes agree with what is expected and with what the layer says.
    symbols = [keras.Input(shape[1:], batch_size=1 if shape[0] == 1 else None) for shape in shapes]
    symbol = layer(symbols[0] if len(symbols) == 1 else symbols)
    assert symbol.shape[1:] == expected[1:]
    inputs = _inputs(shapes)
    eager = layer(inputs)
    assert tuple(eager.shape) == expected
    said = layer.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes)
    assert tuple(said) == expected
    assert layer.built
    assert len(layer.weights) == weights
    assert len({weight.path for weight in layer.weights}) == weights

    # Precision, float32 and mixed.
    assert keras.backend.standardize_dtype(eager.dtype) == "float32"
    mixed = kind(**arguments, dtype="mixed_bfloat16")
    output = mixed(_inputs(shapes, "bfloat16"))
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert all(keras.backend.standardize_dtype(weight.dtype) == "float32" for weight in mixed.weights)

    # A gradient reaches every weight.
    _randomise(layer.weights)
    for variable, gradient in zip(layer.trainable_variables, _gradients(layer, inputs), strict=True):
        assert gradient is not None, f"no gradient reaches {variable.path}"
        assert np.abs(gradient.numpy()).max() > 0, f"the gradient of {variable.path} is zero"

    # Within a model, saved and loaded: the same bits.
    model = keras.Model(symbols, symbol)
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras", compile=False)
    first, second = (np.asarray(network(inputs)) for network in (model, loaded))
    np.testing.assert_array_equal(first, second)
    assert type(loaded.get_layer("under_test")) is kind

    _check_unknown_sizes(loaded.get_layer("under_test"), inputs, shapes, any_grid)


def _check_unknown_sizes(layer: Any, inputs: Any, shapes: list[Shape], any_grid: bool) -> None:
    """On a grid whose size is not known beforehand it gives the same, or, with weights per cell, is refused."""
    open_shapes = [keras.Input((*shape[1:-3], None, None, shape[-1])) for shape in shapes]
    symbols = open_shapes[0] if len(shapes) == 1 else open_shapes
    if not any_grid:
        with pytest.raises(ValueError, match="expected a fixed height and width"):
            type(layer).from_config(layer.get_config())(symbols)
        return
    model = keras.Model(open_shapes, layer(symbols))
    assert model.output_shape[-3:-1] == (None, None)
    np.testing.assert_array_equal(np.asarray(model(inputs)), np.asarray(layer(inputs)))


@pytest.fixture
def check_layer(tmp_path: Path, keras_reset: None) -> Callable[..., None]:
    """A function of a layer's class, arguments, input shapes, output shape, number of weights, and whether any grid."""

    def check(
        kind: type, arguments: dict[str, Any], shapes: Any, expected: Shape, weights: int = 0, any_grid: bool = True
    ) -> None:
        shapes = shapes if isinstance(shapes, list) else [shapes]
        _check(kind, arguments, shapes, expected, tmp_path, weights, any_grid)

    return check
