"""The discriminator of an adversarial training, which tells truth from predictions of the same coarse field."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from dl4ds_core.config.training import Discriminator
from dl4ds_core.layers import ConcatenateStatic, Detail

#: Slope of the activation below zero.
SLOPE = 0.2
#: Channels on the fine grid, where each costs more: a part of those on the coarse grid, but not fewer than this.
FEWEST = 8


def build_discriminator(
    settings: Discriminator,
    *,
    scale: int,
    channels: int,
    outputs: int,
    static: int = 0,
    context: int = 0,
    time_window: int | None = None,
) -> keras.Model:
    """Build a discriminator of two residual branches, one for each grid, that judges each coarse cell by itself.

    The fine branch sees the field and its detail: the departures from means over blocks and neighbourhoods, in units of
    their standard deviation, which the layer ``detail`` has to be told. There are convolutions only, so that it works
    on grids and patches of any size. The fine branch ends with blocks of ``scale`` x ``scale`` cells brought to one,
    for whatever scale; both are joined on the coarse grid. Convolutions before that don't know where in a block a cell
    lies, so that fields can't be learnt by heart as easily as from whole blocks.

    Parameters
    ----------
    settings : Discriminator
        Filters and blocks.
    scale : int
        Fine cells per coarse cell, along each axis.
    channels : int
        Coarse input fields.
    outputs : int
        Predictands.
    static : int
        Static fields on the fine grid.
    context : int
        Coarse cells around the domain.
    time_window : int, optional
        Steps of the coarse input; the fine field is that of the last.

    Returns
    -------
    keras.Model
        From ``coarse`` (batch, [window,] height, width, channels), ``fine`` (batch, fine height, fine width, outputs),
        zero in missing cells, ``valid`` (the same shape; zero in missing cells, else one) and, where there are any,
        ``static`` (1 or batch, fine height, fine width, static) to judgements (batch, height - 2 * context, width - 2 *
        context, 1), numbers without bounds.

    References
    ----------
    Isola, P., Zhu, J.-Y., Zhou, T. and Efros, A. A. (2017). Image-to-image translation with conditional adversarial
    networks. doi:10.1109/CVPR.2017.632 (judgements of parts of a field)
    González, C. A. G. (2023). DL4DS: deep learning for empirical downscaling. doi:10.1017/eds.2022.37 (two branches)
    """
    window = () if time_window is None else (time_window,)
    coarse = keras.Input((*window, None, None, channels), name="coarse")
    fine, valid = (keras.Input((None, None, outputs), name=name) for name in ("fine", "valid"))
    fields = keras.Input((None, None, static), name="static") if static else None
    # In single precision, since a small difference of large numbers is taken.
    detail = Detail(scale, name="detail", dtype="float32")(fine, valid)
    x = layers.Concatenate(name="with_detail")([fine, detail])
    if fields is not None:
        x = ConcatenateStatic(name="with_static")([x, fields])
    x = _branch(x, max(settings.filters // 2, FEWEST), settings.blocks, "fine")
    x = _activated(layers.Conv2D(settings.filters, scale, strides=scale, name="fine_blocks")(x), "fine_blocks")
    given = coarse
    if window:
        steps = [coarse[:, step] for step in range(time_window or 0)]
        given = layers.Concatenate(name="steps")(steps)
    y = _branch(given, settings.filters, settings.blocks, "coarse")
    if context:
        y = layers.Cropping2D(context, name="without_context")(y)
    z = layers.Concatenate(name="joined")([x, y])
    z = _convolved(z, settings.filters, "judging")
    judgement = layers.Conv2D(1, 1, name="judgement", dtype="float32")(z)
    return keras.Model(
        [each for each in (coarse, fine, valid, fields) if each is not None], judgement, name="discriminator"
    )


def _branch(x: Any, filters: int, blocks: int, name: str) -> Any:
    x = _convolved(x, filters, f"{name}_stem")
    for block in range(1, blocks + 1):
        label = f"{name}_block{block}"
        inner = _convolved(x, filters, f"{label}_a")
        inner = layers.Conv2D(filters, 3, padding="same", name=f"{label}_b")(inner)
        x = _activated(layers.Add(name=f"{label}_add")([x, inner]), label)
    return x


def _convolved(x: Any, filters: int, name: str) -> Any:
    return _activated(layers.Conv2D(filters, 3, padding="same", name=name)(x), name)


def _activated(x: Any, name: str) -> Any:
    return layers.LeakyReLU(SLOPE, name=f"{name}_activation")(x)
