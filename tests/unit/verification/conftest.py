"""Small synthetic fields with the real names of coordinates; tests change copies of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.verification import collecting

Pair = tuple[xr.DataArray, xr.DataArray]


@pytest.fixture(scope="module", autouse=True)
def few_resamples_of_series() -> Iterator[None]:
    """Scores without moments take most of the time: ten resamples of them will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collecting, "SOME_SAMPLES", 10)
        yield


@pytest.fixture(scope="module")
def area() -> xr.DataArray:
    """Cell areas that differ much with latitude and a little with longitude, ``(lat, lon)``."""
    values = np.cos(np.deg2rad(np.linspace(0, 80, 12)))[:, None] * np.linspace(1, 1.5, 13)[None, :]
    coordinates = {"lat": np.linspace(0, 80, 12), "lon": np.linspace(0, 24, 13)}
    return xr.DataArray(values, coordinates, ("lat", "lon"), attrs={"units": "m2"})


@pytest.fixture(scope="module")
def fields(area: xr.DataArray) -> Pair:
    """Forecast and observation ``(time, lat, lon)`` of a temperature in K, hourly."""
    random = np.random.default_rng(7)
    shape = (40, area.sizes["lat"], area.sizes["lon"])
    coordinates = {"time": pd.date_range("2019-03-01", periods=40, freq="h"), **area.coords}
    attributes = {"units": "K", "long_name": "2 m temperature"}
    values = 280 + 3 * random.normal(size=shape)
    observation = xr.DataArray(values, coordinates, ("time", "lat", "lon"), "t2m", attributes)
    forecast = observation.copy(data=28.4 + 0.9 * values + random.normal(size=shape))
    return forecast, observation


@pytest.fixture(scope="module")
def datasets(fields: Pair) -> tuple[xr.Dataset, xr.Dataset]:
    """Prediction and truth with the predictand t2m."""
    return fields[0].to_dataset(), fields[1].to_dataset()
