"""Complete networks: inputs, backbone, upsampling, output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from dl4ds_core.config.models import CONSERVING, Model
from dl4ds_core.errors import ConfigError
from dl4ds_core.layers import (
    ConcatenateStatic,
    Constrain,
    Floor,
    Interpolate,
    LocalizedAffine,
    LocalizedConvolution,
    LocalizedRegression,
    RepeatEdges,
)
from dl4ds_core.models.backbones import BACKBONES
from dl4ds_core.models.recurrent import recurrent
from dl4ds_core.models.wiring import Wiring

#: Channels that the localized convolution gives.
LOCALIZED = 2


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
    constraints: Sequence[tuple[str, str]] = (),
) -> keras.Model:
    """Build a network.

    Parameters
    ----------
    settings : Model
        The section ``models.<name>`` of the configuration.
    coarse_shape : (int, int)
        Coarse cells along Y and X, those of the context included. Only networks with weights per cell, or that keep
        coarse means, are bound to it.
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
    constraints : sequence of (str, str)
        Constraint and transform of each predictand; none at all where no predictand has a constraint. What the layers
        ``floor`` and ``constraints`` must know besides is set afterwards: ``training.physics``.

    Returns
    -------
    keras.Model
        From ``coarse`` (batch, height, width, channels), or (batch, window, height, width, channels) with a time
        window, and, where there are any, ``static`` (1 or batch, fine height, fine width, static) to (batch, fine
        height, fine width, outputs), all in normalised units; the fine height is (height - 2 * context) * scale, and
        the fine width likewise.

    Raises
    ------
    ConfigError
        For a residual network, or means to be kept, where a predictand has no coarse field.

    References
    ----------
    González, C. A. G. (2023). DL4DS: deep learning for empirical downscaling. doi:10.1017/eds.2022.37
    """
    kept = [(kind if kind in CONSERVING else "none", transform) for kind, transform in constraints]
    conserving = any(kind != "none" for kind, _ in kept)
    _require_base(settings, base, conserving)
    residual = base is not None and settings.residual is not False
    bound = settings.localized != "none" or conserving
    height, width = coarse_shape if bound else (None, None)
    fine = tuple(None if size is None else (size - 2 * context) * scale for size in (height, width))
    window = () if settings.time_window is None else (settings.time_window,)
    coarse = keras.Input((*window, height, width, channels), name="coarse")
    fields = keras.Input((*fine, static), name="static") if static else None
    x = _Body(settings, scale, context, outputs, residual)(coarse, fields)
    # From the output on all is in full precision: numbers of few digits are for features.
    if settings.localized == "affine":
        x = LocalizedAffine(name="localized", dtype="float32")(x)
    last = coarse[:, -1] if window else coarse
    if settings.localized == "regression":
        neighbours = settings.neighbourhood
        regression = LocalizedRegression(outputs, scale, neighbours, context, name="localized", dtype="float32")
        x = layers.Add(name="with_localized", dtype="float32")([x, regression(last)])
    x = layers.Activation(settings.output_activation or "linear", name="activation", dtype="float32")(x)
    if base is not None and (residual or conserving):
        given = last if list(base) == list(range(channels)) else ops.take(last, list(base), axis=-1)
    if residual:
        interpolated = Interpolate(settings.interpolation, scale, context, name="base", dtype="float32")(given)
        x = layers.Add(name="residual", dtype="float32")([x, interpolated])
    if any(kind == "non-negative" for kind, _ in constraints):
        x = Floor(name="floor", dtype="float32")(x)
    if conserving:
        kinds, transforms = zip(*kept, strict=True)
        x = Constrain(kinds, transforms, scale, context, name="constraints", dtype="float32")([x, given])
    return keras.Model([coarse] if fields is None else [coarse, fields], x, name="network")


def _require_base(settings: Model, base: Sequence[int] | None, conserving: bool) -> None:
    if base is not None:
        return
    wanted = "`residual: true` adds to the interpolated coarse predictands" if settings.residual else ""
    wanted = "`constraints` compare with the coarse predictands" if conserving else wanted
    if wanted:
        raise ConfigError(
            f"models: {wanted}, but not every predictand has a coarse field here; leave "
            f"`{'constraints' if conserving else 'residual'}` empty"
        )


class _Body:
    """From the inputs to the output, before all that is in normalised units."""

    def __init__(self, settings: Model, scale: int, context: int, outputs: int, residual: bool) -> None:
        self.settings, self.wiring = settings, Wiring(settings)
        self.scale, self.context = scale, context
        # Half the channels suffice on the fine grid, where each costs scale**2 times as much.
        self.filters = max(settings.filters // 2, 8)
        # Zeros let a residual network start as the interpolation it adds to.
        start = "zeros" if residual else "glorot_uniform"
        self.output = layers.Conv2D(
            outputs, 3, padding="same", kernel_initializer=start, name="output", dtype="float32"
        )

    def __call__(self, coarse: Any, fields: Any | None) -> Any:
        return (self._pre_upsampled if self.settings.upsampling == "pin" else self._post_upsampled)(coarse, fields)

    def _backbone(self, x: Any) -> Any:
        backbone = BACKBONES[self.settings.backbone] if self.settings.time_window is None else recurrent
        return self.wiring.dropped(backbone(x, self.settings, self.wiring), "features")

    def _pre_upsampled(self, coarse: Any, fields: Any | None) -> Any:
        """Work on the fine grid, that of the context included, which is cropped at the very end."""
        cells = self.context * self.scale
        x = Interpolate(self.settings.interpolation, self.scale, name="upsampling")(coarse)
        if fields is not None and cells:
            fields = RepeatEdges(cells, name="static_edges")(fields)
        if fields is not None and self._joins_first:
            x, fields = ConcatenateStatic(name="with_static")([x, fields]), None
        x = self.output(self._with_own_fields(self._backbone(x), fields))
        return layers.Cropping2D(cells, name="without_context")(x) if cells else x

    @property
    def _joins_first(self) -> bool:
        return not self.settings.static_branch and self.settings.time_window is None

    def _post_upsampled(self, coarse: Any, fields: Any | None) -> Any:
        """Work on the coarse grid, then upsample the domain itself."""
        x = self._backbone(coarse)
        if self.context:
            x = layers.Cropping2D(self.context, name="without_context")(x)
        x = self.wiring.upsampled(x, self.settings.upsampling, self.scale, self.filters, "upsampling")
        return self.output(self._with_own_fields(x, fields))

    def _with_own_fields(self, x: Any, fields: Any | None) -> Any:
        """Join what belongs to the cells of the fine grid, and mix it with the features by one more convolution."""
        features = x
        if self.settings.localized == "convolution":
            local = self.wiring.convolved(features, LOCALIZED, "localized_reduced", size=1)
            local = LocalizedConvolution(LOCALIZED, name="localized")(local)
            x = layers.Concatenate(name="with_localized")([x, local])
        if fields is not None:
            if self.settings.static_branch:
                fields = self.wiring.twice(fields, self.filters, "static_branch", dropped=False)
            x = ConcatenateStatic(name="with_static")([x, fields])
        return x if x is features else self.wiring.convolved(x, self.filters, "mix")
