"""What is fitted sees the training period alone, and two runs give the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from running import TINY

BASELINES = tuple(TINY["verification"]["baselines"])


@pytest.fixture(scope="module")
def noisy(finished: Any, tmp_path_factory: pytest.TempPathFactory, demo_file: Path) -> Any:
    """The small experiment again, with noise instead of the later halves of validation (1890-99) and test (1900-13)."""
    workflow = type(finished)(tmp_path_factory.mktemp("noisy"), finished.repository)
    decoder = xr.coders.CFDatetimeCoder(use_cftime=True)
    with xr.open_dataset(demo_file, decode_times=decoder) as dataset:
        changed = dataset.load()
    years = changed["time"].dt.year.values
    noise = ((years >= 1895) & (years < 1900)) | (years >= 1907)
    field = changed["air_temperature"]
    field.values[noise] = np.random.default_rng(0).uniform(150, 400, field.values[noise].shape)
    changed.to_netcdf(workflow.folder / "noise.nc")
    return workflow


@pytest.mark.full  # scripts/test_fitted_on_training_only sees the same of scalers, baselines and what networks train on
def test_nothing_fitted_sees_validation_or_test(finished: Any, noisy: Any, tiny: dict[str, Any]) -> None:
    """Scalers, data ranges, baselines and a network (of one epoch, so that none can be chosen) stay as they are."""
    tiny["sources"]["hadgem2"]["paths"] = ["noise.nc"]
    runs = [f"{name}/seed0" for name in BASELINES] + ["unet-pin/seed1"]
    predictions = [f"{run}/{name}.nc" for run in runs for name in ("prediction", "prediction-validation")]
    single = ["data/samples/statistics.json", "data/scalers/default.nc"]
    noisy.run(tiny, *(f"results/tiny/{name}" for name in (*single, *predictions)))
    statistics = [json.loads((where.results / single[0]).read_text(encoding="utf-8")) for where in (finished, noisy)]
    assert statistics[0] == statistics[1]
    before, after = (opened(where.results / single[1]) for where in (finished, noisy))
    assert before.data_vars
    xr.testing.assert_equal(before, after)
    for name in predictions:
        before, after = (opened(where.results / name) for where in (finished, noisy))
        first_half = slice(None, "1894") if "validation" in name else slice(None, "1906")
        xr.testing.assert_equal(before.sel(time=first_half), after.sel(time=first_half))
        # The noise did reach the predictions.
        assert not before.equals(after), name


def opened(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, decode_times=xr.coders.CFDatetimeCoder(use_cftime=True)) as dataset:
        return dataset.load()


@pytest.mark.full
def test_two_runs_from_scratch_give_the_same_summary(finished: Any, fresh: Any, tiny: dict[str, Any]) -> None:
    fresh.run(tiny, "verify")
    first, second = ((where.results / "verification/summary.csv").read_bytes() for where in (finished, fresh))
    assert first == second


@pytest.mark.full
def test_every_network_and_baseline_runs_to_the_end(fresh: Any, tiny: dict[str, Any]) -> None:
    tiny["models"]["resnet-pin"] = {"backbone": "resnet", "upsampling": "pin", "filters": 4, "blocks": 1}
    del tiny["verification"]["baselines"]
    fresh.run(tiny, "report", "archive")
    summary = (fresh.results / "verification/summary.csv").read_text(encoding="utf-8")
    names = ("nearest", "bilinear", "bicubic", "bilinear-corrected", "regression", "bilinear-qm", *tiny["models"])
    assert all(f"\n{name}," in summary for name in names)
    assert (fresh.results / "archive.zip").is_file()
