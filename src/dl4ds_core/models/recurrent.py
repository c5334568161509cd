"""Backbones for windows of time steps: from the window to features of its last step."""

from __future__ import annotations

from typing import Any

from keras import layers

from dl4ds_core.config.models import Model
from dl4ds_core.layers import ConvolutionalLSTM
from dl4ds_core.models.wiring import Wiring

#: Kernels of the two recurrent convolutions of a block.
KERNELS = (5, 3)


def recurrent(x: Any, settings: Model, wiring: Wiring) -> Any:
    """Blocks of two recurrent convolutions (ConvLSTM), and how the first and the last features come together.

    A ``convnet`` goes on with the last ones alone, a ``resnet`` adds both, a ``densenet`` joins them.

    Parameters
    ----------
    x : tensor
        Shape (batch, window, height, width, channels).
    settings : Model
        Backbone, filters, blocks (beside a first one) and ``widen``.
    wiring : Wiring
        Activation, normalisation, dropout and attention.

    Returns
    -------
    tensor
        Shape (batch, height, width, filters): features of the window's last step.

    References
    ----------
    Shi, X. et al. (2015). Convolutional LSTM network: a machine learning approach for precipitation nowcasting.
    doi:10.48550/arXiv.1506.04214
    González, C. A. G. (2023). DL4DS: deep learning for empirical downscaling. doi:10.1017/eds.2022.37
    """
    stem = x = _block(x, settings.filters, "stem", wiring, sequence=True, dropped=False)
    for block in range(1, settings.blocks + 1):
        filters = settings.filters * block if settings.widen else settings.filters
        x = _block(x, filters, f"block{block}", wiring, sequence=block < settings.blocks)
    x = wiring.attended(x, "last")
    if settings.backbone == "convnet":
        return x
    stem = layers.Conv2D(x.shape[-1], 1, name="stem_projection")(stem[:, -1])
    if settings.backbone == "resnet":
        return layers.Add(name="stem_add")([x, stem])
    x = layers.Concatenate(name="stem_joined")([x, stem])
    return wiring.convolved(x, settings.filters, "transition", size=1)


def _block(x: Any, filters: int, name: str, wiring: Wiring, *, sequence: bool, dropped: bool = True) -> Any:
    """Return features of all steps, or of the last one only."""
    for part, size, all_steps in (("a", KERNELS[0], True), ("b", KERNELS[1], sequence)):
        label = f"{name}_{part}"
        x = wiring.dropped(x, label) if dropped else x
        x = ConvolutionalLSTM(filters, size, all_steps, name=label)(x)
        x = wiring.activated(wiring.normalised(x, label), label)
    return x
