"""Whatever is fitted sees the training period alone: noise in validation and test changes no fitted number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io, scaling
from dl4ds_core.config import BASELINES
from dl4ds_core.grids import Grid
from dl4ds_core.pipeline import Samples
from dl4ds_core.regrid import coarsen_predictand, on_grid

SCALE = 4
PERIODS = {
    "train": ("2000-01-01", "2000-02-30"),
    "validation": ("2000-03-01", "2000-03-20"),
    "test": ("2000-03-21", "2000-04-30"),
}
TRAINING_DAYS = 60
NORMALIZATION = {
    "domain": {"tas": {"method": "standard", "per": "domain"}, "elevation": {"method": "standard"}},
    "cell": {"tas": {"method": "standard", "per": "cell"}, "elevation": {"method": "minmax"}},
    "minmax": {"tas": {"method": "minmax", "per": "cell"}, "elevation": {"method": "none"}},
}


@pytest.fixture(scope="module")
def records(field_of) -> dict[str, xr.DataArray]:
    """The record as it is, and with all but the training period replaced by wild noise."""
    field = field_of(steps=120, calendar="360_day")
    spoilt = field.copy(deep=True)
    noise = np.random.default_rng(99).normal(scale=500, size=spoilt[TRAINING_DAYS:].shape)
    spoilt[TRAINING_DAYS:] = (1000 + noise).astype(np.float32)
    return {"clean": field, "spoilt": spoilt}


@pytest.fixture(scope="module")
def prepared(records, script, field_of, tmp_path_factory) -> dict[str, Path]:
    """Folders of samples of both records, made by the workflow's own scripts."""
    folders = {}
    for name, field in records.items():
        folder = tmp_path_factory.mktemp(name)
        # In three files, of which one holds the end of training and the beginning of what follows.
        parts: dict[str, list[str]] = {"fine": [], "coarse": []}
        for number, (start, end) in enumerate([(0, 50), (50, 90), (90, 120)]):
            for grid, dataset in zip(("fine", "coarse"), coarsen_predictand(field[start:end], SCALE, "x"), strict=True):
                io.write(dataset, folder / f"{grid}{number}.nc", {})
                parts[grid].append(str(folder / f"{grid}{number}.nc"))
        elevation = field_of(steps=None, name="elevation", units="m")
        io.write(on_grid(elevation, Grid.of(elevation)), folder / "elevation.nc", {})
        script("prepare").main(
            parts={grid: {"tas": paths} for grid, paths in parts.items()},
            static=[str(folder / "elevation.nc")],
            periods=PERIODS,
            about={},
            outputs={split: {grid: str(folder / split / f"{grid}.nc") for grid in parts} for split in PERIODS},
            static_output=str(folder / "static.nc"),
            statistics=str(folder / "statistics.json"),
        )
        folders[name] = folder
    return folders


def test_the_noise_is_where_it_should_be(prepared, records):
    for split, differs in (("train", False), ("validation", True), ("test", True)):
        for grid in ("fine", "coarse"):
            one, other = (io.open_dataset(folder / split / f"{grid}.nc")["tas"].values for folder in prepared.values())
            assert one.shape == other.shape
            assert (not np.array_equal(one, other)) is differs
    with io.open_dataset(prepared["clean"] / "train" / "fine.nc") as train:
        np.testing.assert_array_equal(train["tas"].values, records["clean"].values[:TRAINING_DAYS])


def test_samples_hold_every_step_of_every_period(prepared, records):
    with xr.open_mfdataset(
        [prepared["clean"] / split / "fine.nc" for split in PERIODS],
        combine="nested",
        concat_dim="time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        decode_times=xr.coders.CFDatetimeCoder(),
    ) as joined:
        np.testing.assert_array_equal(joined["tas"].values, records["clean"].values)


def test_statistics(prepared, records):
    found = {name: json.loads((folder / "statistics.json").read_text()) for name, folder in prepared.items()}
    training = records["clean"].values[:TRAINING_DAYS]
    assert found["clean"] == found["spoilt"] == {"tas": [float(training.min()), float(training.max())]}


@pytest.mark.parametrize("how", list(NORMALIZATION))
def test_scalers(prepared, script, how):
    fitted = []
    for folder in prepared.values():
        target = folder / f"{how}.nc"
        files = {grid: str(folder / "train" / f"{grid}.nc") for grid in ("fine", "coarse")}
        script("scalers").main(
            **files, static=str(folder / "static.nc"), normalization=NORMALIZATION[how], about={}, scalers=str(target)
        )
        fitted.append(scaling.load(target))
    one, other = fitted
    assert set(one) == set(other) == {"fine.tas", "coarse.tas", "static.elevation"}
    for key in one:
        np.testing.assert_array_equal(one[key].offset, other[key].offset)
        np.testing.assert_array_equal(one[key].factor, other[key].factor)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(prepared, script, name):
    """A baseline's fitted numbers show in what it predicts from one and the same input."""
    probe = {"validation": str(prepared["clean"] / "validation" / "coarse.nc")}
    predictions = []
    for folder in prepared.values():
        target = folder / f"{name}.nc"
        train = {grid: str(folder / "train" / f"{grid}.nc") for grid in ("fine", "coarse")}
        script("baseline").main(
            name=name, scale=SCALE, train=train, coarse=probe, about={}, predictions={"validation": str(target)}
        )
        with io.open_dataset(target) as found:
            predictions.append(found["tas"].values)
    np.testing.assert_array_equal(*predictions)


def test_what_the_network_trains_on(prepared):
    batches = []
    for folder in prepared.values():
        scalers = scaling.fit_all(
            io.open_dataset(folder / "train" / "fine.nc"),
            io.open_dataset(folder / "train" / "coarse.nc"),
            None,
            {"tas": scaling.Normalization()},
        )
        samples = Samples(folder / "train" / "coarse.nc", folder / "train" / "fine.nc", scalers)
        batches.append(samples.take(np.arange(len(samples))))
    for one, other in zip(*batches, strict=True):
        assert len(one) == TRAINING_DAYS
        np.testing.assert_array_equal(one, other)
