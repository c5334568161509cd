"""The denoiser of a diffusion model: it takes noise of any strength out of a field, given what the network knows."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from dl4ds_core.config.training import Denoiser
from dl4ds_core.layers import ConcatenateStatic, CropLike, Interpolate, PadToMultiple, Waves

#: Of the coarse fields, which the denoiser only looks at.
INTERPOLATION = "bilinear"
#: Frequencies at which it is told the strength of the noise, and the highest, in radians per unit of `hint`.
FREQUENCIES, HIGHEST = 16, 100.0
#: Channels of the first level are doubled up to so many times.
WIDEST = 4


def build_denoiser(
    settings: Denoiser,
    *,
    scale: int,
    channels: int,
    outputs: int,
    static: int = 0,
    context: int = 0,
    time_window: int | None = None,
) -> keras.Model:
    """Build a denoiser: a U-Net of residual blocks on the fine grid, each of which is told the strength of the noise.

    There are convolutions only, and features are normalised in each cell by itself, so that it works on grids and
    patches of any size.

    Parameters
    ----------
    settings : Denoiser
        Filters and levels.
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
        Steps of the coarse input; the field is that of the last.

    Returns
    -------
    keras.Model
        From ``noisy`` (batch, fine height, fine width, outputs), about one in size; ``hint`` (batch, 1), a number that
        tells the strength of the noise; ``mean`` and ``valid`` in the shape of ``noisy``: what the network gives, and
        one where there is truth, else zero; ``coarse`` (batch, [window,] height, width, channels) and, where there are
        any, ``static`` (1 or batch, fine height, fine width, static), to a field in the shape of ``noisy``: zero before
        the training.

    References
    ----------
    Ronneberger, O., Fischer, P. and Brox, T. (2015). U-Net: convolutional networks for biomedical image segmentation.
    doi:10.1007/978-3-319-24574-4_28
    Dhariwal, P. and Nichol, A. (2021). Diffusion models beat GANs on image synthesis. doi:10.48550/arXiv.2105.05233
    (how blocks are told the strength of the noise)
    """
    window = () if time_window is None else (time_window,)
    noisy, mean, valid = (keras.Input((None, None, outputs), name=name) for name in ("noisy", "mean", "valid"))
    hint = keras.Input((1,), name="hint", dtype="float32")
    coarse = keras.Input((*window, None, None, channels), name="coarse")
    fields = keras.Input((None, None, static), name="static") if static else None
    given = coarse
    if window:
        given = layers.Concatenate(name="steps")([coarse[:, step] for step in range(time_window or 0)])
    given = Interpolate(INTERPOLATION, scale, context, name="interpolated")(given)
    x = layers.Concatenate(name="joined")([noisy, mean, valid, given])
    if fields is not None:
        x = ConcatenateStatic(name="with_static")([x, fields])
    wide = 4 * settings.filters
    told = Waves(FREQUENCIES, HIGHEST, name="waves", dtype="float32")(hint)
    for number in (1, 2):
        told = layers.Dense(wide, activation="silu", name=f"told{number}")(told)
    x = _unet(x, told, settings)
    x = layers.Activation("silu", name="last_activation")(layers.LayerNormalization(name="last_norm")(x))
    x = layers.Conv2D(outputs, 3, padding="same", kernel_initializer="zeros", name="output", dtype="float32")(x)
    inputs = (noisy, hint, mean, valid, coarse, fields)
    return keras.Model([each for each in inputs if each is not None], x, name="denoiser")


def _unet(x: Any, told: Any, settings: Denoiser) -> Any:
    widths = [settings.filters * min(2**level, WIDEST) for level in range(settings.levels)]
    like = x
    x = PadToMultiple(2 ** (settings.levels - 1), name="padded")(x)
    x = layers.Conv2D(widths[0], 3, padding="same", name="stem")(x)
    skips = []
    for level, width in enumerate(widths):
        if level:
            skips.append(x)
            x = layers.Conv2D(width, 3, strides=2, padding="same", name=f"down{level}")(x)
        x = _block(x, told, width, f"block{level}")
    for level, width in reversed(list(enumerate(widths[:-1], start=1))):
        x = layers.UpSampling2D(2, name=f"up{level}")(x)
        x = layers.Concatenate(name=f"skip{level}")([x, skips.pop()])
        x = _block(x, told, width, f"up_block{level}")
    return CropLike(name="cropped")([x, like])


def _block(x: Any, told: Any, filters: int, name: str) -> Any:
    """Add a residual block, whose features are scaled and shifted by what it is told."""
    inner = layers.Activation("silu", name=f"{name}_activation1")(layers.LayerNormalization(name=f"{name}_norm1")(x))
    inner = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv1")(inner)
    inner = layers.LayerNormalization(center=False, scale=False, name=f"{name}_norm2")(inner)
    size = layers.Dense(filters, kernel_initializer="zeros", bias_initializer="ones", name=f"{name}_size")(told)
    shift = layers.Dense(filters, kernel_initializer="zeros", name=f"{name}_shift")(told)
    size, shift = (
        layers.Reshape((1, 1, filters), name=f"{name}_{of}")(each) for each, of in ((size, "sizes"), (shift, "shifts"))
    )
    inner = layers.Add(name=f"{name}_shifted")([layers.Multiply(name=f"{name}_scaled")([inner, size]), shift])
    inner = layers.Activation("silu", name=f"{name}_activation2")(inner)
    inner = layers.Conv2D(filters, 3, padding="same", kernel_initializer="zeros", name=f"{name}_conv2")(inner)
    if x.shape[-1] != filters:
        x = layers.Conv2D(filters, 1, name=f"{name}_across")(x)
    return layers.Add(name=name)([x, inner])
