"""Small networks, and what is done with them in several tests."""

from __future__ import annotations

import itertools
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from dl4ds_core.config.models import Model
from dl4ds_core.interpolation import interpolation_matrix
from dl4ds_core.models.networks import build_network

WINDOW = 2
UPSAMPLINGS = ("pin", "spc", "rc", "dc")
#: Backbone, upsampling and time window of all that go together, written out: not taken from the code.
COMBINATIONS = [
    *itertools.product(("convnet", "resnet", "densenet", "unet", "convnext"), UPSAMPLINGS, (None,)),
    *itertools.product(("convnet", "resnet", "densenet"), UPSAMPLINGS, (WINDOW,)),
]
#: Each backbone, with and without a window, and each upsampling, at least once.
FEW = [
    ("convnet", "rc", None),
    ("resnet", "spc", None),
    ("densenet", "dc", None),
    ("unet", "pin", None),
    ("convnext", "spc", None),
    ("convnet", "dc", WINDOW),
    ("resnet", "pin", WINDOW),
    ("densenet", "rc", WINDOW),
]


def build(
    backbone: str, upsampling: str, scale: int, *, shape=(3, 5), channels=1, outputs=1, **settings: Any
) -> keras.Model:
    """A network for fields whose first channels are the coarse predictands, unless ``base`` says something else."""
    sizes = {name: settings.pop(name) for name in ("static", "context", "constraints") if name in settings}
    base = settings.pop("base", range(outputs))
    chosen = Model(**{"backbone": backbone, "upsampling": upsampling, "filters": 4, "blocks": 2, **settings})
    return build_network(
        chosen, coarse_shape=shape, scale=scale, channels=channels, outputs=outputs, base=base, **sizes
    )


def fields(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def randomise(model: keras.Model, size: float = 0.3) -> None:
    """Weights that leave nothing zero or one; variances stay positive, and biases keep features alive."""
    random = np.random.default_rng(7)
    for weight in model.weights:
        values = size * random.normal(size=weight.shape) + (size if weight.name in ("bias", "beta", "gamma") else 0.0)
        weight.assign(np.abs(values) + 0.5 if weight.name == "moving_variance" else values)


def marked(keep: list[Any]) -> list[Any]:
    """All combinations; those that are not to be kept are for `make test-full`."""
    return [
        pytest.param(*combination, marks=[] if combination in keep else pytest.mark.full)
        for combination in COMBINATIONS
    ]


def predicted(model: keras.Model, *inputs: np.ndarray, training: bool = False) -> np.ndarray:
    """The output for coarse fields and, where the network takes them, static ones."""
    return np.asarray(model(list(inputs), training=training))


def interpolated(coarse: np.ndarray, scale: int, method: str = "bicubic", context: int = 0) -> np.ndarray:
    rows, columns = (interpolation_matrix(method, size, scale, context) for size in coarse.shape[1:3])
    return np.einsum("ij,bjkc,lk->bilc", rows, coarse, columns)
