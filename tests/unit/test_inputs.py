"""Which entries are read for the record and for scenarios."""

from __future__ import annotations

from typing import Any

import pytest

from dl4ds_core.config.inputs import Data, Predictor
from dl4ds_core.config.prediction import Scenario
from dl4ds_core.errors import ConfigError
from dl4ds_core.inputs import Inputs, record_inputs, scenario_inputs


def entry(source: str, variable: str, **keys: Any) -> dict[str, Any]:
    return {"source": source, "variable": variable, **keys}


def data(**keys: Any) -> Data:
    """Two predictands of one source, with implicit pairs."""
    predictands = {
        "tas": entry("obs", "t2m", units="degC"),
        "pr": entry("obs", "tp", units="mm", minimum=0, dry_below=0.1),
    }
    return Data.model_validate({"predictands": predictands, "scale": 4, **keys})


EXPLICIT: dict[str, Any] = {
    "coarse": {"from": "era5", "variables": {"tas": "T2", "pr": entry("other", "rain", minimum=0.01)}},
    "predictors": {"z_500": entry("era5", "z", level=500)},
}
PREDICTORS: dict[str, Any] = {"coarse": {"from": "none"}, "predictors": {"z_500": entry("era5", "z", level=500)}}


def read(inputs: Inputs) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]], bool]:
    """Source and variable by name, of truth and coarse fields, in order."""
    truth, coarse = (
        {name: (entry.source, entry.variable) for name, entry in entries.items()}
        for entries in (inputs.truth, inputs.coarse)
    )
    return truth, coarse, inputs.implicit


TRUTH = {"tas": ("obs", "t2m"), "pr": ("obs", "tp")}


def test_implicit_pairs_need_no_coarse_files() -> None:
    assert read(record_inputs(data())) == (TRUTH, {}, True)


def test_predictors_stand_beside_implicit_pairs() -> None:
    found = record_inputs(data(predictors={"q_850": entry("era5", "q")}))
    assert read(found) == (TRUTH, {"q_850": ("era5", "q")}, True)


def test_explicit_pairs_come_first_and_keep_the_minimum_of_the_predictand() -> None:
    found = record_inputs(data(**EXPLICIT))
    coarse = {"tas": ("era5", "T2"), "pr": ("other", "rain"), "z_500": ("era5", "z")}
    assert read(found) == (TRUTH, coarse, False)
    assert list(found.coarse) == ["tas", "pr", "z_500"]
    assert found.coarse["pr"].minimum == 0.01
    plain = data(coarse={"from": "era5", "variables": {"tas": "T2", "pr": "rain"}})
    assert [entry.minimum for entry in record_inputs(plain).coarse.values()] == [None, 0]


def test_without_coarse_predictands_there_are_predictors_alone() -> None:
    assert read(record_inputs(data(**PREDICTORS))) == (TRUTH, {"z_500": ("era5", "z")}, False)


@pytest.mark.parametrize(
    ("keys", "scenario", "expected"),
    [
        # Another model's fields stand in for the reanalysis; observations of that time are not known.
        (
            EXPLICIT,
            {"sources": {"era5": "gcm", "other": "gcm"}},
            ({}, {"tas": ("gcm", "T2"), "pr": ("gcm", "rain"), "z_500": ("gcm", "z")}, False),
        ),
        # What is named itself goes before its source.
        (
            EXPLICIT,
            {
                "sources": {"era5": "gcm", "other": "gcm"},
                "coarse": {"tas": entry("new", "tas")},
                "predictors": {"z_500": entry("new", "zg")},
                "truth": {"tas": entry("later", "t2m"), "pr": entry("later", "tp")},
            },
            (
                {"tas": ("later", "t2m"), "pr": ("later", "tp")},
                {"tas": ("new", "tas"), "pr": ("gcm", "rain"), "z_500": ("new", "zg")},
                False,
            ),
        ),
        (PREDICTORS, {"sources": {"era5": "gcm"}}, ({}, {"z_500": ("gcm", "z")}, False)),
        # The truth of another period or place is coarsened as that of the training was.
        ({}, {"sources": {"obs": "later"}}, ({"tas": ("later", "t2m"), "pr": ("later", "tp")}, {}, True)),
        # Coarse fields that are there already, for networks trained on implicit pairs.
        (
            {"predictors": {"q_850": entry("era5", "q")}},
            {"sources": {"era5": "gcm"}, "coarse": {"tas": entry("gcm", "tas"), "pr": entry("gcm", "pr")}},
            ({}, {"tas": ("gcm", "tas"), "pr": ("gcm", "pr"), "q_850": ("gcm", "q")}, False),
        ),
        # With their truth.
        (
            {},
            {"sources": {"obs": "later"}, "coarse": {"tas": entry("gcm", "tas"), "pr": entry("gcm", "pr")}},
            (
                {"tas": ("later", "t2m"), "pr": ("later", "tp")},
                {"tas": ("gcm", "tas"), "pr": ("gcm", "pr")},
                False,
            ),
        ),
    ],
    ids=["sources", "entries", "predictors", "implicit", "coarse", "coarse with truth"],
)
def test_inputs_of_a_scenario(keys: dict[str, Any], scenario: dict[str, Any], expected: object) -> None:
    found = scenario_inputs(data(**keys), "future", Scenario.model_validate(scenario))
    assert read(found) == expected
    assert list(found.coarse) == list(expected[1])  # type: ignore[index]


def test_what_is_replaced_is_read_as_before() -> None:
    found = scenario_inputs(data(**EXPLICIT), "future", Scenario(sources={"era5": "gcm", "other": "gcm"}))
    assert found.coarse["z_500"] == Predictor(source="gcm", variable="z", level=500)


@pytest.mark.parametrize(
    ("keys", "scenario", "lacking"),
    [
        (EXPLICIT, {"sources": {"era5": "gcm"}}, "pr"),
        (EXPLICIT, {"sources": {"other": "gcm"}}, "tas"),
        ({}, {"truth": {"tas": entry("later", "t2m")}}, "pr"),
        ({}, {"coarse": {"pr": entry("gcm", "pr")}}, "tas"),
        ({"predictors": {"q_850": entry("era5", "q")}}, {"sources": {"obs": "later"}}, "q_850"),
    ],
)
def test_an_input_that_nothing_is_said_about_is_named(keys: Any, scenario: Any, lacking: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"prediction\.scenarios\.future: nothing is said about the input '{lacking}'"
    ):
        scenario_inputs(data(**keys), "future", Scenario.model_validate(scenario))
