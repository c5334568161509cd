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
from dl4ds_core.channels import normalised_channel
from dl4ds_core.config.schema import Model, Normalization
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.interpolation import interpolation_matrix
from dl4ds_core.models.networks import build_network
from dl4ds_core.prediction import Limits, network_predictor, predict_lazily
from dl4ds_core.retransformation import Residuals
from dl4ds_core.scaling import Scaler, fit_all

pytestmark = pytest.mark.usefixtures("keras_reset")
SCALE = 4
SCALERS = {f"{grid}.tas": Scaler(np.array(280.0), np.array(5.0)) for grid in ("coarse", "fine")}


@pytest.fixture(params=["standard", "360_day"])
def pair(request, field_of) -> tuple[xr.Dataset, xr.Dataset]:
    """Fine and coarse fields of 23 days."""
    return on_both_grids(field_of(steps=23, calendar=request.param))


def on_both_grids(field: xr.DataArray) -> tuple[xr.Dataset, xr.Dataset]:
    grid = Grid.of(field)
    return grid.placed(field.to_dataset()), coarsen(field, grid, SCALE)[0].to_dataset()


def saved_network(folder, *, randomise: bool = True, shape=(2, 3), channels: int = 1, outputs: int = 1, **sizes):
    settings = Model(backbone="resnet", upsampling="spc", filters=8, blocks=1)
    base = sizes.pop("base", range(outputs))
    model = build_network(
        settings, coarse_shape=shape, scale=SCALE, channels=channels, outputs=outputs, base=base, **sizes
    )
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
    baseline = fit_baseline("bilinear-corrected", coarse, fine["tas"], SCALE)
    monkeypatch.setattr(prediction, "CHUNK", 4)
    found = predict_lazily(lambda part: {"tas": baseline(part).values}, coarse, fine)
    np.testing.assert_array_equal(found["tas"].values, baseline(coarse).values)


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
        assert Grid.of(found).digest == Grid.of(fine).digest
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
    fine, coarse = pair
    elevation = field_of(steps=None, name="z", units="m")
    io.write(Grid.of(elevation).placed(elevation.to_dataset()), tmp_path / "static.nc", {})
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


def test_missing_inputs_are_filled_from_the_nearest_cell(pair, tmp_path):
    fine, coarse = pair
    scalers = fit_all(fine, coarse, None, {"tas": Normalization()})
    predictor = network_predictor(saved_network(tmp_path), scalers, None, ["tas"], ["tas"])
    holes, one, other = (coarse.copy(deep=True) for _ in range(3))
    holes["tas"][:, 0, 0] = np.nan
    one["tas"][:, 0, 0] = coarse["tas"][:, 0, 1]
    other["tas"][:, 0, 0] = coarse["tas"][:, 1, 0]
    found, *choices = (predictor(inputs)["tas"] for inputs in (holes, one, other))
    assert any(np.array_equal(found, choice) for choice in choices)


def test_context_and_no_coarse_predictand(field_of, tmp_path):
    """Predictors on a larger grid than what is predicted."""
    larger = field_of(steps=5, rows=16, columns=20, name="z")
    fine, (_, coarse) = field_of(steps=5, south=42.0, west=-3.0).to_dataset(), on_both_grids(larger)
    scalers = {"coarse.z": Scaler(np.array(280.0), np.array(5.0)), "fine.tas": Scaler(np.array(10.0), np.array(2.0))}
    path = saved_network(tmp_path, shape=(4, 5), context=1, base=None)
    found = predict_lazily(network_predictor(path, scalers, None, ["tas"], ["z"]), coarse, fine)
    network = keras.saving.load_model(path, compile=False)
    inputs = ((coarse["z"].values - 280.0) / 5.0).astype(np.float32)[..., None]
    expected = 10.0 + 2.0 * np.asarray(network([inputs]))[..., 0]
    np.testing.assert_allclose(found["tas"].values, expected, rtol=1e-5)
    np.testing.assert_array_equal(found["lat"].values, fine["lat"].values)


class TestWhatPredictionsMayBe:
    VALUES = np.array([-1.0, -0.01, 0.0, 0.05, 0.1, 3.0], np.float32)

    @pytest.mark.parametrize(
        ("limits", "expected"),
        [
            (Limits(), VALUES),
            (Limits(minimum=0.0), [0, 0, 0, 0.05, 0.1, 3]),
            (Limits(dry_below=0.1), [0, 0, 0, 0, 0.1, 3]),
            (Limits(minimum=0.0, dry_below=0.1), [0, 0, 0, 0, 0.1, 3]),
            (Limits(minimum=0.05), [0.05, 0.05, 0.05, 0.05, 0.1, 3]),
        ],
    )
    def test_limits(self, limits, expected):
        found = limits.apply(self.VALUES)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.asarray(expected, np.float32))

    def test_non_negative(self):
        assert Limits(minimum=0.0).non_negative
        assert Limits(dry_below=0.1).non_negative
        assert not Limits().non_negative
        assert not Limits(minimum=-40.0).non_negative

    def test_missing_stays_missing(self):
        found = Limits(0.0, 0.1).apply(np.array([np.nan, 0.01], np.float32))
        np.testing.assert_array_equal(found, [np.nan, 0.0])

    def test_of_what_is_written(self, pair, tmp_path):
        fine, coarse = (dataset.assign(pr=dataset["tas"] - 280) for dataset in pair)
        valid = {"pr": np.random.default_rng(1).uniform(size=fine["pr"].shape[1:]) < 0.5}

        def predictor(part: xr.Dataset) -> dict[str, np.ndarray]:
            return {name: np.repeat(np.repeat(part[name].values, 4, 1), 4, 2) for name in ("tas", "pr")}

        lazy = predict_lazily(predictor, coarse, fine, valid, {"pr": Limits(minimum=0.0, dry_below=0.5)})
        io.write(lazy, tmp_path / "a.nc", {})
        with io.open_dataset(tmp_path / "a.nc") as found:
            np.testing.assert_array_equal(found["tas"].values, predictor(coarse)["tas"].astype(np.float32))
            pr = predictor(coarse)["pr"].astype(np.float32)
            expected = np.where(valid["pr"], np.where(pr < 0.5, 0.0, pr), np.nan)
            np.testing.assert_array_equal(found["pr"].values, expected)


def test_a_chunk_is_forgotten_when_it_is_done(pair, tmp_path, monkeypatch):
    """The inputs of a chunk must not stay in memory until the last one is written."""
    import gc
    import weakref

    fine, coarse = pair
    io.write(coarse, tmp_path / "coarse.nc", {})
    seen: list[weakref.ref] = []
    alive: list[int] = []

    def predictor(part: xr.Dataset) -> dict[str, np.ndarray]:
        gc.collect()
        alive.append(sum(reference() is not None for reference in seen))
        values = part["tas"].values
        seen.append(weakref.ref(values))
        return {"tas": np.repeat(np.repeat(values, 4, 1), 4, 2).astype(np.float32)}

    monkeypatch.setattr(prediction, "CHUNK", 2)
    gc.collect()
    gc.freeze()  # all that is there already, TensorFlow above all, needn't be looked through for each chunk
    try:
        with dask.config.set(scheduler="synchronous"):
            io.write(predict_lazily(predictor, io.open_dataset(tmp_path / "coarse.nc"), fine), tmp_path / "a.nc", {})
    finally:
        gc.unfreeze()
    assert len(alive) == 12
    assert max(alive) <= 2


@pytest.mark.parametrize("transform", ["log1p", "cube-root"])
def test_the_smearing_estimate_is_used_where_there_are_errors(pair, tmp_path, transform):
    _, coarse = pair
    scalers = {
        "coarse.tas": Scaler(np.array(280.0), np.array(5.0)),
        "fine.tas": Scaler(np.array(1.0), np.array(0.5), transform),
    }
    path = saved_network(tmp_path)
    errors = np.array([-0.4, 0.1, 0.5])
    same_for_all = Residuals(np.array([-1.0, 1.0]), np.stack([errors, errors]))
    plain, found = (
        network_predictor(path, scalers, None, ["tas"], ["tas"], residuals)(coarse)["tas"]
        for residuals in (None, {"tas": same_for_all})
    )
    back = {"log1p": np.expm1, "cube-root": lambda x: x**3}[transform]
    forth = {"log1p": np.log1p, "cube-root": np.cbrt}[transform]
    transformed = forth(plain.astype(np.float64))[..., None] + 0.5 * errors
    np.testing.assert_allclose(found, back(transformed).mean(axis=-1), rtol=1e-4, atol=1e-5)


def windowed_network(folder, length: int = 3, channels: int = 1):
    """A network whose steps have weights of their own, for any grid; the newest counts most."""
    coarse = keras.Input((length, None, None, channels), name="coarse")
    weights = 0.5 ** np.arange(length)[::-1]
    x = sum(float(weight) * coarse[:, step] for step, weight in enumerate(weights))
    x = keras.layers.UpSampling2D(SCALE)(x)
    output = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="random_normal")(x)
    keras.Model([coarse], output).save(folder / "model.keras")
    return folder / "model.keras"


class TestWindows:
    @pytest.fixture
    def record(self, field_of, pair) -> tuple[xr.Dataset, xr.Dataset]:
        """Twenty days with gaps after the sixth, the seventh and the seventeenth."""
        kept = [*range(6), 7, *range(9, 19), *range(20, 23)]
        return tuple(dataset.isel(time=kept) for dataset in pair)

    @pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
    def test_predictions_do_not_depend_on_chunks(self, record, tmp_path, monkeypatch, chunk):
        fine, coarse = record
        predictor = network_predictor(windowed_network(tmp_path), SCALERS, None, ["tas"], ["tas"])
        assert predictor.window == 3
        # By hand: the steps of each run, of which the first stands for those before it.
        runs = [range(6), range(6, 7), range(7, 17), range(17, 20)]
        steps = [[max(run.start, step - back) for back in (2, 1, 0)] for run in runs for step in run]
        inputs = ((coarse["tas"].values - 280) / 5).astype(np.float32)[..., None]
        whole = 280 + 5 * np.asarray(predictor.network([inputs[np.array(steps)]]))[..., 0]
        monkeypatch.setattr(prediction, "CHUNK", chunk)
        found = predict_lazily(predictor, coarse, fine)["tas"]
        assert found.chunks[0] == tuple(min(chunk, 20 - start) for start in range(0, 20, chunk))
        np.testing.assert_allclose(found.values, whole, rtol=1e-6)
        np.testing.assert_allclose(predictor(coarse)["tas"], whole, rtol=1e-6)

    def test_a_chunk_reads_no_more_than_its_windows(self, record, tmp_path, monkeypatch):
        fine, coarse = record
        read = []
        monkeypatch.setattr(
            prediction,
            "normalised_channel",
            lambda part, *others: read.append(part["time"].values.tolist()) or normalised_channel(part, *others),
        )
        monkeypatch.setattr(prediction, "CHUNK", 5)
        predictor = network_predictor(windowed_network(tmp_path), SCALERS, None, ["tas"], ["tas"])
        with dask.config.set(scheduler="synchronous"):
            predict_lazily(predictor, coarse, fine).compute()
        times = coarse["time"].values.tolist()
        # The second chunk begins with the last day of the first run, the fourth in the middle of the third run.
        assert sorted(read) == sorted([times[:5], times[3:10], times[8:15], times[13:20]])

    @pytest.mark.parametrize("rows", [8, 16])
    def test_on_grids_of_any_size(self, field_of, tmp_path, rows):
        fine, coarse = on_both_grids(field_of(steps=4, rows=rows, columns=20))
        predictor = network_predictor(windowed_network(tmp_path), SCALERS, None, ["tas"], ["tas"])
        found = predict_lazily(predictor, coarse, fine)["tas"]
        assert found.shape == (4, rows, 20)
        assert np.isfinite(found.values).all()


@pytest.mark.parametrize("steps", [1, 3])
def test_channels_of_the_calendar_come_from_the_times(pair, tmp_path, monkeypatch, steps):
    """A network that gives back its second channel, the cosine of the day of the year."""
    fine, coarse = pair
    shape = (None, None, 2) if steps == 1 else (steps, None, None, 2)
    inputs = keras.Input(shape, name="coarse")
    newest = inputs if steps == 1 else inputs[:, -1]
    keras.Model([inputs], keras.layers.UpSampling2D(SCALE)(newest[..., 1:])).save(tmp_path / "model.keras")
    scalers = {"coarse.tas": Scaler(np.array(280.0), np.array(5.0)), "fine.tas": Scaler(np.array(3.0), np.array(2.0))}
    channels = ["tas", "calendar.day_of_year_cos"]
    predictor = network_predictor(tmp_path / "model.keras", scalers, None, ["tas"], channels)
    monkeypatch.setattr(prediction, "CHUNK", 5)
    found = predict_lazily(predictor, coarse, fine)["tas"].values
    year = {"360_day": 360}.get(str(coarse["time"].dt.calendar), 366)
    expected = 3 + 2 * np.cos(2 * np.pi * np.arange(23) / year)
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], found.shape), atol=1e-5)


@keras.saving.register_keras_serializable("tests")
class Noise(keras.layers.Layer):
    """Random at prediction too, from a seed that no file has."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.seeds = keras.random.SeedGenerator()

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.seeds)


def test_random_numbers_at_prediction_are_the_same_each_time(pair, tmp_path, monkeypatch):
    fine, coarse = pair
    inputs = keras.Input((None, None, 1), name="coarse")
    features = keras.layers.UpSampling2D(SCALE)(keras.layers.BatchNormalization()(inputs))
    first, second = (Noise(name=name)(features) for name in ("first", "second"))
    keras.Model([inputs], keras.layers.Concatenate()([first, second])).save(tmp_path / "model.keras")
    scalers = {key: Scaler(np.array(280.0), np.array(5.0)) for key in ("coarse.tas", "fine.tas", "fine.pr")}
    monkeypatch.setattr(prediction, "CHUNK", 5)
    like = fine.assign(pr=fine["tas"])
    made = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        predictor = network_predictor(tmp_path / "model.keras", scalers, None, ["tas", "pr"], ["tas"])
        with dask.config.set(scheduler="synchronous"):
            made.append(predict_lazily(predictor, coarse, like).compute())
    xr.testing.assert_identical(*made)
    noise = made[0] - np.repeat(np.repeat(coarse["tas"].values, SCALE, 1), SCALE, 2)
    assert abs(np.corrcoef(noise["tas"].values.ravel(), noise["pr"].values.ravel())[0, 1]) < 0.1, "layers are alike"
    assert not np.allclose(noise["tas"].values[:5], noise["tas"].values[5:10]), "chunks are alike"
