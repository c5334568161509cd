"""Ensembles from input to report: the seeds of a network, and the climatological one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.verification import METRICS, read_summary

SEEDS = [1, 2]
NETWORK = "unet-pin"
ENSEMBLES = {f"{NETWORK}-seeds": 2, "climatological-ensemble": 20}
OF_MEMBERS = {name for name, metric in METRICS.items() if metric.members}


@pytest.fixture
def ensemble(tiny: dict[str, Any]) -> dict[str, Any]:
    """One network with two seeds; short trainings."""
    tiny["seeds"] = SEEDS
    tiny["models"] = {NETWORK: tiny["models"][NETWORK]}
    tiny["prediction"] = {"seed_ensemble": True}
    tiny["verification"] = {
        "baselines": ["bilinear", "climatological-ensemble"],
        "bootstrap": {"samples": 20, "block": "2y"},
        "animation": {"steps": 0},
        "explain": None,
    }
    tiny["execution"] = {"workers": 1}
    return tiny


def require_scores_of_members(rows: pd.DataFrame) -> None:
    """Both ensembles, and no other model, have all the scores of members over both periods."""
    for split in ("validation", "test"):
        own = rows[(rows["split"] == split) & rows["metric"].isin(OF_MEMBERS)]
        assert set(own["model"]) == set(ENSEMBLES)
        assert set(own["metric"]) == OF_MEMBERS
        assert set(own["seed"]) == {0}


def test_seeds_are_members_of_one_more_model(fresh: Any, ensemble: dict[str, Any]) -> None:
    fresh.run(ensemble, *(f"results/tiny/{name}/seed0/scores.nc" for name in ENSEMBLES))
    folder = fresh.results
    for file in ("prediction", "prediction-validation"):
        joined = xr.open_dataset(folder / f"{NETWORK}-seeds/seed0/{file}.nc")
        assert joined["tas"].dims == ("member", "time", "lat", "lon")
        assert joined["member"].attrs["standard_name"] == "realization"
        for place, seed in enumerate(SEEDS):
            with xr.open_dataset(folder / f"{NETWORK}/seed{seed}/{file}.nc") as single:
                np.testing.assert_array_equal(joined["tas"][place], single["tas"])
    require_scores_of_members(pd.concat([read_summary(folder / name / "seed0/scores.csv") for name in ENSEMBLES]))
    for name, members in ENSEMBLES.items():
        assert xr.open_dataset(folder / name / "seed0/prediction.nc").sizes["member"] == members
        scores = xr.open_dataset(folder / name / "seed0/scores.nc")
        assert scores.sizes["rank"] == members + 1
        assert {"tas_crps", "tas_reliability_count", "tas_spectrum_members"} <= set(scores.data_vars)


@pytest.mark.full
def test_ensembles_are_compared_and_drawn_beside_the_others(fresh: Any, ensemble: dict[str, Any]) -> None:
    one = f"results/tiny/{NETWORK}-seeds/seed0/figures/scores-tas.png"
    fresh.run(ensemble, "verify", "results/tiny/verification/figures", one)
    require_scores_of_members(read_summary(fresh.results / "verification/summary.csv"))
    compared = (fresh.results / "verification/comparisons.csv").read_text(encoding="utf-8")
    assert f",{NETWORK}-seeds,{NETWORK}," in compared  # the network is the one that is chosen
    figures = {path.name for path in (fresh.results / "verification/figures").iterdir()}
    assert {"rank-histogram-tas.png", "reliability-tas.pdf", "spectra-tas.png"} <= figures


def test_what_ensembles_add_to_a_plan(fresh: Any, ensemble: dict[str, Any]) -> None:
    truth = {"tas": ensemble["data"]["predictands"]["tas"]}
    past: dict[str, Any] = {"truth": truth, "period": ["1860", "1875"]}
    ensemble["prediction"]["scenarios"] = {"past": past, "future": past | {"reference": "past"}}
    with_ensembles = fresh.plan(ensemble, "report", "archive")
    ensemble["prediction"]["seed_ensemble"] = False
    without = fresh.plan(ensemble, "report", "archive")
    added = {"seed_ensemble": 1, "scenario_ensemble": 2, "figures_ensemble": 1, "score": 1, "score_scenario": 2}
    assert with_ensembles.jobs - without.jobs == added | {"change": 1}
    assert not without.jobs - with_ensembles.jobs
    del ensemble["prediction"]
    ensemble["split"] = {"method": "kfold", "folds": 3}
    before = fresh.plan(ensemble, "verify")
    ensemble["prediction"] = {"seed_ensemble": True}
    assert fresh.plan(ensemble, "verify").jobs - before.jobs == {"seed_ensemble": 1, "score": 1}
