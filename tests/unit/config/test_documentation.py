"""Models, JSON schema, key table, example and shipped configurations are in step."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dl4ds_core.config import Config, documentation, load, parse
from dl4ds_core.errors import ConfigError, DownscalingError

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = [REPOSITORY / "config" / "config.yaml", *sorted((REPOSITORY / "config" / "experiments").glob("*.yaml"))]
SCHEMA = json.loads((REPOSITORY / documentation.SCHEMA_FILE).read_text(encoding="utf-8"))
EXAMPLE = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / documentation.KEYS_FILE).read_text(encoding="utf-8"), re.S)[0]


def check_against_schema(content: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(content)


def test_generated_files_are_what_the_generator_writes() -> None:
    outdated = documentation.outdated(REPOSITORY)
    assert not outdated, f"run `dl4ds schema`: {outdated} are out of date"


def test_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_fit_models_and_schema(path: Path) -> None:
    config = load(path)
    check_against_schema(yaml.safe_load(path.read_text(encoding="utf-8")))
    check_against_schema(json.loads(config.model_dump_json(by_alias=True, exclude_unset=True)))


def test_an_experiment_is_named_like_its_file() -> None:
    for path in SHIPPED[1:]:
        assert load(path).experiment == path.stem
    assert load(SHIPPED[0]).experiment == "demo"


def test_the_example_of_the_page_is_complete() -> None:
    content = yaml.safe_load(EXAMPLE)
    check_against_schema(content)
    assert parse(content).experiment == content["experiment"]
    assert {*content} == {*Config.model_fields}, "the example shows every section"
    assert {*content["data"]} == {
        field.alias or name for name, field in Config.model_fields["data"].annotation.model_fields.items()
    }


def test_the_example_of_the_readme_is_complete() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.S)
    check_against_schema(yaml.safe_load(example))
    assert parse(yaml.safe_load(example)).experiment == "my-region"


@pytest.mark.parametrize(
    "change",
    [
        {"experimnt": "x"},
        {"experiment": 1},
        {"seeds": []},
        {"training": {"epochs": 0}},
        {"models": {"net": {"backbone": "resnet", "upsampling": "pin", "training": {"epochs": 0}}}},
        {"models": {}},
        {"execution": {"deterministic": "perhaps"}},
    ],
    ids=str,
)
def test_schema_refuses_what_the_models_refuse(change: dict[str, Any]) -> None:
    content = yaml.safe_load(EXAMPLE) | change
    with pytest.raises(ConfigError):
        parse(content)
    with pytest.raises(jsonschema.ValidationError):
        check_against_schema(content)


def test_every_key_has_a_sentence() -> None:
    undescribed = [key.path for key in documentation.all_keys() if not re.search(r"\w.*[.]$", key.description)]
    assert not undescribed
    for section in documentation.sections().values():
        assert section.__doc__


def test_units_are_those_of_keys() -> None:
    assert {*documentation.UNITS} <= {key.path for key in documentation.all_keys()}


def test_table_shows_types_defaults_and_limits() -> None:
    keys = {key.path: key for key in documentation.all_keys()}
    assert len(keys) == len(documentation.all_keys())
    assert (keys["data.scale"].kind, keys["data.scale"].default) == ("whole number ≥ 2, ≤ 16", "required")
    assert keys["training.loss"].kind == "map: `mae`, `mse` or `huber` to number > 0"
    assert keys["training.loss"].default == "`{mae: 1.0}`"
    assert keys["training.patience"].kind == "whole number > 0"
    assert keys["training.patience"].default == "empty"
    assert keys["models.<name>.residual"].default == "`true`"
    assert keys["data.coarse.from"].kind == "`predictands`"
    assert keys["sources.<name>.downloads[].url"].default == "required"
    assert keys["data.domain.lat"].unit == "degrees north"
    assert keys["verification.bootstrap"].default == "defaults of its keys"


def test_sections_that_occur_twice_are_shown_once() -> None:
    keys = {key.path: key for key in documentation.all_keys()}
    assert keys["models.<name>.training"].kind == "section, keys as in `training`"
    assert keys["models.<name>.normalization"].kind == "map: name to section, keys as in `normalization.<name>`"
    assert keys["data.static.<name>.regrid"].kind == "section, keys as in `data.regrid`"
    assert "models.<name>.training.epochs" not in keys
    assert "data.static.<name>.regrid.method" not in keys


def test_writing_mends_what_is_out_of_date(tmp_path: Path) -> None:
    page = tmp_path / documentation.KEYS_FILE
    page.parent.mkdir()
    page.write_text(f"# Head\n\n{documentation.MARKER}\nan older table\n", encoding="utf-8")
    written = documentation.write(tmp_path)
    assert written == [tmp_path / documentation.SCHEMA_FILE, page]
    assert page.read_text(encoding="utf-8").startswith("# Head\n")
    assert "an older table" not in page.read_text(encoding="utf-8")
    assert documentation.write(tmp_path) == []
    shutil.rmtree(tmp_path / "workflow")
    assert documentation.outdated(tmp_path) == [tmp_path / documentation.SCHEMA_FILE]


def test_page_without_marker_or_missing_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DownscalingError, match="root of the project"):
        documentation.write(tmp_path)
    with pytest.raises(ConfigError, match="restore it"):
        documentation.keys_page("# Only a head\n")
