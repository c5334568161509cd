"""Parameters of distributions, from what a network gives before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

#: Raw parameters of each predictand by kind; of quantiles, one less than their number and one for their mean.
RAW = {"gaussian": 2, "bernoulli-gamma": 3}
#: Standard deviations, shapes and scales are larger than this, in normalised units.
SMALLEST = 1e-3
#: Probabilities are as far as this from 0 and 1 at least, so that their logarithms are finite.
SURE = 1e-6
#: Raw value whose softplus is one: where parameters start.
ONE = 0.5413248546129181
#: Width in normalised units that the outermost quantiles start apart.
WIDTH = 3.0


def raw_channels(kind: str | None, outputs: int, levels: int) -> int:
    """Return the channels that the output convolution of a network must have."""
    if kind is None:
        return outputs
    return outputs * (levels if kind == "quantiles" else RAW[kind])


@keras.saving.register_keras_serializable("dl4ds_core")
class DistributionParameters(keras.layers.Layer):
    r"""From raw numbers to parameters of a distribution in each cell, the mean of each predictand first.

    Parameters
    ----------
    kind : {"gaussian", "bernoulli-gamma", "quantiles"}
        See the output.
    outputs : int
        Predictands.
    levels : sequence of float
        Of the quantiles, ascending; empty for other kinds.

    Input shape
    -----------
    (batch, height, width, raw channels), those of `raw_channels`: of each parameter the channels of all predictands

    Output shape
    ------------
    (batch, height, width, channels), normalised units, likewise:

    - gaussian: mean and standard deviation;
    - bernoulli-gamma: the mean, the probability :math:`p` that the value is above zero, and shape :math:`\alpha` and
      scale :math:`\beta` of the gamma distribution of what such a value is above zero, whose mean is
      :math:`p \alpha \beta`;
    - quantiles: the mean of the distribution that they stand for (see `mean_weights`), then each of them, ascending.

    References
    ----------
    Nix, D. A. and Weigend, A. S. (1994). Estimating the mean and variance of the target probability distribution.
    doi:10.1109/ICNN.1994.374138 (gaussian)
    Cannon, A. J. (2008). Probabilistic multisite precipitation downscaling by an expanded Bernoulli-gamma density
    network. doi:10.1175/2008JHM960.1
    Koenker, R. and Bassett, G. (1978). Regression quantiles. doi:10.2307/1913643
    """

    def __init__(self, kind: str, outputs: int, levels: Sequence[float] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in (*RAW, "quantiles"):
            raise ValueError(f"expected kind: {', '.join(RAW)} or quantiles, found {kind!r}")
        if (kind == "quantiles") != bool(levels):
            raise ValueError(f"expected levels with kind 'quantiles' only, found {kind!r} with {list(levels)}")
        self.kind, self.outputs, self.levels = kind, outputs, [float(level) for level in levels]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make a place for the normalised value of zero, which `set_zeros` gives."""
        expected = raw_channels(self.kind, self.outputs, len(self.levels))
        if input_shape[-1] != expected:
            raise ValueError(f"expected {expected} channels, found the input shape {input_shape}")
        self.zeros = None
        if self.kind == "bernoulli-gamma":
            self.zeros = self.add_weight(name="zeros", shape=(self.outputs,), initializer="zeros", trainable=False)

    def set_zeros(self, zeros: Any) -> None:
        """Give the normalised value that zero has, (predictand,); saved with the network."""
        if self.zeros is not None:
            self.zeros.assign(zeros)

    def call(self, inputs: Any) -> Any:
        """Bound the parameters, and put the mean first."""
        raw = ops.split(inputs, inputs.shape[-1] // self.outputs, axis=-1)
        if self.kind == "gaussian":
            return ops.concatenate([raw[0], _positive(raw[1])], axis=-1)
        if self.kind == "bernoulli-gamma":
            probability = SURE + (1 - 2 * SURE) * ops.sigmoid(raw[0])
            shape, scale = _positive(raw[1]), _positive(raw[2])
            return ops.concatenate([probability * shape * scale + self.zeros, probability, shape, scale], axis=-1)
        # What each quantile is above the one before it.
        rises = [ops.zeros_like(raw[0]), *(_positive(part) * (WIDTH / len(self.levels)) for part in raw[1:])]
        heights = ops.cumsum(ops.stack(rises, axis=-1), axis=-1)
        shares = ops.cast(mean_weights(self.levels), heights.dtype)
        quantiles = raw[0][..., None] + heights - ops.sum(heights * shares, axis=-1, keepdims=True)
        return ops.concatenate([raw[0], *ops.unstack(quantiles, axis=-1)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape with the mean among the channels."""
        more = 0 if self.kind == "gaussian" else self.outputs
        return (*input_shape[:-1], (input_shape[-1] or 0) + more)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "kind": self.kind, "outputs": self.outputs, "levels": self.levels}


def mean_weights(levels: Sequence[float]) -> np.ndarray:
    """Return how quantiles add up to a mean, (level,): of straight lines between them, as steep beyond the outermost.

    >>> mean_weights([0.25, 0.5, 0.75]).tolist()
    [0.375, 0.25, 0.375]
    """
    between = np.diff(levels)
    weights = np.zeros(len(levels))
    weights[:-1] += between / 2
    weights[1:] += between / 2
    for end, beside, share, width in (
        (0, 1, levels[0], between[0]),
        (-1, -2, 1.0 - levels[-1], between[-1]),
    ):
        further = share**2 / (2 * width)
        weights[end] += share + further
        weights[beside] -= further
    return weights


def _positive(raw: Any) -> Any:
    return ops.softplus(raw + ONE) + SMALLEST
