"""Sections on how predictions are scored."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, PositiveInt, model_validator

from dl4ds_core.config.fields import Block, Limits, Name, PeriodField, Section

Baseline = Literal[
    "climatology",
    "nearest",
    "bilinear",
    "bicubic",
    "bilinear-corrected",
    "bicubic-corrected",
    "regression",
    "bilinear-qm",
    "multiple-regression",
    "conservative",
    "bcsd",
    "ridge",
    "climatological-ensemble",
]
#: Baselines that work without a coarse field of the predictand.
WITHOUT_COARSE: tuple[Baseline, ...] = ("climatology", "multiple-regression", "ridge", "climatological-ensemble")
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

IndexName = Literal[
    "txx",
    "su",
    "tnn",
    "fd",
    "tgx",
    "tgn",
    "sdii",
    "r1mm",
    "r10mm",
    "rx1day",
    "rx5day",
    "cdd",
    "cwd",
    "fgx",
    "fgcalm",
    "fg6bft",
]
#: Climate indices, whose definitions are in ``verification/indices.py``.
INDEX_NAMES: tuple[IndexName, ...] = get_args(IndexName)


class Bootstrap(Section):
    """Confidence intervals by a moving-block bootstrap in time."""

    samples: PositiveInt = Field(default=1000, description="Number of resampled records.")
    block: Block = Field(
        default="auto",
        description="Length of a block, such as 24h, 5d, 1month or 10y: longer than the memory of the errors. `auto` "
        "chooses it from the autocorrelation of the truth.",
    )
    confidence: float = Field(default=0.9, description="Probability that the interval covers.", gt=0, lt=1)


class Region(Section):
    """Cells with scores of their own: those for which all that is given holds."""

    lat: Limits | None = Field(default=None, description="Southern and northern limit of cell centres, degrees north.")
    lon: tuple[float, float] | None = Field(
        default=None,
        description="Western and eastern limit of cell centres, degrees east; a west that is larger than the east is a "
        "region across the date line.",
    )
    field: Name | None = Field(default=None, description="A static field, such as the elevation, that has limits.")
    min: float | None = Field(default=None, description="Least value of the field, in its units.")
    below: float | None = Field(default=None, description="Values of the field are below this, in its units.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        limits = self.min is not None or self.below is not None
        if limits != (self.field is not None):
            raise ValueError("expected `field` together with `min`, `below` or both of them")
        if self.lat is None and self.lon is None and self.field is None:
            raise ValueError("expected limits of `lat`, `lon` or of a `field`, found none")
        if self.min is not None and self.below is not None and self.min >= self.below:
            raise ValueError(f"expected `min` less than `below`, found {self.min:g} and {self.below:g}")
        return self


class Place(Section):
    """A place whose time series are shown: the nearest cell stands for it."""

    lat: float = Field(description="Degrees north.", ge=-90, le=90)
    lon: float = Field(description="Degrees east.", ge=-180, le=360)


class Animation(Section):
    """Truth beside the prediction of the chosen network over some steps of the test period, as a moving picture."""

    period: PeriodField | None = Field(
        default=None, description="First and last date (ISO 8601, as coarse as wanted); empty: the test period."
    )
    steps: int = Field(
        default=24, description="Most time steps that are shown, the first of the period; 0: none.", ge=0, le=240
    )


class Explain(Section):
    """What a network's predictions depend on: permutation importance of its inputs, and saliency maps."""

    steps: int = Field(
        default=500, description="Time steps of validation that are used at most, spread evenly over it.", ge=2
    )
    repeats: PositiveInt = Field(default=3, description="Permutations of each input.")


class Verification(Section):
    """How predictions are scored."""

    baselines: list[Baseline] | None = Field(
        default=None,
        description="Simple methods scored beside the networks; empty: all that the inputs allow.",
        min_length=1,
    )
    bootstrap: Bootstrap = Field(default_factory=Bootstrap, description="Confidence intervals.")
    thresholds: dict[Name, Annotated[list[float], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="By name of a predictand, in its units: values of at least so much are events, whose places are "
        "compared (fractions skill score). Empty: the 90th and the 99th percentile of the truth.",
    )
    indices: dict[Name, list[IndexName]] = Field(
        default_factory=dict,
        description="By name of a predictand: climate indices whose biases are scores, as listed in verification.md; "
        "an empty list is none. Of predictands that are not named, those that suit the quantity.",
    )
    regions: dict[Name, Region] = Field(
        default_factory=dict, description="Regions and classes of cells with scores of their own, by name."
    )
    places: dict[Name, Place] = Field(
        default_factory=dict,
        description="Places whose time series and saliency maps are shown, by name; empty: series of the cells where "
        "the errors of the chosen network are typical and largest, maps of the middle of the domain.",
    )
    animation: Animation = Field(default_factory=Animation, description="The moving picture of the report.")
    explain: Explain | None = Field(
        default_factory=Explain,
        description="How much each input matters to each network, and where on the coarse grid it looks for its "
        "prediction at the `places`; `null`: nothing of this is made.",
    )
