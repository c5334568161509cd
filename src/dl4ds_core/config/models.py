"""The section of a network."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from dl4ds_core.config.fields import Section, VariableName
from dl4ds_core.config.prediction import PredictionOverride
from dl4ds_core.config.training import Mode, Normalization, TrainingOverride

Backbone = Literal["convnet", "resnet", "densenet", "unet", "convnext"]
Upsampling = Literal["pin", "spc", "rc", "dc"]
Activation = Literal["relu", "elu", "selu", "gelu", "crelu", "leaky_relu"]
OutputActivation = Literal["relu", "elu", "selu", "gelu", "leaky_relu", "sigmoid", "softplus", "tanh"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]
Calendar = Literal["season", "day-of-year", "hour"]
Constraint = Literal["non-negative", "additive", "multiplicative", "softmax"]
#: What a network may give in place of one value: parameters from which values are drawn.
Distribution = Literal["gaussian", "bernoulli-gamma", "quantiles"]
#: Constraints that keep the coarse mean.
CONSERVING: tuple[Constraint, ...] = ("additive", "multiplicative", "softmax")
#: Backbones that take several time steps at once.
RECURRENT: tuple[Backbone, ...] = ("convnet", "resnet", "densenet")


class Dropout(Section):
    """Features that are dropped at random."""

    rate: float = Field(default=0.2, description="Share that is dropped.", ge=0, lt=1)
    kind: Literal["plain", "spatial", "gaussian"] = Field(
        default="plain",
        description="`plain`: single values; `spatial`: whole channels; `gaussian`: noise of the same variance.",
    )
    at_prediction: bool = Field(
        default=False, description="Keep it on when predicting too (Monte Carlo dropout): a prediction is one draw."
    )


def _levels() -> list[float]:
    return [round(0.05 + 0.1 * number, 2) for number in range(10)]


class Model(Section):
    """A network. It may override `training`, `normalization` and `prediction.members`, nothing else."""

    backbone: Backbone = Field(description="Kind of network.")
    upsampling: Upsampling = Field(
        description="`pin`: the input is interpolated to the fine grid first. After the backbone: `spc`: sub-pixel "
        "convolution; `rc`: interpolation, then convolution; `dc`: transposed convolution."
    )
    filters: PositiveInt = Field(
        default=32, description="Channels of the convolutions (of the first level, for a unet)."
    )
    blocks: PositiveInt = Field(default=4, description="Blocks of the backbone, or levels of a unet.")
    widen: bool = Field(default=False, description="Block number n has n times `filters` channels, as in DL4DS.")
    time_window: int | None = Field(
        default=None,
        description="Time steps that the network sees, the last of which is predicted (ConvLSTM); empty: that alone.",
        ge=2,
    )
    residual: bool | None = Field(
        default=None,
        description="The network adds to the interpolated coarse field; empty: where there is one of each predictand.",
    )
    localized: Literal["none", "affine", "convolution", "regression"] = Field(
        default="affine",
        description="Weights of their own for every cell: `affine`: one weight and bias per channel of the output; "
        "`convolution`: a 1 x 1 kernel and biases, whose result joins the features; `regression`: a linear map from "
        "the coarse cells around it, whose result is added to the output.",
    )
    neighbourhood: int = Field(
        default=5,
        description="Coarse cells along each axis that `localized: regression` looks at; an odd number.",
        ge=1,
    )
    interpolation: Interpolation = Field(
        default="bicubic", description="For `pin`, `rc`, a unet's decoder with `rc`, and the residual base."
    )
    decoder: Literal["spc", "rc", "dc"] = Field(default="rc", description="How a unet's decoder doubles its grid.")
    static_branch: bool = Field(
        default=False, description="Static fields pass through convolutions of their own before they join the features."
    )
    calendar: list[Calendar] = Field(
        default_factory=list,
        description="Further channels: the season (four of 0 or 1), sine and cosine of the day of the year and of the "
        "hour.",
    )
    activation: Activation | None = Field(
        default=None, description="Between convolutions; empty: `relu`, and `gelu` for convnext."
    )
    output_activation: OutputActivation | None = Field(
        default=None, description="Of the output, in normalised units; empty: none."
    )
    norm: Literal["none", "batch", "layer"] | None = Field(
        default=None, description="Normalisation of features; empty: `none`, and `layer` for convnext."
    )
    attention: bool = Field(default=False, description="Channels are weighted by their mean over the domain.")
    dropout: Dropout | None = Field(default=None, description="Features dropped at random; empty: none.")
    constraints: dict[VariableName, Constraint] = Field(
        default_factory=dict,
        description="By predictand, in physical units: `non-negative`; or the area-weighted mean over each coarse cell "
        "equals the coarse input: `additive` (any sign), `multiplicative` or `softmax` (never below zero).",
    )
    distribution: Distribution | None = Field(
        default=None,
        description="What the network gives for each cell, fitted by its likelihood: `gaussian`: mean and standard "
        "deviation; `bernoulli-gamma`: probability of a value above zero, and a gamma distribution of these, for "
        "precipitation; `quantiles`: the values of some quantiles; empty: one value.",
    )
    quantiles: list[float] = Field(
        default_factory=_levels, description="The quantiles of `distribution: quantiles`, ascending.", min_length=2
    )
    noise: int = Field(
        default=0,
        description="Channels of random noise that the network takes besides its inputs, so that it can give another "
        "field with each draw: for `training.mode: adversarial` and the loss `crps`.",
        ge=0,
        le=64,
    )
    prediction: PredictionOverride | None = Field(  # type: ignore[valid-type]
        default=None, description="Keys of `prediction` to override: `members`."
    )
    training: TrainingOverride | None = Field(default=None, description="Keys of `training` to override.")  # type: ignore[valid-type]
    normalization: dict[str, Normalization] | None = Field(
        default=None, description="Entries of `normalization` to override."
    )

    @model_validator(mode="after")
    def _valid_combination(self) -> Self:
        problems = []
        if self.time_window is not None and self.backbone not in RECURRENT:
            problems.append(
                f"a {self.backbone} sees one time step; leave out `time_window`, or use `backbone: "
                f"{'`, `'.join(RECURRENT)}`"
            )
        # Not whether the key is given: what is resolved and read again has all keys.
        if self.decoder != "rc" and self.backbone != "unet":
            problems.append(f"`decoder` is for a unet; a {self.backbone} has none, leave the key out")
        if self.widen and self.backbone == "unet":
            problems.append("`widen` is not for a unet, whose channels double from level to level; leave the key out")
        if self.neighbourhood % 2 == 0:
            problems.append(f"neighbourhood: expected an odd number of cells, found {self.neighbourhood}")
        elif self.neighbourhood != 5 and self.localized != "regression":
            problems.append("`neighbourhood` is for `localized: regression`; choose that, or leave the key out")
        ascending = all(a < b for a, b in zip([0.0, *self.quantiles], [*self.quantiles, 1.0], strict=True))
        if not ascending:
            problems.append(f"quantiles: expected ascending numbers between 0 and 1, found {self.quantiles}")
        elif self.quantiles != _levels() and self.distribution != "quantiles":
            problems.append("`quantiles` is for `distribution: quantiles`; choose that, or leave the key out")
        if self.distribution is not None and self.noise:
            problems.append(
                f"`noise` and `distribution: {self.distribution}` are two ways to give members; leave out one of them"
            )
        if self.distribution == "bernoulli-gamma" and self.localized == "regression":
            problems.append(
                "`localized: regression` adds to one value, and a `bernoulli-gamma` distribution has none; use "
                "`affine`, `convolution` or `none`"
            )
        if self.distribution == "bernoulli-gamma" and self.output_activation is not None:
            problems.append("`output_activation` is for networks that give one value; leave the key out")
        if len(set(self.calendar)) < len(self.calendar):
            problems.append(f"calendar: expected different names, found {self.calendar}")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def drawing_of(model: Model, mode: Mode) -> Literal["none", "dropout", "noise", "sampling"]:
    """Return what the members of a network, trained in a mode, may differ by."""
    if model.distribution is not None or mode == "diffusion":
        return "sampling"
    if model.noise:
        return "noise"
    return "dropout" if model.dropout is not None and model.dropout.at_prediction else "none"
