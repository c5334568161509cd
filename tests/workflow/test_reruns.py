"""What is out of date after a change, shown by dry runs on a finished experiment."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: What follows the scores whatever has changed.
REPORTING = {
    *("summary", "compare", "figures_network", "figures_baseline", "overview", "cost", "provenance", "page", "crate"),
    *("report", "archive"),
}
TRAINING = {"fit", "predict_network", "explain", "score", *REPORTING}
# The figures of networks have nothing of the baselines.
BASELINES = {"predict_baseline", "score", *REPORTING} - {"figures_network"}
PREDICTING = {"predict_network", "predict_baseline", "score", "explain", *REPORTING}
# What has nothing of the figures of networks is left out.
EXPLAINING = {"explain", *REPORTING} - {"summary", "compare", "figures_baseline", "overview"}
PREPARING = {"grids", "coarsen", "split", "scalers"}
TARGETS = ("report", "archive")


def changed_at(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Set a key such as 'training.epochs', creating sections on the way."""
    *sections, last = key.split(".")
    for section in sections:
        config = config.setdefault(section, {})
    config[last] = value
    return config


def test_a_second_run_does_nothing(finished: Any, tiny: dict[str, Any]) -> None:
    outcome = finished.run(tiny, *TARGETS)
    assert "Nothing to be done" in outcome.output


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        pytest.param("check", {"inventory"}, marks=pytest.mark.full),
        ("regrid", {"grids", "coarsen"}),
        pytest.param("prepare", {"grids", "coarsen", "split", "scalers"}, marks=pytest.mark.full),
        pytest.param("train", {"grids", "coarsen", "split", "scalers", "fit"}, marks=pytest.mark.full),
        pytest.param("predict", {*PREPARING, "fit", "predict_network", "predict_baseline"}, marks=pytest.mark.full),
        ("verify", {*PREPARING, "fit", "predict_network", "predict_baseline", "score", "summary", "compare"}),
    ],
)
def test_stages_run_by_name(fresh: Any, tiny: dict[str, Any], target: str, rules: set[str]) -> None:
    assert fresh.plan(tiny, target).rules == {target} | rules


@pytest.mark.parametrize(
    ("targets", "left_out"),
    [
        ((), {"crate", "archive", "report"}),
        pytest.param(("archive",), {"inventory", "report"}, marks=pytest.mark.full),
        pytest.param(("report",), {"crate", "archive"}, marks=pytest.mark.full),
    ],
)
def test_last_stages_run_by_name(
    fresh: Any, tiny: dict[str, Any], targets: tuple[str, ...], left_out: set[str]
) -> None:
    everything = {"inventory", *PREPARING, "predict_baseline", *TRAINING}
    assert fresh.plan(tiny, *targets).rules - {"all"} == everything - left_out


def test_a_key_of_all_trainings_reruns_training_and_what_follows(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "training.learning_rate", 5e-3)
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == TRAINING
    assert (plan.jobs["fit"], plan.jobs["score"]) == (2, 2)


@pytest.mark.full
def test_a_key_that_one_model_overrides_reruns_that_model(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "models.resnet-spc.training", {"epochs": 3})
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == TRAINING
    assert plan.about("Training ") == ["Training resnet-spc, seed 1, on 2 ranks"]
    assert plan.about("Scoring ") == ["Scoring resnet-spc, seed 1"]


def test_a_default_that_one_model_overrides_leaves_that_model(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "training.epochs", 3)
    assert finished.plan(tiny, *TARGETS).about("Training ") == ["Training resnet-spc, seed 1, on 2 ranks"]


@pytest.mark.full
def test_a_key_of_a_network_reruns_its_training(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "models.unet-pin.filters", 5)
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == TRAINING | {"inventory"}
    assert plan.about("Training ") == ["Training unet-pin, seed 1, on 2 ranks"]


def test_what_predictions_are_held_to_trains_nothing(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "data.predictands.tas.dry_below", 0.5)
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == PREDICTING | {"inventory"}


def test_a_verification_key_reruns_verification(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "verification.bootstrap.samples", 21)
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == {"score", *REPORTING}
    assert plan.jobs["score"] == len(tiny["models"]) + len(tiny["verification"]["baselines"])


@pytest.mark.parametrize(
    ("key", "value", "drawn"),
    [
        ("places", {"somewhere": {"lat": 45, "lon": 270}}, {"overview", "explain", "figures_network"}),
        pytest.param("animation", {"steps": 2}, {"overview"}, marks=pytest.mark.full),
        pytest.param("explain", {"repeats": 2}, {"explain", "figures_network"}, marks=pytest.mark.full),
        pytest.param("explain", None, {"figures_network"}, marks=pytest.mark.full),
    ],
)
def test_what_is_shown_reruns_no_score(
    finished: Any, tiny: dict[str, Any], key: str, value: dict[str, Any] | None, drawn: set[str]
) -> None:
    changed_at(tiny, f"verification.{key}", value)
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == drawn | {"cost", "provenance", "page", "crate", "report", "archive"}


def test_a_title_is_told_again_but_nothing_is_computed(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "title", "Another title")
    changed_at(tiny, "sources.hadgem2.citation", "Another citation")
    told = {"provenance", "page", "crate", "report", "archive"}
    assert finished.plan(tiny, *TARGETS).rules == {"inventory", *told}


def test_another_model_trains_only_that_model(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "models.resnet-pin", {"backbone": "resnet", "upsampling": "pin", "filters": 4, "blocks": 1})
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == TRAINING | {"inventory"}
    assert plan.about("Training ") == ["Training resnet-pin, seed 1, on 2 ranks"]
    assert plan.about("Scoring ") == ["Scoring resnet-pin, seed 1"]


@pytest.mark.full
def test_another_seed_trains_only_that_seed(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "seeds", [1, 2])
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == TRAINING
    assert sorted(plan.about("Training ")) == [f"Training {name}, seed 2, on 2 ranks" for name in tiny["models"]]


def test_another_baseline_trains_nothing(finished: Any, tiny: dict[str, Any]) -> None:
    tiny["verification"]["baselines"].append("nearest")
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == BASELINES
    assert (plan.jobs["predict_baseline"], plan.jobs["score"]) == (1, 1)


def test_a_period_reruns_everything_but_regridding(finished: Any, tiny: dict[str, Any]) -> None:
    changed_at(tiny, "split.test", ["1900", "1910"])
    plan = finished.plan(tiny, *TARGETS)
    assert plan.rules == {"inventory", "split", "scalers", "predict_baseline", *TRAINING}


@pytest.mark.parametrize(
    "execution",
    [
        pytest.param({"workers": 1, "threads_per_worker": 2, "deterministic": False}, id="other"),
        pytest.param({}, id="default", marks=pytest.mark.full),
    ],
)
def test_execution_reruns_nothing(finished: Any, tiny: dict[str, Any], execution: dict[str, Any]) -> None:
    changed_at(tiny, "execution", execution)
    assert not finished.plan(tiny, *TARGETS).jobs


@contextmanager
def edited(path: Path, content: str) -> Iterator[None]:
    """Give a file other content for a while."""
    original = path.read_text(encoding="utf-8")
    path.write_text(content, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(original, encoding="utf-8")


def with_statement(source: str, function: str) -> str:
    """Return a module with one more statement at the end of a function's first line of code."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    node = next(node for node in nodes if node.name == function)
    statement = next(item for item in node.body if not isinstance(item, ast.Expr))
    lines = source.splitlines(keepends=True)
    lines.insert(statement.lineno - 1, " " * statement.col_offset + "_changed = True\n")
    return "".join(lines)


@pytest.mark.parametrize(
    ("module", "function", "rules"),
    [
        ("regrid/entries", "coarse_predictand", {"inventory", *PREPARING, "predict_baseline", *TRAINING}),
        pytest.param("scaling", "fit", {"split", "scalers", "predict_baseline", *TRAINING}, marks=pytest.mark.full),
        pytest.param("baselines/fitting", "fit_baseline", BASELINES, marks=pytest.mark.full),
        ("training/supervised", "fit", TRAINING),
        pytest.param("prediction", "network_predictor", PREDICTING, marks=pytest.mark.full),
        pytest.param("explaining/permutation", "importance", EXPLAINING, marks=pytest.mark.full),
        ("verification/deterministic", "rmse", {"score", *REPORTING}),
        pytest.param("report/page", "write_report", {"page", "crate", "report", "archive"}, marks=pytest.mark.full),
    ],
)
def test_changed_code_reruns_its_stage_and_what_follows(
    finished: Any, tiny: dict[str, Any], module: str, function: str, rules: set[str]
) -> None:
    path = finished.repository / "src" / "dl4ds_core" / f"{module}.py"
    with edited(path, with_statement(path.read_text(encoding="utf-8"), function)):
        assert finished.plan(tiny, *TARGETS).rules == rules


def test_comments_docstrings_and_dates_rerun_nothing(finished: Any, tiny: dict[str, Any]) -> None:
    """A fresh checkout gives every file a new date."""
    path = finished.repository / "src" / "dl4ds_core" / "regrid" / "entries.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False)
    assert docstring
    content = path.read_text(encoding="utf-8").replace(docstring, "Other words.", 1) + "\n# A comment.\n"
    for script in (finished.repository / "scripts").glob("*.py"):
        os.utime(script)
    with edited(path, content):
        assert not finished.plan(tiny, *TARGETS).jobs


def test_a_changed_script_reruns_its_stage(finished: Any, tiny: dict[str, Any]) -> None:
    path = finished.repository / "scripts" / "summarise.py"
    with edited(path, path.read_text(encoding="utf-8") + "\n_CHANGED = True\n"):
        assert finished.plan(tiny, *TARGETS).rules == REPORTING - {"figures_network", "figures_baseline"}
