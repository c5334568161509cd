"""Predictions with members: their mean, and putting them together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core import io
from dl4ds_core.ensembles import ensemble_mean, joined_members, members_of
from dl4ds_core.errors import DataError


def prediction(seed: int, members: int = 0, steps: int = 30) -> xr.Dataset:
    values = np.random.default_rng(seed).normal(280, 1, size=(max(members, 1), steps, 4, 5)).astype(np.float32)
    coordinates = {"time": pd.date_range("2001-01-01", periods=steps), "lat": np.arange(4.0), "lon": np.arange(5.0)}
    dims = ("member", "time", "lat", "lon")
    data = (dims, values) if members else (dims[1:], values[0])
    attributes = {"units": "K", "long_name": "temperature"}
    return xr.Dataset({"tas": (*data, attributes)}, coordinates, {"title": "a title"})


def test_the_mean_is_lazy_and_keeps_what_is_known() -> None:
    given = prediction(1, 7).chunk(time=4)
    given["tas"] = given["tas"].where(given["tas"]["lat"] > 0)
    found = ensemble_mean(given)
    assert found["tas"].chunks is not None
    assert found["tas"].dims == ("time", "lat", "lon")
    assert found["tas"].dtype == np.float32
    assert (found.attrs, found["tas"].attrs) == (given.attrs, given["tas"].attrs)
    expected = given["tas"].values.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(found["tas"].values, expected.astype(np.float32), rtol=1e-7)
    xr.testing.assert_identical(ensemble_mean(given["tas"]).compute(), found["tas"].compute())


def test_without_members_it_is_the_prediction_itself() -> None:
    given = prediction(1)
    assert ensemble_mean(given) is given
    assert members_of(given) == 0


def test_a_cell_that_one_member_misses_is_missing() -> None:
    given = prediction(1, 3)
    given["tas"][1, 2, 3, 4] = np.nan
    assert int(ensemble_mean(given)["tas"].isnull().sum()) == 1


def test_members_are_joined_and_written(tmp_path: Path) -> None:
    parts = [prediction(1), prediction(2, 3).chunk(time=4), prediction(3)]
    joined = joined_members(parts)
    assert joined["tas"].dims == ("member", "time", "lat", "lon")
    assert joined["tas"].chunks is not None
    io.write(joined, tmp_path / "joined.nc", {})
    found = io.open_dataset(tmp_path / "joined.nc")
    assert members_of(found) == 5
    assert found["member"].dtype.kind == "i"
    assert found["member"].attrs == {"standard_name": "realization", "long_name": "ensemble member", "units": "1"}
    np.testing.assert_array_equal(found["member"], np.arange(5))
    assert found["tas"].encoding["chunksizes"][0] == 1
    assert found["tas"].attrs == parts[0]["tas"].attrs
    np.testing.assert_array_equal(found["tas"][0], parts[0]["tas"])
    np.testing.assert_array_equal(found["tas"][1:4], parts[1]["tas"])
    np.testing.assert_array_equal(found["tas"][4], parts[2]["tas"])


@pytest.mark.parametrize(
    "other", [prediction(2, steps=29), prediction(2).rename(tas="pr"), prediction(2).isel(lat=[0])]
)
def test_predictions_of_something_else_are_refused(other: xr.Dataset) -> None:
    with pytest.raises(DataError, match="number 2 differs from the first"):
        joined_members([prediction(1), other])
