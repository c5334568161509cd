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
    DistributionParameters,
    Floor,
    Interpolate,
    LocalizedAffine,
    LocalizedConvolution,
    LocalizedRegression,
    RepeatEdges,
    raw_channels,
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
        window, and, where there are any, ``static`` (1 or batch, fine height, fine width, static) and ``noise`` (batch,
        fine height, fine width, noise), standard normal, to (batch, fine height, fine width, outputs), all in
        normalised units; the fine height is (height - 2 * context) * scale, and the fine width likewise. With a
        distribution there are further channels, see ``layers.DistributionParameters``; constraints hold for the first.

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
    noise = keras.Input((*fine, settings.noise), name="noise") if settings.noise else None
    last = coarse[:, -1] if window else coarse
    given = None
    if base is not None and (residual or conserving):
        given = last if list(base) == list(range(channels)) else ops.take(last, list(base), axis=-1)
    interpolated = None
    if residual:
        interpolated = Interpolate(settings.interpolation, scale, context, name="base", dtype="float32")(given)
    body = _Body(settings, scale, context, outputs, residual)
    x = body(coarse, fields, noise, interpolated if settings.distribution == "bernoulli-gamma" else None)
    # From the output on all is in full precision: numbers of few digits are for features.
    if settings.localized == "affine":
        x = LocalizedAffine(name="localized", dtype="float32")(x)
    raw = None
    if settings.distribution is not None:
        x, raw = x[..., :outputs], x[..., outputs:]
    if settings.localized == "regression":
        neighbours = settings.neighbourhood
        regression = LocalizedRegression(outputs, scale, neighbours, context, name="localized", dtype="float32")
        x = layers.Add(name="with_localized", dtype="float32")([x, regression(last)])
    x = layers.Activation(settings.output_activation or "linear", name="activation", dtype="float32")(x)
    if residual and settings.distribution != "bernoulli-gamma":  # whose first parameter is no value
        x = layers.Add(name="residual", dtype="float32")([x, interpolated])
    if raw is not None:
        x, raw = _distributed(x, raw, settings, outputs)
    if any(kind == "non-negative" for kind, _ in constraints):
        x = Floor(name="floor", dtype="float32")(x)
    if conserving:
        kinds, transforms = zip(*kept, strict=True)
        x = Constrain(kinds, transforms, scale, context, name="constraints", dtype="float32")([x, given])
    if raw is not None:
        x = layers.Concatenate(name="parameters", dtype="float32")([x, raw])
    return keras.Model([each for each in (coarse, fields, noise) if each is not None], x, name="network")


def _distributed(x: Any, raw: Any, settings: Model, outputs: int) -> tuple[Any, Any]:
    """Return the means of a distribution, and its other parameters, from its first and its other raw ones."""
    levels = settings.quantiles if settings.distribution == "quantiles" else ()
    joined = layers.Concatenate(name="raw", dtype="float32")([x, raw])
    distribution = DistributionParameters(
        str(settings.distribution), outputs, levels, name="distribution", dtype="float32"
    )
    x = distribution(joined)
    return x[..., :outputs], x[..., outputs:]


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
        raw = raw_channels(settings.distribution, outputs, len(settings.quantiles))
        self.output = layers.Conv2D(raw, 3, padding="same", kernel_initializer=start, name="output", dtype="float32")

    def __call__(self, coarse: Any, fields: Any | None, noise: Any | None, base: Any | None) -> Any:
        if self.settings.upsampling == "pin":
            return self._pre_upsampled(coarse, fields, noise)
        return self._post_upsampled(coarse, fields, noise, base)

    def _backbone(self, x: Any) -> Any:
        backbone = BACKBONES[self.settings.backbone] if self.settings.time_window is None else recurrent
        return self.wiring.dropped(backbone(x, self.settings, self.wiring), "features")

    def _pre_upsampled(self, coarse: Any, fields: Any | None, noise: Any | None) -> Any:
        """Work on the fine grid, that of the context included, which is cropped at the very end."""
        cells = self.context * self.scale
        x = Interpolate(self.settings.interpolation, self.scale, name="upsampling")(coarse)
        if fields is not None and cells:
            fields = RepeatEdges(cells, name="static_edges")(fields)
        if noise is not None and cells:
            noise = RepeatEdges(cells, name="noise_edges")(noise)
        if fields is not None and self._joins_first:
            x, fields = ConcatenateStatic(name="with_static")([x, fields]), None
        if noise is not None and self.settings.time_window is None:
            x = layers.Concatenate(name="with_noise")([x, noise])
        x = self.output(self._with_own_fields(self._backbone(x), fields, noise))
        return layers.Cropping2D(cells, name="without_context")(x) if cells else x

    @property
    def _joins_first(self) -> bool:
        return not self.settings.static_branch and self.settings.time_window is None

    def _post_upsampled(self, coarse: Any, fields: Any | None, noise: Any | None, base: Any | None) -> Any:
        """Work on the coarse grid, then upsample the domain itself."""
        if noise is not None and self.settings.time_window is None:
            coarse = layers.Concatenate(name="with_coarse_noise")([coarse, self._coarse_noise(noise)])
        x = self._backbone(coarse)
        if self.context:
            x = layers.Cropping2D(self.context, name="without_context")(x)
        x = self.wiring.upsampled(x, self.settings.upsampling, self.scale, self.filters, "upsampling")
        return self.output(self._with_own_fields(x, fields, noise, base))

    def _coarse_noise(self, noise: Any) -> Any:
        """Noise of the same variance on the coarse grid, for what is uncertain over more than a coarse cell."""
        mean = layers.AveragePooling2D(self.scale, name="noise_mean")(noise)
        coarse = layers.Rescaling(float(self.scale), name="noise_coarse")(mean)
        return RepeatEdges(self.context, name="noise_edges")(coarse) if self.context else coarse

    def _with_own_fields(self, x: Any, fields: Any | None, noise: Any | None = None, base: Any | None = None) -> Any:
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
        if noise is not None:
            # How much there is depends on the features: rain is uncertain where it rains.
            amplitude = layers.Conv2D(noise.shape[-1], 1, name="noise_amplitude")(features)
            noise = layers.Multiply(name="noise_scaled")([noise, amplitude])
            x = layers.Concatenate(name="with_own_noise")([x, noise])
        if base is not None:
            x = layers.Concatenate(name="with_base")([x, base])
        return x if x is features else self.wiring.convolved(x, self.filters, "mix")
