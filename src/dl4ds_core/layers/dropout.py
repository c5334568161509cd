"""Dropout, also at prediction."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def share_dropout(network: keras.Model, rank: int, ranks: int) -> None:
    """Let all ranks together drop what one process would: the rank and the number of ranks of this process."""
    for layer in network._flatten_layers(include_self=False):
        if isinstance(layer, FeatureDropout):
            layer.rank, layer.ranks = rank, ranks


@keras.saving.register_keras_serializable("dl4ds_core")
class FeatureDropout(keras.layers.Layer):
    """Drop features at random in training and, if asked for, when predicting too.

    What several ranks drop is what one process would drop that has all their samples: of the noise for the whole batch,
    sample ``rank``, ``rank + ranks`` ... are this rank's.

    Parameters
    ----------
    rate : float
        Share that is dropped; the rest is divided by one minus it.
    kind : {"plain", "spatial", "gaussian"}
        Single values; whole channels of a sample; or multiplication by noise of mean one and the variance
        rate / (1 - rate).
    at_prediction : bool
        Whether to drop when predicting too (Monte Carlo dropout).
    seed : int, optional
        Of the noise; from Keras's global seed if there is none.

    Attributes
    ----------
    rank, ranks : int
        This rank's number and the number of ranks, which a training sets; no part of the configuration.

    Input shape
    -----------
    (batch, ..., height, width, channels)

    Output shape
    ------------
    (batch, ..., height, width, channels)

    References
    ----------
    Srivastava, N. et al. (2014). Dropout: a simple way to prevent neural networks from overfitting.
    Tompson, J. et al. (2015). Efficient object localization using convolutional networks. doi:10.1109/CVPR.2015.7298664
    Gal, Y. and Ghahramani, Z. (2016). Dropout as a Bayesian approximation. doi:10.48550/arXiv.1506.02142
    """

    def __init__(
        self,
        rate: float,
        kind: str = "plain",
        at_prediction: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in ("plain", "spatial", "gaussian"):
            raise ValueError(f"expected kind: plain, spatial or gaussian, found {kind!r}")
        self.rate = rate
        self.kind = kind
        self.at_prediction = at_prediction
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rank, self.ranks = 0, 1

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Multiply by noise of mean one."""
        if not self.rate or not (training or self.at_prediction):
            return inputs
        batch, *shape = ops.shape(inputs)
        if self.kind == "spatial":
            shape = [*(1 for _ in shape[:-1]), shape[-1]]
        noise = self._noise((batch * self.ranks, *shape))
        return inputs * ops.cast(noise[self.rank :: self.ranks], inputs.dtype)

    def _noise(self, shape: tuple[Any, ...]) -> Any:
        if self.kind == "gaussian":
            deviation = (self.rate / (1 - self.rate)) ** 0.5
            return keras.random.normal(shape, 1.0, deviation, dtype="float32", seed=self.seed_generator)
        kept = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator) >= self.rate
        return ops.cast(kept, "float32") / (1 - self.rate)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"rate": self.rate, "kind": self.kind, "at_prediction": self.at_prediction, "seed": self.seed}
        return {**super().get_config(), **own}
