"""Run networks and losses under the backend of this process: ``run_elsewhere.py FOLDER``.

``cases.json`` in the folder lists sections of networks with the arguments of `build_network`; ``inputs.npz`` has their
inputs and weights, and truth, prediction and weights for losses. The results go to ``outputs.npz``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import keras
import numpy as np

from dl4ds_core.config.models import Model
from dl4ds_core.losses import NAMES, weighted_loss
from dl4ds_core.models.networks import build_network


def run(model: keras.Model, inputs: list[np.ndarray]) -> np.ndarray:
    """Compiled as a whole: one operation at a time, each would be compiled by itself."""
    state = [
        [variable.value for variable in kind] for kind in (model.trainable_variables, model.non_trainable_variables)
    ]
    return np.asarray(jax.jit(lambda state, inputs: model.stateless_call(*state, inputs)[0])(state, inputs))


def zeros(self: keras.Initializer, shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:
    """Start from nothing: the weights come from elsewhere, and random numbers are compiled anew for each shape."""
    return np.zeros(shape, dtype or "float32")


def main(folder: Path) -> None:
    arrays = np.load(folder / "inputs.npz")
    outputs = {}
    keras.initializers.VarianceScaling.__call__ = zeros
    keras.initializers.Orthogonal.__call__ = zeros
    for name, (settings, arguments) in json.loads((folder / "cases.json").read_text()).items():
        model = build_network(Model.model_validate(settings), **arguments)
        model.set_weights([arrays[f"{name}/weight{number}"] for number in range(len(model.weights))])
        inputs = [arrays[f"{name}/{key}"] for key in ("coarse", "static", "noise") if f"{name}/{key}" in arrays]
        outputs[name] = run(model, inputs)
    for name in NAMES:
        given = {key: arrays[key] for key in ("truth", "prediction", "weights")}
        loss = weighted_loss({name: 1.0}, data_range=arrays["data_range"].tolist(), quantile=0.9)
        outputs[f"loss {name}"] = np.asarray(jax.jit(loss)(*given.values()))
    outputs["backend"] = np.array(keras.backend.backend())
    np.savez(folder / "outputs.npz", **outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
