"""Whatever is fitted sees the training period alone: noise in validation and test changes no fitted number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io, scaling
from dl4ds_core.config import BASELINES
from dl4ds_core.grids import Grid
from dl4ds_core.pipeline import Samples
from dl4ds_core.regrid import on_grid

pytestmark = pytest.mark.xdist_group("samples")  # made once, in one process
SCALE = 4
DAYS, TRAINING_DAYS = 120, 60
SPLIT = {
    "method": "periods",
    "train": ["2000-01-01", "2000-02-30"],
    "validation": ["2000-03-01", "2000-03-20"],
    "test": ["2000-03-21", "2000-04-30"],
}
SPLITS = ("train", "validation", "test")
THREE_YEARS, FOLDS = 1080, (1, 2, 3)
#: Complete fields; and fields with missing cells and steps, predictors beside them, and cells around the domain.
CASES = ("complete", "masked")
PREDICTANDS = {
    "domain": {"tas": {"method": "standard", "per": "domain"}, "elevation": {"method": "standard"}},
    "cell": {"tas": {"method": "standard", "per": "cell"}, "elevation": {"method": "minmax"}},
    "minmax": {"tas": {"method": "minmax", "per": "cell"}, "elevation": {"method": "none"}},
    "robust": {"tas": {"method": "robust", "transform": "cube-root", "per": "cell"}, "elevation": {"method": "robust"}},
}
PREDICTORS = {"z_500": {"method": "robust", "per": "cell"}, "q_850": {"method": "minmax", "transform": "cube-root"}}
NORMALIZATION = {how: entries | PREDICTORS for how, entries in PREDICTANDS.items()}


def spoilt(field: xr.DataArray, first: int = TRAINING_DAYS) -> xr.DataArray:
    """The field with all that follows the training replaced by wild noise, other cells of it missing."""
    noisy, random = field.copy(deep=True), np.random.default_rng(99)
    later = noisy[first:]
    later.values[...] = 1000 + random.normal(scale=500, size=later.shape)
    if field.isnull().any():
        later.values[random.random(later.shape) < 0.2] = np.nan
        later.values[0] = 1e6  # in cells without any truth in the training, too
    return noisy


@pytest.fixture(scope="module", params=CASES)
def records(field_of, request) -> dict[str, dict[str, xr.DataArray]]:
    """The record as it is, and with all but the training period replaced by wild noise: fields by name."""
    field = field_of(steps=DAYS, calendar="360_day")
    clean = {"tas": field}
    if request.param == "masked":
        random = np.random.default_rng(7)
        field[:, :4, :3] = np.nan
        field[:, 6, 7] = np.nan
        field.values[random.random(field.shape) < 0.05] = np.nan
        size = {"rows": 4, "columns": 5, "step": 2.0, "south": 38.75, "west": -6.25}
        clean |= {
            name: field_of(steps=DAYS, calendar="360_day", name=name, seed=seed, **size)
            for seed, name in enumerate(PREDICTORS, 2)
        }
        clean["q_850"][3:30:5, 1, 2] = np.nan
    return {"clean": clean, "spoilt": {name: spoilt(values) for name, values in clean.items()}}


def regridded(folder: Path, fields: Mapping[str, xr.DataArray], make_grids, make_parts, entry) -> dict[str, dict]:
    """Bring a record to its grids, in three files, of which one holds the end of training and what follows."""
    masked = "z_500" in fields
    context = int(masked)
    grids: dict[str, Path] = {}
    parts: dict[str, dict[str, list[str]]] = {"fine": {"tas": []}, "coarse": {"tas": []}}
    days = fields["tas"].sizes["time"]
    ends = [0, 5 * days // 12, 3 * days // 4, days]
    for number, (start, end) in enumerate(pairwise(ends)):
        part = folder / f"part{number}"
        tas = fields["tas"][start:end]
        io.write(on_grid(tas, Grid.of(tas)), part / "input.nc", {})
        grids = grids or make_grids(folder, part / "input.nc", entry("tas", "K"), SCALE, context)
        keys = {"context": context, "missing": "mask" if masked else "refuse"}
        made = make_parts(part, part / "input.nc", entry("tas", "K"), SCALE, grids["fine"], "tas", **keys)
        for grid, path in made.items():
            parts[grid]["tas"].append(str(path))
        for name in set(fields) - {"tas"}:
            target = Grid.of(io.open_dataset(grids["coarse"]))
            io.write(on_grid(fields[name][start:end], target), part / f"{name}.nc", {})
            parts["coarse"].setdefault(name, []).append(str(part / f"{name}.nc"))
    return parts


@pytest.fixture(scope="module")
def prepared(records, script, field_of, make_grids, make_parts, entry, tmp_path_factory) -> dict[str, Path]:
    """Folders of samples of both records, made by the workflow's own scripts."""
    folders = {}
    for name, fields in records.items():
        folder = tmp_path_factory.mktemp(name)
        parts = regridded(folder, fields, make_grids, make_parts, entry)
        elevation = field_of(steps=None, name="elevation", units="m")
        io.write(on_grid(elevation, Grid.of(elevation)), folder / "elevation.nc", {})
        script("prepare").main(
            parts=parts,
            timing={},
            policy={"missing_predictors": "fill"},
            split=SPLIT,
            folds=[""],
            folder=str(folder),
            static=[str(folder / "elevation.nc")],
            about={},
            static_output=str(folder / "static.nc"),
        )
        folders[name] = folder
    return folders


def pairs(one: xr.Dataset, other: xr.Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The values of the fields of two datasets."""
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        yield one[name].values, other[name].values


def test_the_noise_is_where_it_should_be(prepared, records):
    for split, differs in (("train", False), ("validation", True), ("test", True)):
        for grid in ("fine", "coarse"):
            for one, other in pairs(*(io.open_dataset(folder / split / f"{grid}.nc") for folder in prepared.values())):
                assert one.shape == other.shape
                assert (not np.array_equal(one, other, equal_nan=True)) is differs
    with io.open_dataset(prepared["clean"] / "train" / "fine.nc") as train:
        np.testing.assert_array_equal(train["tas"].values, records["clean"]["tas"].values[:TRAINING_DAYS])


def test_samples_hold_every_step_of_every_period(prepared, records):
    for grid in ("fine", "coarse"):
        with xr.open_mfdataset(
            [prepared["clean"] / split / f"{grid}.nc" for split in SPLITS],
            combine="nested",
            concat_dim="time",
            data_vars="minimal",
            coords="minimal",
            compat="override",
            join="exact",
            decode_times=xr.coders.CFDatetimeCoder(),
        ) as joined:
            names = {"tas"} if grid == "fine" else set(records["clean"]) - {"tas"}
            for name in names:
                np.testing.assert_array_equal(joined[name].values, records["clean"][name].values)


def test_statistics(prepared, records):
    found = {name: json.loads((folder / "statistics.json").read_text()) for name, folder in prepared.items()}
    training = records["clean"]["tas"].values[:TRAINING_DAYS]
    assert found["clean"] == found["spoilt"] == {"tas": [float(np.nanmin(training)), float(np.nanmax(training))]}


def test_cells_with_truth(prepared, records):
    one, other = (io.open_dataset(folder / "valid.nc")["tas"].values for folder in prepared.values())
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one == 1, ~np.isnan(records["clean"]["tas"].values[:TRAINING_DAYS]).all(axis=0))


@pytest.mark.parametrize("how", list(NORMALIZATION))
def test_scalers(prepared, records, script, how):
    fitted = []
    for folder in prepared.values():
        target = folder / f"{how}.nc"
        files = {grid: str(folder / "train" / f"{grid}.nc") for grid in ("fine", "coarse")}
        script("scalers").main(
            **files, static=str(folder / "static.nc"), normalization=NORMALIZATION[how], about={}, scalers=str(target)
        )
        fitted.append(scaling.load(target))
    one, other = fitted
    expected = {"fine.tas", "coarse.tas", "static.elevation"}
    if "z_500" in records["clean"]:
        expected |= {"coarse.tas_valid_fraction", "coarse.z_500", "coarse.q_850"}
    assert set(one) == set(other) == expected
    for key in one:
        assert np.isfinite(one[key].offset).all()
        np.testing.assert_array_equal(one[key].offset, other[key].offset)
        np.testing.assert_array_equal(one[key].factor, other[key].factor)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(prepared, records, script, name):
    """A baseline's fitted numbers show in what it predicts from one and the same input."""
    probe = {"validation": str(prepared["clean"] / "validation" / "coarse.nc")}
    context = int("z_500" in records["clean"])
    predictions = []
    for folder in prepared.values():
        target = folder / f"{name}.nc"
        train = {grid: str(folder / "train" / f"{grid}.nc") for grid in ("fine", "coarse")}
        script("baseline").main(
            name=name,
            scale=SCALE,
            context=context,
            train=train,
            coarse=probe,
            limits={"tas": {"minimum": None, "dry_below": None}},
            about={},
            predictions={"validation": str(target)},
        )
        with io.open_dataset(target) as found:
            predictions.append(found["tas"].values)
    np.testing.assert_array_equal(*predictions)
    never = np.isnan(records["clean"]["tas"].values[:TRAINING_DAYS]).all(axis=0)
    np.testing.assert_array_equal(np.isnan(predictions[0]), np.broadcast_to(never, predictions[0].shape))


def test_what_the_network_trains_on(prepared, records):
    batches = []
    for folder in prepared.values():
        files = [folder / "train" / f"{grid}.nc" for grid in ("coarse", "fine")]
        methods = {name: scaling.Normalization() for name in records["clean"]}
        scalers = scaling.fit_all(io.open_dataset(files[1]), io.open_dataset(files[0]), None, methods)
        samples = Samples(*files, scalers)
        batches.append(samples.take(np.arange(len(samples))))
    masked = "z_500" in records["clean"]
    for one, other in zip(*batches, strict=True):
        assert (one is None) is (other is None)
        if one is None:
            assert not masked
            continue
        assert len(one) == TRAINING_DAYS
        np.testing.assert_array_equal(one, other)
    coarse, _, mask = batches[0]
    assert coarse.shape[-1] == (4 if masked else 1)
    assert np.isfinite(coarse).all()
    if masked:
        np.testing.assert_array_equal(mask[..., 0] == 0, records["clean"]["tas"][:TRAINING_DAYS].isnull().values)


@pytest.fixture(scope="module")
def folds(script, make_grids, make_parts, entry, field_of, tmp_path_factory) -> Path:
    """Folder of the samples of three folds, made of three years."""
    folder = tmp_path_factory.mktemp("folds")
    parts = regridded(folder, {"tas": field_of(steps=THREE_YEARS, calendar="360_day")}, make_grids, make_parts, entry)
    script("prepare").main(
        parts=parts,
        timing={},
        policy={},
        split={"method": "kfold", "folds": 3, "gap": "2d"},
        folds=[f"fold{number}/" for number in FOLDS],
        folder=str(folder / "samples"),
        static=[],
        about={},
        static_output=None,
    )
    return folder / "samples"


def days(folder: Path) -> np.ndarray:
    """Days since the first of a record, of the samples in a folder."""
    with io.open_dataset(folder / "fine.nc") as fine, io.open_dataset(folder / "coarse.nc") as coarse:
        np.testing.assert_array_equal(fine["time"].values, coarse["time"].values)
        times = fine["time"].dt
        return (times.year.values - 2000) * 360 + (times.month.values - 1) * 30 + times.day.values - 1


def test_every_day_is_tested_in_one_fold(folds):
    tested = [days(folds / f"fold{number}" / "test") for number in FOLDS]
    np.testing.assert_array_equal(np.sort(np.concatenate(tested)), np.arange(THREE_YEARS))
    np.testing.assert_array_equal(days(folds / "test"), np.arange(THREE_YEARS))


def test_training_is_apart_from_what_is_scored_in_its_fold(folds):
    distances = []
    for number in FOLDS:
        train, *others = (days(folds / f"fold{number}" / split) for split in SPLITS)
        distances += [np.abs(train[:, None] - other).min() for other in others]
    assert min(distances) == 3


def test_pooled_validation_has_each_step_of_any_fold_once(folds):
    found = [days(folds / f"fold{number}" / "validation") for number in FOLDS]
    np.testing.assert_array_equal(days(folds / "validation"), np.sort(np.concatenate(found)))
