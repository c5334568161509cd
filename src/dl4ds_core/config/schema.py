"""The configuration of an experiment as typed sections.

Every key has a type, a default or is required, and a sentence; the JSON schema and the table in the documentation
are generated from here (``dl4ds_core.config.documentation``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from dl4ds_core.config.combinations import impossible_models
from dl4ds_core.config.fields import Folder, Name, Section
from dl4ds_core.config.inputs import Data, Predictor, Source
from dl4ds_core.config.inputs import Download as Download
from dl4ds_core.config.inputs import Predictand as Predictand
from dl4ds_core.config.inputs import StaticField as StaticField
from dl4ds_core.config.models import Model as Model
from dl4ds_core.config.models import drawing_of
from dl4ds_core.config.prediction import Members, Prediction
from dl4ds_core.config.space import Domain as Domain
from dl4ds_core.config.space import Regrid as Regrid
from dl4ds_core.config.splits import Splitting
from dl4ds_core.config.sweeps import expand
from dl4ds_core.config.training import Mode, Training
from dl4ds_core.config.training import Normalization as Normalization
from dl4ds_core.config.training import Transform as Transform
from dl4ds_core.config.verification import BASELINES, WITHOUT_COARSE, Baseline, Verification

#: Folders of an experiment beside those of its models.
RESERVED = ("data", "verification")
#: Files of an experiment beside the folders of its models.
RESERVED_FILES = ("check.txt", "cost.csv", "provenance.json", "report.html", "archive.zip")
#: What the name of a model is followed by for the ensemble of its seeds.
OF_SEEDS = "-seeds"
#: Names of sources that would be mistaken for something else in `data.coarse.from`.
NO_SOURCES = ("predictands", "none")


class Execution(Section):
    """Where and how jobs run. Never changes the science, and no part of what identifies a result."""

    results: Folder = Field(
        default="results", description="Folder for the results, which may lie elsewhere (scratch); logs stay here."
    )
    workers: PositiveInt = Field(default=2, description="Ranks of a training.")
    threads_per_worker: PositiveInt = Field(default=1, description="Threads of each rank.")
    deterministic: bool = Field(default=True, description="Use deterministic operations only; bitwise repeatable.")
    mixed_precision: bool = Field(
        default=False, description="Networks compute in bfloat16 and keep their weights in float32."
    )
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
    split: Splitting = Field(description="Which time steps are used for what.")
    normalization: dict[str, Normalization] = Field(
        default_factory=dict,
        description="By name of a predictand, predictor or static field; `default` for the others.",
    )
    models: Annotated[dict[Name, Model], BeforeValidator(expand)] = Field(
        description="The networks, by name. A list of values in place of one, in any key of a network, stands for a "
        "network with each of them; where a value is a list already, a list of lists.",
        min_length=1,
    )
    training: Training = Field(default_factory=Training, description="Defaults for every model.")
    prediction: Prediction = Field(
        default_factory=Prediction, description="What trained networks are applied to, besides the test period."
    )
    verification: Verification = Field(default_factory=Verification, description="How predictions are scored.")
    execution: Execution = Field(default_factory=Execution, description="Where and how jobs run.")

    @property
    def folds(self) -> int:
        """The number of folds; 0 where the record is divided only once."""
        return self.split.folds if self.split.method == "kfold" else 0

    @property
    def baselines(self) -> list[Baseline]:
        """The baselines to score."""
        if self.verification.baselines is not None:
            return self.verification.baselines
        return [name for name in BASELINES if name in WITHOUT_COARSE or self.data.coarse.origin != "none"]

    @property
    def ensembles(self) -> dict[str, str]:
        """The ensembles of seeds to score: the model of each, by name."""
        return {f"{name}{OF_SEEDS}": name for name in self.models} if self.prediction.seed_ensemble else {}

    def limits(self, model: str | None = None) -> dict[str, dict[str, float | None]]:
        """Return the lower limits of predictions by predictand; those of a model follow its constraints too."""
        constraints = self.models[model].constraints if model else {}
        limits = {}
        for name, entry in self.data.predictands.items():
            minimum = entry.minimum
            if constraints.get(name, "additive") != "additive":
                # Going through normalised units costs digits: zero may come back as a little less.
                minimum = max(minimum or 0.0, 0.0)
            limits[name] = {"minimum": minimum, "dry_below": entry.dry_below}
        return limits

    def members(self, name: str) -> Members:
        """Return what a model's members are drawn by, and how many it gives: never `auto`, and one where none are."""
        model = self.models[name]
        wanted = self.prediction.members
        own: Members | None = getattr(model.prediction, "members", None)
        if own is not None:
            wanted = wanted.model_copy(update=own.model_dump(exclude_unset=True))
        mode = self.mode(model)
        method = drawing_of(model, mode) if wanted.method == "auto" else wanted.method
        # Only of those that take them, so that other predictions are the same for any number of steps.
        steps = {"steps": wanted.steps} if mode == "diffusion" and method == "sampling" else {}
        return Members(method=method, count=1 if method == "none" else wanted.count, **steps)

    def mode(self, model: Model) -> Mode:
        """Return how a model is trained."""
        return getattr(model.training, "mode", None) or self.training.mode

    def normalization_of(self, model: Model, field: str) -> Normalization:
        """Return how a model's predictand, predictor or static field is scaled."""
        entries = {"default": Normalization()} | self.normalization | (model.normalization or {})
        return entries.get(field, entries["default"])

    @model_validator(mode="after")
    def _references(self) -> Self:
        problems = [
            *(*self._unknown_sources(), *self._unknown_fields(), *self._useless_settings()),
            *(*self._taken_names(), *impossible_models(self), *self._scenarios(), *self._ensembles()),
        ]
        baselines = self.verification.baselines or []
        if len(set(baselines)) < len(baselines):
            problems.append(f"verification.baselines: expected different names, found {baselines}")
        problems += [
            f"verification.{key}.{name}: expected the name of a predictand ({', '.join(self.data.predictands)})"
            for key in ("thresholds", "indices")
            for name in getattr(self.verification, key)
            if name not in self.data.predictands
        ]
        problems += [
            f"verification.regions.{name}.field: expected a static field ({', '.join(self.data.static) or 'none'}), "
            f"found {region.field!r}"
            for name, region in self.verification.regions.items()
            if region.field is not None and region.field not in self.data.static
        ]
        if self.data.coarse.origin == "none":
            problems += [
                f"verification.baselines: {name} needs a coarse field of the predictand; without one there are "
                + ", ".join(WITHOUT_COARSE)
                for name in baselines
                if name not in WITHOUT_COARSE
            ]
        if len(set(self.seeds)) < len(self.seeds):
            problems.append(f"seeds: expected different numbers, found {self.seeds}")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _unknown_sources(self) -> Iterator[str]:
        data = self.data
        for name in NO_SOURCES:
            if name in self.sources:
                yield f"sources.{name}: `data.coarse.from` has another meaning for this name; choose another"
        named = {f"data.predictands.{name}.source": entry.source for name, entry in data.predictands.items()}
        named |= {f"data.predictors.{name}.source": entry.source for name, entry in data.predictors.items()}
        named |= {f"data.static.{name}.source": entry.source for name, entry in data.static.items() if entry.source}
        if data.coarse.explicit:
            named["data.coarse.from"] = data.coarse.origin
            named |= {
                f"data.coarse.variables.{name}.source": entry.source
                for name, entry in data.coarse.variables.items()
                if isinstance(entry, Predictor)
            }
        for key, source in named.items():
            if source not in self.sources:
                yield f"{key}: {source!r} is no key of sources ({', '.join(self.sources)})"

    def _unknown_fields(self) -> Iterator[str]:
        known = {"default", *self.data.predictands, *self.data.predictors, *self.data.static}
        for where, entries in self._normalizations().items():
            for key in entries:
                if key not in known:
                    yield (
                        f"{where}.{key}: no predictand, predictor or static field has this name "
                        f"({', '.join(sorted(known))})"
                    )

    def _useless_settings(self) -> Iterator[str]:
        """Find what is no error by itself, but would do nothing."""
        for where, entries in self._normalizations().items():
            for name, entry in entries.items():
                if name in self.data.static and entry.per == "cell":
                    yield f"{where}.{name}.per: a static field has one value per cell; use `per: domain`"
        smearing = {
            f"models.{name}.training": [model]
            for name, model in self.models.items()
            if getattr(model.training, "retransformation", None) == "smearing"
        }
        if self.training.retransformation == "smearing":
            smearing["training"] = list(self.models.values())
        for where, models in smearing.items():
            if not any(self._transforms(model) for model in models):
                yield (
                    f"{where}.retransformation: there is nothing to correct, as no predictand has a `transform` in its "
                    "`normalization`"
                )

    def _normalizations(self) -> dict[str, dict[str, Normalization]]:
        """Return the normalisation of the experiment and those of its models, by key."""
        own = {f"models.{name}.normalization": model.normalization or {} for name, model in self.models.items()}
        return {"normalization": self.normalization} | own

    def _transforms(self, model: Model) -> bool:
        """Tell whether a model's predictand is transformed."""
        return any(self.normalization_of(model, name).transform != "none" for name in self.data.predictands)

    def _taken_names(self) -> Iterator[str]:
        taken: dict[str, str] = dict.fromkeys(RESERVED, "a folder of the results")
        taken |= dict.fromkeys(RESERVED_FILES, "a file of the results")
        taken |= {str(baseline): "a baseline" for baseline in BASELINES}
        for name in self.models:
            if name in taken:
                yield f"models.{name}: this is the name of {taken[name]}; choose another"

    def _ensembles(self) -> Iterator[str]:
        if self.ensembles and len(self.seeds) < 2:
            yield f"prediction.seed_ensemble: needs two seeds or more, found {self.seeds}; add some to `seeds`"
        for name, model in self.ensembles.items():
            if name in self.models:
                yield (
                    f"models.{name}: this is the name of the ensemble of the seeds of {model} "
                    "(prediction.seed_ensemble); choose another"
                )

    def _scenarios(self) -> Iterator[str]:
        names = self.prediction.scenarios
        if names and self.folds:
            yield "prediction.scenarios: there is no one network with `split: {method: kfold}`; use another split"
        inputs = self.data.coarse_entries() | (
            self.data.predictands if self.data.coarse.origin == "predictands" else {}
        )
        bounded = [field for field, entry in inputs.items() if entry.minimum is not None]
        for name, scenario in names.items():
            where = f"prediction.scenarios.{name}"
            unknown = [source for pair in scenario.sources.items() for source in pair if source not in self.sources]
            entries = [*scenario.coarse.values(), *scenario.predictors.values(), *scenario.truth.values()]
            unknown += [entry.source for entry in entries if entry.source not in self.sources]
            for source in dict.fromkeys(unknown):
                yield f"{where}: {source!r} is no key of sources ({', '.join(self.sources)})"
            fields: dict[str, Mapping[str, object]] = {
                "coarse": self.data.predictands,
                "predictors": self.data.predictors,
                "truth": self.data.predictands,
            }
            for key, known in fields.items():
                for field in sorted(set(getattr(scenario, key)) - set(known)):
                    yield f"{where}.{key}.{field}: expected one of {', '.join(known) or 'none'}"
            if scenario.coarse and self.data.coarse.origin == "none":
                yield f"{where}.coarse: with `data.coarse: {{from: none}}` there are no coarse fields; use `predictors`"
            if scenario.harmonise == "mean-variance" and bounded:
                yield (
                    f"{where}.harmonise: mean-variance shifts {', '.join(bounded)} below its minimum, and what is "
                    "raised to it changes the mean; use quantile-mapping"
                )
            if scenario.reference is not None and scenario.reference not in names:
                yield f"{where}.reference: expected a scenario ({', '.join(names)}), found {scenario.reference!r}"
            if scenario.harmonise != "none" and scenario.reference is None:
                yield f"{where}.harmonise: needs `reference`, the scenario whose inputs are brought to the training's"
            elif scenario.harmonise not in ("none", names.get(str(scenario.reference), scenario).harmonise):
                yield (
                    f"{where}.harmonise: expected the same of its reference {scenario.reference!r}, found "
                    f"{names[str(scenario.reference)].harmonise!r}; the change would be that of the harmonising too"
                )
