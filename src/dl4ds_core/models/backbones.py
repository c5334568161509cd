"""Backbones: from an input tensor to features on the same grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import layers

from dl4ds_core.config.models import Model
from dl4ds_core.layers import CropLike, PadToMultiple
from dl4ds_core.models.wiring import Wiring

#: Channels of a unet at most; of fewer only if the first level has more.
WIDEST = 256
#: Channels of convnext within a block, times those outside.
EXPANSION = 4


def _filters(settings: Model, block: int) -> int:
    return settings.filters * block if settings.widen else settings.filters


def _joined(x: Any, y: Any, filters: int, name: str) -> Any:
    """Add features; a 1 x 1 convolution where the channels differ."""
    if x.shape[-1] != filters:
        x = layers.Conv2D(filters, 1, name=f"{name}_projection")(x)
    return layers.Add(name=f"{name}_add")([x, y])


def convnet(x: Any, settings: Model, wiring: Wiring) -> Any:
    """Plain convolutions, two per block.

    Parameters
    ----------
    x : tensor
        Shape (batch, height, width, channels).
    settings : Model
        Filters, blocks and ``widen``.
    wiring : Wiring
        Activation, normalisation, dropout and attention.

    Returns
    -------
    tensor
        Shape (batch, height, width, filters).
    """
    x = wiring.convolved(x, settings.filters, "stem")
    for block in range(1, settings.blocks + 1):
        x = wiring.twice(x, _filters(settings, block), f"block{block}")
    return x


def resnet(x: Any, settings: Model, wiring: Wiring) -> Any:
    """Residual blocks: what two convolutions make of the features is added to them. Parameters as of `convnet`.

    References
    ----------
    He, K. et al. (2016). Deep residual learning for image recognition. doi:10.1109/CVPR.2016.90
    Lim, B. et al. (2017). Enhanced deep residual networks for single image super-resolution.
    doi:10.1109/CVPRW.2017.151 (no normalisation, and no activation after the sum)
    """
    x = layers.Conv2D(settings.filters, 3, padding="same", name="stem")(x)
    for block in range(1, settings.blocks + 1):
        name, filters = f"block{block}", _filters(settings, block)
        y = wiring.convolved(wiring.dropped(x, f"{name}_a"), filters, f"{name}_a")
        y = wiring.convolved(wiring.dropped(y, f"{name}_b"), filters, f"{name}_b", activated=False)
        x = _joined(x, wiring.attended(y, name), filters, name)
    return x


def densenet(x: Any, settings: Model, wiring: Wiring) -> Any:
    """Dense blocks: new features join the old ones, and a 1 x 1 convolution halves them. Parameters as of `convnet`.

    The features of the stem join the last ones.

    References
    ----------
    Huang, G. et al. (2017). Densely connected convolutional networks. doi:10.1109/CVPR.2017.243
    """
    stem = x = layers.Conv2D(settings.filters, 3, padding="same", name="stem")(x)
    for block in range(1, settings.blocks + 1):
        name, filters = f"block{block}", _filters(settings, block)
        y = x
        for part, channels, size in (("a", 4 * filters, 1), ("b", filters, 3)):
            # Normalised and activated before each convolution, not after it.
            y = wiring.activated(wiring.normalised(y, f"{name}_{part}"), f"{name}_{part}")
            y = wiring.dropped(y, f"{name}_{part}")
            y = layers.Conv2D(channels, size, padding="same", name=f"{name}_{part}")(y)
        x = layers.Concatenate(name=f"{name}_joined")([wiring.attended(y, name), x])
        x = wiring.convolved(x, filters, f"{name}_transition", size=1)
    x = layers.Concatenate(name="stem_joined")([x, stem])
    return wiring.convolved(x, _filters(settings, settings.blocks), "transition", size=1)


def convnext(x: Any, settings: Model, wiring: Wiring) -> Any:
    """Blocks of a 7 x 7 convolution per channel and two dense layers per cell. Parameters as of `convnet`.

    References
    ----------
    Liu, Z. et al. (2022). A ConvNet for the 2020s. doi:10.1109/CVPR52688.2022.01167 (without its scaling of layers)
    """
    x = layers.Conv2D(settings.filters, 7, padding="same", name="stem")(x)
    for block in range(1, settings.blocks + 1):
        name, filters = f"block{block}", _filters(settings, block)
        y = layers.DepthwiseConv2D(7, padding="same", name=f"{name}_depthwise")(wiring.dropped(x, name))
        y = layers.Dense(EXPANSION * filters, name=f"{name}_a")(wiring.normalised(y, name))
        y = layers.Dense(filters, name=f"{name}_b")(wiring.activated(y, name))
        x = _joined(x, wiring.attended(y, name), filters, name)
    return x


def unet(x: Any, settings: Model, wiring: Wiring) -> Any:
    """Encode and decode with skip connections; grids that can't be halved are padded and cropped again.

    Parameters as of `convnet`: ``blocks`` are levels, each of which halves the grid and doubles the channels, up to
    ``WIDEST``; ``decoder`` is the way back.

    References
    ----------
    Ronneberger, O., Fischer, P. and Brox, T. (2015). U-Net: convolutional networks for biomedical image segmentation.
    doi:10.1007/978-3-319-24574-4_28
    """
    given, levels = x, settings.blocks
    widths = [min(settings.filters * 2**level, max(WIDEST, settings.filters)) for level in range(levels + 1)]
    x = PadToMultiple(2**levels, name="pad")(x)
    skips = []
    for level in range(levels):
        x = wiring.twice(x, widths[level], f"down{level + 1}", dropped=False)
        skips.append(x)
        x = layers.MaxPooling2D(name=f"down{level + 1}_pool")(x)
    x = wiring.twice(x, widths[levels], "bottom")
    for level in reversed(range(levels)):
        name = f"up{level + 1}"
        x = wiring.upsampled(x, settings.decoder, 2, widths[level], f"{name}_doubled")
        x = layers.Concatenate(name=f"{name}_skip")([x, skips[level]])
        x = wiring.twice(x, widths[level], name, dropped=False)
    return CropLike(name="crop")([x, given])


BACKBONES: dict[str, Callable[[Any, Model, Wiring], Any]] = {
    "convnet": convnet,
    "resnet": resnet,
    "densenet": densenet,
    "unet": unet,
    "convnext": convnext,
}
