"""The smearing estimate: means come out right, where the inverse of a mean of logarithms is too low."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import retransformation, scaling
from dl4ds_core.errors import DataError
from dl4ds_core.retransformation import GROUPS, Interface, group_means, smeared, training_residuals
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
    assert residuals["pr"].shape == (GROUPS,)
    assert (np.diff(residuals["pr"]) > 0).all()
    prediction = np.array([[-0.2, 0.0, 0.5]], np.float32)
    found = smeared(LOG, prediction, residuals["pr"])
    expected = np.exp(prediction * 2.0 + 0.5 + (0.3 * 2.0) ** 2 / 2) - 1
    np.testing.assert_allclose(found + 1, expected + 1, rtol=0.01)
    assert (LOG.invert(prediction) < expected * 0.85).all(), "without it, means are too low"
    assert found.dtype == np.float32


def test_masked_cells_do_not_count():
    values = np.random.default_rng(1).normal(size=(50, 6, 7, 2))
    mask = (np.random.default_rng(2).uniform(size=values.shape) < 0.5).astype(np.float32)
    clean, spoilt = (
        training_residuals(mean_of_zero, Fields(np.where(mask > 0, values, garbage), mask), SCALERS)["pr"]
        for garbage in (0.0, 1e6)
    )
    np.testing.assert_array_equal(clean, spoilt)
    np.testing.assert_allclose(clean.mean(), values[..., 1][mask[..., 1] > 0].mean(), atol=2e-3)


def test_a_long_record_is_sampled(monkeypatch):
    values = np.random.default_rng(1).normal(size=(500, 6, 7, 2))
    expected = training_residuals(mean_of_zero, Fields(values), SCALERS)["pr"]
    monkeypatch.setattr(retransformation, "STEPS", 300)
    monkeypatch.setattr(retransformation, "CELLS", 20)
    found = training_residuals(mean_of_zero, Fields(values), SCALERS)["pr"]
    np.testing.assert_allclose(found[5:-5], expected[5:-5], atol=0.15)
    np.testing.assert_array_equal(found, training_residuals(mean_of_zero, Fields(values), SCALERS)["pr"])


def test_means_of_groups():
    np.testing.assert_array_equal(group_means(np.array([5.0, 1.0, 3.0, 7.0]), 2), [2.0, 6.0])
    np.testing.assert_array_equal(group_means(np.array([2.0, 1.0]), 100), [1.0, 2.0])
    np.testing.assert_array_equal(group_means(np.array([])), [0.0])


def test_the_interface_lies_beside_the_scalers(tmp_path):
    path = tmp_path / "scalers.nc"
    scaling.save(SCALERS, path, {"title": "x"})
    given = {"tas": {"units": "degC", "long_name": "température"}, "z_500": {"units": "m2 s-2"}}
    Interface(["tas", "pr"], ["pr", "z_500", "tas"], {"pr": np.linspace(-1, 1, 100)}, given).append(path)
    found = Interface.load(path)
    assert (list(found.predictands), list(found.channels)) == (["tas", "pr"], ["pr", "z_500", "tas"])
    np.testing.assert_array_equal(found.residuals["pr"], np.linspace(-1, 1, 100))
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
