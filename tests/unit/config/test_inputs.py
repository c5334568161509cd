"""Sources, entries, domains, grids and scenarios: what is refused, and odd but harmless texts that are not."""

from __future__ import annotations

from typing import Any

import pytest

from dl4ds_core.config import Config, parse
from dl4ds_core.config.inputs import TAKEN_NAMES, Predictor
from dl4ds_core.errors import ConfigError

Content = dict[str, Any]
AXIS = {"first": 0, "last": 7, "step": 1}


def changed(content: Content, changes: dict[str, Any]) -> Content:
    """Set keys by their dotted paths."""
    for path, value in changes.items():
        *folders, last = path.split(".")
        section = content
        for folder in folders:
            section = section.setdefault(folder, {})
        section[last] = value
    return content


def problem(content: Content) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(content)
    assert "problems:" not in str(raised.value), raised.value
    return str(raised.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data.predictors.tas": {"source": "src", "variable": "x"}}, "data: a predictand and a predictor share the"),
        (
            {
                "data.predictors.z": {"source": "src", "variable": "x"},
                "data.static.z": {"source": "src", "variable": "x"},
            },
            "data: a predictor and a static field share the name 'z': rename one of them",
        ),
        ({"data.static.lat": {"derived": "latitude"}}, "data: static.lat: this name is taken by something else in the"),
        ({"data.static.default": {"derived": "latitude"}}, "data: static.default: this name is taken"),
        (
            {"data.predictors.tas_valid_fraction": {"source": "src", "variable": "x"}},
            "data: predictors.tas_valid_fraction: this name is taken",
        ),
        ({"data.coarse.from": "none"}, "data: `coarse: {from: none}` needs `predictors`"),
        ({"data.coarse.variables": {"tas": "t"}}, "data.coarse: `variables` belongs to a source; found `from: "),
        (
            {"data.coarse": {"from": "src", "variables": {"tas": "t", "pr": "p"}}},
            "data: coarse.variables: expected one entry for each predictand (tas), found tas, pr",
        ),
        (
            {"data.coarse": {"from": "src", "variables": {"tas": {"source": "src", "variable": "t", "units": "K"}}}},
            "data: coarse.variables.tas.units: units become those of the predictand (as in its files), found 'K'",
        ),
        ({"data.coarse": {"from": "scr", "variables": {"tas": "t"}}}, "data.coarse.from: 'scr' is no key of sources"),
        (
            {"data.coarse": {"from": "src", "variables": {"tas": {"source": "scr", "variable": "t"}}}},
            "data.coarse.variables.tas.source: 'scr' is no key of sources (src)",
        ),
        ({"data.predictors.z": {"source": "scr", "variable": "z"}}, "data.predictors.z.source: 'scr' is no key of"),
        (
            {"data.predictands.tas.regrid": {"method": "nearest"}},
            "data: predictands.tas.regrid: without `data.grid`, predictands stay on the grid of their files",
        ),
        (
            {"data.predictands.tas.minimum": 1, "data.predictands.tas.dry_below": 0.1},
            "data.predictands.tas: dry_below 0.1: no value is below it with minimum 1",
        ),
        ({"data.predictands.tas.dry_below": 0}, "data.predictands.tas.dry_below: input should be greater than 0"),
        ({"data.predictands.tas.level": float("nan")}, "data.predictands.tas.level: input should be a finite number"),
        ({"data.predictands.tas.minimum": float("inf")}, "data.predictands.tas.minimum: input should be a finite"),
        ({"data.predictors.z": {"source": "src", "variable": "z", "dry_below": 1}}, "data.predictors.z.dry_below: unk"),
        ({"data.static.z": {}}, "data.static.z: expected `source` and `variable`, or `derived`"),
        ({"data.static.z": {"source": "src"}}, "data.static.z: expected `source` and `variable`, or `derived`"),
        (
            {"data.static.z": {"derived": "latitude", "units": "m"}},
            "data.static.z: a derived field has no `source`, `variable`, `units`, `select` or `regrid`",
        ),
        ({"data.static.z": {"derived": "coast_distance"}}, "data.static.z: `land` belongs to `derived: "),
        ({"data.static.z": {"derived": "latitude", "land": "tas"}}, "data.static.z: `land` belongs to"),
        (
            {"data.static.z": {"derived": "coast_distance", "land": "tas"}},
            "data: static.z.land: expected a static field from a file, found 'tas'",
        ),
        (
            {
                "data.static.z": {"derived": "coast_distance", "land": "phi"},
                "data.static.phi": {"derived": "latitude"},
            },
            "data: static.z.land: expected a static field from a file, found 'phi'",
        ),
        (
            {"data.grid": {"lat": AXIS, "lon": AXIS}, "data.domain": {"y": [0, 1], "x": [0, 1]}},
            "data: domain: expected limits of lat and lon, as `grid` is one of latitude and longitude",
        ),
        ({"data.grid": {"lat": AXIS}}, "data.grid.lon: this key is required"),
        ({"data.grid": {"lat": AXIS, "lon": AXIS | {"step": 2}}}, "data.grid.lon: expected first + n * step = last"),
        ({"data.grid": {"lat": AXIS, "lon": AXIS | {"last": -7}}}, "data.grid.lon: expected first + n * step = last"),
        ({"data.grid": {"lat": AXIS, "lon": AXIS | {"step": 0}}}, "data.grid.lon.step: input should be greater than 0"),
        (
            {"data.grid": {"lat": {"first": 0, "last": 90, "step": 1}, "lon": AXIS}},
            "data.grid: lat: the cells reach beyond a pole",
        ),
        (
            {"data.grid": {"lat": AXIS, "lon": {"first": 0, "last": 360, "step": 1}}},
            "data.grid: lon: the cells reach around the globe more than once",
        ),
        (
            {
                "normalization.elevation.per": "cell",
                "data.static.elevation": {"source": "src", "variable": "z"},
            },
            "normalization.elevation.per: a static field has one value per cell; use `per: domain`",
        ),
        ({"training.retransformation": "smearing"}, "training.retransformation: there is nothing to correct"),
        (
            {"models.net.training": {"retransformation": "smearing"}},
            "models.net.training.retransformation: there is nothing to correct",
        ),
        (
            {
                "models.net.residual": True,
                "data.coarse.from": "none",
                "data.predictors.z": {"source": "src", "variable": "z"},
            },
            "models.net.residual: there is no coarse field to add to with `data.coarse: {from: none}`",
        ),
        (
            {
                "verification.baselines": ["bilinear"],
                "data.coarse.from": "none",
                "data.predictors.z": {"source": "src", "variable": "z"},
            },
            "verification.baselines: bilinear needs a coarse field of the predictand; without one there are ",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(content: Content, changes: Content, expected: str) -> None:
    message = problem(changed(content, changes))
    assert message.startswith(f"config: {expected}"), message


@pytest.mark.parametrize("name", sorted(TAKEN_NAMES))
def test_names_of_coordinates_are_no_names_of_fields(content: Content, name: str) -> None:
    content["data"]["predictors"] = {name: {"source": "src", "variable": "x"}}
    assert f"predictors.{name}: this name is taken" in problem(content)


def test_smearing_needs_one_transformed_predictand_of_one_model(content: Content) -> None:
    content["training"] = {"retransformation": "smearing"}
    content["models"]["other"] = content["models"]["net"] | {"normalization": {"tas": {"transform": "log1p"}}}
    parse(content)
    content["models"]["other"]["normalization"] = {"default": {"transform": "cube-root"}}
    parse(content)


class TestCoarseEntries:
    def entries(self, content: Content, **data: Any) -> dict[str, Predictor]:
        content["data"] |= data
        return parse(content).data.coarse_entries()

    def test_implicit_pairs_have_predictors_only(self, content: Content) -> None:
        predictors = {"z": {"source": "src", "variable": "z", "level": 500}}
        assert [*self.entries(content, predictors=predictors)] == ["z"]

    def test_coarse_predictands_come_first(self, content: Content) -> None:
        entries = self.entries(
            content,
            coarse={"from": "src", "variables": {"tas": "t"}},
            predictors={"a": {"source": "src", "variable": "a"}},
        )
        assert [*entries] == ["tas", "a"]
        assert (entries["tas"].source, entries["tas"].variable) == ("src", "t")

    def test_a_variable_by_its_name_has_the_minimum_of_the_predictand(self, content: Content) -> None:
        content["data"]["predictands"]["tas"]["minimum"] = 0
        assert self.entries(content, coarse={"from": "src", "variables": {"tas": "t"}})["tas"].minimum == 0

    def test_an_entry_is_as_it_is_given(self, content: Content) -> None:
        entry = {"source": "src", "variable": "t", "level": 2, "select": {"member": 0}, "regrid": {"method": "nearest"}}
        found = self.entries(content, coarse={"from": "src", "variables": {"tas": entry}})["tas"]
        assert found == Predictor.model_validate(entry)

    def test_without_coarse_predictands_there_are_fewer_baselines(self, content: Content) -> None:
        content["data"] |= {"coarse": {"from": "none"}, "predictors": {"z": {"source": "src", "variable": "z"}}}
        expected = ["climatology", "multiple-regression", "ridge", "climatological-ensemble"]
        assert parse(content).baselines == expected


@pytest.mark.parametrize(
    "domain",
    [
        {"lat": [-90, 90], "lon": [-180, 180]},
        {"lat": [50, 58], "lon": [350, 2]},
        {"lon": [170, -170]},
        {"lat": [50, 58]},
        {"x": [-1.5e6, 2.5e6], "y": [0, 1e6]},
    ],
    ids=str,
)
def test_domains_that_are_fine(content: Content, domain: Content) -> None:
    parse(changed(content, {"data.domain": domain}))


@pytest.mark.parametrize(
    ("label", "fine"),
    [
        (0, True),
        (2.5, True),
        ("r1i1p1", True),
        ("été; $(touch x) 'a b\"", True),
        (True, False),
        (None, False),
        ([1], False),
        ({"a": 1}, False),
        ("", False),
        ("a\nb", False),
    ],
    ids=repr,
)
def test_labels_are_text_or_numbers(content: Content, label: Any, fine: bool) -> None:
    content["data"]["predictands"]["tas"]["select"] = {"member": label}
    if fine:
        found = parse(content).data.predictands["tas"].select["member"]
        assert (found, type(found)) == (label, type(label)), "as it was written: 0 is no 0.0, nor a text"
    else:
        assert "config: data.predictands.tas.select.member: expected text" in problem(content)


#: Blanks, quotes, what a shell would take for commands or options, other alphabets.
ODD = [
    "a b",
    "a'b",
    'a"b',
    "a;b",
    "$(touch hacked)",
    "`touch hacked`",
    "a|b",
    "a&b",
    "-rf",
    "--help",
    "été",
    "温度",
    "../x",
]
UNPRINTABLE = ["a\nb", "a\tb", "a\x00b", "a\x1bb", "", "  "]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize(
    "path",
    [
        *("sources.src.paths", "data.predictands.tas.variable", "data.predictands.tas.units", "title"),
        *("sources.src.citation", "sources.src.licence"),
    ],
)
def test_texts_that_reach_no_shell_may_hold_anything(content: Content, path: str, text: str) -> None:
    config = parse(changed(content, {path: text}))
    assert text in str(config.model_dump()[path.split(".")[0]]) or repr(text) in repr(config)


@pytest.mark.parametrize("text", UNPRINTABLE)
@pytest.mark.parametrize(
    "path", ["sources.src.paths", "data.predictands.tas.variable", "data.predictands.tas.units", "execution.results"]
)
def test_texts_without_content_or_with_control_characters_are_refused(content: Content, path: str, text: str) -> None:
    assert "expected text without line breaks or other control characters" in problem(changed(content, {path: text}))


@pytest.mark.parametrize("text", [*ODD, *UNPRINTABLE, "a{b}", "x" * 81, "trial\n"])
@pytest.mark.parametrize("place", ["experiment", "source", "model", "predictand", "predictor", "static", "scenario"])
def test_names_that_become_parts_of_file_names_are_refused(content: Content, place: str, text: str) -> None:
    entry = {"source": "src", "variable": "x"}
    changes: dict[str, Any] = {
        "experiment": {"experiment": text},
        "source": {"sources": {"src": {"paths": ["a.nc"]}, text: {"paths": ["a.nc"]}}},
        "model": {"models": {text: {"backbone": "resnet", "upsampling": "spc"}}},
        "predictand": {"data": content["data"] | {"predictands": {text: entry}}},
        "predictor": {"data": content["data"] | {"predictors": {text: entry}}},
        "static": {"data": content["data"] | {"static": {text: entry}}},
        "scenario": {"prediction": {"scenarios": {text: {"sources": {"src": "src"}}}}},
    }[place]
    assert "string should" in problem(content | changes)


@pytest.mark.parametrize("folder", ["$SCRATCH/x", "$(touch hacked)", "~/x", "~", "-x", "a{b}", "{model}"])
def test_folders_of_results_that_something_would_have_to_expand(content: Content, folder: str) -> None:
    assert "execution.results: expected a folder" in problem(changed(content, {"execution.results": folder}))


@pytest.mark.parametrize("folder", ["results", "/scratch/a b", "a'b", 'a"b', "a;b", "été", "../x"])
def test_folders_of_results_that_are_fine(content: Content, folder: str) -> None:
    assert parse(changed(content, {"execution.results": folder})).execution.results == folder


class TestScenarios:
    def config(self, content: Content, scenario: Content, **others: Content) -> Config:
        content["sources"]["gcm"] = {"paths": ["b.nc"]}
        content["prediction"] = {"scenarios": {"future": scenario, **others}}
        return parse(content)

    def problem(self, content: Content, scenario: Content) -> str:
        with pytest.raises(ConfigError) as raised:
            self.config(content, scenario)
        return str(raised.value)

    def test_another_source_with_a_reference(self, content: Content) -> None:
        past = {
            "sources": {"src": "gcm"},
            "period": ["1981", "2010"],
            "reference": "past",
            "harmonise": "mean-variance",
        }
        future = {"sources": {"src": "gcm"}, "reference": "past", "harmonise": "mean-variance"}
        found = self.config(content, future, past=past).prediction.scenarios
        assert found["future"].reference == "past"

    def test_mean_and_variance_are_not_for_what_has_a_minimum(self, content: Content) -> None:
        content["data"]["predictands"]["tas"]["minimum"] = 0
        scenarios = {
            name: {"sources": {"src": "gcm"}, "reference": "past", "harmonise": "mean-variance"}
            for name in ("past", "future")
        }
        with pytest.raises(ConfigError, match=r"future\.harmonise: mean-variance shifts tas below its minimum"):
            self.config(content, scenarios["future"], past=scenarios["past"])

    def test_a_scenario_is_harmonised_like_its_reference(self, content: Content) -> None:
        future = {"sources": {"src": "gcm"}, "reference": "past", "harmonise": "mean-variance"}
        with pytest.raises(
            ConfigError, match=r"future\.harmonise: expected the same of its reference 'past', found 'none'"
        ):
            self.config(content, future, past={"sources": {"src": "gcm"}})

    @pytest.mark.parametrize(
        ("scenario", "expected"),
        [
            ({}, "prediction.scenarios.future: expected inputs: at least one of `sources`, `coarse`, `predictors`, "),
            ({"sources": {"scr": "gcm"}}, "prediction.scenarios.future: 'scr' is no key of sources (src, gcm)"),
            ({"sources": {"src": "gmc"}}, "prediction.scenarios.future: 'gmc' is no key of sources (src, gcm)"),
            (
                {"truth": {"tas": {"source": "gmc", "variable": "t"}}},
                "prediction.scenarios.future: 'gmc' is no key of sources (src, gcm)",
            ),
            (
                {"truth": {"pr": {"source": "gcm", "variable": "p"}}},
                "prediction.scenarios.future.truth.pr: expected one of tas",
            ),
            (
                {"predictors": {"z": {"source": "gcm", "variable": "z"}}},
                "prediction.scenarios.future.predictors.z: expected one of none",
            ),
            (
                {"coarse": {"pr": {"source": "gcm", "variable": "p"}}},
                "prediction.scenarios.future.coarse.pr: expected one of tas",
            ),
            (
                {"sources": {"src": "gcm"}, "reference": "past"},
                "prediction.scenarios.future.reference: expected a scenario (future), found 'past'",
            ),
            (
                {"sources": {"src": "gcm"}, "harmonise": "quantile-mapping"},
                "prediction.scenarios.future.harmonise: needs `reference`",
            ),
            ({"sources": {"src": "gcm"}, "period": ["2010", "2000"]}, "prediction.scenarios.future.period: the period"),
        ],
    )
    def test_what_cannot_be(self, content: Content, scenario: Content, expected: str) -> None:
        assert self.problem(content, scenario).startswith(f"config: {expected}")

    def test_coarse_fields_need_a_coarse_predictand(self, content: Content) -> None:
        content["data"] |= {"coarse": {"from": "none"}, "predictors": {"z": {"source": "src", "variable": "z"}}}
        message = self.problem(content, {"coarse": {"tas": {"source": "gcm", "variable": "t"}}})
        assert message.startswith("config: prediction.scenarios.future.coarse: with `data.coarse: {from: none}`")

    def test_folds_have_no_one_network(self, content: Content) -> None:
        content["split"] = {"method": "kfold"}
        assert self.problem(content, {"sources": {"src": "gcm"}}).startswith(
            "config: prediction.scenarios: there is no one network"
        )
