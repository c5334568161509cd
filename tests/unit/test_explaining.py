"""What a network depends on: importance and saliency of networks whose inputs and weights are known."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on
from keras import ops

from dl4ds_core import io
from dl4ds_core.errors import DataError
from dl4ds_core.explaining import GRADIENT_STEPS, chosen_cells, gradients, importance, permutation, saliency
from dl4ds_core.explaining.inputs import inputs_of
from dl4ds_core.explaining.permutation import SEED
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.interpolation import interpolation_matrix
from dl4ds_core.layers import Interpolate
from dl4ds_core.masks import fill_nearest
from dl4ds_core.pipeline import static_input
from dl4ds_core.prediction import Limits, NetworkPredictor
from dl4ds_core.scaling import Scaler
from dl4ds_core.time import spread_steps, windows

pytestmark = pytest.mark.usefixtures("keras_reset")
SCALE, ROWS, COLUMNS, STEPS = 2, 4, 6, 30
OFFSET, FACTOR = 280.0, 5.0
REPEATS = 3
CELLS = {"corner": (0, 1), "inside": (5, 8)}


@pytest.fixture
def record(field_of: Callable[..., xr.DataArray]) -> Callable[..., tuple[xr.Dataset, xr.Dataset]]:
    """Coarse and fine fields with some names, of days."""

    def make(coarse: list[str], fine: list[str], steps: int = STEPS) -> tuple[xr.Dataset, xr.Dataset]:
        low = {
            name: field_of(steps=steps, rows=ROWS, columns=COLUMNS, step=1.0, name=name, seed=number)
            for number, name in enumerate(coarse)
        }
        high = {name: fine_field(field_of, steps, name=name, seed=10 + number) for number, name in enumerate(fine)}
        return xr.Dataset(low), xr.Dataset(high)

    return make


def fine_field(field_of: Callable[..., xr.DataArray], steps: int | None, **given: Any) -> xr.DataArray:
    return field_of(steps=steps, rows=ROWS * SCALE, columns=COLUMNS * SCALE, south=39.75, west=-5.25, **given)


@pytest.fixture
def predictor_of(tmp_path) -> Callable[..., NetworkPredictor]:
    """A network made by a function of its coarse fields, and of static ones where there are any."""

    def make(
        function: Callable[..., Any],
        channels: list[str],
        predictands: list[str],
        *,
        static: xr.Dataset | None = None,
        window: int | None = None,
        scalers: dict[str, Scaler] | None = None,
    ) -> NetworkPredictor:
        shape = (ROWS, COLUMNS, len(channels))
        inputs = [keras.Input(shape if window is None else (window, *shape), name="coarse")]
        known = {f"coarse.{name}": Scaler(np.array(OFFSET), np.array(FACTOR)) for name in channels}
        known |= {f"fine.{name}": Scaler(np.array(OFFSET), np.array(FACTOR)) for name in predictands}
        fields = None
        if static is not None:
            known |= {f"static.{name}": Scaler(np.array(OFFSET), np.array(FACTOR)) for name in static}
            inputs.append(keras.Input((ROWS * SCALE, COLUMNS * SCALE, len(static)), name="static"))
            static.to_netcdf(tmp_path / "static.nc")
            fields = static_input(tmp_path / "static.nc", known)
        network = keras.Model(inputs, function(*inputs))
        return NetworkPredictor(network, known | (scalers or {}), fields, predictands, channels, {})

    return make


def upsampled(x: Any) -> Any:
    return keras.layers.UpSampling2D(SCALE)(x)


def repeated(values: np.ndarray) -> np.ndarray:
    """The same of arrays (time, Y, X)."""
    return values.repeat(SCALE, axis=1).repeat(SCALE, axis=2)


def rmse(predicted: np.ndarray, truth: xr.DataArray) -> float:
    """Weighted by area over the cells with a truth."""
    area = np.broadcast_to(Grid.of(truth).cell_areas, truth.shape)
    valid = np.isfinite(truth.values)
    squares = (predicted.astype(np.float64) - truth.values)[valid] ** 2
    return float(np.sqrt((squares * area[valid]).sum() / area[valid].sum()))


def order(repeat: int, size: int = STEPS) -> np.ndarray:
    return np.random.default_rng([SEED, repeat]).permutation(size)


def of(table: pd.DataFrame, name: str, variable: str = "tas") -> pd.DataFrame:
    return table[(table["input"] == name) & (table["variable"] == variable)]


class TestImportance:
    def test_the_input_that_is_used_has_that_of_numpy_and_the_other_none(self, record, predictor_of):
        coarse, fine = record(["tas", "z"], ["tas"])
        predictor = predictor_of(lambda x: upsampled(x[..., :1] + 0 * x[..., 1:]), ["tas", "z"], ["tas"])
        table = importance(predictor, coarse, fine, repeats=REPEATS)
        assert list(table.columns) == ["variable", "input", "kind", "repeat", "rmse", "reference", "increase", "unit"]
        assert table[["input", "kind", "repeat"]].values.tolist() == [
            *(["tas", "coarse", repeat] for repeat in (1, 2, 3)),
            *(["z", "predictor", repeat] for repeat in (1, 2, 3)),
        ]
        assert (of(table, "z")["increase"] == 0).all()
        predicted = repeated(coarse["tas"].values)
        np.testing.assert_allclose(table["reference"], rmse(predicted, fine["tas"]), rtol=1e-6)
        for repeat in range(REPEATS):
            row = of(table, "tas").iloc[repeat]
            assert row["rmse"] == pytest.approx(rmse(predicted[order(repeat)], fine["tas"]), rel=1e-6)
            assert row["increase"] == row["rmse"] - row["reference"]
            assert row["unit"] == "K"

    def test_it_does_not_depend_on_chunks(self, record, predictor_of, monkeypatch):
        coarse, fine = record(["tas"], ["tas"])
        predictor = predictor_of(upsampled, ["tas"], ["tas"])
        whole = importance(predictor, coarse, fine)
        monkeypatch.setattr(permutation, "CHUNK", 7)
        pd.testing.assert_frame_equal(importance(predictor, coarse, fine), whole, rtol=1e-9)

    def test_a_perfect_network_loses_all(self, record, predictor_of):
        coarse, fine = record(["tas"], ["tas"])
        fine["tas"].values[:] = repeated(coarse["tas"].values)
        table = importance(predictor_of(upsampled, ["tas"], ["tas"]), coarse, fine)
        assert (table["reference"] < 1e-4).all()
        assert table["increase"].between(6, 8).all(), "the root of 2 times the standard deviation"

    def test_steps_are_spread_over_the_record(self, record, predictor_of):
        coarse, fine = record(["tas"], ["tas"])
        chosen = spread_steps(30, 4)
        assert len(set(chosen)) == 4
        table = importance(predictor_of(upsampled, ["tas"], ["tas"]), coarse, fine, steps=4, repeats=1)
        predicted, truth = repeated(coarse["tas"].values[chosen]), fine["tas"][chosen]
        assert table["reference"][0] == pytest.approx(rmse(predicted, truth), rel=1e-6)
        assert table["rmse"][0] == pytest.approx(rmse(predicted[order(0, 4)], truth), rel=1e-6)

    def test_several_predictands_and_masks(self, record, predictor_of):
        coarse, fine = record(["tas", "pr"], ["tas", "pr"])
        fine["pr"].attrs["units"] = "mm d-1"
        fine["tas"].values[:, 0] = np.nan
        fine["tas"].values[5] = np.nan
        fine["pr"].values[::2, :, 3] = np.nan
        table = importance(predictor_of(upsampled, ["tas", "pr"], ["tas", "pr"]), coarse, fine, repeats=1)
        assert len(table) == 4
        for name, other in (("tas", "pr"), ("pr", "tas")):
            assert of(table, other, name)["increase"].item() == 0
            row = of(table, name, name).iloc[0]
            predicted = repeated(coarse[name].values)
            assert row["reference"] == pytest.approx(rmse(predicted, fine[name]), rel=1e-6)
            assert row["rmse"] == pytest.approx(rmse(predicted[order(0)], fine[name]), rel=1e-6)
        assert dict(zip(table["variable"], table["unit"], strict=True)) == {"tas": "K", "pr": "mm d-1"}

    def test_limits_hold(self, record, predictor_of):
        coarse, fine = record(["tas"], ["tas"])
        limits = {"tas": Limits(minimum=281.0)}
        table = importance(predictor_of(upsampled, ["tas"], ["tas"]), coarse, fine, limits=limits)
        predicted = np.maximum(repeated(coarse["tas"].values), np.float32(281))
        assert table["reference"][0] == pytest.approx(rmse(predicted, fine["tas"]), rel=1e-6)

    def test_static_fields_are_permuted_in_space_where_they_have_values(self, record, predictor_of, field_of):
        coarse, fine = record(["tas"], ["tas"])
        used, unused = (fine_field(field_of, None, name=name, seed=3) for name in ("elevation", "coast"))
        used.values[:2, :3] = np.nan
        static = xr.Dataset({"elevation": used, "coast": unused})
        predictor = predictor_of(
            lambda x, fields: upsampled(0 * x) + fields[..., :1] + 0 * fields[..., 1:],
            ["tas"],
            ["tas"],
            static=static,
        )
        table = importance(predictor, coarse, fine, static, repeats=2)
        assert table.groupby("input", sort=False)["kind"].first().to_dict() == {
            "tas": "coarse",
            "elevation": "static",
            "coast": "static",
        }
        assert (of(table, "tas")["increase"] == 0).all()
        assert (of(table, "coast")["increase"] == 0).all()
        valid = np.isfinite(used.values)
        for repeat in range(2):
            values = used.values.copy()
            values[valid] = np.random.default_rng([SEED, repeat]).permutation(values[valid])
            predicted = fill_nearest(values)[None].repeat(STEPS, axis=0)
            assert of(table, "elevation").iloc[repeat]["rmse"] == pytest.approx(rmse(predicted, fine["tas"]), rel=1e-6)

    def test_windows_are_exchanged_as_a_whole(self, record, predictor_of):
        """Of steps with a gap; the network has the newest step, less half of the oldest."""
        coarse, fine = record(["tas", "z"], ["tas"], steps=STEPS + 2)
        kept = [*range(12), *range(14, STEPS + 2)]
        coarse, fine = coarse.isel(time=kept), fine.isel(time=kept)
        predictor = predictor_of(
            lambda x: upsampled(x[:, -1, ..., :1] - 0.5 * x[:, 0, ..., :1] + 0 * x[:, 0, ..., 1:]),
            ["tas", "z"],
            ["tas"],
            window=3,
        )
        table = importance(predictor, coarse, fine, repeats=2)
        low = (coarse["tas"].values - OFFSET) / FACTOR
        steps = windows(coarse["time"], 3)
        assert steps[12].tolist() == [12, 12, 12]
        predicted = OFFSET + FACTOR * repeated(low[steps[:, -1]] - 0.5 * low[steps[:, 0]])
        assert (of(table, "z")["increase"] == 0).all()
        assert table["reference"][0] == pytest.approx(rmse(predicted, fine["tas"]), rel=1e-6)
        for repeat in range(2):
            expected = rmse(predicted[order(repeat)], fine["tas"])
            assert of(table, "tas").iloc[repeat]["rmse"] == pytest.approx(expected, rel=1e-6)

    def test_what_belongs_together_is_one_input(self, record, predictor_of):
        coarse, fine = record(["tas", "z"], ["tas"])
        channels = ["tas", "tas_valid_fraction", "z", "calendar.day_of_year_sin", "calendar.day_of_year_cos"]
        channels += [f"calendar.season_{season}" for season in ("djf", "mam", "jja", "son")]
        predictor = predictor_of(lambda x: upsampled(x[..., 3:4] + x[..., 4:5]), channels, ["tas"])
        found = [(given.name, given.kind, given.channels) for given in inputs_of(predictor)]
        assert found == [
            ("tas", "coarse", (0, 1)),
            ("z", "predictor", (2,)),
            ("calendar.day_of_year", "calendar", (3, 4)),
            ("calendar.season", "calendar", (5, 6, 7, 8)),
        ]
        table = importance(predictor, coarse, fine, repeats=1)
        assert of(table, "calendar.day_of_year")["increase"].item() != 0
        assert of(table, "calendar.season")["increase"].item() == 0

    def test_random_numbers_at_prediction_are_no_importance(self, record, predictor_of):
        coarse, fine = record(["tas", "z"], ["tas"])
        predictor = predictor_of(lambda x: upsampled(Noise()(x[..., :1]) + 0 * x[..., 1:]), ["tas", "z"], ["tas"])
        table = importance(predictor, coarse, fine, repeats=2)
        assert (of(table, "z")["increase"] == 0).all()

    def test_transforms_are_undone(self, record, predictor_of):
        coarse, fine = record(["tas"], ["tas"])
        scaler = Scaler(np.array(6.0), np.array(0.1), "log1p")
        table = importance(predictor_of(upsampled, ["tas"], ["tas"], scalers={"fine.tas": scaler}), coarse, fine)
        predicted = np.expm1(6 + 0.1 * (repeated(coarse["tas"].values) - OFFSET) / FACTOR)
        assert table["reference"][0] == pytest.approx(rmse(predicted, fine["tas"]), rel=1e-5)

    def test_what_is_refused(self, record, predictor_of):
        coarse, fine = record(["tas"], ["tas"])
        predictor = predictor_of(upsampled, ["tas"], ["tas"])
        with pytest.raises(DataError, match=r"at least 2 time steps of validation.*found 1; .*explain: null"):
            importance(predictor, coarse.isel(time=[0]), fine.isel(time=[0]))
        with pytest.raises(DataError, match="tas has no value in the steps of validation"):
            importance(predictor, coarse, fine * np.nan)


@keras.saving.register_keras_serializable("tests")
class Noise(keras.layers.Layer):
    """Random at prediction too."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, inputs):
        return inputs + keras.random.normal(ops.shape(inputs), seed=self.seeds)


class TestSaliency:
    @pytest.mark.parametrize("method", ["bilinear", "bicubic"])
    def test_of_an_interpolation_it_is_its_weights(self, record, predictor_of, method):
        coarse, fine = record(["tas", "z"], ["tas"])
        predictor = predictor_of(
            lambda x: Interpolate(method, SCALE)(x[..., :1] - 2 * x[..., 1:]), ["tas", "z"], ["tas"]
        )
        found = saliency(predictor, coarse, coarse, fine, CELLS)
        rows, columns = interpolation_matrix(method, ROWS, SCALE), interpolation_matrix(method, COLUMNS, SCALE)
        assert found["tas_saliency"].dims == ("cell", "input", "lat", "lon")
        assert found["tas_saliency"].attrs["units"] == "K"
        assert found["cell_name"].values.tolist() == list(CELLS)
        assert found["input_name"].values.tolist() == ["tas", "z"]
        for number, (row, column) in enumerate(CELLS.values()):
            weights = np.abs(np.outer(rows[row], columns[column]))
            for field, (name, factor) in enumerate({"tas": 1, "z": 2}.items()):
                # In K per standard deviation of the input: both have one scaler.
                expected = factor * weights * float(coarse[name].std(dtype=np.float64))
                np.testing.assert_allclose(found["tas_saliency"][number, field], expected, rtol=1e-5, atol=1e-6)

    def test_it_is_a_mean_over_time_of_absolute_values(self, record, predictor_of, monkeypatch):
        """Of a square, whose gradient is twice the input; the record is longer than what is looked at."""
        coarse, fine = record(["tas"], ["tas"], steps=100)
        predictor = predictor_of(lambda x: upsampled(x * x), ["tas"], ["tas"])
        found = saliency(predictor, coarse, coarse.isel(time=slice(50)), fine, {"a": (2, 3)}, steps=50)
        chosen = np.linspace(0, 99, GRADIENT_STEPS).round().astype(int)
        values = (coarse["tas"].values[chosen] - OFFSET) / FACTOR
        deviation = coarse["tas"].values[:50].std(dtype=np.float64) / FACTOR
        expected = np.zeros((ROWS, COLUMNS))
        expected[1, 1] = FACTOR * np.abs(2 * values[:, 1, 1]).mean() * deviation
        np.testing.assert_allclose(found["tas_saliency"][0, 0], expected, rtol=1e-5)
        monkeypatch.setattr(gradients, "GRADIENT_CELLS", 5 * fine["tas"][0].size)
        parts = saliency(predictor, coarse, coarse.isel(time=slice(50)), fine, {"a": (2, 3)}, steps=50)
        np.testing.assert_allclose(parts["tas_saliency"], found["tas_saliency"], rtol=1e-6)

    def test_transforms_of_predictands_and_scalers_per_cell(self, record, predictor_of):
        coarse, fine = record(["tas"], ["tas", "pr"])
        factor = np.arange(1.0, 1 + fine["tas"][0].size).reshape(fine["tas"][0].shape)
        scalers = {"fine.tas": Scaler(np.zeros_like(factor), factor)}
        scalers["fine.pr"] = Scaler(np.array(1.0), np.array(0.5), "log1p")
        predictor = predictor_of(
            lambda x: upsampled(keras.layers.Concatenate()([x, x])), ["tas"], ["tas", "pr"], scalers=scalers
        )
        found = saliency(predictor, coarse, coarse, fine, {"a": (2, 3)})
        deviation = float(coarse["tas"].std(dtype=np.float64)) / FACTOR
        assert float(found["tas_saliency"][0, 0, 1, 1]) == pytest.approx(factor[2, 3] * deviation, rel=1e-5)
        values = (coarse["tas"].values[:, 1, 1] - OFFSET) / FACTOR
        expected = 0.5 * np.exp(1 + 0.5 * values).mean() * deviation
        assert float(found["pr_saliency"][0, 0, 1, 1]) == pytest.approx(expected, rel=1e-5)

    def test_windows_statics_and_derived_channels(self, record, predictor_of, field_of):
        """Sums over the steps of a window; channels of the calendar are no coarse fields."""
        coarse, fine = record(["tas"], ["tas"])
        static = xr.Dataset({"elevation": fine_field(field_of, None, name="elevation")})
        channels = ["tas", "tas_valid_fraction", "calendar.hour_sin"]
        predictor = predictor_of(
            lambda x, fields: (
                upsampled(x[:, -1, ..., :1] - 0.5 * x[:, 0, ..., :1] + x[:, 0, ..., 1:2]) * 0.0
                + upsampled(x[:, -1, ..., :1] - 0.5 * x[:, 0, ..., :1])
                + fields
            ),
            channels,
            ["tas"],
            static=static,
            window=3,
        )
        found = saliency(predictor, coarse, coarse, fine, {"a": (2, 3)})
        assert found["input_name"].values.tolist() == ["tas"]
        expected = np.zeros((ROWS, COLUMNS))
        expected[1, 1] = 1.5 * float(coarse["tas"].std(dtype=np.float64))
        np.testing.assert_allclose(found["tas_saliency"][0, 0], expected, rtol=1e-5, atol=1e-6)

    def test_a_network_that_looks_nowhere(self, record, predictor_of, field_of):
        coarse, fine = record(["tas"], ["tas"])
        static = xr.Dataset({"elevation": fine_field(field_of, None, name="elevation")})
        predictor = predictor_of(lambda x, fields: fields, ["tas"], ["tas"], static=static)
        assert (saliency(predictor, coarse, coarse, fine, {"a": (2, 3)})["tas_saliency"] == 0).all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_on_grids_of_every_kind(self, kind, tmp_path):
        field = field_on(kind, steps=8)
        grid = Grid.of(field)
        fine = grid.placed(field.to_dataset())
        coarse = coarsen(field, grid, 4)[0].to_dataset()
        given = keras.Input((None, None, 1), name="coarse")
        network = keras.Model([given], keras.layers.UpSampling2D(4)(given))
        scalers = {key: Scaler(np.array(10.0), np.array(5.0)) for key in ("coarse.tas", "fine.tas")}
        predictor = NetworkPredictor(network, scalers, None, ["tas"], ["tas"], {})
        io.write(saliency(predictor, coarse, coarse, fine, {"a": (9, 14)}), tmp_path / "saliency.nc", {})
        with io.open_dataset(tmp_path / "saliency.nc") as found:
            assert Grid.of(found).same(Grid.of(coarse))
            assert found["tas_saliency"][0, 0].values.nonzero() == (2, 3)
            assert found["cell_lat"].values[0] == pytest.approx(grid.lat[9, 14])
            assert found["cell_lon"].values[0] == pytest.approx(grid.lon[9, 14])
            if kind in ("rotated", "projected"):
                y, x = (found[f"cell_{dim}"].values[0] for dim in grid.dims)
                assert (y, x) == pytest.approx((grid.centres[0][9], grid.centres[1][14]))


class TestChosenCells:
    def test_the_middle_is_the_default(self, record):
        grid = Grid.of(record([], ["tas"])[1])
        valid = np.ones(grid.shape, bool)
        assert chosen_cells(grid, {}, valid) == {"middle": (3, 5)}
        valid[3:5, 5:7] = False
        (row, column) = chosen_cells(grid, {}, valid)["middle"]
        assert valid[row, column]
        assert (row, column) in {(2, 5), (3, 4), (2, 6), (4, 4), (5, 5), (3, 7), (5, 6), (4, 7)}

    def test_places_have_the_nearest_cell_with_a_truth(self, record):
        grid = Grid.of(record([], ["tas"])[1])
        valid = np.ones(grid.shape, bool)
        lat, lon = float(grid.lat[6, 0]), float(grid.lon[0, 3])
        assert chosen_cells(grid, {"here": (lat + 0.1, lon - 0.2)}, valid) == {"here": (6, 3)}
        valid[:, :4] = False
        assert chosen_cells(grid, {"here": (lat, lon + 360)}, valid) == {"here": (6, 4)}

    def test_places_elsewhere_are_refused(self, record):
        grid = Grid.of(record([], ["tas"])[1])
        with pytest.raises(DataError, match=r"verification.places.there: expected a place in the domain"):
            chosen_cells(grid, {"there": (-30.0, 100.0)}, np.ones(grid.shape, bool))
