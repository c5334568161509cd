"""From a batch to what the loss takes: a network with its static fields, and what it draws."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dl4ds_core.draws import Stream
from dl4ds_core.draws import noise as drawn
from dl4ds_core.pipeline import Batch


class Forward:
    """Applies a network in training.

    Parameters
    ----------
    network : keras.Model
        As ``models.networks.build_network`` returns it.
    static : numpy.ndarray or None
        Static fields of the domain, shape (1, Y, X, field), normalised units.
    outputs : int
        Predictands.
    draws : int
        How often each sample is predicted, with noise of its own each time.
    seed : int
        Of the noise.
    """

    def __init__(self, network: keras.Model, static: np.ndarray | None, outputs: int, draws: int, seed: int) -> None:
        self.network, self.outputs, self.draws, self.seed = network, outputs, draws, seed
        self.static = None if static is None else tf.constant(static)
        self._channels = next((given.shape[-1] for given in network.inputs if given.name.startswith("noise")), 0)

    def __call__(self, coarse: Any, static: Any, noise: Any, *, training: bool) -> Any:
        """Return what the loss takes, in float32: the network's output, and of several draws all, (draw, batch, ...).

        Parameters
        ----------
        coarse : tensor
            Shape (batch, [window,] Y, X, channel).
        static : tensor or None
            Static fields of each sample; None: those of the domain.
        noise : tensor or None
            That of the first draw of all samples, then of the second ...
        """
        fields = self.static if static is None else static
        if self.draws > 1:
            coarse = tf.tile(coarse, [self.draws, *[1] * (len(coarse.shape) - 1)])
            fields = fields if static is None else tf.tile(static, [self.draws, 1, 1, 1])
        inputs = [tf.convert_to_tensor(each) for each in (coarse, fields, noise) if each is not None]
        output = tf.cast(self.network(inputs, training=training), tf.float32)
        return tf.reshape(output, [self.draws, -1, *output.shape[1:]]) if self.draws > 1 else output

    def single(self, prediction: Any) -> Any:
        """Return one value of each predictand: the mean of draws or of a distribution, (batch, Y, X, predictand)."""
        values = tf.reduce_mean(prediction, axis=0) if self.draws > 1 else prediction
        return values[..., : self.outputs]

    def noise(self, batch: Batch, stream: Stream, epoch: int) -> np.ndarray | None:
        """Return what the network draws for a batch, which depends on nothing but its samples and the epoch."""
        if not self._channels:
            return None
        keys = [(epoch, int(index), draw) for draw in range(self.draws) for index in batch.indices]
        return drawn(self.seed, stream, keys, (*batch.fine.shape[1:3], self._channels))
