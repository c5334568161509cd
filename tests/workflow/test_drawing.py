"""Networks that draw, a GAN and a diffusion model, from configuration to members and scores, by two ranks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.training.adversarial import TERMS
from dl4ds_core.training.diffusion import TERM
from dl4ds_core.verification import read_summary

NETWORK = {"backbone": "resnet", "upsampling": "spc", "filters": 8, "blocks": 1}
GAN = {"mode": "adversarial", "adversarial": {"pretrain_epochs": 1}, "discriminator": {"filters": 8, "blocks": 1}}
DIFFUSION = {"mode": "diffusion", "denoiser": {"filters": 8, "levels": 2}}
MODELS = {
    "gan": NETWORK | {"noise": 1, "training": GAN},
    "gaussian": NETWORK | {"distribution": "gaussian", "prediction": {"members": {"count": 4}}},
    "crps": NETWORK | {"noise": 1, "training": {"loss": {"crps": 1.0}, "members": 2}},
    "diffusion": NETWORK | {"training": DIFFUSION},
    "plain": NETWORK,
}
MEMBERS = {"gan": 3, "gaussian": 4, "crps": 3, "diffusion": 3}


def configured(tiny: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """An experiment with some of the models, each trained for two epochs."""
    tiny["models"] = {name: MODELS[name] for name in names}
    tiny["training"] = tiny.get("training", {}) | {"epochs": 2}
    tiny["prediction"] = {"members": {"count": 3, "steps": 8}}
    tiny["verification"] = {
        "baselines": ["bilinear"],
        "bootstrap": {"samples": 20, "block": "2y"},
        "animation": {"steps": 0},
        "explain": {"steps": 4, "repeats": 1},
    }
    tiny["execution"] = {"workers": 2}
    return tiny


def require_members(results: Path, names: Sequence[str]) -> None:
    """See that there are members that differ, and the losses of both networks."""
    for name in names:
        with xr.open_dataset(results / name / "seed1/prediction.nc") as predicted:
            assert predicted.sizes.get("member") == MEMBERS.get(name)
            assert np.isfinite(predicted["tas"]).all()
            if name in MEMBERS:
                assert float(predicted["tas"].std("member").max()) > 0
    for name, terms in (("gan", TERMS), ("diffusion", [TERM])):
        history = pd.read_csv(results / name / "seed1/history.csv")
        assert history.loc[0, list(terms)].isna().all()
        assert np.isfinite(history.loc[1, list(terms)].to_numpy(dtype=float)).all()


def test_gan_and_diffusion_are_trained_and_draw_members(fresh: Any, tiny: dict[str, Any]) -> None:
    names = ["gan", "diffusion"]
    fresh.run(configured(tiny, names), *(f"results/tiny/{name}/seed1/prediction.nc" for name in names))
    require_members(fresh.results, names)


@pytest.mark.full
def test_all_that_draws_runs_to_the_report(fresh: Any, tiny: dict[str, Any]) -> None:
    fresh.run(configured(tiny, list(MODELS)), "report")
    require_members(fresh.results, list(MODELS))
    rows = read_summary(fresh.results / "verification/summary.csv")
    scored = rows[(rows["metric"] == "crps") & (rows["split"] == "test") & (rows["region"] == "")]
    assert set(scored["model"]) == set(MEMBERS)
    page = (fresh.results / "report.html").read_text(encoding="utf-8")
    assert "members are below the truth" in page
    assert "adversarial" in page
    assert "a diffusion model of what is left" in page
