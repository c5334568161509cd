"""Complete networks: inputs, backbone, upsampling, output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from dl4ds_core.config.schema import Model
from dl4ds_core.errors import ConfigError
from dl4ds_core.layers import ConcatenateStatic, Interpolate, LocalizedAffine, RepeatEdges, SubpixelUpsampling
from dl4ds_core.models.backbones import BACKBONES


def build_network(
    settings: Model,
    *,
    coarse_shape: tuple[int, int],
    scale: int,
    channels: int,
    outputs: int,
    base: Sequence[int] | None,
    static: int = 0,
    context: int = 0,
) -> keras.Model:
    """Build a network.

    Parameters
    ----------
    settings : Model
        The section ``models.<name>`` of the configuration.
    coarse_shape : (int, int)
        Coarse cells along Y and X, those of the context included.
    scale : int
        Fine cells per coarse cell, along each axis.
    channels : int
        Coarse input fields.
    outputs : int
        Predictands.
    base : sequence of int or None
        Numbers of the channels that are the coarse predictands, one per output; None where some have no coarse field.
    static : int
        Static fields on the fine grid.
    context : int
        Coarse cells around the domain: input only.

    Returns
    -------
    keras.Model
        From ``coarse`` (batch, height, width, channels) and, where there are any, ``static`` (1, fine height, fine
        width, static) to (batch, fine height, fine width, outputs), all in normalised units; the fine height is
        (height - 2 * context) * scale, and the fine width likewise.

    Raises
    ------
    ConfigError
        For a residual network where a predictand has no coarse field.

    References
    ----------
    González, C. A. G. (2023). DL4DS: deep learning for empirical downscaling. doi:10.1017/eds.2022.37
    """
    if settings.residual and base is None:
        raise ConfigError(
            "models: `residual: true` adds to the interpolated coarse predictands, but not every predictand has a "
            "coarse field here; leave `residual` empty, or set it to false"
        )
    residual = base is not None and settings.residual is not False
    coarse = keras.Input((*coarse_shape, channels), name="coarse")
    height, width = ((size - 2 * context) * scale for size in coarse_shape)
    fields = keras.Input((height, width, static), name="static") if static else None
    # Zeros let a residual network start as the interpolation it adds to.
    start = "zeros" if residual else "glorot_uniform"
    output = layers.Conv2D(outputs, 3, padding="same", kernel_initializer=start, name="output")
    body = _pre_upsampled if settings.upsampling == "pin" else _post_upsampled
    x = body(settings, coarse, fields, scale, context, output)
    if settings.localized:
        x = LocalizedAffine(name="localized")(x)
    if residual:
        chosen = _channels(coarse, list(base or ()), channels)
        x = layers.Add(name="residual")([x, Interpolate(settings.interpolation, scale, context, name="base")(chosen)])
    return keras.Model([coarse] if fields is None else [coarse, fields], x, name="network")


def _channels(coarse: Any, chosen: list[int], channels: int) -> Any:
    if chosen == list(range(channels)):
        return coarse
    return coarse[..., : len(chosen)] if chosen == list(range(len(chosen))) else ops.take(coarse, chosen, axis=-1)


def _pre_upsampled(settings: Model, coarse: Any, fields: Any, scale: int, context: int, output: Any) -> Any:
    """Work on the fine grid, that of the context included, which is cropped at the very end."""
    x = Interpolate(settings.interpolation, scale, name="upsampling")(coarse)
    if fields is not None:
        around = RepeatEdges(context * scale, name="static_edges")(fields) if context else fields
        x = ConcatenateStatic(name="with_static")([x, around])
    x = output(BACKBONES[settings.backbone](x, filters=settings.filters, blocks=settings.blocks))
    return layers.Cropping2D(context * scale, name="without_context")(x) if context else x


def _post_upsampled(settings: Model, coarse: Any, fields: Any, scale: int, context: int, output: Any) -> Any:
    """Work on the coarse grid, then upsample the domain itself."""
    x = BACKBONES[settings.backbone](coarse, filters=settings.filters, blocks=settings.blocks)
    if context:
        x = layers.Cropping2D(context, name="without_context")(x)
    # Half the channels suffice on the fine grid, where each costs scale**2 times as much.
    x = SubpixelUpsampling(max(settings.filters // 2, 8), scale, name="upsampling")(x)
    x = layers.Activation("relu", name="upsampling_activation")(x)
    if fields is not None:
        x = ConcatenateStatic(name="with_static")([x, fields])
        x = layers.Conv2D(max(settings.filters // 2, 8), 3, padding="same", activation="relu", name="static_mix")(x)
    return output(x)
