"""Networks and losses give the same under another backend of Keras, so they hang on none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from dl4ds_core.config.models import Model
from dl4ds_core.losses import NAMES, weighted_loss
from dl4ds_core.models.networks import build_network

from .small_networks import COMBINATIONS, FEW, fields, randomise

pytestmark = pytest.mark.usefixtures("keras_reset")
PROGRAM = Path(__file__).with_name("run_elsewhere.py")
#: For each combination another choice of the rest, so that all of it occurs.
CHOICES: list[dict[str, Any]] = [
    {"localized": "convolution", "norm": "batch", "attention": True, "interpolation": "lanczos"},
    {"localized": "affine", "norm": "layer", "static_branch": True, "activation": "crelu", "decoder": "dc"},
    {"localized": "none", "activation": "gelu", "dropout": {"rate": 0.3}, "interpolation": "area", "decoder": "spc"},
    {"localized": "convolution", "activation": "selu", "output_activation": "softplus", "residual": False},
    {"localized": "regression", "activation": "leaky_relu", "interpolation": "bilinear"},
]
#: Of networks that give distributions or take noise, each on another combination.
DRAWING: list[dict[str, Any]] = [
    {"distribution": "gaussian", "localized": "regression"},
    {"distribution": "bernoulli-gamma"},
    {"distribution": "quantiles", "quantiles": [0.1, 0.5, 0.9]},
    {"noise": 2, "localized": "none"},
]
CONSTRAINTS = [("softmax", "log1p"), ("additive", "cube-root")]


def case(number: int, combination: tuple[str, str, int | None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A section of the configuration and the arguments of `build_network`."""
    backbone, upsampling, window = combination
    chosen = {key: value for key, value in CHOICES[number % 5].items() if key != "decoder" or backbone == "unet"}
    settings = {"backbone": backbone, "upsampling": upsampling, "time_window": window, "filters": 4, "blocks": 2}
    sizes = {"coarse_shape": (5, 6), "scale": (2, 3, 4, 5)[number % 4], "channels": 3, "outputs": 2, "base": (2, 0)}
    further = {"static": 1, "context": 1, "constraints": CONSTRAINTS if number % 5 in (1, 4) else []}
    return settings | chosen, sizes | further


def check(folder: Path, combinations: list[Any], drawing: list[Any]) -> None:
    arrays: dict[str, Any] = {}
    cases, expected = {}, {}
    chosen = [case(number, combination) for number, combination in enumerate(combinations)]
    for number, (combination, further) in enumerate(zip(drawing, DRAWING, strict=False)):
        settings, arguments = case(number, combination)
        plain = {"backbone": settings["backbone"], "upsampling": settings["upsampling"], "filters": 4, "blocks": 2}
        chosen.append((plain | {"time_window": settings["time_window"]} | further, arguments | {"constraints": []}))
    for number, (settings, arguments) in enumerate(chosen):
        name = f"{number} {settings['backbone']}-{settings['upsampling']}"
        cases[name] = settings, arguments
        model = build_network(Model(**settings), **arguments)
        randomise(model, 0.2)
        _positive_physics(model)
        scale, window = arguments["scale"], settings["time_window"]
        inputs = [fields(2, *([window] if window else []), 5, 6, 3), fields(1, 3 * scale, 4 * scale, 1)]
        if settings.get("noise"):
            inputs.append(fields(2, 3 * scale, 4 * scale, settings["noise"], seed=4))
        keys = ("coarse", "static", "noise")[: len(inputs)]
        arrays |= {f"{name}/{key}": values for key, values in zip(keys, inputs, strict=True)}
        arrays |= {f"{name}/weight{place}": value for place, value in enumerate(model.get_weights())}
        expected[name] = np.asarray(model(inputs))
    # Large and smooth enough for the multi-scale losses.
    arrays |= {key: fields(2, 40, 44, 1, seed=seed).cumsum(axis=1) for key, seed in (("truth", 1), ("prediction", 2))}
    arrays |= {"weights": np.abs(fields(40, 44, 1)), "data_range": np.array([[-20.0, 20.0]])}
    for name in NAMES:
        loss = weighted_loss({name: 1.0}, data_range=[(-20.0, 20.0)], quantile=0.9)
        expected[f"loss {name}"] = np.asarray(loss(arrays["truth"], arrays["prediction"], arrays["weights"]))
    (folder / "cases.json").write_text(json.dumps(cases))
    np.savez(folder / "inputs.npz", **arrays)
    quickly = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": quickly}
    subprocess.run([sys.executable, PROGRAM, folder], check=True, env=environment)
    outputs = dict(np.load(folder / "outputs.npz"))
    assert (keras.backend.backend(), str(outputs.pop("backend"))) == ("tensorflow", "jax")
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        assert np.isfinite(values).all(), name
        # Relative to the largest: exponentials of the constraints leave less of the small ones.
        size = max(1.0, np.abs(values).max())
        np.testing.assert_allclose(outputs[name], values, rtol=0, atol=1e-4 * size, err_msg=name)


def _positive_physics(model: keras.Model) -> None:
    """Areas and factors of a network with constraints are above zero."""
    for layer in model.layers:
        if layer.name == "constraints":
            layer.set_weights([np.abs(values) + 0.5 for values in layer.get_weights()])


def test_some_networks_and_all_losses(tmp_path):
    pytest.importorskip("jax")
    check(tmp_path, FEW[:5] + FEW[-1:], FEW[:4])


@pytest.mark.full
def test_every_network(tmp_path):
    pytest.importorskip("jax")
    check(tmp_path, COMBINATIONS, [COMBINATIONS[number] for number in (25, 2, 12, 22)])
