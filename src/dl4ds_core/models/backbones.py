"""Backbones: from an input tensor to features on the same grid."""

from __future__ import annotations

from typing import Any

from keras import layers

from dl4ds_core.layers import CropTo, PadToMultiple


def _convolution(x: Any, filters: int, name: str, activation: str | None = "relu") -> Any:
    return layers.Conv2D(filters, 3, padding="same", activation=activation, name=name)(x)


def resnet(x: Any, *, filters: int, blocks: int) -> Any:
    """Residual blocks without normalisation.

    Parameters
    ----------
    x : tensor
        Shape (batch, height, width, channels).
    filters : int
        Channels of every convolution.
    blocks : int
        Number of residual blocks of two convolutions each.

    Returns
    -------
    tensor
        Shape (batch, height, width, filters).

    References
    ----------
    Lim, B. et al. (2017). Enhanced deep residual networks for single image super-resolution.
    doi:10.1109/CVPRW.2017.151
    """
    x = _convolution(x, filters, "stem", activation=None)
    for block in range(1, blocks + 1):
        y = _convolution(x, filters, f"block{block}_a")
        y = _convolution(y, filters, f"block{block}_b", activation=None)
        x = layers.Add(name=f"block{block}_add")([x, y])
    return x


def unet(x: Any, *, filters: int, blocks: int) -> Any:
    """Encode and decode with skip connections; grids that can't be halved are padded and cropped again.

    Parameters
    ----------
    x : tensor
        Shape (batch, height, width, channels).
    filters : int
        Channels of the first level; each further level has twice as many.
    blocks : int
        Number of levels, each halving the grid.

    Returns
    -------
    tensor
        Shape (batch, height, width, filters).

    References
    ----------
    Ronneberger, O., Fischer, P. and Brox, T. (2015). U-Net: convolutional networks for biomedical image segmentation.
    doi:10.1007/978-3-319-24574-4_28
    """
    height, width = x.shape[1:3]
    x = PadToMultiple(2**blocks, name="pad")(x)
    skips = []
    for level in range(1, blocks + 1):
        x = _double(x, filters * 2 ** (level - 1), f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
    x = _double(x, filters * 2**blocks, "bottom")
    for level in range(blocks, 0, -1):
        x = layers.UpSampling2D(name=f"up{level}_repeat")(x)
        x = _convolution(x, filters * 2 ** (level - 1), f"up{level}_reduce")
        x = layers.Concatenate(name=f"up{level}_skip")([x, skips[level - 1]])
        x = _double(x, filters * 2 ** (level - 1), f"up{level}")
    return CropTo(height, width, name="crop")(x)


def _double(x: Any, filters: int, name: str) -> Any:
    return _convolution(_convolution(x, filters, f"{name}_a"), filters, f"{name}_b")


BACKBONES = {"resnet": resnet, "unet": unet}
