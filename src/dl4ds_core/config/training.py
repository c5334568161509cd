"""Sections about how fields are scaled and networks are trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from dl4ds_core.config.fields import Section, Text, partial

Transform = Literal["none", "log1p", "cube-root"]
LossName = Literal["mae", "mse", "huber", "quantile", "dssim", "ms-dssim", "spectral"]
Augmentation = Literal["flip-y", "flip-x", "rotate"]


class Normalization(Section):
    """How a field is scaled for the network. Fitted on the training period only."""

    method: Literal["standard", "minmax", "robust", "none"] = Field(
        default="standard",
        description="`standard`: zero mean, unit deviation; `minmax`: 0 to 1; `robust`: zero median, unit "
        "interquartile range; `none`.",
    )
    transform: Transform = Field(
        default="none", description="Applied before: for skewed variables such as precipitation."
    )
    dry_below: float | None = Field(
        default=None, description="Smaller values become 0 before all else, in the field's units.", gt=0
    )
    per: Literal["domain", "cell"] = Field(
        default="domain", description="One pair of numbers for the domain, or one per cell."
    )


def _mae() -> dict[LossName, float]:
    return {"mae": 1.0}


def _different(values: list[Augmentation]) -> list[Augmentation]:
    if len(set(values)) < len(values):
        raise ValueError(f"expected different names, found {values}")
    return values


class Training(Section):
    """How a network is trained."""

    mode: Literal["supervised"] = Field(default="supervised", description="Kind of training.")
    loss: dict[LossName, PositiveFloat] = Field(
        default_factory=_mae,
        description="Losses and their weights, summed; in normalised units.",
        min_length=1,
    )
    quantile: float = Field(default=0.5, description="The quantile that the loss `quantile` is for.", gt=0, lt=1)
    data_range: PositiveFloat | None = Field(
        default=None,
        description="Range of the truth for `dssim` and `ms-dssim`, normalised; empty: that of the training period.",
    )
    epochs: PositiveInt = Field(default=50, description="Passes over the training period.")
    batch_size: PositiveInt = Field(default=32, description="Samples per step, over all workers together.")
    optimizer: Literal["adam", "adamw"] = Field(
        default="adam", description="`adamw`: Adam with decoupled weight decay."
    )
    weight_decay: NonNegativeFloat | None = Field(
        default=None,
        description="Of `adamw`: share by which weights shrink per step, times the learning rate; empty: 0.01.",
    )
    learning_rate: PositiveFloat = Field(default=1e-3, description="Learning rate of the optimiser.")
    schedule: Literal["constant", "cosine", "piecewise"] = Field(
        default="cosine",
        description="Learning rate over the training: constant, falling to zero along a cosine, or by `piecewise`.",
    )
    piecewise: dict[PositiveInt, PositiveFloat] = Field(
        default_factory=dict,
        description="With `schedule: piecewise`: by epochs done, the factor on the learning rate from then on.",
    )
    warmup_epochs: NonNegativeFloat = Field(
        default=0.0, description="The learning rate rises linearly from zero over so many epochs."
    )
    clip_norm: PositiveFloat | None = Field(
        default=None, description="Gradients whose norm over all weights is larger are scaled down to it; empty: none."
    )
    best_by: Literal["rmse", "mae", "loss"] = Field(
        default="rmse", description="What of the validation period says which epoch is the best."
    )
    patience: PositiveInt | None = Field(
        default=None, description="Stop after so many epochs that are no better by `best_by`; empty: never."
    )
    min_delta: NonNegativeFloat = Field(
        default=0.0, description="What an epoch must be better by to count for `patience`."
    )
    patch_size: PositiveInt | None = Field(
        default=None,
        description="Train on square patches of so many fine cells along each axis, drawn anew in each epoch; a "
        "multiple of `data.scale`; empty: whole domain.",
    )
    augment: Annotated[list[Augmentation], AfterValidator(_different)] = Field(
        default_factory=list,
        description="Turn samples at random: fields have a north, so for none by default. `rotate` by quarter turns.",
    )
    start_from: Text | None = Field(
        default=None,
        description="Begin with the weights of another model of this experiment (same seed), or of a `model.keras`.",
    )
    freeze: list[Text] = Field(
        default_factory=list,
        description="Layers whose weights stay as in `start_from`, by name; `*` stands for any text.",
    )
    retransformation: Literal["none", "smearing"] = Field(
        default="none",
        description="For transformed predictands: `smearing` adds what the mean of the back-transformed errors of like "
        "predictions of the training period adds, so that means come out right; extremes less so.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if (self.schedule == "piecewise") != bool(self.piecewise):
            problems.append("`schedule: piecewise` and the key `piecewise` belong together; give both or neither")
        if self.weight_decay and self.optimizer != "adamw":
            problems.append("`weight_decay` is for `optimizer: adamw`; choose that, or leave it out")
        late = [epochs for epochs in self.piecewise if epochs >= self.epochs]
        if late:
            problems.append(f"piecewise: expected numbers below `epochs` ({self.epochs}), found {late[0]}")
        if self.warmup_epochs > self.epochs:
            problems.append(
                f"warmup_epochs: expected no more than `epochs` ({self.epochs}), found {self.warmup_epochs:g}: the "
                "learning rate would never be reached"
            )
        if self.min_delta and self.patience is None:
            problems.append("`min_delta` does nothing without `patience`; give both or neither")
        if self.freeze and self.start_from is None:
            problems.append("`freeze` needs `start_from`: layers with random weights are not kept as they are")
        if problems:
            raise ValueError("\n".join(problems))
        return self


TrainingOverride = partial(Training, "TrainingOverride")


def merged(training: Training, override: Section | None) -> Training:
    """Return the training of a model: its own keys, and those of the experiment for what it leaves out.

    Raises
    ------
    pydantic.ValidationError
        If keys that are right by themselves don't go together.
    """
    own = override.model_dump(exclude_unset=True) if override else {}
    return Training.model_validate(training.model_dump() | own)
