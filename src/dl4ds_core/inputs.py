"""Which entries of the configuration are read: for the record that networks are trained on, and for each scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from dl4ds_core.config.inputs import Data, Predictand, Predictor
from dl4ds_core.config.prediction import Scenario
from dl4ds_core.errors import ConfigError

Entry = TypeVar("Entry", bound=Predictor)


@dataclass(frozen=True)
class Inputs:
    """What is read from files.

    Attributes
    ----------
    truth : dict
        Predictands on the fine grid, by name; empty for a scenario whose truth isn't known.
    coarse : dict
        Fields remapped to the coarse grid, by name: coarse predictands from another source, then predictors.
    implicit : bool
        Whether the coarse predictands are the truth, coarsened.
    """

    truth: dict[str, Predictand]
    coarse: dict[str, Predictor]
    implicit: bool


def record_inputs(data: Data) -> Inputs:
    """Return the inputs of the record."""
    return Inputs(dict(data.predictands), data.coarse_entries(), data.coarse.origin == "predictands")


def scenario_inputs(data: Data, name: str, scenario: Scenario) -> Inputs:
    """Return the inputs of a scenario: those of the record, with other sources or entries.

    Raises
    ------
    ConfigError
        If the scenario says nothing about an input.
    """
    record = record_inputs(data)
    truth = _replaced(record.truth, scenario.truth, scenario.sources)
    # Networks trained on implicit pairs are also applied to coarse fields that are there already.
    implicit = record.implicit and not scenario.coarse
    given = scenario.coarse if record.implicit else {}
    coarse = dict(given) | _replaced(record.coarse, {**scenario.coarse, **scenario.predictors}, scenario.sources)
    lacking = [field for field in record.coarse if field not in coarse]
    if record.implicit:
        lacking += [field for field in record.truth if field not in (truth if implicit else coarse)]
    if lacking:
        raise ConfigError(
            f"prediction.scenarios.{name}: nothing is said about the input {lacking[0]!r}; name it under "
            "`coarse`, `predictors` or `truth`, or its source under `sources`"
        )
    return Inputs(truth, coarse, implicit)


def _replaced(entries: Mapping[str, Entry], given: Mapping[str, Entry], sources: Mapping[str, str]) -> dict[str, Entry]:
    """Return the entries that are given, or whose source has another in its place."""
    found: dict[str, Entry] = {}
    for name, entry in entries.items():
        if name in given:
            found[name] = given[name]
        elif entry.source in sources:
            found[name] = entry.model_copy(update={"source": sources[entry.source]})
    return found
