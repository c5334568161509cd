"""Sections about how fields are scaled and networks are trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from dl4ds_core.config.fields import Section, Text, partial

Transform = Literal["none", "log1p", "cube-root"]
LossName = Literal["mae", "mse", "huber", "quantile", "dssim", "ms-dssim", "spectral", "crps", "likelihood"]
#: Losses of predictions that are no single values: they stand alone.
PROBABILISTIC: tuple[LossName, ...] = ("crps", "likelihood")
BestBy = Literal["rmse", "mae", "loss", "last"]
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


class Discriminator(Section):
    """The network that learns to tell truth from predictions."""

    filters: PositiveInt = Field(
        default=16,
        description="Channels of the convolutions on the coarse grid; half as many, but at least 8, on the fine.",
    )
    blocks: PositiveInt = Field(default=1, description="Residual blocks of each of its two branches.")


class Adversarial(Section):
    """How a generator, which is the network, is trained against a discriminator."""

    loss: Literal["vanilla", "least-squares", "wasserstein"] = Field(
        default="vanilla",
        description="What both play for: cross entropy; squared distance from the labels; or the critic's difference, "
        "with gradient penalty.",
    )
    weight: PositiveFloat = Field(
        default=0.1, description="Of the adversarial loss, beside those of `training.loss`, which look at each cell."
    )
    gradient_penalty: PositiveFloat = Field(default=10.0, description="Weight of the penalty with `wasserstein`.")
    learning_rate: PositiveFloat | None = Field(
        default=None, description="Of the discriminator, with the same schedule; empty: that of the generator."
    )
    discriminator_steps: PositiveInt = Field(
        default=1, description="Steps of the discriminator per step of the generator, each on other samples."
    )
    pretrain_epochs: NonNegativeInt = Field(
        default=0, description="First epochs, of the generator alone, by `training.loss`."
    )


class Denoiser(Section):
    """The network that learns to take noise out of the residuals of another one."""

    filters: int = Field(
        default=32, description="Channels of its first level; twice as many on the second, four times from there.", ge=4
    )
    levels: int = Field(default=3, description="Levels, each on a grid of half the resolution.", ge=1, le=6)


class Diffusion(Section):
    """How what a network's mean leaves open is learnt by a diffusion model."""

    pretrain_epochs: NonNegativeInt | None = Field(
        default=None,
        description="First epochs, of the network itself by `training.loss`; the others are those of the denoiser, "
        "and the network stays as it is. Each part has a `schedule` of its own, whose epochs count from its start, and "
        "keeps its best epoch. Empty: half of the epochs; none with `start_from`.",
    )
    learning_rate: PositiveFloat | None = Field(
        default=None, description="Of the denoiser; empty: that of the network."
    )
    averaging: float = Field(
        default=0.999,
        description="Decay of the mean over the steps of the denoiser's weights, which is what is kept; in the first n "
        "steps no more than (1 + n) / (10 + n).",
        ge=0,
        lt=1,
    )


Mode = Literal["supervised", "adversarial", "diffusion"]


class Training(Section):
    """How a network is trained."""

    mode: Mode = Field(
        default="supervised",
        description="Kind of training; `adversarial`: a conditional GAN; `diffusion`: a diffusion model draws what the "
        "network leaves of the truth.",
    )
    adversarial: Adversarial = Field(default_factory=Adversarial, description="With `mode: adversarial`.")
    discriminator: Discriminator = Field(
        default_factory=Discriminator, description="Size of the discriminator with `mode: adversarial`."
    )
    diffusion: Diffusion = Field(default_factory=Diffusion, description="With `mode: diffusion`.")
    denoiser: Denoiser = Field(default_factory=Denoiser, description="Size of the denoiser with `mode: diffusion`.")
    loss: dict[LossName, PositiveFloat] = Field(
        default_factory=_mae,
        description="Losses and their weights, summed; in normalised units. `crps` is for networks with `noise`, and "
        "stands alone; `likelihood` is that of a network with a `distribution`, which takes it by itself.",
        min_length=1,
    )
    members: int = Field(default=4, description="Draws of each sample per step with the loss `crps`.", ge=2)
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
    best_by: BestBy | None = Field(
        default=None,
        description="What of the validation period says which epoch is the best; `last`: the last one is kept. Empty: "
        "`rmse`; `loss` with `crps`, `likelihood` and `mode: diffusion`; `last` with `mode: adversarial`, whose errors "
        "grow with detail.",
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

    @property
    def kept_by(self) -> BestBy:
        """What says which epoch is kept."""
        if self.best_by is not None:
            return self.best_by
        if self.mode == "adversarial":
            return "last"
        return "loss" if self.mode == "diffusion" or set(PROBABILISTIC) & set(self.loss) else "rmse"

    @property
    def pretrain_epochs(self) -> int:
        """First epochs, of the network alone, in modes that train another one besides."""
        if self.mode == "diffusion":
            usual = 0 if self.start_from is not None else self.epochs // 2
            return usual if self.diffusion.pretrain_epochs is None else self.diffusion.pretrain_epochs
        return self.adversarial.pretrain_epochs if self.mode == "adversarial" else 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if len(self.loss) > 1 and set(PROBABILISTIC) & set(self.loss):
            name = next(name for name in PROBABILISTIC if name in self.loss)
            problems.append(f"loss: `{name}` stands alone; found it beside {', '.join(set(self.loss) - {name})}")
        if self.mode != "supervised":
            problems += self._of_two_networks()
        if self.patience is not None and self.kept_by == "last":
            problems.append("`patience` needs a score that says what is better; set `best_by`, or leave `patience` out")
        if self.retransformation == "smearing" and (self.mode != "supervised" or set(PROBABILISTIC) & set(self.loss)):
            problems.append("`retransformation: smearing` is for single predictions; members need none, so use `none`")
        if (self.schedule == "piecewise") != bool(self.piecewise):
            problems.append("`schedule: piecewise` and the key `piecewise` belong together; give both or neither")
        if self.weight_decay and self.optimizer != "adamw":
            problems.append("`weight_decay` is for `optimizer: adamw`; choose that, or leave it out")
        epochs, which = self._shortest_part
        late = [number for number in self.piecewise if number >= epochs]
        if late:
            problems.append(f"piecewise: expected numbers below {which} ({epochs}), found {late[0]}")
        if self.warmup_epochs > epochs:
            problems.append(
                f"warmup_epochs: expected no more than {which} ({epochs}), found {self.warmup_epochs:g}: the learning "
                "rate would never be reached"
            )
        if self.min_delta and self.patience is None:
            problems.append("`min_delta` does nothing without `patience`; give both or neither")
        if self.freeze and self.start_from is None:
            problems.append("`freeze` needs `start_from`: layers with random weights are not kept as they are")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def _shortest_part(self) -> tuple[int, str]:
        """The epochs that a schedule has, and their name."""
        parts = [part for part in (self.pretrain_epochs, self.epochs - self.pretrain_epochs) if part > 0]
        if self.mode != "diffusion" or len(parts) < 2:
            return self.epochs, "`epochs`"
        return min(parts), "the epochs of the shorter part, of network or denoiser"

    def _of_two_networks(self) -> list[str]:
        """Return what can't work where another network is trained besides the model's own."""
        problems = []
        if set(PROBABILISTIC) & set(self.loss):
            problems.append(f"`mode: {self.mode}` needs losses of single predictions, such as `mae`")
        if self.pretrain_epochs >= self.epochs:
            problems.append(
                f"{self.mode}.pretrain_epochs: expected less than `epochs` ({self.epochs}), found "
                f"{self.pretrain_epochs}"
            )
        if self.mode == "diffusion":
            if self.pretrain_epochs == 0 and self.start_from is None:
                problems.append(
                    "`mode: diffusion` needs a trained network: some `diffusion.pretrain_epochs` (and more `epochs` "
                    "than these), or `start_from`"
                )
            if self.pretrain_epochs == 0 and self.freeze:
                problems.append(
                    "`freeze`: with `mode: diffusion` and no `diffusion.pretrain_epochs` the whole network stays as it "
                    "is; leave the key out"
                )
            if self.best_by not in (None, "loss", "last"):
                problems.append(
                    f"best_by: with `mode: diffusion` expected `loss` or `last`, found `{self.best_by}`, which says "
                    "nothing of the denoiser"
                )
        return problems


TrainingOverride = partial(Training, "TrainingOverride")


def merged(training: Training, override: Section | None, *, likelihood: bool = False) -> Training:
    """Return the training of a model: its own keys, and those of the experiment for what it leaves out.

    Parameters
    ----------
    likelihood : bool
        Whether the model has a distribution, whose loss is its likelihood unless it says something else itself.

    Raises
    ------
    pydantic.ValidationError
        If keys that are right by themselves don't go together.
    """
    given = training.model_dump() | ({"loss": {"likelihood": 1.0}} if likelihood else {})
    own = override.model_dump(exclude_unset=True) if override else {}
    for key in ("adversarial", "discriminator", "diffusion", "denoiser"):
        if own.get(key):
            own[key] = given[key] | own[key]
    return Training.model_validate(given | own)
