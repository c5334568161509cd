"""Members: each a function of seed, number and time, with the right distribution and within what holds for fields."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from types import SimpleNamespace

import dask
import numpy as np
import pytest
import scipy.stats
import xarray as xr

from dl4ds_core import io, prediction
from dl4ds_core.config.models import Model
from dl4ds_core.config.training import Denoiser
from dl4ds_core.ensembles import of_one_size
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.members import Members, sampled
from dl4ds_core.models.denoiser import build_denoiser
from dl4ds_core.models.diffusion import ResidualDiffusion
from dl4ds_core.models.networks import build_network
from dl4ds_core.prediction import Limits, network_predictor, predict_lazily
from dl4ds_core.scaling import Scaler

pytestmark = pytest.mark.usefixtures("keras_reset")
SCALE, STEPS = 4, 13
SMALL = Denoiser(filters=4, levels=2)
SCALERS = {f"{grid}.tas": Scaler(np.array(280.0), np.array(5.0)) for grid in ("coarse", "fine")}
SCALERS |= {f"{grid}.pr": Scaler(np.array(2.0), np.array(4.0)) for grid in ("coarse", "fine")}
#: What draws, by method.
DRAWING = {
    "noise": {"noise": 2},
    "dropout": {"dropout": {"rate": 0.4, "at_prediction": True}},
    "sampling": {"distribution": "gaussian"},
    "quantiles": {"distribution": "quantiles"},
    "both": {"distribution": "gaussian", "dropout": {"rate": 0.4, "at_prediction": True}},
    "window": {"noise": 2, "time_window": 3},
    "diffusion": {},
    "diffusion of windows": {"time_window": 3},
}


#: A denoiser of windows takes longest, and does nothing that one of single steps and other windows don't.
KINDS = [pytest.param(kind, marks=pytest.mark.full) if kind == "diffusion of windows" else kind for kind in DRAWING]


def method(kind: str) -> str:
    return {"window": "noise"}.get(kind, kind if kind in ("noise", "dropout") else "sampling")


@pytest.fixture
def record(field_of) -> tuple[xr.Dataset, xr.Dataset]:
    """Fine and coarse fields; from before 2000, so that seconds are negative."""
    field = field_of(steps=STEPS)
    field = field.assign_coords(time=field["time"] - np.timedelta64(20_000, "D"))
    grid = Grid.of(field)
    return grid.placed(field.to_dataset()), coarsen(field, grid, SCALE)[0].to_dataset()


@pytest.fixture
def made(tmp_path, record):
    """A function of settings and members that returns a predictor; weights are the same for equal settings.

    Networks that draw nothing themselves get a denoiser, where there are to be members.
    """

    def make(members: Members, constraints=(), name: str = "tas", **settings):
        fine, coarse = record
        chosen = Model(**{"backbone": "resnet", "upsampling": "spc", "filters": 8, "blocks": 1} | settings)
        shape = Grid.of(coarse).shape
        network = build_network(
            chosen, coarse_shape=shape, scale=SCALE, channels=1, outputs=1, base=[0], constraints=constraints
        )
        fine_shape = Grid.of(fine).shape
        if not {"noise", "dropout", "distribution"} & set(settings):
            window = settings.get("time_window")
            denoiser = build_denoiser(SMALL, scale=SCALE, channels=1, outputs=1, time_window=window)
            network = ResidualDiffusion(network, denoiser, fine_shape)
            network.deviations.assign([0.5])
        random = np.random.default_rng(5)
        for weight in network.trainable_weights:
            weight.assign(0.2 * random.normal(size=weight.shape).astype("float32"))
        network.save(tmp_path / "model.keras")
        return network_predictor(
            tmp_path / "model.keras", SCALERS, None, [name], [name], members=members, shape=fine_shape
        )

    return make


def predicted(predictor, record, **given) -> xr.Dataset:
    fine, coarse = record
    with dask.config.set(scheduler="synchronous"):
        return predict_lazily(predictor, coarse, fine, **given).compute()


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_is_a_function_of_seed_number_and_time(kind, made, record, monkeypatch):
    drawn = predicted(made(Members(method(kind), 4, seed=3), **DRAWING[kind]), record)["tas"]
    assert drawn.dims == ("member", "time", "lat", "lon")
    assert drawn["member"].values.tolist() == [0, 1, 2, 3]
    assert drawn["member"].attrs["standard_name"] == "realization"
    values = drawn.values
    for axis in (0, 1):
        assert (np.abs(np.diff(values, axis=axis)).max(axis=(-2, -1)) > 1e-3).all(), "members and times differ"
    # Whatever the chunk, the number of members, and the part of the record that is predicted.
    monkeypatch.setattr(prediction, "CHUNK", 5)
    fewer = predicted(made(Members(method(kind), 2, seed=3), **DRAWING[kind]), record)["tas"].values
    np.testing.assert_allclose(fewer, values[:2], rtol=1e-6)
    part = tuple(each.isel(time=slice(6, None)) for each in record)
    later = predicted(made(Members(method(kind), 2, seed=3), **DRAWING[kind]), part)["tas"].values
    start = 2 if "window" in kind else 0  # the first windows see other steps
    np.testing.assert_allclose(later[:, start:], values[:2, 6 + start :], rtol=1e-6)
    other = predicted(made(Members(method(kind), 2, seed=4), **DRAWING[kind]), record)["tas"].values
    assert np.abs(other - values[:2]).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_without_members_there_is_one_prediction(kind, made, record):
    predictor = made(Members(), **DRAWING[kind])
    single = predicted(predictor, record)["tas"]
    assert single.dims == ("time", "lat", "lon")
    if kind == "diffusion":
        output = np.asarray(predictor.network([predictor.normalised(record[1])]))[..., 0]
        np.testing.assert_allclose(single, 280 + 5 * output, rtol=1e-6)
    if kind in ("noise", "dropout", "window"):
        first = predicted(made(Members(method(kind), 2), **DRAWING[kind]), record)["tas"][0]
        np.testing.assert_allclose(single, first, rtol=1e-6)
    elif kind == "sampling":
        many = predicted(made(Members(method(kind), 40), **DRAWING[kind]), record)["tas"]
        spread = many.std("member") / np.sqrt(40)
        assert (np.abs(many.mean("member") - single) < 5 * spread).mean() > 0.999, "the mean of the distribution"


@pytest.mark.parametrize("settings", [{"distribution": "gaussian"}, {}], ids=["gaussian", "diffusion"])
def test_members_keep_limits_masks_and_constraints(made, record, settings):
    fine, coarse = record
    rain = [each.rename(tas="pr") - 280 for each in record]
    for dataset, source in zip(rain, (fine, coarse), strict=True):
        dataset["pr"].values[:] = np.abs(source["tas"].values - 280)
        dataset["pr"].attrs |= {"units": "mm d-1"}
    # Means of the coarse input over all cells with equal weights.
    predictor = made(Members("sampling", 3), [("multiplicative", "none")], "pr", **settings)
    network = predictor.network.get_layer("constraints")
    shape = Grid.of(fine).shape
    coarse_shape = Grid.of(coarse).shape
    network.set_physics(
        cell_weights=np.ones((*shape, 1)),
        fine=(np.full((*shape, 1), 2.0), np.full((*shape, 1), 4.0)),
        coarse=(np.full((*coarse_shape, 1), 2.0), np.full((*coarse_shape, 1), 4.0)),
    )
    valid = {"pr": np.ones(shape, bool)}
    valid["pr"][0, 0] = False
    drawn = predicted(predictor, rain, valid=valid, limits={"pr": Limits(minimum=0.0)})["pr"].values
    assert np.isnan(drawn[..., 0, 0]).all()
    assert np.nanmin(drawn) >= 0
    blocks = drawn.reshape(3, STEPS, coarse_shape[0], SCALE, coarse_shape[1], SCALE).mean(axis=(3, 5))
    expected = np.broadcast_to(rain[1]["pr"].values, blocks.shape)
    complete = np.isfinite(blocks)
    np.testing.assert_allclose(blocks[complete], expected[complete], rtol=1e-4)
    assert drawn[..., 1:, 1:].std(axis=0).max() > 0.1


def test_a_diffusion_model_gives_the_mean_and_draws_around_it(made, record):
    """A denoiser that knows nothing draws residuals of the deviation that it is told, but none where it knows no truth.

    Its guess is then the best one of independent normal numbers.
    """
    predictor = made(Members("sampling", 30))
    for weight in predictor.diffusion.denoiser.get_layer("output").weights:
        weight.assign(np.zeros(weight.shape))
    valid = np.ones(predictor.diffusion.valid.shape)
    valid[:3] = 0
    predictor.diffusion.valid.assign(valid)
    mean = predicted(made(Members()), record)["tas"].values
    residuals = predicted(predictor, record)["tas"].values - mean
    assert np.abs(residuals[:, :, :3]).max() < 1e-3
    assert residuals[:, :, 3:].std() == pytest.approx(0.5 * 5, rel=0.03)
    together = residuals[:, :, 3:].reshape(30 * STEPS, -1)
    assert scipy.stats.kstest(together[:, 7] / together.std(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(together[:, :6].T) - np.eye(6)).max() < 0.2


def test_fewer_steps_draw_nearly_the_same(made, record):
    many, few = (predicted(made(Members("sampling", 2, steps=steps)), record)["tas"].values for steps in (80, 25))
    rough = predicted(made(Members("sampling", 2, steps=4)), record)["tas"].values
    assert 0 < np.abs(few - many).mean() < 0.25 * np.abs(rough - many).mean()


def layer(kind: str, **given) -> SimpleNamespace:
    return SimpleNamespace(kind=kind, **given)


def drawn(kind: SimpleNamespace, *parameters: float, size: int = 200) -> np.ndarray:
    """Many draws from one distribution."""
    fields = np.broadcast_to(np.float32(parameters), (1, size, size, len(parameters)))
    return sampled(kind, fields, 1, 1, 0, [7]).ravel()


def test_gaussian_samples():
    found = drawn(layer("gaussian"), 0.5, 2.0)
    assert scipy.stats.kstest(found, "norm", (0.5, 2.0)).pvalue > 1e-3


def test_samples_of_rain():
    found = drawn(layer("bernoulli-gamma", zeros=[-0.25]), 0.0, 0.3, 0.7, 1.5)
    wet = found > -0.25
    assert wet.mean() == pytest.approx(0.3, abs=0.01)
    assert (found[~wet] == -0.25).all()
    assert scipy.stats.kstest(found[wet] + 0.25, "gamma", (0.7, 0, 1.5)).pvalue > 1e-3


def test_samples_of_quantiles_have_these_quantiles():
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    values = scipy.stats.gamma.ppf(levels, 2.0)
    found = drawn(layer("quantiles", levels=levels), values.mean(), *values)
    np.testing.assert_allclose(np.quantile(found, levels), values, rtol=0.03)


def test_files_with_members_are_read_back(made, record, tmp_path):
    io.write(predicted(made(Members("noise", 3), noise=1), record), tmp_path / "p.nc", {})
    with io.open_dataset(tmp_path / "p.nc") as stored:
        assert stored["tas"].dims == ("member", "time", "lat", "lon")
        assert stored["member"].dtype == np.int32, "which CF 1.8 knows"


def test_folds_have_as_many_members_as_the_one_with_the_fewest():
    many, few = (
        xr.Dataset({"tas": (("member", "time"), np.arange(float(size))[:, None] * np.ones(3))}) for size in (10, 4)
    )
    first, second = of_one_size([many, few])
    assert second is few
    np.testing.assert_array_equal(first["tas"][:, 0], [0, 3, 6, 9])
    assert first["member"].values.tolist() == [0, 1, 2, 3]
    plain = xr.Dataset({"tas": ("time", np.ones(3))})
    assert of_one_size([plain, plain]) == [plain, plain]
