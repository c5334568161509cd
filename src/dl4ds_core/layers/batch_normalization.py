"""Batch normalisation over the whole of a batch, however many workers share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import keras
from keras import ops


class _Batch(NamedTuple):
    """Which samples here count, and how sums over them become sums over the whole batch."""

    weights: Any
    total: Callable[[Any], Any]


_BATCH: ContextVar[_Batch | None] = ContextVar("batch", default=None)


@contextmanager
def part_of_batch(weights: Any, total: Callable[[Any], Any]) -> Iterator[None]:
    """Say what a network is given within: one worker's part of a batch.

    Without it, all samples count, and they are the whole batch.

    Parameters
    ----------
    weights : tensor
        Shape (part,): one for a sample, zero for padding.
    total : callable
        From the sums over a part, shape (numbers,), to those over all parts, the same for all workers. Its gradient
        must be the sum, over all workers, of the gradients with respect to its result.
    """
    token = _BATCH.set(_Batch(weights, total))
    try:
        yield
    finally:
        _BATCH.reset(token)


@keras.saving.register_keras_serializable("dl4ds_core")
class BatchNormalization(keras.layers.Layer):
    """Normalise each channel by its mean and variance over all samples and cells of a batch.

    Unlike Keras' own layer, it leaves padded samples out, and takes in those of other workers: see `part_of_batch`.
    When not training, or when frozen, the moving statistics of the training take the place of the batch's.

    Parameters
    ----------
    momentum : float
        Part of the moving statistics that a batch leaves as it is. Less than Keras' 0.99, with which short trainings
        would end with statistics that are half those of the start.
    epsilon : float
        Added to variances.

    Input shape
    -----------
    (batch, ..., channels), such as (batch, height, width, channels) or (batch, window, height, width, channels)

    Output shape
    ------------
    That of the input.

    References
    ----------
    Ioffe, S. and Szegedy, C. (2015). Batch normalization: accelerating deep network training by reducing internal
    covariate shift. doi:10.48550/arXiv.1502.03167
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make weights and moving statistics, shape (channels,): float32 in any precision, and used as such."""

        def weight(name: str, start: str, trainable: bool) -> Any:
            shape = (input_shape[-1],)
            return self.add_weight(shape=shape, initializer=start, name=name, trainable=trainable, autocast=False)

        self.gamma = weight("gamma", "ones", True)
        self.beta = weight("beta", "zeros", True)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Normalise; in float32, because sums in half precision lose too much."""
        x = ops.cast(inputs, "float32")
        batch = bool(training) and self.trainable
        mean, variance = self._moments(x) if batch else (self.moving_mean, self.moving_variance)
        # Rounding may leave a little less than zero.
        variance = ops.maximum(variance, 0.0)
        if batch:
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        result = (x - mean) * (ops.rsqrt(variance + self.epsilon) * self.gamma) + self.beta
        return ops.cast(result, self.compute_dtype)

    def _moments(self, x: Any) -> tuple[Any, Any]:
        """Return mean and variance of each channel, over the whole batch."""
        # About the moving mean, which is the same for all workers: squares of large numbers would cost digits.
        about = ops.convert_to_tensor(self.moving_mean)
        shifted, cells = x - about, tuple(range(1, len(x.shape) - 1))
        means, squares = ops.mean(shifted, axis=cells), ops.mean(ops.square(shifted), axis=cells)
        part = _BATCH.get() or _Batch(ops.ones_like(means[:, 0]), lambda sums: sums)
        weights = ops.expand_dims(part.weights, -1)
        sums = [ops.sum(weights * values, axis=0) for values in (means, squares, ops.ones_like(weights))]
        mean, square, count = ops.split(part.total(ops.concatenate(sums)), [means.shape[-1], 2 * means.shape[-1]])
        mean, square = mean / count, square / count
        return about + mean, square - ops.square(mean)

    def _move(self, statistic: Any, value: Any) -> None:
        statistic.assign(self.momentum * statistic + (1.0 - self.momentum) * ops.stop_gradient(value))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
