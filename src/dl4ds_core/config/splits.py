"""Sections that say how the record is divided."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from dl4ds_core.config.fields import Duration, PeriodField, Section, Span, minutes
from dl4ds_core.config.periods import Period, parse_period, periods_overlap

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


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


Fraction = Annotated[float, Field(gt=0, lt=1)]
Year = Annotated[int, Field(ge=0, le=9999)]


class Fractions(Section):
    """Parts of the record; what is left of 1 is for training."""

    validation: Fraction = Field(default=0.15, description="Part to validate on.")
    test: Fraction = Field(default=0.15, description="Part to test on.")

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("expected validation + test below 1, so that something is left to train on")
        return self


class SplitYears(Section):
    """Whole years, listed or drawn at random."""

    method: Literal["years"] = Field(description="How the record is divided.")
    train: list[Year] = Field(default_factory=list, description="Years to train on.")
    validation: list[Year] = Field(default_factory=list, description="Years to validate on.")
    test: list[Year] = Field(default_factory=list, description="Years to test on.")
    first_month: int = Field(
        default=1,
        description="Month that a year starts with: with 12, December belongs to the year after.",
        ge=1,
        le=12,
    )
    fractions: Fractions | None = Field(default=None, description="Instead of lists: parts of the years, at random.")
    seed: int = Field(default=1, description="Seed of the draw.", ge=0)
    gap: Span = Field(default="0d", description="Steps this close to another split are left out.")

    @model_validator(mode="after")
    def _lists_or_fractions(self) -> Self:
        lists = [self.train, self.validation, self.test]
        if self.fractions is not None and any(lists):
            raise ValueError("expected lists of years or `fractions`, found both")
        if self.fractions is None and not all(lists):
            raise ValueError("expected `train`, `validation` and `test` lists of years, or `fractions`")
        listed = [year for years in lists for year in years]
        twice = sorted({year for year in listed if listed.count(year) > 1})
        if twice:
            raise ValueError(f"the year {twice[0]} is listed twice")
        return self


class SplitBlocks(Section):
    """Blocks of consecutive steps, drawn at random, with a gap between blocks of different splits."""

    method: Literal["blocks"] = Field(description="How the record is divided.")
    block: Duration = Field(default="10d", description="Length of a block.")
    gap: Span = Field(default="3d", description="Steps this close to another split are left out.")
    fractions: Fractions = Field(default_factory=Fractions, description="Parts of the blocks.")
    seed: int = Field(default=1, description="Seed of the draw.", ge=0)

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if minutes(self.gap) >= minutes(self.block):
            raise ValueError(
                f"expected a gap shorter than a block, found {self.gap} and {self.block}: nothing is left of a block "
                "between two of other splits"
            )
        return self


class SplitKFold(Section):
    """Every year is tested on once: one training per fold, and scores of all folds together.

    Each fold tests on one group of years, validates on the next and trains on the others.
    """

    method: Literal["kfold"] = Field(description="How the record is divided.")
    folds: int = Field(default=5, description="Groups of years, and trainings per model and seed.", ge=3, le=100)
    first_month: int = Field(
        default=1,
        description="Month that a year starts with: with 12, December belongs to the year after.",
        ge=1,
        le=12,
    )
    shuffle: bool = Field(default=True, description="Years are drawn at random, not grouped in their order.")
    seed: int = Field(default=1, description="Seed of the draw.", ge=0)
    gap: Span = Field(default="0d", description="Steps this close to another split are left out.")


AnySplit = SplitPeriods | SplitYears | SplitBlocks | SplitKFold


def _with_method(value: Any) -> Any:
    """`periods` is the method of a split that names none."""
    return {"method": "periods", **value} if isinstance(value, dict) else value


Splitting = Annotated[AnySplit, Field(discriminator="method"), BeforeValidator(_with_method)]
