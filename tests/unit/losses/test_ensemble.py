"""The score of members against a naive implementation and a package's."""

from __future__ import annotations

import numpy as np
import pytest
import scores.probability
import xarray as xr
from keras import ops

from dl4ds_core.losses.ensemble import fair_crps

SHAPE = (2, 3, 4, 2)


def example(members: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    return random.normal(size=SHAPE).astype("f"), random.normal(0.3, 1.5, size=(members, *SHAPE)).astype("f")


@pytest.mark.parametrize("members", [2, 3, 8])
def test_it_is_that_of_scores(members):
    truth, drawn = example(members)
    dims = ("sample", "y", "x", "predictand")
    expected = scores.probability.crps_for_ensemble(
        xr.DataArray(drawn, dims=("member", *dims)),
        xr.DataArray(truth, dims=dims),
        "member",
        method="fair",
        preserve_dims="all",
    )
    weights = np.random.default_rng(1).uniform(0.5, 1.5, (3, 4, 1)).astype("f")
    expected = (expected.transpose(*dims).values * weights).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(fair_crps(truth, ops.convert_to_tensor(drawn), weights), expected, rtol=1e-5)


def test_it_is_the_same_on_average_whatever_the_number_of_members():
    random = np.random.default_rng(4)
    truth = random.normal(size=(400, 10, 10, 1)).astype("f")
    found = [
        float(
            np.mean(
                fair_crps(
                    truth,
                    ops.convert_to_tensor(random.normal(size=(m, *truth.shape)).astype("f")),
                    np.ones((1, 1, 1), "f"),
                )
            )
        )
        for m in (2, 10)
    ]
    # Of a standard normal distribution, by the closed form of Gneiting and Raftery (2007).
    assert found == pytest.approx([1 / np.sqrt(np.pi)] * 2, rel=0.02)


@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_what_is_masked_has_no_influence(garbage, gradient_of):
    truth, drawn = example()
    mask = (np.random.default_rng(3).random(SHAPE) < 0.6).astype("f")
    found = [
        gradient_of(fair_crps, np.where(mask > 0, truth, np.float32(other)), drawn, mask) for other in (0.0, garbage)
    ]
    for one, other in zip(*found, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
    assert (found[0][1][:, mask == 0] == 0).all()


def test_one_member_is_refused():
    truth, drawn = example()
    with pytest.raises(ValueError, match="expected two members or more, found 1"):
        fair_crps(truth, ops.convert_to_tensor(drawn[:1]), np.ones((1, 1, 1), "f"))
