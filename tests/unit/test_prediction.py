"""Predictions: chunk by chunk as all at once, lazily as at once, in physical units."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dask
import keras
import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io, prediction
from dl4ds_core.baselines import fit_baseline
from dl4ds_core.config.schema import Model, Normalization
from dl4ds_core.grids import Grid
from dl4ds_core.interpolation import interpolation_matrix
from dl4ds_core.models.networks import build_network
from dl4ds_core.prediction import network_predictor, predict_lazily
from dl4ds_core.regrid import coarsen_predictand
from dl4ds_core.scaling import Scaler, fit_all

pytestmark = pytest.mark.usefixtures("keras_reset")
SCALE = 4


@pytest.fixture(params=["standard", "360_day"])
def pair(request, field_of) -> tuple[xr.Dataset, xr.Dataset]:
    """Fine and coarse fields of 23 days."""
    return coarsen_predictand(field_of(steps=23, calendar=request.param), SCALE, "x")


def saved_network(folder, *, randomise: bool = True, static: int = 0, channels: int = 1, outputs: int = 1):
    settings = Model(backbone="resnet", upsampling="spc", filters=8, blocks=1)
    model = build_network(settings, coarse_shape=(2, 3), scale=SCALE, channels=channels, outputs=outputs, static=static)
    random = np.random.default_rng(5)
    for weight in model.weights if randomise else []:
        weight.assign(0.2 * random.normal(size=weight.shape).astype("float32"))
    model.save(folder / "model.keras")
    return folder / "model.keras"


@pytest.mark.parametrize("chunk", [1, 5, 23, 64])
def test_chunked_equals_whole(pair, tmp_path, monkeypatch, chunk):
    fine, coarse = pair
    scalers = fit_all(fine, coarse, None, {"tas": Normalization()})
    predictor = network_predictor(saved_network(tmp_path), scalers, None, ["tas"], ["tas"])
    monkeypatch.setattr(prediction, "CHUNK", chunk)
    found = predict_lazily(predictor, coarse, fine)
    whole = predictor(coarse)["tas"]
    assert found["tas"].chunks[0] == tuple(min(chunk, 23 - start) for start in range(0, 23, chunk))
    np.testing.assert_allclose(found["tas"].values, whole, rtol=1e-6)


def test_a_baseline_chunk_by_chunk_is_bitwise_the_whole(pair, monkeypatch):
    fine, coarse = pair
    baseline = fit_baseline("bilinear-corrected", coarse["tas"], fine["tas"], SCALE)
    monkeypatch.setattr(prediction, "CHUNK", 4)
    found = predict_lazily(lambda part: {"tas": baseline(part["tas"]).values}, coarse, fine)
    np.testing.assert_array_equal(found["tas"].values, baseline(coarse["tas"]).values)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_written_lazily_equals_computed_at_once(pair, tmp_path, monkeypatch, scheduler):
    fine, coarse = pair
    scalers = fit_all(fine, coarse, None, {"tas": Normalization()})
    predictor = network_predictor(saved_network(tmp_path), scalers, None, ["tas"], ["tas"])
    io.write(coarse, tmp_path / "coarse.nc", {})
    monkeypatch.setattr(prediction, "CHUNK", 5)
    lazy = predict_lazily(predictor, io.open_dataset(tmp_path / "coarse.nc"), fine)
    with dask.config.set(scheduler=scheduler):
        io.write(lazy, tmp_path / "prediction.nc", {"title": "x"})
    eager = predict_lazily(predictor, io.open_dataset(tmp_path / "coarse.nc"), fine).load()
    with io.open_dataset(tmp_path / "prediction.nc") as found:
        np.testing.assert_array_equal(found["tas"].values, eager["tas"].values)
        for axis in ("time", "lat", "lon"):
            np.testing.assert_array_equal(found[axis].values, fine[axis].values)
        np.testing.assert_array_equal(Grid.of(found).lat_bounds, Grid.of(fine).lat_bounds)
        assert found["tas"].attrs == fine["tas"].attrs


def test_nothing_is_computed_before_it_is_needed(pair):
    fine, coarse = pair

    def fail(part: xr.Dataset) -> dict[str, np.ndarray]:
        raise RuntimeError("too early")

    lazy = predict_lazily(fail, coarse, fine)
    assert lazy["tas"].shape == fine["tas"].shape
    assert lazy["tas"].dtype == np.float32
    with pytest.raises(RuntimeError, match="too early"):
        lazy["tas"].values  # noqa: B018 - the access computes


def test_each_chunk_is_predicted_once_for_all_predictands(pair, tmp_path, monkeypatch):
    fine, coarse = (dataset.assign(pr=dataset["tas"] + 1) for dataset in pair)
    calls = []

    def predictor(part: xr.Dataset) -> dict[str, np.ndarray]:
        calls.append(part.sizes["time"])
        return {name: np.repeat(np.repeat(part[name].values, 4, 1), 4, 2).astype(np.float32) for name in ("tas", "pr")}

    monkeypatch.setattr(prediction, "CHUNK", 10)
    io.write(predict_lazily(predictor, coarse, fine), tmp_path / "a.nc", {})
    assert sorted(calls) == [3, 10, 10]
    with io.open_dataset(tmp_path / "a.nc") as found:
        np.testing.assert_allclose(found["pr"].values, found["tas"].values + 1, rtol=1e-6)


def test_a_fresh_residual_network_is_the_interpolation_in_physical_units(pair, tmp_path):
    fine, coarse = pair
    scalers = fit_all(fine, coarse, None, {"tas": Normalization()})
    predictor = network_predictor(saved_network(tmp_path, randomise=False), scalers, None, ["tas"], ["tas"])
    rows, columns = interpolation_matrix("bicubic", 2, SCALE), interpolation_matrix("bicubic", 3, SCALE)
    expected = np.einsum("ij,tjk,lk->til", rows, coarse["tas"].values, columns)
    np.testing.assert_allclose(predictor(coarse)["tas"], expected, atol=1e-3)


def test_outputs_are_named_and_scaled_in_order(pair, tmp_path):
    fine, coarse = (dataset.assign(pr=10 * dataset["tas"]) for dataset in pair)
    scalers = fit_all(fine, coarse, None, {"tas": Normalization(), "pr": Normalization()})
    path = saved_network(tmp_path, randomise=False, channels=2, outputs=2)
    found = network_predictor(path, scalers, None, ["tas", "pr"], ["tas", "pr"])(coarse)
    np.testing.assert_allclose(found["pr"], 10 * found["tas"], rtol=1e-5)
    assert abs(found["tas"].mean() - float(fine["tas"].mean())) < 2


def test_static_fields_are_scaled_and_used(pair, tmp_path, field_of):
    from dl4ds_core.regrid import on_grid

    fine, coarse = pair
    elevation = field_of(steps=None, name="z", units="m")
    io.write(on_grid(elevation, Grid.of(elevation)), tmp_path / "static.nc", {})
    scalers = fit_all(fine, coarse, None, {"tas": Normalization()})
    scalers["static.z"] = Scaler(np.array(280.0), np.array(5.0))
    path = saved_network(tmp_path, static=1)
    found = network_predictor(path, scalers, tmp_path / "static.nc", ["tas"], ["tas"])(coarse)["tas"]
    network = keras.saving.load_model(path, compile=False)
    inputs = [
        scalers["coarse.tas"].apply(coarse["tas"].values)[..., None],
        ((elevation.values - 280) / 5)[None, ..., None],
    ]
    expected = scalers["fine.tas"].invert(np.asarray(network(inputs))[..., 0])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
