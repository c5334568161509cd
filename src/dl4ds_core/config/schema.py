"""The configuration of an experiment as typed sections.

Every key has a type, a default or is required, and a sentence; the JSON schema and the table in the documentation
are generated from here (``dl4ds_core.config.documentation``).
"""

from __future__ import annotations

import datetime
import re
from itertools import combinations
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    create_model,
    field_validator,
    model_validator,
)

from dl4ds_core.config.periods import Period, parse_period, periods_overlap

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=80)]
Method = Literal["conservative", "bilinear", "bicubic", "nearest"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
LossName = Literal["mae", "mse", "huber"]
Baseline = Literal[
    "nearest", "bilinear", "bicubic", "bilinear-corrected", "bicubic-corrected", "regression", "bilinear-qm"
]
#: Folders of an experiment beside those of its models.
RESERVED = ("data", "verification")
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, values can't be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())


def partial(section: type[Section], name: str) -> type[Section]:
    """Return a section with the same keys, all optional: what a model may override."""
    fields: dict[str, Any] = {}
    for key, field in section.model_fields.items():
        kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        fields[key] = (kind, Field(default=None, description=field.description))
    return create_model(name, __base__=Section, __doc__=f"{section.__name__} keys, overridden for one model.", **fields)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _duration(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(min|h|d|w|month|y)", value):
        raise ValueError("expected a whole number and min, h, d, w, month or y, such as 24h, 5d or 10y")
    return value


def _date(value: Any) -> Any:
    """YAML reads 2019 as a number and 2019-03-01 as a date; periods are handled as ISO 8601 text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:04d}"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


IsoDate = Annotated[str, BeforeValidator(_date, json_schema_input_type=str | int)]
PeriodField = Annotated[tuple[IsoDate, IsoDate], AfterValidator(lambda ends: (parse_period(ends), ends)[1])]
Duration = Annotated[str, AfterValidator(_duration)]


class Download(Section):
    """A file that is fetched once and checked against its checksum."""

    url: str = Field(description="Address of the file (http, https or ftp).", pattern=r"^(https?|ftp)://\S+$")
    sha256: str = Field(description="SHA-256 checksum of the file, in hexadecimal.", pattern=r"^[0-9a-f]{64}$")
    local: str | None = Field(
        default=None,
        description="Path below the folder that the environment variable DL4DS_DATA names; used instead if present.",
    )


class Source(Section):
    """Files that belong together, described once."""

    paths: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])] = Field(
        default_factory=list,
        description="File names or globs (netCDF, GRIB or Zarr), relative to the working directory; "
        "`package://NAME/FILE` names a file of an installed Python package.",
    )
    downloads: list[Download] = Field(default_factory=list, description="Files to fetch, instead of `paths`.")
    citation: str = Field(default="", description="How to cite the data; repeated in the report.")
    licence: str = Field(default="", description="Licence of the data; repeated in the report.")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.paths) == bool(self.downloads):
            raise ValueError("expected either `paths` or `downloads`, and at least one entry")
        files = [item.url.rsplit("/", 1)[-1] for item in self.downloads]
        if len(set(files)) < len(files):
            raise ValueError(f"downloads: expected different file names, found {files}; make them different sources")
        return self


class Regrid(Section):
    """How a field is brought to another grid. Needed only where two grids differ."""

    engine: Literal["cdo"] = Field(default="cdo", description="Program that makes the weights.")
    method: Method = Field(default="conservative", description="Remapping method.")


class Predictand(Section):
    """A high-resolution variable to be predicted."""

    source: Name = Field(description="Key of `sources`.")
    variable: str = Field(description="Name of the variable in the files.")
    units: str | None = Field(default=None, description="Units to convert to on reading; empty: those of the files.")


class StaticField(Predictand):
    """A field without time (elevation, land fraction), brought to the fine grid."""

    regrid: Regrid | None = Field(default=None, description="Overrides `data.regrid` for this field.")


class Coarse(Section):
    """Where the coarse input comes from."""

    origin: Literal["predictands"] = Field(
        default="predictands",
        alias="from",
        description="`predictands`: implicit pairs, the predictands themselves coarsened by area-weighted means.",
    )


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError(f"expected [lower, upper], found {list(limits)}")
    return limits


Limits = Annotated[tuple[float, float], AfterValidator(_ascending)]


class Domain(Section):
    """Part of the predictands' grid to use; both ends belong to it."""

    lat: Limits = Field(description="Southern and northern limit of cell centres, degrees north.")
    lon: Limits = Field(
        description="Western and eastern limit of cell centres, degrees east, in the files' convention."
    )


class Data(Section):
    """What is downscaled, from what."""

    predictands: dict[VariableName, Predictand] = Field(
        description="High-resolution truth, by the name used in all results.", min_length=1
    )
    coarse: Coarse = Field(default_factory=Coarse, description="The coarse input.")
    static: dict[VariableName, StaticField] = Field(
        default_factory=dict, description="Fields without time, brought to the fine grid, by name."
    )
    domain: Domain | None = Field(default=None, description="Part of the grid to use; empty: all of it.")
    scale: int = Field(description="Fine cells per coarse cell, along each axis.", ge=2, le=16)
    regrid: Regrid = Field(default_factory=Regrid, description="Default for every field on another grid.")
    missing: Literal["refuse", "mask"] = Field(
        default="refuse",
        description="Missing values of predictands: `refuse` stops the run; `mask` is not available yet.",
    )

    @field_validator("missing")
    @classmethod
    def _no_mask_yet(cls, value: str) -> str:
        if value == "mask":
            raise ValueError(
                "masking missing cells is not available in this version; use `refuse` and a complete domain"
            )
        return value

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        both = set(self.predictands) & set(self.static)
        if both:
            raise ValueError(f"predictands and static fields share the name {sorted(both)[0]!r}: rename one of them")
        return self


class SplitPeriods(Section):
    """Which time steps are used for what. Both ends of a period belong to it: 2009 is the whole year."""

    method: Literal["periods"] = Field(default="periods", description="How the record is divided.")
    train: PeriodField = Field(description="First and last date (ISO 8601, as coarse as wanted) to train on.")
    validation: PeriodField = Field(description="Period for early stopping, the best epoch and the choice of models.")
    test: PeriodField = Field(description="Period for the final scores; choose models on `validation`.")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        for first, second in combinations(SPLITS, 2):
            if periods_overlap(self.period(first), self.period(second)):
                raise ValueError(
                    f"the periods {first} {list(getattr(self, first))} and "
                    f"{second} {list(getattr(self, second))} overlap"
                )
        return self

    def period(self, split: Split) -> Period:
        """Return the period of a split."""
        return parse_period(getattr(self, split))


class Normalization(Section):
    """How a field is scaled for the network. Fitted on the training period only."""

    method: Literal["standard", "minmax", "none"] = Field(
        default="standard", description="`standard`: zero mean, unit deviation; `minmax`: 0 to 1; `none`."
    )
    per: Literal["domain", "cell"] = Field(
        default="domain", description="One pair of numbers for the domain, or one per cell."
    )


def _mae() -> dict[LossName, float]:
    return {"mae": 1.0}


class Training(Section):
    """How a network is trained."""

    mode: Literal["supervised"] = Field(default="supervised", description="Kind of training.")
    loss: dict[LossName, PositiveFloat] = Field(
        default_factory=_mae,
        description="Losses and their weights, summed; in normalised units.",
        min_length=1,
    )
    epochs: PositiveInt = Field(default=50, description="Passes over the training period.")
    batch_size: PositiveInt = Field(default=32, description="Samples per step, over all workers together.")
    learning_rate: PositiveFloat = Field(default=1e-3, description="Learning rate of the Adam optimiser.")
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine",
        description="Learning rate over the training: constant, or falling to zero along a cosine.",
    )
    patience: PositiveInt | None = Field(
        default=None, description="Stop after so many epochs without a better validation RMSE; empty: never."
    )


TrainingOverride = partial(Training, "TrainingOverride")


class Model(Section):
    """A network. It may override `training` and `normalization`, nothing else."""

    backbone: Literal["resnet", "unet"] = Field(description="Kind of network.")
    upsampling: Literal["pin", "spc"] = Field(
        description="`pin`: the input is interpolated to the fine grid first; `spc`: sub-pixel convolution at the end."
    )
    filters: PositiveInt = Field(
        default=32, description="Channels of the convolutions (of the first level, for a unet)."
    )
    blocks: PositiveInt = Field(default=4, description="Residual blocks, or levels of a unet.")
    residual: bool = Field(default=True, description="The network adds to the interpolated coarse field.")
    localized: bool = Field(default=True, description="One weight and bias per cell and channel before the output.")
    interpolation: Interpolation = Field(default="bicubic", description="For pre-upsampling and the residual base.")
    training: TrainingOverride | None = Field(default=None, description="Keys of `training` to override.")  # type: ignore[valid-type]
    normalization: dict[str, Normalization] | None = Field(
        default=None, description="Entries of `normalization` to override."
    )

    @model_validator(mode="after")
    def _valid_combination(self) -> Self:
        if self.backbone == "unet" and self.upsampling != "pin":
            raise ValueError("a unet is available with `upsampling: pin`; use that, or `backbone: resnet`")
        return self


class Bootstrap(Section):
    """Confidence intervals by a moving-block bootstrap in time."""

    samples: PositiveInt = Field(default=1000, description="Number of resampled records.")
    block: Duration = Field(
        default="24h",
        description="Length of a block, such as 24h, 5d, 1month or 10y: longer than the memory of the errors.",
    )
    confidence: float = Field(default=0.9, description="Probability that the interval covers.", gt=0, lt=1)


class Verification(Section):
    """How predictions are scored."""

    baselines: list[Baseline] = Field(
        default_factory=lambda: list(BASELINES),
        description="Simple methods scored beside the networks.",
        min_length=1,
    )
    bootstrap: Bootstrap = Field(default_factory=Bootstrap, description="Confidence intervals.")


class Execution(Section):
    """Where and how jobs run. Never changes the science, and no part of what identifies a result."""

    results: str = Field(
        default="results", description="Folder for the results, which may lie elsewhere (scratch); logs stay here."
    )
    workers: PositiveInt = Field(default=2, description="Ranks of a training.")
    threads_per_worker: PositiveInt = Field(default=1, description="Threads of each rank.")
    deterministic: bool = Field(default=True, description="Use deterministic operations only; bitwise repeatable.")
    checkpoint_minutes: PositiveFloat = Field(
        default=10,
        description="Minutes between checkpoints of a training; "
        "a job killed without warning goes on from the last one.",
    )
    attempts: PositiveInt = Field(
        default=3,
        description="A training is given up after so many starts in a row that got no further; wall times don't count.",
    )


class Config(Section):
    """The whole configuration of an experiment."""

    experiment: Name = Field(description="Name of the experiment: results are in `results/<experiment>/`.")
    title: str = Field(default="", description="One line for the head of the report.")
    seeds: list[Annotated[int, Field(ge=1, lt=2**32)]] = Field(
        default_factory=lambda: [1], description="Every model is trained once per seed.", min_length=1
    )
    sources: dict[Name, Source] = Field(description="The files, by name.", min_length=1)
    data: Data = Field(description="What is downscaled, from what.")
    split: SplitPeriods = Field(description="Which time steps are used for what.")
    normalization: dict[str, Normalization] = Field(
        default_factory=dict, description="By name of a predictand or static field; `default` for the others."
    )
    models: dict[Name, Model] = Field(description="The networks, by name.", min_length=1)
    training: Training = Field(default_factory=Training, description="Defaults for every model.")
    verification: Verification = Field(default_factory=Verification, description="How predictions are scored.")
    execution: Execution = Field(default_factory=Execution, description="Where and how jobs run.")

    @model_validator(mode="after")
    def _references(self) -> Self:
        problems = [
            f"data.{kind}.{name}.source: {entry.source!r} is no key of sources ({', '.join(self.sources)})"
            for kind, entries in (("predictands", self.data.predictands), ("static", self.data.static))
            for name, entry in entries.items()
            if entry.source not in self.sources
        ]
        known = {"default", *self.data.predictands, *self.data.static}
        sections = {"normalization": self.normalization}
        sections |= {f"models.{name}.normalization": model.normalization or {} for name, model in self.models.items()}
        problems += [
            f"{where}.{key}: no predictand or static field has this name ({', '.join(sorted(known))})"
            for where, entries in sections.items()
            for key in entries
            if key not in known
        ]
        taken: dict[str, str] = dict.fromkeys(RESERVED, "a folder of the results")
        taken |= {str(baseline): "a baseline" for baseline in BASELINES}
        problems += [
            f"models.{name}: this is the name of {taken[name]}; choose another" for name in self.models if name in taken
        ]
        baselines = self.verification.baselines
        if len(set(baselines)) < len(baselines):
            problems.append(f"verification.baselines: expected different names, found {baselines}")
        if len(set(self.seeds)) < len(self.seeds):
            problems.append(f"seeds: expected different numbers, found {self.seeds}")
        if problems:
            raise ValueError("\n".join(problems))
        return self
