"""Constraints hold in what the pipeline writes: in physical units, weighted by area, over cells that have values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.grids import Grid, coarsen

CONSTRAINTS = {"tas": "additive", "pr": "multiplicative"}
#: Below this a relative error means little: degrees Celsius around zero, and drizzle.
LEAST = {"tas": 1.0, "pr": 0.1}


@pytest.fixture
def masked(tiny: dict[str, Any], data_dir: Any) -> dict[str, Any]:
    """Temperature and precipitation of a piece of Iberia's coast, whose missing cells change from day to day."""
    paths = {name: str(data_dir / f"eobs-iberia/eobs_{name}_0.25deg_djf_1990-2000.nc") for name in CONSTRAINTS}
    predictands = {
        "tas": {"source": "tas", "variable": "tas", "units": "degC"},
        "pr": {"source": "pr", "variable": "pr", "units": "kg m-2 s-1", "minimum": 0},
    }
    tiny["sources"] = {name: {"paths": [path]} for name, path in paths.items()}
    tiny["data"] = {"predictands": predictands, "domain": {"lat": [34, 39], "lon": [-10, -5]}, "scale": 4}
    tiny["data"] |= {"missing": "mask", "regrid": {"min_valid_fraction": 0.01}}
    tiny["split"] = {
        "train": ["1990-12-01", "1991-02-28"],
        "validation": ["1991-12-01", "1991-12-15"],
        "test": ["1992-01-01", "1992-01-31"],
    }
    tiny["verification"] = {"baselines": ["bilinear"], "bootstrap": {"samples": 20, "block": "3d"}}
    tiny["execution"] = {"workers": 1}
    network = {"backbone": "resnet", "upsampling": "spc", "filters": 4, "blocks": 1, "localized": "none"}
    tiny["models"] = {"constrained": network | {"constraints": CONSTRAINTS}}
    return tiny


def test_the_coarsened_prediction_is_the_coarse_input(fresh: Any, masked: dict[str, Any]) -> None:
    runs = {"constrained": "constrained/seed1", "free": "bilinear/seed0"}
    fresh.run(masked, *(f"results/tiny/{run}/prediction.nc" for run in runs.values()))
    given = xr.open_dataset(fresh.results / "data/samples/test/coarse.nc")
    errors = {}
    for model, run in runs.items():
        prediction = xr.open_dataset(fresh.results / run / "prediction.nc")
        for name, constraint in CONSTRAINTS.items():
            unit = 86400 if name == "pr" else 1  # kg m-2 s-1 to mm/d
            mean, _ = coarsen(prediction[name], Grid.of(prediction), 4, min_valid_fraction=1e-6)
            expected = given[name] * unit
            error = np.abs(mean * unit - expected) / np.maximum(np.abs(expected), LEAST[name])
            errors[model, name] = float(error.max())
            assert int(error.notnull().sum()) > 100
            if (model, constraint) == ("constrained", "multiplicative"):
                assert float(prediction[name].min()) >= 0
    assert max(errors["constrained", name] for name in CONSTRAINTS) < 1e-4
    # The test can fail: nothing of this holds by itself.
    assert min(errors["free", name] for name in CONSTRAINTS) > 1e-2
