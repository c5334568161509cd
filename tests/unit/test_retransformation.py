"""The smearing estimate: means come out right, where the inverse of a mean of logarithms is too low."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import retransformation, scaling
from dl4ds_core.errors import DataError
from dl4ds_core.retransformation import GROUPS, Interface, Residuals, group_means, smeared, training_residuals
from dl4ds_core.scaling import Scaler

LOG = Scaler(np.array(0.5), np.array(2.0), "log1p")


class Fields:
    """Samples without files: two predictands, the second of logarithms; the network is to know their means."""

    predictands = ("tas", "pr")

    def __init__(self, fine, mask=None):
        self.fine_fields, self.mask = fine.astype(np.float32), mask

    def __len__(self):
        return len(self.fine_fields)

    def take(self, indices):
        mask = None if self.mask is None else self.mask[indices]
        return np.zeros((len(indices), 1, 1, 1), np.float32), self.fine_fields[indices], mask


def mean_of_zero(coarse):
    return np.zeros((len(coarse), 6, 7, 2), np.float32)


SCALERS = {"fine.tas": Scaler(np.array(280.0), np.array(5.0)), "fine.pr": LOG}


def test_the_mean_of_a_lognormal_variable():
    """In closed form: exp(mu + sigma**2 / 2) - 1."""
    normal = np.random.default_rng(1).normal(size=(4000, 6, 7, 2)) * 0.3
    residuals = training_residuals(mean_of_zero, Fields(normal), SCALERS)
    assert list(residuals) == ["pr"], "only what is transformed"
    assert residuals["pr"].errors.shape == (1, GROUPS), "equal predictions are of one class"
    assert (np.diff(residuals["pr"].errors) > 0).all()
    prediction = np.array([[-0.2, 0.0, 0.5]], np.float32)
    found = smeared(LOG, prediction, residuals["pr"])
    expected = np.exp(prediction * 2.0 + 0.5 + (0.3 * 2.0) ** 2 / 2) - 1
    np.testing.assert_allclose(found + 1, expected + 1, rtol=0.01)
    assert (LOG.invert(prediction) < expected * 0.85).all(), "without it, means are too low"
    assert found.dtype == np.float32


TRANSFORMS = {"log1p": np.log1p, "cube-root": np.cbrt}


def rain(transform, dry):
    """Rain whose errors grow with its mean: scaler, mean in transformed units, truth; all of shape (value,)."""
    random = np.random.default_rng(1)
    classes, each = 400, 500
    mean = np.repeat(np.linspace(0.02, 10, classes), each)
    wet = random.uniform(size=mean.size) < (np.minimum(1, 0.1 + mean / 10) if dry else 1)
    truth = random.gamma(0.5, mean / 0.5) * wet
    transformed = TRANSFORMS[transform](truth)
    scaler = Scaler(transformed.mean(), transformed.std(), transform)
    prediction = np.repeat(transformed.reshape(classes, each).mean(axis=1), each)
    return scaler, (prediction - scaler.offset) / scaler.factor, truth


def excess(found, prediction, truth):
    """By how much the mean of all, and those of tenths of the predictions, are too high, relative to the truth."""
    order = np.argsort(prediction, kind="stable")
    means = [[values[part].mean() for part in (order, *np.split(order, 10))] for values in (found, truth)]
    return np.divide(*means) - 1


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("dry", [False, True])
def test_weak_and_strong_rain_have_errors_of_their_own(transform, dry):
    scaler, prediction, truth = rain(transform, dry)
    errors = scaler.apply(truth) - prediction
    found = excess(smeared(scaler, prediction, Residuals.of(prediction, errors)), prediction, truth)
    assert abs(found[0]) < 0.01
    assert np.abs(found).max() < 0.05
    pooled = excess(smeared(scaler, prediction, Residuals.of(0 * prediction, errors)), prediction, truth)
    assert pooled[0] < -0.03
    assert pooled[1] > 1
    assert pooled[-1] < -0.1


def test_where_nearly_all_is_dry():
    """Dry cells stay dry, and the others don't lose their mean to them."""
    scaler, prediction, truth = rain("log1p", dry=True)
    nothing = -scaler.offset / scaler.factor
    none = np.full(truth.size * 4, nothing)
    predictions, truths = np.concatenate([none, prediction]), np.concatenate([0 * none, truth])
    residuals = Residuals.of(predictions, (np.log1p(truths) - scaler.offset) / scaler.factor - predictions)
    found = smeared(scaler, predictions, residuals)
    np.testing.assert_allclose(found[: none.size], 0, atol=1e-6)
    assert np.abs(excess(found[none.size :], prediction, truth)).max() < 0.05


def test_the_largest_predictions_may_be_far_too_large():
    """As those of a regression on logarithms, which goes on where the truth grows less."""
    random = np.random.default_rng(1)
    prediction = random.exponential(0.3, size=100_000)
    centre = np.where(prediction > 0.7, 0.35 + prediction / 2, prediction)
    expected = centre + 0.2 * random.normal(size=prediction.size)
    truth, residuals = LOG.invert(expected), Residuals.of(prediction, expected - prediction)
    assert np.abs(excess(smeared(LOG, prediction, residuals), prediction, truth)).max() < 0.05
    pooled = Residuals.of(0 * prediction, expected - prediction)
    assert excess(smeared(LOG, prediction, pooled), prediction, truth)[0] > 0.2


def test_the_result_has_no_steps():
    scaler, prediction, truth = rain("log1p", dry=False)
    residuals = Residuals.of(prediction, scaler.apply(truth) - prediction)
    fine = np.linspace(prediction.min() - 1, prediction.max() + 1, 20_001)
    found = smeared(scaler, fine, residuals).astype(np.float64)
    assert np.abs(np.diff(found)).max() < 0.01
    assert found.max() > 10


class TestClasses:
    def test_they_have_equally_many_values_but_for_the_outermost(self):
        prediction = np.random.default_rng(1).permutation(1_000_000) / 1e6
        found = Residuals.of(prediction, np.sin(prediction)).predictions
        edges = np.arange(1, 50) / 50
        tail = 0.02 / 2.0 ** np.arange(1, 5)
        edges = np.concatenate([[0.0], tail[::-1], edges, 1 - tail, [1.0]])
        np.testing.assert_allclose(found, (edges[1:] + edges[:-1]) / 2, atol=1e-5)

    def test_each_has_its_own_errors(self):
        prediction = np.repeat([0.0, 5.0], 10 * GROUPS)
        errors = np.repeat([-1.0, 2.0], 10 * GROUPS)
        found = Residuals.of(prediction, errors)
        np.testing.assert_array_equal(found.predictions, [0, 5])
        np.testing.assert_allclose(found.errors, np.repeat([[-1.0], [2.0]], GROUPS, axis=1), rtol=1e-12)
        unscaled = Scaler(np.array(0.0), np.array(1.0))
        result = smeared(unscaled, np.array([[-1, 0, 2.5, 5, 6]], np.float32), found)
        np.testing.assert_allclose(result, [[-2, -1, 3, 7, 8]], err_msg="constant outside, half way in between")

    @pytest.mark.parametrize(("size", "classes"), [(1, 1), (GROUPS, 1), (2 * GROUPS, 2), (7 * GROUPS, 7)])
    def test_there_are_fewer_of_few_values(self, size, classes):
        errors = np.random.default_rng(1).normal(size=size)
        found = Residuals.of(np.arange(size), errors)
        assert found.errors.shape == (classes, GROUPS)
        np.testing.assert_allclose(found.errors.mean(), errors.mean(), atol=1e-12)

    def test_without_values_there_is_nothing_to_correct(self):
        found = Residuals.of(np.array([]), np.array([]))
        prediction = np.array([[-1.0, 2.0]], np.float32)
        np.testing.assert_array_equal(smeared(LOG, prediction, found), LOG.invert(prediction))

    def test_missing_predictions_stay_missing(self):
        found = Residuals.of(np.arange(1000.0), np.zeros(1000))
        np.testing.assert_array_equal(np.isnan(smeared(LOG, np.array([[np.nan, 1.0]]), found)), [[True, False]])


def test_masked_cells_do_not_count():
    values = np.random.default_rng(1).normal(size=(50, 6, 7, 2))
    mask = (np.random.default_rng(2).uniform(size=values.shape) < 0.5).astype(np.float32)
    clean, spoilt = (
        training_residuals(mean_of_zero, Fields(np.where(mask > 0, values, garbage), mask), SCALERS)["pr"].errors
        for garbage in (0.0, 1e6)
    )
    np.testing.assert_array_equal(clean, spoilt)
    np.testing.assert_allclose(clean.mean(), values[..., 1][mask[..., 1] > 0].mean(), atol=2e-3)


def test_a_long_record_is_sampled(monkeypatch):
    values = np.random.default_rng(1).normal(size=(500, 6, 7, 2))
    expected = training_residuals(mean_of_zero, Fields(values), SCALERS)["pr"].errors[0]
    monkeypatch.setattr(retransformation, "STEPS", 300)
    monkeypatch.setattr(retransformation, "CELLS", 20)
    found = training_residuals(mean_of_zero, Fields(values), SCALERS)["pr"].errors[0]
    np.testing.assert_allclose(found[5:-5], expected[5:-5], atol=0.15)
    np.testing.assert_array_equal(found, training_residuals(mean_of_zero, Fields(values), SCALERS)["pr"].errors[0])


def test_networks_of_windows_are_given_windows():
    """Errors of a network that predicts the mean of the window, where the truth is the newest step."""
    values = np.random.default_rng(1).normal(size=(500, 6, 7, 2))

    class Windows(Fields):
        def take(self, indices):
            _, fine, mask = super().take(indices)
            return self.fine_fields[np.maximum(indices[:, None] - [2, 1, 0], 0)], fine, mask

    residuals = training_residuals(lambda coarse: coarse.mean(axis=1), Windows(values), SCALERS)["pr"]
    errors = values[2:] - (values[2:] + values[1:-1] + values[:-2]) / 3
    np.testing.assert_allclose(residuals.errors.std(), errors[..., 1].std(), rtol=0.02)
    # With a window of which the first step stands for the others, the first step of all has no error at all.
    first = training_residuals(lambda coarse: coarse.mean(axis=1), Windows(values[:1]), SCALERS)["pr"]
    np.testing.assert_allclose(first.errors, 0, atol=1e-6)


def test_means_of_groups():
    np.testing.assert_array_equal(group_means(np.array([5.0, 1.0, 3.0, 7.0]), 2), [2.0, 6.0])
    np.testing.assert_allclose(group_means(np.array([2.0, 1.0, 4.0]), 2), [4 / 3, 10 / 3])
    np.testing.assert_allclose(group_means(np.array([2.0, 1.0]), 6), [1, 1, 1, 2, 2, 2])


def test_the_interface_lies_beside_the_scalers(tmp_path):
    path = tmp_path / "scalers.nc"
    scaling.save(SCALERS, path, {"title": "x"})
    given = {"tas": {"units": "degC", "long_name": "température"}, "z_500": {"units": "m2 s-2"}}
    given["calendar.hour_sin"] = {"units": "1"}
    channels = ["pr", "z_500", "tas", "calendar.hour_sin"]
    residuals = Residuals(np.array([0.0, 2.5]), np.linspace(-1, 1, 200).reshape(2, 100))
    Interface(["tas", "pr"], channels, {"pr": residuals}, given).append(path)
    found = Interface.load(path)
    assert (list(found.predictands), list(found.channels)) == (["tas", "pr"], channels)
    assert list(found.residuals) == ["pr"]
    np.testing.assert_array_equal(found.residuals["pr"].predictions, residuals.predictions)
    np.testing.assert_array_equal(found.residuals["pr"].errors, residuals.errors)
    assert found.attributes == given
    again = scaling.load(path)
    assert list(again) == list(SCALERS)
    assert again["fine.pr"] == LOG
    with xr.open_dataset(path) as dataset:
        assert dataset.attrs["title"] == "x"


def test_without_errors_there_are_none(tmp_path):
    path = tmp_path / "scalers.nc"
    scaling.save(SCALERS, path, {})
    with pytest.raises(DataError, match=r"scalers\.nc: expected the scalers of a trained network"):
        Interface.load(path)
    Interface(["tas"], ["tas"], {}, {}).append(path)
    assert Interface.load(path).residuals == {}


def test_errors_without_classes_are_refused(tmp_path):
    path = tmp_path / "scalers.nc"
    scaling.save(SCALERS, path, {})
    Interface(["pr"], ["pr"], {}, {}).append(path)
    xr.Dataset({"residuals_pr": ("group_pr", np.zeros(100))}).to_netcdf(path, mode="a")
    with pytest.raises(DataError, match=r"scalers\.nc: residuals_pr is of an earlier version, without classes: train"):
        Interface.load(path)
