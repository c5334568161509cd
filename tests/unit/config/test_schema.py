"""The models of the configuration: defaults, and what they refuse, with the key and what to do."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dl4ds_core.config import BASELINES, SPLITS, ModelSettings, model_settings, parse
from dl4ds_core.config.fields import partial
from dl4ds_core.config.schema import Config
from dl4ds_core.errors import ConfigError

Content = dict[str, Any]


def changed(content: Content, path: str, value: Any) -> Content:
    """Set a key, by its dotted path, and return the content."""
    *folders, last = path.split(".")
    section = content
    for folder in folders:
        section = section.setdefault(folder, {})
    section[last] = value
    return content


def problem(content: Content) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(content, "my.yaml")
    return str(raised.value)


def test_defaults(content: Content) -> None:
    config = parse(content)
    assert config.seeds == [1]
    assert config.title == ""
    assert config.data.coarse.origin == "predictands"
    assert (config.data.missing, config.data.static, config.data.domain) == ("refuse", {}, None)
    assert (config.data.regrid.engine, config.data.regrid.method) == ("cdo", None)
    assert (config.data.context, config.data.grid, config.data.missing_predictors) == (0, None, "refuse")
    assert (config.data.time.step, config.data.time.tolerance) == ("native", "0h")
    assert (config.split.method, config.folds) == ("periods", 0)
    assert config.prediction.scenarios == {}
    assert config.normalization == {}
    assert config.training.loss == {"mae": 1.0}
    assert (config.training.schedule, config.training.patience) == ("cosine", None)
    model = config.models["net"]
    assert (model.residual, model.localized, model.interpolation) == (None, "affine", "bicubic")
    assert (model.training, model.normalization) == (None, None)
    assert config.verification.baselines is None
    assert tuple(config.baselines) == BASELINES
    assert config.verification.bootstrap.confidence == 0.9
    assert config.verification.explain is not None
    assert (config.verification.explain.steps, config.verification.explain.repeats) == (500, 3)
    assert (config.execution.workers, config.execution.deterministic) == (2, True)


def test_what_networks_depend_on_can_be_left_aside(content: Content) -> None:
    assert parse(changed(content, "verification.explain", None)).verification.explain is None


def test_one_path_needs_no_list(content: Content) -> None:
    assert parse(changed(content, "sources.src.paths", "a.nc")).sources["src"].paths == ["a.nc"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("experiment", "my experiment", "experiment: string should match pattern"),
        ("experiment", "../elsewhere", "experiment: string should match pattern"),
        ("seeds", [], "seeds: list should have at least 1 item"),
        ("seeds", [0], "seeds.0: input should be greater than or equal to 1, found 0"),
        ("seeds", [1, 1], "seeds: expected different numbers, found [1, 1]"),
        ("prediction", {"seed_ensemble": True}, "prediction.seed_ensemble: needs two seeds or more, found [1]; add"),
        ("sources", {}, "sources: dictionary should have at least 1 item"),
        ("sources.src.paths", [], "sources.src: expected either `paths` or `downloads`"),
        ("sources.src.downloads", [{"url": "https://a/b", "sha256": "0" * 64}], "sources.src: expected either"),
        ("sources.src.downloads", [{"url": "a.nc", "sha256": "0" * 64}], "sources.src.downloads.0.url: string should"),
        ("sources.src.downloads", [{"url": "https://a/b", "sha256": "12"}], "sources.src.downloads.0.sha256: string"),
        ("verification.thresholds", {"nothing": [1]}, "verification.thresholds.nothing: expected the name of a"),
        ("verification.indices", {"nothing": []}, "verification.indices.nothing: expected the name of a predictand"),
        ("verification.indices", {"t2m": ["hot"]}, "verification.indices.t2m.0: input should be 'txx', 'su', 'tnn'"),
        ("verification.thresholds", {"t2m": []}, "verification.thresholds.t2m: list should have at least 1 item"),
        ("verification.explain", {"steps": 1}, "verification.explain.steps: input should be greater than"),
        ("verification.regions", {"a": {}}, "verification.regions.a: expected limits of `lat`, `lon` or of a `field`"),
        ("verification.regions", {"a": {"min": 1}}, "verification.regions.a: expected `field` together with `min`"),
        (
            "verification.regions",
            {"a": {"field": "nothing", "min": 1}},
            "verification.regions.a.field: expected a static field (",
        ),
        (
            "verification.regions",
            {"a": {"field": "nothing", "min": 2, "below": 1}},
            "verification.regions.a: expected `min` less than `below`, found 2 and 1",
        ),
        ("verification.bootstrap", {"block": "often"}, "verification.bootstrap.block: expected a whole number and min"),
        ("data.scale", 1, "data.scale: input should be greater than or equal to 2, found 1"),
        ("data.scale", 17, "data.scale: input should be less than or equal to 16, found 17"),
        ("data.scale", "four", "data.scale: input should be a valid integer"),
        ("data.predictands", {}, "data.predictands: dictionary should have at least 1 item"),
        ("data.predictands.2t", {"source": "src", "variable": "t"}, "data.predictands.2t: string should match pattern"),
        ("data.predictands.tas.source", "scr", "data.predictands.tas.source: 'scr' is no key of sources (src)"),
        ("data.static.z", {"source": "scr", "variable": "z"}, "data.static.z.source: 'scr' is no key of sources (src)"),
        ("data.static.tas", {"source": "src", "variable": "z"}, "data: a predictand and a static field share the name"),
        ("data.coarse.from", "ncep", "data: coarse.variables: expected one entry for each predictand (tas), found"),
        ("data.domain", {"lat": [58, 50], "lon": [0, 1]}, "data.domain.lat: expected [lower, upper], found [58.0"),
        ("data.domain", {"lat": [50, 58], "lon": [1, 1]}, "data.domain: lon: expected [west, east] in degrees from"),
        ("data.domain", {}, "data.domain: expected limits of `lat` and `lon`, or of `y` and `x`; found []"),
        ("data.domain", {"lat": [1, 2], "x": [1, 2]}, "data.domain: expected limits of `lat` and `lon`, or of `y` and"),
        ("data.domain", {"y": [2, 1], "x": [1, 2]}, "data.domain.y: expected [lower, upper], found [2.0, 1.0]"),
        ("data.domain", {"lat": [-91, 0]}, "data.domain: lat: expected degrees from -90 to 90, found [-91.0, 0.0]"),
        ("data.domain", {"lon": [-20, 400]}, "data.domain: lon: expected [west, east] in degrees from -360 to 360"),
        ("data.domain", {"lon": [-300, 300]}, "data.domain: lon: expected [west, east] in degrees from -360 to 360"),
        ("data.regrid.engine", "esmf", "data.regrid.engine: input should be 'cdo' or 'xesmf', found 'esmf'"),
        ("data.regrid.min_valid_fraction", 0, "data.regrid.min_valid_fraction: input should be greater than 0, found"),
        ("data.missing", "drop", "data.missing: input should be 'refuse' or 'mask', found 'drop'"),
        ("data.context", -1, "data.context: input should be greater than or equal to 0, found -1"),
        ("data.context", 65, "data.context: input should be less than or equal to 64, found 65"),
        ("data.time.tolerance", "-1h", "data.time.tolerance: expected a whole number, not below 0, and min, h or d"),
        ("data.time.tolerance", "1 hour", "data.time.tolerance: expected a whole number, not below 0, and min, h or d"),
        ("sources.src.time_offset", "12", "sources.src.time_offset: expected a whole number and min, h or d, such as"),
        ("sources.src.paths", [""], "sources.src.paths.0: expected text without line breaks or other control"),
        ("sources.none", {"paths": "a.nc"}, "sources.none: `data.coarse.from` has another meaning for this name"),
        ("normalization.pr", {}, "normalization.pr: no predictand, predictor or static field has this name (default, "),
        ("normalization.tas.method", "z-score", "normalization.tas.method: input should be 'standard', 'minmax', 'rob"),
        ("training.loss", {}, "training.loss: dictionary should have at least 1 item"),
        ("training.loss", {"mae": -1}, "training.loss.mae: input should be greater than 0, found -1"),
        ("training.loss", {"rmse": 1}, "training.loss.rmse: input should be 'mae', 'mse', 'huber', 'quantile', "),
        ("training.epochs", 0, "training.epochs: input should be greater than 0, found 0"),
        ("training.epochs", 1.5, "training.epochs: input should be a valid integer"),
        ("training.patience", 0, "training.patience: input should be greater than 0, found 0"),
        ("models", {}, "models: dictionary should have at least 1 item"),
        ("models.bicubic", {"backbone": "resnet", "upsampling": "pin"}, "models.bicubic: this is the name of a base"),
        ("models.net.backbone", "vgg", "models.net.backbone: input should be 'convnet', 'resnet', 'densenet', 'unet'"),
        ("models.net.upsampling", "up", "models.net.upsampling: input should be 'pin', 'spc', 'rc' or 'dc', found"),
        ("models.net.localized", True, "models.net.localized: input should be 'none', 'affine', 'convolution' or"),
        ("models.net.neighbourhood", 4, "models.net: neighbourhood: expected an odd number of cells, found 4"),
        ("models.net.neighbourhood", 7, "models.net: `neighbourhood` is for `localized: regression`; choose that, or"),
        ("models.net.time_window", 1, "models.net.time_window: input should be greater than or equal to 2, found 1"),
        ("models.net.calendar", ["hour", "hour"], "models.net: calendar: expected different names, found ['hour', "),
        ("models.net.decoder", "dc", "models.net: `decoder` is for a unet; a resnet has none, leave the key out"),
        ("models.net.output_activation", "relu", "models.net.output_activation: it bounds what is predicted, but a re"),
        ("models.net.dropout", {"rate": 1}, "models.net.dropout.rate: input should be less than 1, found 1"),
        ("models.net.constraints", {"tas": "softplus"}, "models.net.constraints.tas: input should be 'non-negative', "),
        ("training.augment", ["flip-x"] * 2, "training.augment: expected different names, found ['flip-x', 'flip-x']"),
        ("training.schedule", "piecewise", "training: `schedule: piecewise` and the key `piecewise` belong together"),
        ("training.piecewise", {0: 0.1}, "training.piecewise.0: input should be greater than 0, found 0"),
        ("training.piecewise", {5: 0.1}, "training: `schedule: piecewise` and the key `piecewise` belong together"),
        ("training.weight_decay", 0.1, "training: `weight_decay` is for `optimizer: adamw`; choose that, or leave it"),
        ("training.min_delta", 0.1, "training: `min_delta` does nothing without `patience`; give both or neither"),
        ("training.freeze", ["block*"], "training: `freeze` needs `start_from`: layers with random weights are not"),
        ("training.warmup_epochs", 51, "training: warmup_epochs: expected no more than `epochs` (50), found 51: the"),
        ("training.quantile", 1, "training.quantile: input should be less than 1, found 1"),
        ("models.net.blocks", 0, "models.net.blocks: input should be greater than 0, found 0"),
        ("models.net.verification", {}, "models.net.verification: unknown key"),
        ("verification.baselines", [], "verification.baselines: list should have at least 1 item"),
        ("verification.baselines", ["cubic"], "verification.baselines.0: input should be 'climatology', "),
        ("verification.bootstrap.block", "1 day", "verification.bootstrap.block: expected a whole number and min, h"),
        ("verification.bootstrap.confidence", 1, "verification.bootstrap.confidence: input should be less than 1"),
        ("execution.workers", 0, "execution.workers: input should be greater than 0, found 0"),
    ],
)  # fmt: skip
def test_wrong_value_is_named_by_its_key(content: Content, path: str, value: Any, expected: str) -> None:
    message = problem(changed(content, path, value))
    assert message.startswith(f"my.yaml: {expected}"), message


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("models.x.training.epochs", 0, "models.x.training.epochs: input should be greater than 0, found 0"),
        ("models.x.training.loss", {}, "models.x.training.loss: dictionary should have at least 1 item"),
        ("models.x.training.loss", {"mae": 0}, "models.x.training.loss.mae: input should be greater than 0, found 0"),
        ("models.x.training.learning_rate", -1, "models.x.training.learning_rate: input should be greater than 0"),
        ("models.x.training.schedule", "linear", "models.x.training.schedule: input should be 'constant', "),
        ("models.x.training.epoch", 5, "models.x.training.epoch: unknown key; did you mean 'epochs'?"),
        ("models.x.normalization.tas.per", "pixel", "models.x.normalization.tas.per: input should be 'domain'"),
        ("models.x.normalization.pr", {}, "models.x.normalization.pr: no predictand, predictor or static field"),
    ],
)  # fmt: skip
def test_constraints_hold_in_overrides(content: Content, path: str, value: Any, expected: str) -> None:
    content["models"]["x"] = {"backbone": "unet", "upsampling": "pin"}
    message = problem(changed(content, path, value))
    assert message.startswith(f"my.yaml: {expected}"), message


@pytest.mark.parametrize("backbone", ["unet", "convnext"])
def test_a_window_is_for_networks_that_can_take_one(content: Content, backbone: str) -> None:
    content["models"]["net"] = {"backbone": backbone, "upsampling": "spc", "time_window": 3}
    assert problem(content) == (
        f"my.yaml: models.net: a {backbone} sees one time step; leave out `time_window`, or use `backbone: convnet`, "
        "`resnet`, `densenet`"
    )


def test_a_unet_does_not_widen(content: Content) -> None:
    content["models"]["net"] = {"backbone": "unet", "upsampling": "spc", "widen": True, "decoder": "dc"}
    assert problem(content).startswith("my.yaml: models.net: `widen` is not for a unet, whose channels double")


def test_all_that_a_network_cannot_be_is_listed_at_once(content: Content) -> None:
    content["models"]["net"] |= {"backbone": "convnext", "decoder": "spc", "time_window": 2}
    assert problem(content).startswith("2 problems:")


@pytest.mark.parametrize("backbone", ["resnet", "unet"])
def test_what_is_resolved_can_be_read_again(content: Content, backbone: str) -> None:
    content["models"]["net"] |= {"backbone": backbone, "training": {"schedule": "piecewise", "piecewise": {5: 0.1}}}
    settings = model_settings(parse(content), "net")
    assert ModelSettings.model_validate_json(settings.model_dump_json()) == settings


def test_partial_sections_have_all_keys_and_need_none() -> None:
    section = Config.model_fields["training"].annotation
    assert section is not None
    override = partial(section, "Override")
    assert {*override.model_fields} == {*section.model_fields}
    assert override().model_dump(exclude_unset=True) == {}
    assert "Training" in (override.__doc__ or "")


def test_periods_of_any_precision(content: Content) -> None:
    content["split"] = {
        "train": [1860, "2009"],
        "validation": ["2010-01", date(2010, 2, 28)],
        "test": ["2010-03-01T06", "2010-03-01T12:30"],
    }
    split = parse(content).split
    assert split.train == ("1860", "2009")
    assert split.validation == ("2010-01", "2010-02-28")
    assert (1860, 1, 1, 0, 0, 0) in split.period("train")
    assert (2009, 12, 31, 23, 59, 59) in split.period("train"), "both ends belong to a period"
    assert (2010, 1, 1, 0, 0, 0) not in split.period("train")
    assert (2010, 2, 28, 18, 0, 0) in split.period("validation"), "the last day is whole"
    assert (2010, 3, 1, 12, 30, 59) in split.period("test")
    assert (2010, 3, 1, 5, 59, 59) not in split.period("test")


def test_a_360_day_calendar_has_its_days(content: Content) -> None:
    content["split"]["train"] = ["2001-02-30", "2001-02-30"]
    assert (2001, 2, 30, 0, 0, 0) in parse(content).split.period("train")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["1990", "1980"], "the period ['1990', '1980'] is empty: it ends before it starts"),
        (["1990-02", "1990-01-31"], "the period ['1990-02', '1990-01-31'] is empty: it ends before it starts"),
        (["spring", "1990"], "expected a date such as 2019, 2019-03 or 2019-03-01T06:00, found 'spring'"),
        (["1990-13", "1991"], "expected the month to be from 1 to 12, found 13 in '1990-13'"),
        (["19", "1991"], "expected a date such as"),
    ],
)
def test_periods_that_cannot_be(content: Content, split: str, value: list[str], expected: str) -> None:
    message = problem(changed(content, f"split.{split}", value))
    assert message.startswith(f"my.yaml: split.{split}: {expected}"), message


@pytest.mark.parametrize("value", [["1990"], ["1990", "1991", "1992"], "1990", [True, "1990"]], ids=str)
def test_periods_need_two_dates(content: Content, value: Any) -> None:
    assert "my.yaml: split.test" in problem(changed(content, "split.test", value))


@pytest.mark.parametrize(
    ("first", "second"),
    [("train", "validation"), ("train", "test"), ("validation", "test")],
)
def test_periods_that_overlap(content: Content, first: str, second: str) -> None:
    content["split"] = {"train": ["1980", "1989"], "validation": ["1990", "1999"], "test": ["2000", "2009"]}
    content["split"][second] = [content["split"][first][1], content["split"][second][1]]
    message = problem(content)
    assert f"my.yaml: split: the periods {first} " in message
    assert message.endswith("overlap")


def test_periods_that_touch_do_not_overlap(content: Content) -> None:
    content["split"] = {"train": ["2001", "2001-06"], "validation": ["2001-07", "2001-07"], "test": ["2001-08", "2002"]}
    assert parse(content).split.test == ("2001-08", "2002")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("verification.baselines", ["bilinear", "bilinear"], "verification.baselines: expected different names"),
        ("seeds", [2**40], "seeds.0: input should be less than 4294967296"),
        ("models", {"data": {"backbone": "resnet", "upsampling": "spc"}}, "models.data: this is the name of a folder"),
        ("models", {"report.html": {"backbone": "resnet", "upsampling": "spc"}}, "this is the name of a file of the"),
        (
            "sources.more",
            {"downloads": [{"url": f"https://example.org/{year}/t.nc", "sha256": "0" * 64} for year in (1, 2)]},
            "sources.more: downloads: expected different file names",
        ),
    ],
)
def test_names_that_would_collide(content: Content, path: str, value: Any, expected: str) -> None:
    assert expected in problem(changed(content, path, value))


def test_scalers_of_a_model_named_default_are_its_own(content: Content) -> None:
    network = {"backbone": "resnet", "upsampling": "spc"}
    models = {"default": {**network, "normalization": {"default": {"method": "minmax"}}}, "other": network}
    config = parse(changed(content, "models", models))
    assert model_settings(config, "default").scalers != model_settings(config, "other").scalers


def test_ensembles_of_seeds(content: Content) -> None:
    network = {"backbone": "resnet", "upsampling": "spc"}
    content |= {"models": {"a": network, "b": network}, "seeds": [3, 5]}
    assert parse(content).ensembles == {}
    content["prediction"] = {"seed_ensemble": True}
    assert parse(content).ensembles == {"a-seeds": "a", "b-seeds": "b"}
    content["models"]["a-seeds"] = network
    assert "models.a-seeds: this is the name of the ensemble of the seeds of a (prediction.seed_ensemble)" in problem(
        content
    )
