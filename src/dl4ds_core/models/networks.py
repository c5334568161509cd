"""Complete networks: inputs, backbone, upsampling, output."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from dl4ds_core.config.schema import Model
from dl4ds_core.layers import ConcatenateStatic, Interpolate, LocalizedAffine, SubpixelUpsampling
from dl4ds_core.models.backbones import BACKBONES


def build_network(
    settings: Model,
    *,
    coarse_shape: tuple[int, int],
    scale: int,
    channels: int,
    outputs: int,
    static: int = 0,
) -> keras.Model:
    """Build a network.

    Parameters
    ----------
    settings : Model
        The section ``models.<name>`` of the configuration.
    coarse_shape : (int, int)
        Coarse cells along latitude and longitude.
    scale : int
        Fine cells per coarse cell, along each axis.
    channels : int
        Coarse input fields; the first ``outputs`` of them are the coarsened predictands.
    outputs : int
        Predictands.
    static : int
        Static fields on the fine grid.

    Returns
    -------
    keras.Model
        From ``coarse`` (batch, height, width, channels) and, where there are any, ``static`` (1, height * scale,
        width * scale, static) to (batch, height * scale, width * scale, outputs), all in normalised units.

    References
    ----------
    González, C. A. G. (2023). DL4DS: deep learning for empirical downscaling. doi:10.1017/eds.2022.37
    """
    coarse = keras.Input((*coarse_shape, channels), name="coarse")
    fine_shape = (coarse_shape[0] * scale, coarse_shape[1] * scale)
    fields = keras.Input((*fine_shape, static), name="static") if static else None
    body = _pre_upsampled if settings.upsampling == "pin" else _post_upsampled
    x = body(settings, coarse, fields, scale)
    # Zeros let a residual network start as the interpolation it adds to.
    start = "zeros" if settings.residual else "glorot_uniform"
    x = layers.Conv2D(outputs, 3, padding="same", kernel_initializer=start, name="output")(x)
    if settings.localized:
        x = LocalizedAffine(name="localized")(x)
    if settings.residual:
        base = coarse if channels == outputs else coarse[..., :outputs]
        x = layers.Add(name="residual")([x, Interpolate(settings.interpolation, scale, name="base")(base)])
    return keras.Model([coarse] if fields is None else [coarse, fields], x, name="network")


def _pre_upsampled(settings: Model, coarse: Any, fields: Any, scale: int) -> Any:
    x = Interpolate(settings.interpolation, scale, name="upsampling")(coarse)
    if fields is not None:
        x = ConcatenateStatic(name="with_static")([x, fields])
    return BACKBONES[settings.backbone](x, filters=settings.filters, blocks=settings.blocks)


def _post_upsampled(settings: Model, coarse: Any, fields: Any, scale: int) -> Any:
    x = BACKBONES[settings.backbone](coarse, filters=settings.filters, blocks=settings.blocks)
    # Half the channels suffice on the fine grid, where each costs scale**2 times as much.
    x = SubpixelUpsampling(max(settings.filters // 2, 8), scale, name="upsampling")(x)
    x = layers.Activation("relu", name="upsampling_activation")(x)
    if fields is not None:
        x = ConcatenateStatic(name="with_static")([x, fields])
        x = layers.Conv2D(max(settings.filters // 2, 8), 3, padding="same", activation="relu", name="static_mix")(x)
    return x
