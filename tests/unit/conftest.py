"""Fixtures of the unit tests: small synthetic fields with real names, scripts by path, a clean Keras."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FieldMaker = Callable[..., xr.DataArray]


def make_times(steps: int, calendar: str = "standard") -> list[Any]:
    """Days from 2000-01-01 in a calendar."""
    if calendar == "standard":
        return list(pd.date_range("2000-01-01", periods=steps, freq="D"))
    return list(xr.date_range("2000-01-01", periods=steps, freq="D", calendar=calendar, use_cftime=True).values)


def make_field(
    steps: int | None = 6,
    rows: int = 8,
    columns: int = 12,
    *,
    name: str = "tas",
    units: str = "K",
    calendar: str = "standard",
    south: float = 40.0,
    west: float = -5.0,
    step: float = 0.5,
    seed: int = 1,
) -> xr.DataArray:
    """A field (time, lat, lon) of random temperatures in float32; without time if ``steps`` is None."""
    random = np.random.default_rng(seed)
    dims = ("lat", "lon") if steps is None else ("time", "lat", "lon")
    shape = (rows, columns) if steps is None else (steps, rows, columns)
    coordinates: dict[str, Any] = {
        "lat": ("lat", south + step * np.arange(rows), {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", west + step * np.arange(columns), {"standard_name": "longitude", "units": "degrees_east"}),
    }
    if steps is not None:
        coordinates["time"] = ("time", make_times(steps, calendar), {"standard_name": "time"})
    values = (280 + 5 * random.normal(size=shape)).astype(np.float32)
    attributes = {"units": units, "standard_name": "air_temperature", "long_name": "air temperature"}
    return xr.DataArray(values, coordinates, dims, name, attributes)


@pytest.fixture(scope="session")
def field_of() -> FieldMaker:
    """The function that makes synthetic fields."""
    return make_field


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Import a script of the workflow by its name; nothing of it runs."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def configuration() -> Callable[..., dict[str, Any]]:
    """A small valid configuration of one file, as nested mappings; sections given replace those of the same name."""

    def make(path: str | Path, variable: str = "tas", **sections: Mapping[str, Any]) -> dict[str, Any]:
        content: dict[str, Any] = {
            "experiment": "trial",
            "sources": {"input": {"paths": [str(path)]}},
            "data": {"predictands": {"tas": {"source": "input", "variable": variable}}, "scale": 4},
            "split": {
                "train": ["2000-01-01", "2000-01-20"],
                "validation": ["2000-01-21", "2000-01-30"],
                "test": ["2000-01-31", "2000-02-09"],
            },
            "models": {"small": {"backbone": "resnet", "upsampling": "spc", "filters": 8, "blocks": 1}},
            "verification": {"baselines": ["bilinear"], "bootstrap": {"samples": 10, "block": "2d"}},
        }
        for name, section in sections.items():
            content[name] = {**content.get(name, {}), **section}
        return content

    return make


@pytest.fixture
def keras_reset() -> Iterator[None]:
    """Fixed random numbers and the default precision, before and after a test."""
    import keras

    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    yield
    keras.config.set_dtype_policy("float32")


__all__ = ["FieldMaker", "make_field", "make_times"]
