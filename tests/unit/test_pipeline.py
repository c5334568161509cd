"""Batches: each sample once per epoch whatever the number of ranks, and what is padding weighs nothing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dl4ds_core import io, pipeline
from dl4ds_core.channels import normalised_channel
from dl4ds_core.config.schema import Normalization
from dl4ds_core.errors import DataError, TrainingError
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.patches import Cutting
from dl4ds_core.pipeline import Samples, batches, epoch_order, rank_parts, static_input
from dl4ds_core.scaling import Scaler, fit_all
from dl4ds_core.time import calendar_channels

SHARES = st.tuples(st.integers(1, 200), st.integers(1, 40), st.integers(1, 5))


class Counting:
    """Stands for samples: returns the indices it was asked for."""

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, None]:
        return indices.copy(), -indices, None


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
    return written(tmp_path, xr.Dataset({"tas": tas, "pr": pr}))


def written(folder, fine, change=lambda coarse: coarse):
    """Files of fine and coarse fields, and the scalers of the complete ones."""
    grid = Grid.of(fine)
    coarse = xr.Dataset({name: coarsen(fine[name], grid, 4, 0.1)[0] for name in reversed(list(fine.data_vars))})
    coarse = change(coarse.assign(z=(coarse["tas"] * 2).assign_attrs(units="m"))[["z", *coarse.data_vars]])
    for name, dataset in (("fine", grid.placed(fine)), ("coarse", coarse)):
        io.write(dataset, folder / f"{name}.nc", {})
    how = {"tas": Normalization(), "pr": Normalization(per="cell"), "z": Normalization()}
    scalers = fit_all(fine, coarse.where(np.isfinite(coarse)), None, how)
    scalers["coarse.z"] = Scaler(np.array(500.0), np.array(10.0))
    return folder / "coarse.nc", folder / "fine.nc", scalers


@pytest.mark.parametrize("cache_bytes", [0, 10**9], ids=["read on demand", "in memory"])
class TestSamples:
    def test_names_and_sizes(self, files, cache_bytes):
        samples = Samples(*files, cache_bytes=cache_bytes)
        assert len(samples) == 9
        assert samples.coarse_shape == (2, 3)
        assert samples.fine_shape == (8, 12)
        assert samples.base == [0, 1]
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
        samples = Samples(*files, cache_bytes=cache_bytes)
        samples.require_shapes(4, 0)
        with pytest.raises(TrainingError, match=r"fine.nc: expected 4 x 6 cells, .*data.scale: 2.* found 8 x 12"):
            samples.require_shapes(2, 0)
        fine = samples.fine
        assert Grid.of(fine).same(Grid.of(field_of()))
        assert fine["tas"].attrs["units"] == "K"


@pytest.mark.parametrize("cache_bytes", [0, 10**9], ids=["read on demand", "in memory"])
class TestMissingCells:
    @pytest.fixture
    def holes(self, tmp_path, field_of):
        """A cell of tas is always missing, others of pr in step 4, and all coarse fields in places."""
        tas, pr = field_of(steps=9), field_of(steps=9, name="pr", seed=2)
        tas[:, 2, 3] = np.nan
        pr[4, :4, :4] = np.nan

        def change(coarse):
            coarse["z"][2, 0, 0] = np.nan
            return coarse

        return tas, pr, written(tmp_path, xr.Dataset({"tas": tas, "pr": pr}), change)

    def test_a_mask_and_zeros(self, holes, cache_bytes):
        tas, pr, files = holes
        coarse, fine, mask = Samples(*files, cache_bytes=cache_bytes).take(np.array([4, 1]))
        assert mask is not None
        assert mask.dtype == np.float32
        for channel, field in enumerate((tas, pr)):
            valid = np.isfinite(field.values[[4, 1]])
            np.testing.assert_array_equal(mask[..., channel], valid.astype(np.float32))
            assert not fine[..., channel][~valid].any()
        assert np.isfinite(fine).all()
        assert np.isfinite(coarse).all()

    def test_coarse_fields_are_filled_from_the_nearest_cell(self, holes, cache_bytes):
        _, _, files = holes
        coarse, _, _ = Samples(*files, cache_bytes=cache_bytes).take(np.arange(9))
        assert coarse[2, 0, 0, 2] in (coarse[2, 0, 1, 2], coarse[2, 1, 0, 2])
        assert coarse[4, 0, 0, 1] != 0  # pr: none of the sixteen cells has a value

    def test_a_batch_has_the_masks_of_its_samples(self, holes, cache_bytes):
        _, _, files = holes
        samples = Samples(*files, cache_bytes=cache_bytes)
        made = list(batches(samples, np.arange(9), 4, 1, 2))
        assert [batch.mask.shape for batch in made] == [(2, 8, 12, 2)] * 3
        np.testing.assert_array_equal(made[0].mask[1], samples.take(np.array([3]))[2][0])

    def test_without_missing_cells_there_is_no_mask(self, files, cache_bytes):
        assert Samples(*files, cache_bytes=cache_bytes).take(np.array([1, 2]))[2] is None


@pytest.mark.parametrize("cache_bytes", [0, 10**9], ids=["read on demand", "in memory"])
class TestWindowsAndCalendar:
    @pytest.fixture(params=["standard", "360_day"])
    def gap(self, request, tmp_path, field_of):
        """Eight days with a gap after the fourth."""
        days = [0, 1, 2, 3, 5, 6, 7, 8]
        fields = {name: field_of(steps=9, name=name, calendar=request.param)[days] for name in ("tas", "pr")}
        return written(tmp_path, xr.Dataset(fields))

    def test_a_sample_per_step_with_those_before_it(self, gap, cache_bytes):
        single = Samples(*gap, cache_bytes=cache_bytes)
        samples = Samples(*gap, window=3, cache_bytes=cache_bytes)
        assert len(samples) == 8
        assert samples.coarse_shape == single.coarse_shape == (2, 3)
        assert samples.channels == single.channels
        indices = np.array([4, 0, 7, 4, 5])
        coarse, fine, mask = samples.take(indices)
        assert coarse.shape == (5, 3, 2, 3, 3)
        assert mask is None
        steps = [[4, 4, 4], [0, 0, 0], [5, 6, 7], [4, 4, 4], [4, 4, 5]]
        every = single.take(np.arange(8))
        np.testing.assert_array_equal(coarse, every[0][np.array(steps)])
        np.testing.assert_array_equal(fine, every[1][indices])

    def test_the_calendar_comes_last_and_is_not_scaled(self, gap, cache_bytes):
        samples = Samples(*gap, calendar=["season", "hour"], window=2, cache_bytes=cache_bytes)
        names = calendar_channels(["season", "hour"])
        assert samples.channels == ["tas", "pr", "z", *names]
        assert samples.base == [0, 1]
        assert {samples.attributes[name]["units"] for name in names} == {"1"}
        assert samples.attributes["tas"]["units"] == "K"
        coarse, _, _ = samples.take(np.array([6, 2]))
        plain, _, _ = Samples(*gap, window=2, cache_bytes=cache_bytes).take(np.array([6, 2]))
        np.testing.assert_array_equal(coarse[..., :3], plain)
        # Days of January at midnight.
        np.testing.assert_array_equal(coarse[..., 3:], np.broadcast_to([1, 0, 0, 0, 0, 1], (2, 2, 2, 3, 6)))

    def test_batches_have_windows(self, gap, cache_bytes):
        samples = Samples(*gap, window=3, cache_bytes=cache_bytes)
        made = list(batches(samples, np.arange(8), 4, 0, 2))
        assert [batch.coarse.shape for batch in made] == [(2, 3, 2, 3, 3)] * 2
        np.testing.assert_array_equal(made[1].coarse, samples.take(np.array([4, 6]))[0])

    def test_batches_of_patches(self, gap, cache_bytes):
        """Coarse predictands are those of the fine patch; tas has one scaling on both grids."""
        samples = Samples(*gap, window=3, cache_bytes=cache_bytes)
        cutting = Cutting(1, 4, 0, np.ones((8, 12, 1), np.float32), None, 4, ("flip-y", "rotate"))
        for batch in batches(samples, epoch_order(8, 1, 0), 3, 0, 1, cutting, 0):
            assert batch.coarse.shape == (3, 3, 1, 1, 3)
            assert batch.fine.shape == (3, 4, 4, 2)
            means = batch.fine[..., 0].mean(axis=(1, 2))
            np.testing.assert_allclose(batch.coarse[:, -1, 0, 0, 0], means, atol=0.05)  # of areas, in the file
            assert batch.area.shape == (3, 4, 4, 1)


def test_overlapping_windows_are_read_once(files, monkeypatch):
    samples = Samples(*files, window=3, cache_bytes=0)
    read = []
    monkeypatch.setattr(
        pipeline,
        "normalised_channel",
        lambda coarse, name, scalers: read.append(coarse.sizes["time"]) or normalised_channel(coarse, name, scalers),
    )
    coarse, _, _ = samples.take(np.array([3, 4, 5]))
    assert coarse.shape[:2] == (3, 3)
    assert read == [5] * 3  # for each channel, steps 1 to 5


@pytest.mark.parametrize(("grid", "variable"), [("coarse", "z"), ("fine", "pr")])
def test_infinite_values_are_named(tmp_path, field_of, grid, variable):
    fine = xr.Dataset({"tas": field_of(steps=9), "pr": field_of(steps=9, name="pr", seed=2)})
    coarse_path, fine_path, scalers = written(tmp_path, fine)
    path = {"coarse": coarse_path, "fine": fine_path}[grid]
    with xr.open_dataset(path) as dataset:
        broken = dataset.load()
    broken[variable][3, 1, 1] = np.inf
    path.unlink()
    broken.to_netcdf(path)
    with pytest.raises(TrainingError, match=rf"{grid}\.nc: '{variable}' has 1 infinite value"):
        Samples(coarse_path, fine_path, scalers)


def test_a_step_without_any_input_is_named(tmp_path, field_of):
    def change(coarse):
        coarse["z"][5] = np.nan
        return coarse

    files = written(tmp_path, xr.Dataset({"tas": field_of(steps=9), "pr": field_of(steps=9, name="pr")}), change)
    with pytest.raises(DataError, match=r"coarse\.nc: 'z' is missing everywhere in 1 of 9 time steps"):
        Samples(*files)


def test_without_coarse_predictands_there_is_no_base(tmp_path, field_of):
    fine = xr.Dataset({"tas": field_of(steps=9), "pr": field_of(steps=9, name="pr", seed=2)})
    for names, channels in ((["z"], ["z"]), (["z", "pr"], ["pr", "z"])):
        samples = Samples(*written(tmp_path, fine, lambda coarse, names=names: coarse[names]))
        assert samples.channels == channels
        assert samples.base is None
        coarse, truth, _ = samples.take(np.array([3]))
        assert coarse.shape == (1, 2, 3, len(names))
        assert truth.shape == (1, 8, 12, 2)


def test_context_is_in_the_coarse_field_only(tmp_path, field_of):
    larger = xr.Dataset({"tas": field_of(steps=9, rows=16, columns=20), "pr": field_of(9, 16, 20, name="pr")})
    coarse_path, fine_path, scalers = written(tmp_path, larger)
    fine_path.unlink()
    inner = larger.isel(lat=slice(4, -4), lon=slice(4, -4))
    io.write(Grid.of(inner).placed(inner), fine_path, {})
    scalers["fine.pr"] = scalers["fine.tas"]
    samples = Samples(coarse_path, fine_path, scalers)
    assert samples.coarse_shape == (4, 5)
    samples.require_shapes(4, 1)
    with pytest.raises(TrainingError, match=r"expected 16 x 20 cells, .* data.context: 0, found 8 x 12"):
        samples.require_shapes(4, 0)


def test_static_input(tmp_path, field_of):
    elevation, land = (field_of(steps=None, name=name, units="m", seed=seed) for name, seed in (("z", 1), ("land", 2)))
    holes = elevation.copy()
    holes[0, 0] = np.nan
    elevation[0, 0] = elevation[0, 1] = elevation[1, 0]
    holes[0, 1] = elevation[0, 1]
    io.write(Grid.of(elevation).placed(xr.Dataset({"z": holes, "land": land})), tmp_path / "static.nc", {})
    scalers = {"static.z": Scaler(np.array(280.0), np.array(5.0)), "static.land": Scaler(np.array(0.0), np.array(2.0))}
    found = static_input(tmp_path / "static.nc", scalers)
    assert found is not None
    assert found.shape == (1, 8, 12, 2)
    np.testing.assert_allclose(found[0, ..., 0], (elevation.values - 280) / 5, atol=1e-5)
    np.testing.assert_allclose(found[0, ..., 1], land.values / 2, rtol=1e-6)
    assert static_input(None, scalers) is None
