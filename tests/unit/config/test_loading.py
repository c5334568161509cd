"""Reading configurations: files, messages, inheritance inside one file and none between files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dl4ds_core.config import Config, Normalization, digest, load, model_settings, parse
from dl4ds_core.errors import ConfigError

Content = dict[str, Any]


def test_a_file_is_read(content: Content, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert load(path) == parse(content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("experiment: [", "not valid YAML"),
        ("- experiment", "expected a mapping of keys, found list"),
        ("", "expected a mapping of keys, found NoneType"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", "can't read the configuration"),
    ],
    ids=["no YAML", "list", "empty", "no UTF-8"],
)
def test_files_that_are_no_configuration(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "split: [2000-01-01, 2000-02-30]",
            "day is out of range for month; a value that is no number or date of the usual",
        ),
        ("a: !!bool abc", "needs quotes"),
        ("a: 0x_", "needs quotes"),
        ("a: " + "[" * 3000 + "]" * 3000, "its sections are nested too deeply"),
    ],
)
def test_values_that_python_cannot_hold(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: can't read the configuration: .*No such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("section", "key", "expected"),
    [
        ([], "experimet", "experimet: unknown key; did you mean 'experiment'?"),
        (["data"], "sclae", "data.sclae: unknown key; did you mean 'scale'?"),
        (["data", "coarse"], "form", "data.coarse.form: unknown key; did you mean 'from'?"),
        (["sources", "src"], "path", "sources.src.path: unknown key; did you mean 'paths'?"),
        (["models", "net"], "filter", "models.net.filter: unknown key; did you mean 'filters'?"),
        (["models", "net", "training"], "epoch", "models.net.training.epoch: unknown key; did you mean 'epochs'?"),
        (["data", "domain"], "region", "data.domain.region: unknown key; allowed here: lat, lon, y, x"),
        (["split"], "vaildation", "split.vaildation: unknown key; did you mean 'validation'?"),
        (["split"], "period", "split.period: unknown key; allowed here: method, train, validation, test"),
        (["prediction"], "scenario", "prediction.scenario: unknown key; did you mean 'scenarios'?"),
    ],
)
def test_unknown_keys_have_a_suggestion(content: Content, section: list[str], key: str, expected: str) -> None:
    target = content
    for part in section:
        target = target.setdefault(part, {"lat": [50, 58], "lon": [0, 1]} if part == "domain" else {})
    target[key] = 1
    with pytest.raises(ConfigError) as raised:
        parse(content)
    assert str(raised.value) == f"config: {expected}"


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"method": "blocks", "blok": "5d"}, "split.blok: unknown key; did you mean 'block'?"),
        ({"method": "blocks", "fractions": {"tset": 0.1}}, "split.fractions.tset: unknown key; did you mean 'test'?"),
        ({"method": "kfold", "train": [1]}, "split.train: unknown key; allowed here: method, folds, first_month, "),
        ({"method": "kfold", "folds": 2}, "split.folds: input should be greater than or equal to 3, found 2"),
        ({"train": ["2001", "2002"], "validation": ["2003", "2004"]}, "split.test: this key is required"),
        ({"method": "years", "train": [1, "x"]}, "split.train.1: input should be a valid integer"),
        ({"method": "block"}, "split.method: input should be 'periods', 'years', 'blocks' or 'kfold', found 'block'; "),
        ({"method": 3}, "split.method: input should be 'periods', 'years', 'blocks' or 'kfold', found '3'"),
        (3, "split: expected a section of keys, found 3"),
        (None, "split: expected a section of keys, found None"),
        ([], "split: expected a section of keys, found []"),
    ],
    ids=str,
)
def test_errors_in_a_split_name_the_key_and_no_tag(content: Content, split: Any, expected: str) -> None:
    content["split"] = split
    with pytest.raises(ConfigError) as raised:
        parse(content)
    assert str(raised.value).startswith(f"config: {expected}")
    assert "problems" not in str(raised.value)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (3, ["data.coarse.variables.tas: input should be a valid string, found 3"]),
        ("", ["data.coarse.variables.tas: expected text without line breaks or other control characters, found ''"]),
        ({"source": "src"}, ["data.coarse.variables.tas.variable: this key is required"]),
        (
            {"source": "src", "variabel": "x", "regrid": {"methd": "nearest"}},
            [
                "data.coarse.variables.tas.variable: this key is required",
                "data.coarse.variables.tas.regrid.methd: unknown key; did you mean 'method'?",
                "data.coarse.variables.tas.variabel: unknown key; did you mean 'variable'?",
            ],
        ),
    ],
    ids=str,
)
def test_errors_in_a_name_or_entry_speak_of_what_was_meant(content: Content, entry: Any, expected: list[str]) -> None:
    content["data"]["coarse"] = {"from": "src", "variables": {"tas": entry}}
    with pytest.raises(ConfigError) as raised:
        parse(content)
    for line in expected:
        assert f"config: {line}" in str(raised.value)
    assert len(str(raised.value).splitlines()) == len(expected) + (len(expected) > 1)


@pytest.mark.parametrize("section", ["data", "sources", "models", "training"])
def test_sections_that_are_none(content: Content, section: str) -> None:
    content[section] = "x" * 500
    with pytest.raises(ConfigError) as raised:
        parse(content)
    assert str(raised.value).startswith(f"config: {section}: expected a section of keys, found 'xxx")
    assert len(str(raised.value)) < 200


def test_a_key_that_is_there_twice_is_refused(content: Content, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(content) + "seeds: [1]\nseeds: [2]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML: the key 'seeds' is there twice in one section"):
        load(path)


def test_the_same_key_in_two_sections_and_merged_anchors_are_fine(content: Content, tmp_path: Path) -> None:
    text = yaml.safe_dump({key: value for key, value in content.items() if key != "models"})
    text += "models:\n  net: &net {backbone: resnet, upsampling: spc}\n  other: {<<: *net, filters: 8}\n"
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    assert load(path).models["other"].filters == 8


def test_unknown_keys_in_lists_have_a_suggestion(content: Content) -> None:
    content["sources"]["src"] = {"downloads": [{"url": "https://a/b", "sha256": "0" * 64, "locale": "b"}]}
    with pytest.raises(ConfigError, match=r"downloads\.0\.locale: unknown key; did you mean 'local'\?"):
        parse(content)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ([], "experiment"),
        ([], "sources"),
        ([], "split"),
        (["data"], "scale"),
        (["data", "predictands", "tas"], "variable"),
        (["split"], "test"),
        (["models", "net"], "backbone"),
    ],
)
def test_required_keys(content: Content, section: list[str], key: str) -> None:
    target = content
    for part in section:
        target = target[part]
    del target[key]
    with pytest.raises(ConfigError) as raised:
        parse(content)
    assert str(raised.value) == f"config: {'.'.join([*section, key])}: this key is required"


def test_all_problems_are_listed_at_once(content: Content) -> None:
    content["data"]["scale"] = 1
    content["models"]["net"]["training"] = {"epochs": 0}
    content["trainign"] = {}
    del content["split"]["test"]
    with pytest.raises(ConfigError) as raised:
        parse(content, "my.yaml")
    first, *lines = str(raised.value).splitlines()
    assert first == "4 problems:"
    found = [line.split(". ", 1)[1].removeprefix("my.yaml: ").split(":")[0] for line in lines]
    assert sorted(found) == ["data.scale", "models.net.training.epochs", "split.test", "trainign"]


def test_all_wrong_references_are_listed_at_once(content: Content) -> None:
    content["data"]["predictands"]["tas"]["source"] = "scr"
    content["normalization"] = {"pr": {}}
    content["models"]["bilinear"] = content["models"]["net"]
    content["seeds"] = [2, 2]
    with pytest.raises(ConfigError) as raised:
        parse(content)
    assert str(raised.value).startswith("4 problems:")


def test_models_inherit_what_they_do_not_override(content: Content) -> None:
    content["training"] = {"epochs": 7, "patience": 3, "loss": {"mae": 1.0}}
    content["models"]["other"] = {
        "backbone": "unet",
        "upsampling": "pin",
        "training": {"learning_rate": 0.01, "loss": {"mse": 2.0}},
    }
    config = parse(content)
    net, other = (model_settings(config, name).training for name in ("net", "other"))
    assert net == config.training
    assert (other.epochs, other.patience, other.learning_rate) == (7, 3, 0.01)
    assert other.loss == {"mse": 2.0}, "a map that is overridden is replaced, not merged"


def test_an_override_may_switch_patience_off(content: Content) -> None:
    content["training"] = {"patience": 3}
    content["models"]["net"]["training"] = {"patience": None}
    assert model_settings(parse(content), "net").training.patience is None


def test_normalization_of_models(content: Content) -> None:
    content["data"]["static"] = {"z": {"source": "src", "variable": "z"}}
    content["normalization"] = {"z": {"method": "minmax"}}
    content["models"]["other"] = content["models"]["net"] | {"normalization": {"tas": {"per": "cell"}}}
    config = parse(content)
    net, other = (model_settings(config, name) for name in ("net", "other"))
    assert net.normalization == {"tas": Normalization(), "z": Normalization(method="minmax")}
    assert other.normalization == {"tas": Normalization(per="cell"), "z": Normalization(method="minmax")}
    assert (net.scalers, other.scalers) == ("default", "of-other")


def test_settings_of_a_model_do_not_hold_its_overrides_twice(content: Content) -> None:
    content["models"]["net"]["training"] = {"epochs": 5}
    settings = model_settings(parse(content), "net")
    assert settings.network.training is None
    assert settings.training.epochs == 5


def test_nothing_is_inherited_from_another_file(content: Content) -> None:
    demo = load(Path(__file__).resolve().parents[3] / "config" / "config.yaml")
    config = parse(content)
    assert {*config.models} == {"net"}
    assert {*config.sources} == {"src"}
    assert config.training == Config.model_fields["training"].get_default(call_default_factory=True)
    assert config.training != demo.training


def test_a_configuration_cannot_be_changed(content: Content) -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(content).experiment = "other"


def test_digests_depend_on_content_alone(content: Content) -> None:
    config = parse(content)
    backwards = parse(dict(reversed(content.items())))
    assert digest(config) == digest(backwards)
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    content["training"] = {"epochs": 51}
    assert digest(parse(content).training) != digest(config.training)
    assert len(digest(config)) == 12
