"""Sweeps: which networks a list of values stands for, what they are called, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from dl4ds_core.config import model_settings, parse
from dl4ds_core.config.json_schema import json_schema
from dl4ds_core.config.models import Model
from dl4ds_core.config.sweeps import LIMIT, expand
from dl4ds_core.config.training import Training
from dl4ds_core.errors import ConfigError
from dl4ds_core.identity import config_digest

Content = dict[str, Any]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
NET = {"backbone": "resnet", "upsampling": "spc"}


def problem(content: Content) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(content)
    return str(raised.value)


def test_lists_of_values_are_networks_of_their_product(content: Content) -> None:
    content["models"] = {"resnet": {"backbone": "resnet", "upsampling": ["spc", "rc"], "filters": [16, 32]}}
    models = parse(content).models
    assert {name: (model.upsampling, model.filters) for name, model in models.items()} == {
        "resnet_upsampling-spc_filters-16": ("spc", 16),
        "resnet_upsampling-spc_filters-32": ("spc", 32),
        "resnet_upsampling-rc_filters-16": ("rc", 16),
        "resnet_upsampling-rc_filters-32": ("rc", 32),
    }


def test_networks_without_lists_keep_their_names_and_order(content: Content) -> None:
    content["models"] = {"first": NET, "net": {**NET, "blocks": [2, 4]}, "last": NET}
    assert [*parse(content).models] == ["first", "net_blocks-2", "net_blocks-4", "last"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"training": {"learning_rate": [0.001, 1e-05]}}, ["learning_rate-0.001", "learning_rate-1e-05"]),
        ({"training": {"learning_rate": [1e20, 1e-20]}}, ["learning_rate-1e20", "learning_rate-1e-20"]),
        ({"training": {"patience": [None, 5]}}, ["patience-none", "patience-5"]),
        ({"dropout": {"rate": [0.1, 0.2]}}, ["dropout.rate-0.1", "dropout.rate-0.2"]),
        ({"dropout": [None, {"rate": 0.1, "kind": "spatial"}]}, ["dropout-none", "dropout-kind-spatial-rate-0.1"]),
        (
            {"normalization": {"tas": {"method": ["standard", "minmax"]}}},
            ["normalization.tas.method-standard", "normalization.tas.method-minmax"],
        ),
        ({"residual": [True, False, None]}, ["residual-true", "residual-false", "residual-none"]),
        (
            {"constraints": {"tas": ["additive", "non-negative"]}},
            ["constraints.tas-additive", "constraints.tas-non-negative"],
        ),
        ({"training": {"loss": [{"mae": 1}, {"mse": 0.2, "mae": 0.8}]}}, ["loss-mae-1", "loss-mae-0.8-mse-0.2"]),
        ({"training": {"loss": {"mse": [0.5, 1]}}}, ["loss.mse-0.5", "loss.mse-1"]),
        ({"training": [{"epochs": 5}, {"epochs": 10}]}, ["training-epochs-5", "training-epochs-10"]),
        ({"training": {"start_from": ["a b/c.keras", "/d.keras"]}}, ["start_from-a-b-c.keras", "start_from-d.keras"]),
        (
            {"calendar": [[], ["season"], ["day-of-year", "hour"]]},
            ["calendar-none", "calendar-season", "calendar-day-of-year-hour"],
        ),
        (
            {"localized": "none", "training": {"augment": [[], ["flip-x", "rotate"]]}},
            ["augment-none", "augment-flip-x-rotate"],
        ),
        ({"filters": [16]}, ["filters-16"]),
    ],
    ids=str,
)  # fmt: skip
def test_names_are_made_of_the_keys_and_values_that_vary(
    content: Content, changes: dict[str, Any], names: list[str]
) -> None:
    content["models"]["net"] |= changes
    assert [*parse(content).models] == [f"net_{name}" for name in names]
    VALIDATOR.validate(content)


@pytest.mark.parametrize("changes", [{"calendar": []}, {"calendar": ["season", "hour"]}, {"training": {"augment": []}}])
def test_a_list_in_a_key_that_has_one_anyway_is_no_sweep(content: Content, changes: dict[str, Any]) -> None:
    content["models"]["net"] |= changes
    assert [*parse(content).models] == ["net"]


def test_values_arrive_where_they_belong(content: Content) -> None:
    content["models"]["net"] |= {
        "calendar": [["season"], ["hour"]],
        "training": {"epochs": 7, "learning_rate": [0.1, 0.2]},
        "normalization": {"tas": {"per": ["domain", "cell"]}},
    }
    config = parse(content)
    assert len(config.models) == 8
    name = "net_calendar-hour_learning_rate-0.2_normalization.tas.per-cell"
    settings = model_settings(config, name)
    assert settings.network.calendar == ["hour"]
    assert (settings.training.epochs, settings.training.learning_rate) == (7, 0.2)
    assert settings.normalization["tas"].per == "cell"


def test_a_list_that_grows_leaves_the_other_networks_as_they_are(content: Content) -> None:
    content["models"]["net"]["filters"] = [16]
    before = parse(content)
    content["models"]["net"]["filters"] = [8, 16]
    after = parse(content)
    assert {*after.models} > {*before.models}
    assert model_settings(after, "net_filters-16") == model_settings(before, "net_filters-16")


def test_the_order_of_keys_does_not_matter(content: Content) -> None:
    keys = {**NET, "training": {"schedule": ["constant", "cosine"], "epochs": [5, 6]}, "blocks": [1, 2]}
    backwards = dict(reversed({**keys, "training": dict(reversed(keys["training"].items()))}.items()))
    one, other = (parse({**content, "models": {"net": model}}) for model in (keys, backwards))
    assert [*one.models] == [*other.models]
    assert next(iter(one.models)) == "net_blocks-1_epochs-5_schedule-constant"


def test_networks_written_out_are_the_same_experiment(content: Content) -> None:
    swept, written = dict(content), dict(content)
    swept["models"] = {"net": {**NET, "filters": [16, 32]}}
    written["models"] = {f"net_filters-{number}": {**NET, "filters": number} for number in (32, 16)}
    assert config_digest(parse(swept)) == config_digest(parse(written))
    assert expand(expand(swept["models"])) == expand(swept["models"])
    resolved = {name: model.model_dump(mode="json") for name, model in parse(swept).models.items()}
    assert parse({**content, "models": resolved}).models == parse(swept).models


def test_what_is_given_is_not_changed(content: Content) -> None:
    content["models"]["net"] |= {"filters": [1, 2], "training": {"epochs": [3, 4]}}
    before = json.dumps(content)
    parse(content)
    assert json.dumps(content) == before


def test_no_key_of_training_is_one_of_a_network() -> None:
    """Names leave out the word `training`."""
    assert not {*Training.model_fields} & {*Model.model_fields}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"filters": []}, "models.net.filters: expected at least one value, found an empty list; leave the key out"),
        ({"training": {"epochs": []}}, "models.net.training.epochs: expected at least one value, found an empty list;"),
        ({"filters": [16, 16]}, "models.net.filters: expected different values, found [16, 16]"),
        ({"calendar": [["hour"], ["hour"]]}, "models.net.calendar: expected different values, found [['hour'],"),
        (
            {"training": {"start_from": ["a/b.keras", "a-b.keras"]}},
            "models.net: two networks would have the name net_start_from-a-b.keras; rename the section, or give one of",
        ),
        (
            {"filters": [*range(1, 101)], "blocks": [1, 2, 3]},
            f"models.net: expected no more than {LIMIT} networks, found 300 (100 of filters, 3 of blocks); shorten",
        ),
        (
            {"training": {"start_from": ["x" * 70 + ".keras"]}},
            f"models.net: expected names of no more than 80 characters, found net_start_from-{'x' * 70}.keras with 91; "
            "shorten the name of the section, or have fewer keys with lists of values",
        ),
        ({"filter": [1, 2]}, "models.net.filter: unknown key; did you mean 'filters'?"),
        ({"calendar": [["hour"], "season"]}, "models.net_calendar-season.calendar: input should be a valid list"),
        ({"filters": [8, [16]]}, "models.net_filters-16.filters: input should be a valid integer, found [16]"),
        ({"filters": [8, 0]}, "models.net_filters-0.filters: input should be greater than 0, found 0"),
        ({"training": {"epochs": [8, 0]}}, "models.net_epochs-0.training.epochs: input should be greater than 0"),
        (
            {"backbone": ["resnet", "unet"], "time_window": 3},
            "models.net_backbone-unet: a unet sees one time step; leave out `time_window`, or use `backbone: convnet`",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_swept_is_named(content: Content, changes: dict[str, Any], expected: str) -> None:
    content["models"]["net"] |= changes
    message = problem(content)
    assert message.startswith(f"config: {expected}"), message


@pytest.mark.parametrize("first", ["net", "net_filters-16"])
def test_a_name_that_another_network_has_is_refused(content: Content, first: str) -> None:
    models = {"net": {**NET, "filters": [8, 16]}, "net_filters-16": NET}
    content["models"] = dict(sorted(models.items(), key=lambda item: item[0] != first))
    expected = "config: models.net: two networks would have the name net_filters-16; rename the section, or give one of"
    assert problem(content).startswith(expected)


def test_two_sweeps_may_not_give_the_same_name(content: Content) -> None:
    content["models"] = {
        "net": {**NET, "filters": [8], "blocks": [1]},
        "net_filters-8": {**NET, "blocks": [1]},
    }
    assert "models.net_filters-8: two networks would have the name net_filters-8_blocks-1" in problem(content)


def test_just_as_many_networks_as_are_allowed(content: Content) -> None:
    content["models"]["net"]["filters"] = [*range(1, LIMIT + 1)]
    assert len(parse(content).models) == LIMIT


def test_what_is_wrong_with_all_networks_of_a_sweep_is_said_once(content: Content) -> None:
    content["models"]["net"] |= {"filters": [8, 16, 32], "blocks": 0}
    content["models"]["other"] = {**NET, "blocks": 0}
    assert problem(content).splitlines() == [
        "2 problems:",
        "  1. config: models.net_filters-8.blocks: input should be greater than 0, found 0 (and so in 2 more)",
        "  2. config: models.other.blocks: input should be greater than 0, found 0",
    ]


def test_problems_elsewhere_are_listed_beside_those_of_a_sweep(content: Content) -> None:
    content["models"]["net"]["filters"] = []
    content["data"]["scale"] = 1
    assert problem(content).startswith("2 problems:")


@pytest.mark.parametrize("models", [None, [], "net", {"net": None}, {"net": [NET]}], ids=str)
def test_models_that_are_no_sections_are_left_to_validation(content: Content, models: Any) -> None:
    content["models"] = models
    assert "expected a section of keys" in problem(content)


def test_the_schema_of_the_files_refuses_lists_elsewhere(content: Content) -> None:
    for path in ("training.epochs", "normalization.tas.method", "data.scale"):
        changed = yaml.safe_load(yaml.safe_dump(content))
        *folders, last = path.split(".")
        section = changed
        for folder in folders:
            section = section.setdefault(folder, {})
        section[last] = [1, 2]
        assert not VALIDATOR.is_valid(changed), path


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": []},
        {"filters": [8, 8]},
        {"filters": [8, 0]},
        {"training": {"epochs": [1, 1.5]}},
        {"training": {"loss": {"mae": [1, -1]}}},
        {"calendar": ["never"]},
        {"calendar": [["never"]]},
        {"normalization": {"tas": {"per": ["domain", "pixel"]}}},
        {"dropout": [{"rat": 0.1}]},
    ],
    ids=str,
)
def test_schema_and_models_refuse_the_same_lists(content: Content, changes: dict[str, Any]) -> None:
    content["models"]["net"] |= changes
    problem(content)
    assert not VALIDATOR.is_valid(content)
