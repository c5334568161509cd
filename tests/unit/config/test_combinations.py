"""Networks that can't work with the data or their training: refused by name, with what to use instead."""

from __future__ import annotations

from typing import Any

import pytest

from dl4ds_core.config import model_settings, parse
from dl4ds_core.errors import ConfigError

Content = dict[str, Any]
NET = {"backbone": "resnet", "upsampling": "spc"}
FREE = {**NET, "localized": "none"}
COARSE = {"from": "src", "variables": {"pr": {"source": "src", "variable": "p"}, "tas": "t"}}


@pytest.fixture
def wet(content: Content) -> Content:
    """Two predictands, one of which is never negative."""
    content["data"]["predictands"]["pr"] = {"source": "src", "variable": "tp", "minimum": 0}
    return content


def problems(content: Content) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse(content)
    lines = str(raised.value).splitlines()
    lines = [line.split(". ", 1)[1] for line in lines[1:]] if len(lines) > 1 else lines
    return [line.removeprefix("config: ") for line in lines]


def problem(content: Content) -> str:
    (line,) = problems(content)
    return line


class TestTrainingAsAWhole:
    """Keys that a model overrides are checked with those that it inherits."""

    HINT = "(keys that it leaves out are as in `training`; 0, null, or an empty map or list undoes them)"

    @pytest.mark.parametrize(
        ("general", "own", "expected"),
        [
            ({}, {"schedule": "piecewise"}, "`schedule: piecewise` and the key `piecewise` belong together; give both"),
            ({}, {"freeze": ["stem"]}, "`freeze` needs `start_from`"),
            ({}, {"min_delta": 0.1}, "`min_delta` does nothing without `patience`"),
            ({"patience": 3, "min_delta": 0.1}, {"patience": None}, "`min_delta` does nothing without `patience`"),
            ({"optimizer": "adamw", "weight_decay": 0.1}, {"optimizer": "adam"}, "`weight_decay` is for `optimizer: "),
            ({"epochs": 9}, {"schedule": "piecewise", "piecewise": {9: 0.1}}, "piecewise: expected numbers below"),
            ({"warmup_epochs": 5}, {"epochs": 4}, "warmup_epochs: expected no more than `epochs` (4), found 5"),
        ],
    )  # fmt: skip
    def test_what_does_not_go_together(self, content: Content, general: Content, own: Content, expected: str) -> None:
        content |= {"training": general}
        content["models"]["net"]["training"] = own
        found = problem(content)
        assert found.startswith(f"models.net.training: {expected}")
        assert found.endswith(self.HINT)

    def test_what_is_inherited_completes_it_or_can_be_undone(self, content: Content) -> None:
        content["training"] = {"schedule": "piecewise", "piecewise": {10: 0.1}, "patience": 3, "min_delta": 0.1}
        content["models"] = {
            "drops": {**NET, "training": {"piecewise": {5: 0.5}}},
            "smooth": {**NET, "training": {"schedule": "cosine", "piecewise": {}, "patience": None, "min_delta": 0}},
        }
        config = parse(content)
        assert model_settings(config, "drops").training.piecewise == {5: 0.5}
        assert model_settings(config, "smooth").training.schedule == "cosine"


class TestPatchesAndTurnedSamples:
    @pytest.mark.parametrize("size", [4, 6, 9, 30])
    def test_patches_are_made_of_whole_coarse_cells(self, content: Content, size: int) -> None:
        content |= {"models": {"net": FREE, "other": FREE}, "training": {"patch_size": size}}
        assert problem(content) == (
            "training.patch_size: expected two or more whole coarse cells, so a multiple of data.scale from 8 on, "
            f"found {size}"
        ), "said once for all models that inherit it"

    @pytest.mark.parametrize("size", [8, 32])
    def test_such_patches_are_fine(self, content: Content, size: int) -> None:
        content["models"]["net"] = {**FREE, "training": {"patch_size": size, "augment": ["flip-y"]}}
        assert model_settings(parse(content), "net").training.patch_size == size

    @pytest.mark.parametrize(
        ("training", "how"),
        [({"patch_size": 16}, "cut out of the grid"), ({"augment": ["rotate"]}, "turned")],
    )
    @pytest.mark.parametrize("localized", ["affine", "convolution", "regression"])
    def test_weights_of_single_cells_need_the_whole_grid(
        self, content: Content, training: Content, how: str, localized: str
    ) -> None:
        content["models"] = {"net": {**NET, "localized": localized}, "free": FREE}
        (key,) = training
        assert problem({**content, "training": training}) == (
            f"models.net.localized: `{localized}` has weights for each cell of the grid, and with `training.{key}` "
            f"samples are {how}; set `localized: none`, or undo that key for this model"
        )

    @pytest.mark.parametrize("training", [{"patch_size": 16}, {"augment": ["flip-x"]}])
    def test_means_are_kept_on_the_whole_grid(self, wet: Content, training: Content) -> None:
        constraints = {"tas": "additive", "pr": "non-negative"}
        wet["models"]["net"] = {**FREE, "constraints": constraints, "training": training}
        (key,) = training
        found = problem(wet)
        assert found.startswith(
            "models.net.constraints.tas: `additive` has area weights for each cell of the grid, and "
        )
        assert f"with `models.net.training.{key}` samples are" in found

    def test_a_model_may_undo_what_it_cannot_take(self, content: Content) -> None:
        content["training"] = {"patch_size": 16, "augment": ["flip-x"]}
        content["models"]["net"]["training"] = {"patch_size": None, "augment": []}
        parse(content)


class TestConstraints:
    @pytest.mark.parametrize("constraint", ["non-negative", "additive", "multiplicative", "softmax"])
    def test_they_are_for_predictands(self, content: Content, constraint: str) -> None:
        content["data"]["predictors"] = {"z": {"source": "src", "variable": "z"}}
        content["models"]["net"]["constraints"] = {"z": constraint}
        assert problem(content) == "models.net.constraints.z: expected the name of a predictand (tas)"

    @pytest.mark.parametrize("constraint", ["non-negative", "multiplicative", "softmax"])
    def test_what_is_never_negative(self, wet: Content, constraint: str) -> None:
        wet["models"]["net"]["constraints"] = {"pr": constraint, "tas": "additive"}
        assert parse(wet).models["net"].constraints["pr"] == constraint

    @pytest.mark.parametrize("constraint", ["additive", "multiplicative", "softmax"])
    def test_without_a_coarse_field_there_is_no_mean_to_keep(self, wet: Content, constraint: str) -> None:
        wet["data"] |= {"coarse": {"from": "none"}, "predictors": {"z": {"source": "src", "variable": "z"}}}
        wet["models"]["net"]["constraints"] = {"pr": constraint}
        assert problem(wet) == (
            f"models.net.constraints.pr: `{constraint}` keeps the means of coarse fields, and there are none with "
            "`data.coarse: {from: none}`; use `non-negative`, or leave the key out"
        )
        wet["models"]["net"]["constraints"] = {"pr": "non-negative"}
        parse(wet)
        wet["models"]["net"]["normalization"] = {"pr": {"per": "cell"}}
        assert problem(wet) == (
            "models.net.constraints.pr: `non-negative` needs one zero for all cells, and `normalization` of pr is "
            "`per: cell`; use `per: domain`"
        )

    @pytest.mark.parametrize("minimum", [0, -5])
    def test_raising_to_a_minimum_changes_means(self, wet: Content, minimum: float) -> None:
        wet["data"]["predictands"]["pr"]["minimum"] = minimum
        wet["models"]["net"]["constraints"] = {"pr": "additive"}
        assert problem(wet) == (
            "models.net.constraints.pr: `additive` keeps means, and raising values to `data.predictands.pr.minimum` "
            "changes them afterwards; use `multiplicative` or `softmax`"
        )

    @pytest.mark.parametrize("constraint", ["multiplicative", "softmax"])
    @pytest.mark.parametrize(("minimum", "found"), [(None, "none"), (0.5, "0.5"), (-1, "-1")])
    def test_what_may_be_negative(self, wet: Content, constraint: str, minimum: float | None, found: str) -> None:
        wet["data"]["predictands"]["pr"]["minimum"] = minimum
        wet["models"]["net"]["constraints"] = {"pr": constraint}
        assert problem(wet) == (
            f"models.net.constraints.pr: `{constraint}` is for fields from 0 up; set `data.predictands.pr.minimum: 0` "
            f"(found {found}), or use `additive`"
        )

    def test_a_coarse_field_of_another_source_may_not_be_negative_either(self, wet: Content) -> None:
        wet["data"]["coarse"] = COARSE
        wet["models"]["net"]["constraints"] = {"pr": "softmax"}
        assert "set `data.coarse.variables.pr.minimum: 0` (found none)" in problem(wet)
        entry = {**COARSE["variables"]["pr"], "minimum": 0}
        wet["data"]["coarse"] = {**COARSE, "variables": {"pr": entry, "tas": "t"}}
        parse(wet)
        wet["data"]["coarse"] = {**COARSE, "variables": {"pr": "p", "tas": "t"}}
        assert parse(wet).data.coarse_entries()["pr"].minimum == 0, "named only, it has the predictand's"

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (
                ("data", "predictands", "pr", "dry_below", 0.1),
                "`data.predictands.pr.dry_below` changes them afterwards",
            ),
            (
                ("normalization", "pr", "dry_below", 0.1),
                "has lost small values by `dry_below` in `normalization` of pr",
            ),
            (("normalization", "default", "dry_below", 0.1), "has lost small values by `dry_below` in `normalization`"),
            (
                ("training", "retransformation", "smearing"),
                "`retransformation: smearing` changes them afterwards; set ",
            ),
        ],
    )
    def test_what_changes_means(self, wet: Content, change: tuple[Any, ...], expected: str) -> None:
        wet["normalization"] = {"pr": {"transform": "log1p"}} if change[0] == "training" else {}
        *folders, key, value = change
        section = wet
        for folder in folders:
            section = section.setdefault(folder, {})
        section[key] = value
        wet["models"]["net"]["constraints"] = {"pr": "multiplicative"}
        found = problem(wet)
        assert found.startswith("models.net.constraints.pr: `multiplicative` keeps")
        assert expected in found
        wet["models"]["net"]["constraints"] = {"pr": "non-negative"}
        parse(wet)

    def test_the_normalization_of_the_model_counts(self, wet: Content) -> None:
        wet["normalization"] = {"pr": {"dry_below": 0.1}}
        wet["models"]["net"] |= {"constraints": {"pr": "softmax"}, "normalization": {"pr": {}}}
        parse(wet)


class TestInputs:
    def test_a_branch_for_static_fields_needs_some(self, content: Content) -> None:
        content["models"]["net"]["static_branch"] = True
        expected = "models.net.static_branch: there are no static fields; name some in `data.static`, or leave it out"
        assert problem(content) == expected
        content["data"]["static"] = {"latitude": {"derived": "latitude"}}
        parse(content)

    def test_nothing_to_add_to(self, content: Content) -> None:
        content["data"] |= {"coarse": {"from": "none"}, "predictors": {"z": {"source": "src", "variable": "z"}}}
        content["models"]["net"]["residual"] = True
        assert problem(content).startswith("models.net.residual: there is no coarse field to add to")


class TestBeginnings:
    """What `start_from` leads to."""

    def chain(self, content: Content, **starts: str | None) -> Content:
        content["models"] = {name: {**NET, "training": {"start_from": start}} for name, start in starts.items()}
        return content

    def test_other_models_and_files(self, content: Content) -> None:
        parse(self.chain(content, a=None, b="a", c="b", d="elsewhere/model.keras"))

    def test_a_model_that_is_not_there(self, content: Content) -> None:
        assert problem(self.chain(content, a=None, b="e", c=None)) == (
            "models.b.training.start_from: expected another model (a, c) or a path that ends in .keras, found 'e'"
        )

    def test_of_many_models_some_are_named(self, content: Content) -> None:
        found = problem(self.chain(content, **{f"m{number}": None for number in range(8)}, z="model.h5"))
        assert "another model (m0, m1, m2, m3, m4 and 3 more) or a path" in found

    def test_a_sweep_is_several_models(self, content: Content) -> None:
        content["models"] = {
            "a": NET,
            "base": {**NET, "filters": [8, 16]},
            "tuned": {**NET, "training": {"start_from": "base"}},
        }
        assert "expected another model (base_filters-8, base_filters-16) or a path" in problem(content)
        content["models"]["tuned"]["training"]["start_from"] = "base_filters-8"
        parse(content)

    def test_nothing_begins_with_itself(self, content: Content) -> None:
        assert problem(self.chain(content, a="a")) == (
            "models.a.training.start_from: a begins with a; one of them must begin with none (null, where the key is "
            "inherited)"
        )

    def test_circles_are_said_once(self, content: Content) -> None:
        found = problem(self.chain(content, d="c", c="b", b="a", a="c"))
        assert found.startswith("models.a.training.start_from: a begins with c begins with b begins with a; one of")

    def test_what_all_models_inherit_is_undone_for_the_first(self, content: Content) -> None:
        content |= {"models": {"base": NET, "tuned": NET}, "training": {"start_from": "base"}}
        assert problem(content).startswith("training.start_from: base begins with base")
        content["models"] = {"base": {**NET, "training": {"start_from": None}}, "tuned": NET}
        config = parse(content)
        assert [model_settings(config, name).training.start_from for name in config.models] == [None, "base"]


def test_problems_of_several_networks_are_listed_at_once(wet: Content) -> None:
    wet["models"] = {
        "a": {**NET, "static_branch": True, "training": {"schedule": "piecewise"}},
        "b": {**NET, "constraints": {"pr": "additive", "rain": "non-negative"}, "training": {"patch_size": 5}},
    }
    keys = [line.split(":")[0] for line in problems(wet)]
    assert sorted(keys) == [
        "models.a.static_branch",
        "models.a.training",
        "models.b.constraints.pr",
        "models.b.constraints.pr",
        "models.b.constraints.rain",
        "models.b.localized",
        "models.b.training.patch_size",
    ]
