"""Gradients, and one example for all losses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest


class Example(NamedTuple):
    """Two samples of two channels with different ranges, an area per cell and a mask; the grid has an odd side."""

    truth: np.ndarray
    prediction: np.ndarray
    area: np.ndarray
    mask: np.ndarray
    data_range: list[tuple[float, float]]


def make_example(rows: int = 24, columns: int = 23) -> Example:
    random = np.random.default_rng(1)
    shape = (2, rows, columns, 2)
    waves = np.sin(np.arange(rows)[:, None] / 3 + np.arange(columns) / 4)[..., None] * [1.0, 4.0]
    truth = (waves + [0.5, 3.0] * random.normal(size=shape)).astype(np.float32)
    prediction = (truth + [0.4, 2.0] * random.normal(size=shape)).astype(np.float32)
    area = np.cos(np.linspace(0.2, 1.2, rows))[:, None, None] * np.ones((1, columns, 1))
    mask = (random.uniform(size=shape) < 0.7).astype(np.float32)
    mask[0, :13, :13] = 0  # wider than a window
    return Example(truth, prediction, (area / area.mean()).astype(np.float32), mask, [(-2.5, 3.0), (-11.0, 14.0)])


@pytest.fixture(scope="session")
def example_of() -> Callable[..., Example]:
    """The function that makes examples of other sizes."""
    return make_example


@pytest.fixture(scope="session")
def example() -> Example:
    """An example."""
    return make_example()


@pytest.fixture(scope="session")
def gradient_of() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A function that returns the losses and the gradient of their sum with respect to the prediction."""

    def compute(loss: Any, truth: np.ndarray, prediction: np.ndarray, weights: Any) -> tuple[np.ndarray, np.ndarray]:
        import tensorflow as tf

        variable = tf.constant(prediction)
        with tf.GradientTape() as tape:
            tape.watch(variable)
            losses = loss(truth, variable, weights)
        return losses.numpy(), tape.gradient(losses, variable).numpy()

    return compute
