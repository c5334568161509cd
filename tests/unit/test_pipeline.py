"""Batches: each sample once per epoch whatever the number of ranks, and what is padding weighs nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl4ds_core import io
from dl4ds_core.config.schema import Normalization
from dl4ds_core.grids import Grid
from dl4ds_core.pipeline import Samples, batches, epoch_order, rank_parts, static_input
from dl4ds_core.regrid import coarsen_predictand, on_grid
from dl4ds_core.scaling import Scaler, fit_all

SHARES = st.tuples(st.integers(1, 200), st.integers(1, 40), st.integers(1, 5))


class Counting:
    """Stands for samples: returns the indices it was asked for."""

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return indices.copy(), -indices


@given(st.integers(1, 500), st.integers(1, 2**31), st.integers(0, 100))
def test_an_epoch_has_each_sample_once(samples, seed, epoch):
    order = epoch_order(samples, seed, epoch)
    assert sorted(order) == list(range(samples))
    np.testing.assert_array_equal(order, epoch_order(samples, seed, epoch))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in (1, 2, 3) for epoch in range(5)}
    assert len(orders) == 15


def test_an_order_is_not_that_of_the_global_random_state():
    np.random.seed(0)  # noqa: NPY002 - the state that must not matter
    one = epoch_order(50, 1, 0)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(one, epoch_order(50, 1, 0))


@given(SHARES)
def test_ranks_share_each_batch_without_rest(shares):
    samples, batch_size, ranks = shares
    order = epoch_order(samples, 1, 0)
    parts = [rank_parts(order, batch_size, rank, ranks) for rank in range(ranks)]
    assert {len(steps) for steps in parts} == {-(-samples // batch_size)}
    for step in range(len(parts[0])):
        # Together they are the slice of the permutation, the same for any number of ranks.
        together = np.concatenate([steps[step] for steps in parts])
        assert sorted(together) == sorted(order[step * batch_size : (step + 1) * batch_size])
        sizes = [len(steps[step]) for steps in parts]
        assert max(sizes) - min(sizes) <= 1
    assert sorted(np.concatenate([part for steps in parts for part in steps])) == list(range(samples))


@settings(max_examples=50)
@given(SHARES)
def test_padding_weighs_nothing_and_all_steps_have_one_shape(shares):
    samples, batch_size, ranks = shares
    order = epoch_order(samples, 3, 2)
    seen: list[int] = []
    steps = []
    for rank in range(ranks):
        made = list(batches(Counting(), order, batch_size, rank, ranks))  # type: ignore[arg-type]
        steps.append(len(made))
        for batch in made:
            assert batch.coarse.shape == batch.fine.shape == batch.weights.shape == (-(-batch_size // ranks),)
            assert batch.weights.dtype == np.float32
            assert set(batch.weights.tolist()) <= {0.0, 1.0}
            np.testing.assert_array_equal(batch.fine, -batch.coarse)
            seen += batch.coarse[batch.weights == 1].tolist()
    assert len(set(steps)) == 1
    assert sorted(seen) == list(range(samples))


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5])
def test_weighted_sums_do_not_depend_on_the_number_of_ranks(ranks):
    values = np.random.default_rng(1).normal(size=23)
    order = epoch_order(23, 1, 0)
    totals = np.zeros((3, 2))
    for rank in range(ranks):
        for step, batch in enumerate(batches(Counting(), order, 10, rank, ranks)):
            totals[step] += [np.sum(values[batch.coarse] * batch.weights), batch.weights.sum()]
    expected = [values[order[start : start + 10]].mean() for start in (0, 10, 20)]
    np.testing.assert_allclose(totals[:, 0] / totals[:, 1], expected, rtol=1e-12)
    assert totals[:, 1].tolist() == [10, 10, 3]


@pytest.fixture
def files(tmp_path, field_of):
    """Two predictands on both grids, a predictor on the coarse one, and the scalers."""
    tas, pr = field_of(steps=9), field_of(steps=9, name="pr", seed=2)
    (fine, coarse), (more_fine, more_coarse) = (coarsen_predictand(field, 4, "x") for field in (tas, pr))
    fine, coarse = fine.assign(pr=more_fine["pr"]), coarse.assign(pr=more_coarse["pr"])
    coarse = coarse.assign(z=(coarse["tas"] * 2).assign_attrs(units="m"))[["z", "pr", "tas"]]
    for name, dataset in (("fine", fine), ("coarse", coarse)):
        io.write(dataset, tmp_path / f"{name}.nc", {})
    scalers = fit_all(fine, coarse, None, {"tas": Normalization(), "pr": Normalization(per="cell")})
    scalers["coarse.z"] = Scaler(np.array(500.0), np.array(10.0))
    return tmp_path / "coarse.nc", tmp_path / "fine.nc", scalers


@pytest.mark.parametrize("cache_bytes", [0, 10**9], ids=["read on demand", "in memory"])
class TestSamples:
    def test_names_and_sizes(self, files, cache_bytes):
        samples = Samples(*files, cache_bytes=cache_bytes)
        assert len(samples) == 9
        assert samples.coarse_shape == (2, 3)
        assert samples.predictands == ["tas", "pr"]
        # The predictands come first, in the order of the outputs, whatever their order in the file.
        assert samples.channels == ["tas", "pr", "z"]

    @pytest.mark.parametrize("indices", [[0], [8, 0, 3], [5, 5, 0, 5]])
    def test_scaled_fields_in_the_order_asked_for(self, files, cache_bytes, indices):
        coarse_path, fine_path, scalers = files
        found = Samples(*files, cache_bytes=cache_bytes).take(np.array(indices))
        for grid, path, names, values in (
            ("coarse", coarse_path, ["tas", "pr", "z"], found[0]),
            ("fine", fine_path, ["tas", "pr"], found[1]),
        ):
            assert values.dtype == np.float32
            with io.open_dataset(path) as dataset:
                for channel, name in enumerate(names):
                    scaler = scalers[f"{grid}.{name}"]
                    expected = (dataset[name].values[indices].astype(np.float64) - scaler.offset) / scaler.factor
                    np.testing.assert_allclose(values[..., channel], expected, atol=1e-6)

    def test_grid_and_physical_units_are_at_hand(self, files, cache_bytes, field_of):
        fine = Samples(*files, cache_bytes=cache_bytes).fine
        np.testing.assert_array_equal(Grid.of(fine).lat_bounds, Grid.of(field_of()).lat_bounds)
        assert fine["tas"].attrs["units"] == "K"


def test_static_input(tmp_path, field_of):
    elevation, land = (field_of(steps=None, name=name, units="m", seed=seed) for name, seed in (("z", 1), ("land", 2)))
    dataset = on_grid(elevation, Grid.of(elevation)).assign(land=on_grid(land, Grid.of(land))["land"])
    io.write(dataset, tmp_path / "static.nc", {})
    scalers = {"static.z": Scaler(np.array(280.0), np.array(5.0)), "static.land": Scaler(np.array(0.0), np.array(2.0))}
    found = static_input(tmp_path / "static.nc", scalers)
    assert found is not None
    assert found.shape == (1, 8, 12, 2)
    np.testing.assert_allclose(found[0, ..., 0], (elevation.values - 280) / 5, atol=1e-5)
    np.testing.assert_allclose(found[0, ..., 1], land.values / 2, rtol=1e-6)
    assert static_input(None, scalers) is None
