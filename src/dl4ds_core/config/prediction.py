"""Sections about what trained networks are applied to."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from dl4ds_core.config.fields import Name, PeriodField, Section, VariableName, partial
from dl4ds_core.config.inputs import Predictand, Predictor


class Scenario(Section):
    """Other inputs with the same variables, such as those of a climate model."""

    sources: dict[Name, Name] = Field(
        default_factory=dict,
        description="A source of the training, and the one that takes its place here, with the same variables and "
        "units.",
    )
    coarse: dict[VariableName, Predictor] = Field(
        default_factory=dict, description="Coarse fields of predictands that are found elsewhere, by predictand."
    )
    predictors: dict[VariableName, Predictor] = Field(
        default_factory=dict, description="Predictors that are found elsewhere, by name."
    )
    truth: dict[VariableName, Predictand] = Field(
        default_factory=dict,
        description="Predictands, where they are known: predictions are scored then. With implicit pairs they are the "
        "input too.",
    )
    period: PeriodField | None = Field(default=None, description="First and last date to predict; empty: all.")
    harmonise: Literal["none", "mean-variance", "quantile-mapping"] = Field(
        default="none",
        description="Brings the distribution of the inputs of `reference` to that of the training, in each coarse "
        "cell, and changes these inputs likewise.",
    )
    reference: Name | None = Field(
        default=None,
        description="Scenario whose predictions the changes are relative to, such as the same climate model's past.",
    )

    @model_validator(mode="after")
    def _some_inputs(self) -> Self:
        if not (self.sources or self.coarse or self.predictors or self.truth):
            raise ValueError("expected inputs: at least one of `sources`, `coarse`, `predictors`, `truth`")
        return self


class Members(Section):
    """The members of an ensemble: predictions of one network that differ by what is drawn at random."""

    method: Literal["auto", "none", "dropout", "noise", "sampling"] = Field(
        default="auto",
        description="What is drawn: `noise`, with `models.<name>.noise`; `sampling` from "
        "`models.<name>.distribution` or by a diffusion model; `dropout`, kept on. `auto`: what the network has, "
        "`dropout` with `dropout.at_prediction`. `none`: one prediction, the mean of the distribution (of transformed "
        "values, where there is a `transform`), what the network of a diffusion model gives, or the first draw.",
    )
    count: PositiveInt = Field(default=10, description="Members of networks that draw; others give one prediction.")
    steps: int = Field(
        default=25,
        description="Steps from noise to a field, of models with `training.mode: diffusion`: fewer are faster, and "
        "less accurate.",
        ge=8,
    )


class Prediction(Section):
    """What trained networks are applied to, besides the test period, and how many members they give."""

    members: Members = Field(default_factory=Members, description="Ensembles.")
    scenarios: dict[Name, Scenario] = Field(
        default_factory=dict, description="Other inputs to apply the trained networks to, by name."
    )
    seed_ensemble: bool = Field(
        default=False,
        description="The predictions of all `seeds` of a model are the members of one more, `<model>-seeds`, that is "
        "scored and shown beside it.",
    )


class _OfModel(Section):
    """What a model may have of its own."""

    members: Members = Field(default_factory=Members, description="Ensembles.")


PredictionOverride = partial(_OfModel, "PredictionOverride")
