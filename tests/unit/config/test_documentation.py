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
from dl4ds_core.config.annotations import sections_in
from dl4ds_core.errors import ConfigError, DownscalingError

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = [REPOSITORY / "config" / "config.yaml", *sorted((REPOSITORY / "config" / "experiments").glob("*.yaml"))]
SCHEMA = json.loads((REPOSITORY / documentation.SCHEMA_FILE).read_text(encoding="utf-8"))
EXAMPLE, *PARTS = re.findall(
    r"```yaml\n(.*?)```", (REPOSITORY / documentation.KEYS_FILE).read_text(encoding="utf-8"), re.S
)


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
    shown = {*content["data"], *(key for part in PARTS for key in yaml.safe_load(part).get("data", {}))}
    assert shown == {field.alias or name for name, field in Config.model_fields["data"].annotation.model_fields.items()}


@pytest.mark.parametrize("part", PARTS)
def test_the_other_parts_of_the_page_take_the_place_of_those_of_the_example(part: str) -> None:
    content = yaml.safe_load(EXAMPLE) | yaml.safe_load(part)
    if "data" in yaml.safe_load(part):
        content = {key: value for key, value in content.items() if key not in ("normalization", "models")}
        content["models"] = {"net": {"backbone": "resnet", "upsampling": "spc"}}
        content["verification"] = {}
    check_against_schema(content)
    parse(content)


def test_the_parts_of_the_page_show_every_method_of_a_split() -> None:
    shown = {yaml.safe_load(text).get("split", {}).get("method", "periods") for text in (EXAMPLE, *PARTS)}
    assert shown == {"periods", "years", "blocks", "kfold"}


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
        {"split": {"method": "block"}},
        {"split": {"method": "kfold", "folds": 2}},
        {"split": {"method": "blocks", "train": ["2001", "2002"]}},
        {"split": {"train": ["2001", "2002"], "validation": ["2003", "2003"]}},
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
    for alternatives in documentation.sections().values():
        assert all(section.__doc__ for section in alternatives)


def test_no_key_of_any_section_is_lost() -> None:
    """Every section of the models is in the table, or in one that has its keys with the same meanings."""

    def below(section: type[Any]) -> set[type[Any]]:
        found = {section}
        for field in section.model_fields.values():
            for _, child in sections_in("", field.annotation):
                found |= below(child)
        return found

    rows = {key.path: key.description for key in documentation.all_keys()}
    for section in below(Config):
        for name, field in section.model_fields.items():
            key = field.alias or name
            told = [text for path, text in rows.items() if path.rsplit(".", 1)[-1] == key]
            assert any(field.description in text for text in told), f"{section.__name__}.{key}"


def test_units_are_those_of_keys() -> None:
    assert {*documentation.UNITS} <= {key.path for key in documentation.all_keys()}


def test_table_shows_types_defaults_and_limits() -> None:
    keys = {key.path: key for key in documentation.all_keys()}
    assert len(keys) == len(documentation.all_keys())
    assert (keys["data.scale"].kind, keys["data.scale"].default) == ("whole number ≥ 2, ≤ 16", "required")
    assert (
        keys["training.loss"].kind
        == "map: `mae`, `mse`, `huber`, `quantile`, `dssim`, `ms-dssim`, `spectral`, `crps` or "
        "`likelihood` to number > 0"
    )
    assert keys["training.loss"].default == "`{mae: 1.0}`"
    assert keys["training.patience"].kind == "whole number > 0"
    assert keys["training.patience"].default == "empty"
    assert keys["models.<name>.residual"].kind == "`true` or `false`"
    assert keys["models.<name>.localized"].kind == "`none`, `affine`, `convolution` or `regression`"
    assert keys["models.<name>.calendar"].kind == "list: `season`, `day-of-year` or `hour`"
    assert keys["models.<name>.dropout.rate"].kind == "number ≥ 0, < 1"
    assert keys["training.piecewise"].kind == "map: name to number > 0"
    assert (keys["training.patch_size"].unit, keys["models.<name>.time_window"].unit) == ("fine cells", "time steps")
    assert keys["data.coarse.from"].default == "`predictands`"
    assert keys["data.predictands.<name>.select"].kind == "map: name to text or whole number or number"
    assert keys["data.context"].unit == "coarse cells"
    assert keys["sources.<name>.downloads[].url"].default == "required"
    assert keys["data.domain.lat"].unit == "degrees north"
    assert keys["verification.bootstrap"].default == "defaults of its keys"


def test_sections_that_occur_twice_are_shown_once() -> None:
    keys = {key.path: key for key in documentation.all_keys()}
    assert keys["models.<name>.training"].kind == "section, keys as in `training`"
    assert keys["models.<name>.normalization"].kind == "map: name to section, keys as in `normalization.<name>`"
    assert keys["data.static.<name>.regrid"].kind == "section, keys as in `data.regrid`"
    like = "section, keys as in `data.predictands.<name>` but `dry_below`"
    assert keys["data.predictors"].kind == f"map: name to {like}"
    assert keys["data.coarse.variables"].kind == f"map: name to text or {like}"
    assert keys["data.grid.lon"].kind == "section, keys as in `data.grid.lat`"
    assert "data.predictors.<name>.source" not in keys
    assert "models.<name>.training.epochs" not in keys
    assert "data.static.<name>.regrid.method" not in keys


def test_keys_of_alternatives_say_where_they_belong() -> None:
    keys = {key.path: key for key in documentation.all_keys()}
    method = keys["split.method"]
    assert (method.kind, method.default) == ("`periods`, `years`, `blocks` or `kfold`", "`periods`")
    assert keys["split.block"].description == "`blocks`: Length of a block."
    assert keys["split.seed"].description == "`years`, `blocks`, `kfold`: Seed of the draw."
    assert keys["split.gap"].default == "`0d` (`years`, `kfold`); `3d` (`blocks`)"
    assert "(`periods`) or list: whole number" in keys["split.train"].kind
    assert keys["split.fractions.test"].description == "`years`, `blocks`: Part to test on."


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
