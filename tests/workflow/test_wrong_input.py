"""Wrong input: one clear message before any job, exit status non-zero, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Change = Callable[[dict[str, Any]], None]


def unknown_key(config: dict[str, Any]) -> None:
    config["training"]["epoch"] = 3


def required_key_that_the_demo_has(config: dict[str, Any]) -> None:
    del config["split"]


def missing_file(config: dict[str, Any]) -> None:
    config["sources"]["hadgem2"]["paths"] = ["nowhere/*.nc"]


def wrong_variable(config: dict[str, Any]) -> None:
    config["data"]["predictands"]["tas"]["variable"] = "temperature"


def wrong_unit(config: dict[str, Any]) -> None:
    config["data"]["predictands"]["tas"]["units"] = "mm d-1"


def overlapping_periods(config: dict[str, Any]) -> None:
    config["split"]["validation"] = ["1889", "1899"]


def reversed_period(config: dict[str, Any]) -> None:
    config["split"]["test"] = ["1913", "1900"]


def period_outside_the_record(config: dict[str, Any]) -> None:
    config["split"]["test"] = ["2200", "2210"]


def small_grid(config: dict[str, Any]) -> None:
    config["models"]["unet-pin"]["blocks"] = 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unknown_key, ["training.epoch: unknown key", "did you mean 'epochs'?"]),
        (required_key_that_the_demo_has, ["split: this key is required"]),
        pytest.param(missing_file, ["sources.hadgem2.paths", "nowhere/*.nc"], marks=pytest.mark.full),
        (wrong_variable, ["A1B_north_america.nc", "'temperature'", "air_temperature"]),
        pytest.param(wrong_unit, ["A1B_north_america.nc", "'K'", "'mm d-1'"], marks=pytest.mark.full),
        pytest.param(overlapping_periods, ["split", "train", "validation", "overlap"], marks=pytest.mark.full),
        pytest.param(reversed_period, ["split.test", "empty"], marks=pytest.mark.full),
        (period_outside_the_record, ["split.test", "no time step", "1860-06-01", "2099-06-01"]),
        pytest.param(small_grid, ["models.unet-pin", "20 x 20", "16 x 16"], marks=pytest.mark.full),
    ],
)
def test_wrong_configuration(fresh: Any, tiny: dict[str, Any], change: Change, words: list[str]) -> None:
    change(tiny)
    refuses(fresh, tiny, words)


def test_missing_values(fresh: Any, tiny: dict[str, Any], data_dir: Path) -> None:
    tiny["sources"] = {"eobs": {"paths": [str(data_dir / "eobs-iberia" / "eobs_tas_0.25deg_djf_1990-2000.nc")]}}
    tiny["data"] = {"predictands": {"tas": {"source": "eobs", "variable": "tas"}}, "scale": 4, "missing": "refuse"}
    tiny["split"] = {"train": ["1990", "1995"], "validation": ["1996", "1997"], "test": ["1998", "2000"]}
    tiny["verification"]["bootstrap"]["block"] = "5d"
    refuses(fresh, tiny, ["eobs_tas_0.25deg_djf_1990-2000.nc", "values are missing", "data.domain"])


def test_all_problems_are_listed_at_once(fresh: Any, tiny: dict[str, Any]) -> None:
    small_grid(tiny)
    period_outside_the_record(tiny)
    refuses(fresh, tiny, ["2 problems", "models.unet-pin", "split.test"])


def refuses(workflow: Any, config: dict[str, Any], words: list[str]) -> None:
    """Check that a run ends with a message that has these words, and leaves nothing."""
    outcome = workflow.snakemake(config, "report")
    assert outcome.status != 0
    assert not [word for word in words if word not in outcome.output], outcome.output
    assert "Traceback" not in outcome.output
    assert 'File "' not in outcome.output
    # The message comes once.
    assert outcome.output.count(words[-1]) == 1, outcome.output
    assert {path.name for path in workflow.folder.iterdir()} <= {"experiment.yaml", ".snakemake"}


def test_a_scale_that_leaves_cells_out_is_a_warning(fresh: Any, tiny: dict[str, Any]) -> None:
    tiny["data"]["domain"] = {"lat": [20, 40], "lon": [240, 269]}
    outcome = fresh.run(tiny, "check")
    warning = "data.scale 4 doesn't divide 17 cells along lat: left out are the rows at latitude 40"
    assert f"Warning: {warning}" in outcome.output
    assert warning in (fresh.results / "check.txt").read_text(encoding="utf-8")
