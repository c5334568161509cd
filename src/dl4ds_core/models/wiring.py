"""What all networks are wired from: convolutions with activation and normalisation, dropout, attention, upsampling."""

from __future__ import annotations

from typing import Any

from keras import layers

from dl4ds_core.config.models import Model
from dl4ds_core.layers import (
    BatchNormalization,
    ChannelAttention,
    ConcatenatedReLU,
    FeatureDropout,
    Interpolate,
    PixelShuffle,
)


def prime_factors(number: int) -> list[int]:
    """Return the prime factors in ascending order, such as [2, 2, 3] for 12."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


class Wiring:
    """How the blocks of one network are put together; all methods take and return tensors (batch, ..., Y, X, channel).

    Parameters
    ----------
    settings : Model
        Activation, normalisation, attention, dropout and interpolation are used.
    """

    def __init__(self, settings: Model) -> None:
        own = {"activation": "gelu", "norm": "layer"} if settings.backbone == "convnext" else {}
        self.activation = settings.activation or own.get("activation", "relu")
        self.norm = settings.norm or own.get("norm", "none")
        self.interpolation = settings.interpolation
        self._attention, self._dropout = settings.attention, settings.dropout

    def convolved(self, x: Any, filters: int, name: str, *, size: int = 3, activated: bool = True) -> Any:
        """Convolve, normalise and, if asked for, activate."""
        fused = activated and self.norm == "none" and self.activation != "crelu"
        convolution = layers.Conv2D(
            filters,
            size,
            padding="same",
            activation=self.activation if fused else None,
            use_bias=self.norm != "batch",  # the mean is taken off again
            name=name,
        )
        x = self.normalised(convolution(x), name)
        return self.activated(x, name) if activated and not fused else x

    def activated(self, x: Any, name: str) -> Any:
        """Apply the activation; `crelu` doubles the channels."""
        kind = ConcatenatedReLU if self.activation == "crelu" else layers.Activation
        arguments = () if self.activation == "crelu" else (self.activation,)
        return kind(*arguments, name=f"{name}_activation")(x)

    def normalised(self, x: Any, name: str) -> Any:
        """Normalise features over the batch, or each cell over its channels."""
        if self.norm == "batch":
            return BatchNormalization(name=f"{name}_norm")(x)
        return layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(x) if self.norm == "layer" else x

    def dropped(self, x: Any, name: str) -> Any:
        """Drop features at random."""
        dropout = self._dropout
        if dropout is None:
            return x
        return FeatureDropout(dropout.rate, dropout.kind, dropout.at_prediction, name=f"{name}_dropout")(x)

    def attended(self, x: Any, name: str) -> Any:
        """Weigh channels by their mean over the domain."""
        return ChannelAttention(name=f"{name}_attention")(x) if self._attention else x

    def twice(self, x: Any, filters: int, name: str, *, dropped: bool = True) -> Any:
        """Convolve two times, each with dropout before it."""
        for part in "ab":
            x = self.dropped(x, f"{name}_{part}") if dropped else x
            x = self.convolved(x, filters, f"{name}_{part}")
        return self.attended(x, name)

    def upsampled(self, x: Any, method: str, scale: int, filters: int, name: str) -> Any:
        """Go to a grid finer by ``scale``, in one stage per prime factor, each with a kernel of its own.

        Parameters
        ----------
        method : {"spc", "rc", "dc"}
            Sub-pixel convolution (Shi et al. 2016, doi:10.1109/CVPR.2016.207), interpolation followed by a convolution
            (Odena et al. 2016, doi:10.23915/distill.00003), or transposed convolution (Dong et al. 2016,
            doi:10.1007/978-3-319-46475-6_25) with kernels that the factor divides, so that all cells are reached
            alike.
        """
        for number, factor in enumerate(prime_factors(scale), 1):
            stage = f"{name}{number}"
            if method == "spc":
                x = layers.Conv2D(filters * factor**2, 3, padding="same", name=stage)(x)
                x = PixelShuffle(factor, name=f"{stage}_cells")(x)
            elif method == "rc":
                x = Interpolate(self.interpolation, factor, name=f"{stage}_interpolated")(x)
                x = layers.Conv2D(filters, 3, padding="same", name=stage)(x)
            else:
                x = layers.Conv2DTranspose(filters, 2 * factor, factor, padding="same", name=stage)(x)
            x = self.activated(x, stage)
        return x
