"""Splits of a record: disjoint, complete, apart, and the same every time."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dl4ds_core.config.splits import SPLITS, Fractions, SplitBlocks, SplitKFold, SplitPeriods, SplitYears
from dl4ds_core.errors import DataError
from dl4ds_core.splits import assign, block_numbers, counts, leakage, years_of
from dl4ds_core.time import duration, runs, seconds, text

CALENDARS = st.sampled_from(["standard", "noleap", "360_day"])


def days(first: str, periods: int, calendar: str = "standard", freq: str = "D") -> xr.DataArray:
    values = xr.date_range(first, periods=periods, freq=freq, calendar=calendar, use_cftime=calendar != "standard")
    return xr.DataArray(values, dims="time", name="time")


def winters(years: int, calendar: str = "standard", length: int = 80) -> xr.DataArray:
    parts = [days(f"{1990 + year}-12-05", length, calendar).values for year in range(years)]
    return xr.DataArray(np.concatenate(parts), dims="time", name="time")


def closest(labels: np.ndarray, times: xr.DataArray) -> float:
    """The smallest distance of steps of different splits, seconds, from all pairs."""
    instants = seconds(times)
    return min(
        np.abs(instants[labels == one][:, None] - instants[labels == other]).min()
        for one, other in combinations(SPLITS, 2)
    )


SPLITTINGS: list[Any] = [
    SplitPeriods(train=("1990", "1994"), validation=("1995", "1996"), test=("1997", "1999")),
    SplitYears(method="years", train=[1990, 1992, 1994], validation=[1991, 1995], test=[1993, 1996]),
    SplitYears(method="years", fractions=Fractions(), seed=4, gap="5d"),
    SplitBlocks(method="blocks"),
    SplitBlocks(method="blocks", block="1month", gap="0d", seed=3),
    SplitKFold(method="kfold", folds=4, gap="10d"),
    SplitKFold(method="kfold", folds=3, first_month=12, shuffle=False),
]


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
@pytest.mark.parametrize("record", ["whole", "winters"])
@pytest.mark.parametrize("split", SPLITTINGS, ids=lambda split: split.method)
def test_the_same_settings_give_the_same_labels(split, record, calendar):
    times = days("1990-01-01", 3600, calendar) if record == "whole" else winters(9, calendar)
    once, again = assign(times, split), assign(times, split)
    assert list(once) == list(again) == (list(range(1, split.folds + 1)) if split.method == "kfold" else [0])
    for fold, labels in once.items():
        np.testing.assert_array_equal(labels, again[fold])
        assert all((labels == name).any() for name in SPLITS)
        leakage(labels, times, getattr(split, "gap", "0d"))


@st.composite
def records(draw: Any) -> xr.DataArray:
    """Daily or 6-hourly records in any calendar, with parts missing."""
    calendar, freq = draw(CALENDARS), draw(st.sampled_from(["D", "6h"]))
    whole = days("1999-11-03", draw(st.integers(60, 700)), calendar, freq)
    kept = np.ones(whole.size, dtype=bool)
    for start, length in draw(st.lists(st.tuples(st.integers(0, 650), st.integers(1, 80)), max_size=4)):
        kept[start : start + length] = False
    assume(kept.sum() > 40)
    return whole[kept]


@given(
    records(),
    st.sampled_from(["1d", "5d", "10d", "1month"]),
    st.sampled_from(["0d", "18h", "1d", "3d"]),
    st.floats(0.1, 0.4),
    st.floats(0.1, 0.4),
    st.integers(0, 100),
)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
def test_random_blocks_are_disjoint_complete_and_apart(times, block, gap, validation, test, seed):
    assume(duration(gap) < duration(block, "standard"))
    split = SplitBlocks(
        method="blocks", block=block, gap=gap, fractions=Fractions(validation=validation, test=test), seed=seed
    )
    try:
        labels = assign(times, split)[0]
        free = assign(times, split.model_copy(update={"gap": "0d"}))[0]
    except DataError:
        assume(False)
    # Complete without a gap; with one, only neighbours of another split are missing, and no test step is.
    assert set(free) == set(SPLITS)
    limit = duration(gap).total_seconds()
    instants = seconds(times)
    rank = {"train": 0, "validation": 1, "test": 2}
    for number, (label, before) in enumerate(zip(labels, free, strict=True)):
        assert label in (before, "")
        near = np.abs(instants - instants[number]) <= limit
        above = {name for name in free[near] if rank[name] > rank[before]}
        assert label == before or above
        if label == before and limit:
            assert not {name for name in labels[near] if name and name != before}
    assert closest(labels, times) > limit
    leakage(labels, times, gap)


@given(records(), st.sampled_from(["1d", "7d", "1month"]))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.filter_too_much])
def test_blocks_are_consecutive_and_cross_no_gap(times, block):
    numbers = block_numbers(times, block)
    instants = seconds(times)
    length = duration(block, str(times.dt.calendar)).total_seconds()
    assert numbers[0] == 0
    assert set(np.diff(numbers)) <= {0, 1}
    for part in runs(times):
        if part.start:
            assert numbers[part.start] == numbers[part.start - 1] + 1
        for number in np.unique(numbers[part]):
            assert np.ptp(instants[part][numbers[part] == number]) < 1.5 * length


@given(
    CALENDARS,
    st.integers(3, 12),
    st.integers(3, 6),
    st.sampled_from([1, 12]),
    st.booleans(),
    st.integers(0, 50),
    st.sampled_from(["0d", "10d"]),
)
@settings(deadline=None, max_examples=60)
def test_folds_test_every_step_once(calendar, years, folds, first_month, shuffle, seed, gap):
    times = winters(years, calendar)
    split = SplitKFold(method="kfold", folds=folds, first_month=first_month, shuffle=shuffle, seed=seed, gap=gap)
    number_of_years = np.unique(years_of(times, first_month)).size
    if number_of_years < folds:
        with pytest.raises(DataError, match=rf"at least {folds} years, found {number_of_years}"):
            assign(times, split)
        return
    found = assign(times, split)
    tested = np.sum([labels == "test" for labels in found.values()], axis=0)
    validated = np.sum([labels == "validation" for labels in found.values()], axis=0)
    assert (tested == 1).all()
    if gap == "0d":
        assert (validated == 1).all()
        assert all("" not in labels for labels in found.values())
    for labels in found.values():
        assert closest(labels, times) > duration(gap).total_seconds()
        group = years_of(times, first_month)
        for one, other in combinations(SPLITS, 2):
            assert not set(group[labels == one]) & set(group[labels == other])


def test_winters_stay_whole_where_years_begin_in_december():
    times = winters(4)
    assert np.unique(years_of(times, 12)).tolist() == [1991, 1992, 1993, 1994]
    assert np.unique(years_of(times, 1)).tolist() == [1990, 1991, 1992, 1993, 1994]
    split = SplitYears(method="years", train=[1991, 1993], validation=[1992], test=[1994], first_month=12)
    labels = assign(times, split)[0]
    assert [np.unique(labels[part]).tolist() for part in runs(times)] == [
        ["train"],
        ["validation"],
        ["train"],
        ["test"],
    ]


def test_periods_are_those_of_the_configuration():
    times = days("1995-11-01", 120, "360_day")
    split = SplitPeriods(
        train=("1995-11", "1995-12"), validation=("1996-01-01", "1996-01-10"), test=("1996-01-20", "1997")
    )
    labels = assign(times, split)[0]
    assert counts(labels) == {"train": 60, "validation": 10, "test": 41, "": 9}
    assert [text(value) for value in times.values[labels == "test"][[0, -1]]] == ["1996-01-20", "1996-02-30"]


def test_listed_years_leave_the_others_out():
    times = days("1990-01-01", 5 * 360, "360_day")
    split = SplitYears(method="years", train=[1990, 1991], validation=[1993], test=[1994])
    assert counts(assign(times, split)[0]) == {"train": 720, "validation": 360, "test": 360, "": 360}


def test_a_gap_takes_from_training_first_and_never_from_test():
    times = days("1990-01-01", 3 * 360, "360_day")
    split = SplitYears(method="years", train=[1991], validation=[1990], test=[1992], gap="3d")
    labels = assign(times, split)[0]
    assert counts(labels) == {"train": 354, "validation": 360, "test": 360, "": 6}
    assert np.flatnonzero(labels == "").tolist() == [360, 361, 362, 717, 718, 719]


def test_fractions_of_years():
    times = days("1980-01-01", 20 * 365, "noleap")
    split = SplitYears(method="years", fractions=Fractions(validation=0.2, test=0.3), seed=7)
    labels = assign(times, split)[0]
    found = counts(labels)
    assert found == {"train": 10 * 365, "validation": 4 * 365, "test": 6 * 365, "": 0}
    other = assign(times, split.model_copy(update={"seed": 8}))[0]
    assert not np.array_equal(labels, other)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            SplitPeriods(train=("1990", "1990"), validation=("1991", "1991"), test=("2001", "2002")),
            "split.test: no time step lies in it; the record goes from 1990-01-01 to 1991-12-30",
        ),
        (
            SplitYears(method="years", train=[1990], validation=[1991], test=[1995, 1994]),
            "split.test: the record has no step in 1994, 1995; its years go from 1990 to 1991",
        ),
        (SplitYears(method="years", fractions=Fractions()), "expected at least 3 years, .* found 2"),
        (SplitBlocks(method="blocks", block="1y"), "expected at least 3 blocks of 1y, .* found 2"),
        (SplitKFold(method="kfold", folds=3), "at least 3 years, found 2 in the record"),
    ],
)
def test_what_cant_be_split_is_refused(split, message):
    with pytest.raises(DataError, match=message):
        assign(days("1990-01-01", 720, "360_day"), split)


def test_folds_name_the_one_that_is_empty():
    first_days = days("1990-01-01", 3 * 360, "360_day")[::360]
    with pytest.raises(DataError, match=r"split\.validation of fold 1: no .* within the gap of 400d"):
        assign(first_days, SplitKFold(method="kfold", folds=3, shuffle=False, gap="400d"))


def test_leakage_is_found():
    times = days("2000-01-01", 6)
    labels = np.array(["train", "train", "", "validation", "", "test"])
    leakage(labels, times, "1d")
    with pytest.raises(DataError, match=r"2000-01-02 is in train and 2000-01-04 in validation; .* more than 2d apart"):
        leakage(labels, times, "2d")
    again = xr.concat([times, times[:1]], "time")
    with pytest.raises(DataError, match=r"2000-01-01 is in train and 2000-01-01 in test; expected .* different"):
        leakage(np.append(labels, "test"), again, "0d")


def test_unsorted_records_are_refused():
    with pytest.raises(DataError, match="the record: the time step 2000-01-08 comes after 2000-01-09"):
        assign(days("2000-01-01", 9)[::-1], SPLITTINGS[0])


@pytest.mark.parametrize(
    "split",
    [
        SplitKFold(method="kfold", folds=5, first_month=12, gap="5d"),
        SplitBlocks(method="blocks", block="10d", gap="3d"),
    ],
    ids=lambda split: split.method,
)
def test_a_real_record_of_winters(data_dir, split):
    with xr.open_dataset(data_dir / "eobs-iberia" / "eobs_tas_0.25deg_djf_1990-2000.nc") as dataset:
        times = dataset["time"].load()
    for labels in assign(times, split).values():
        leakage(labels, times, split.gap)
        if split.method == "kfold":  # ten winters, two of them tested; winters are nine months apart
            assert 180 <= counts(labels)["test"] <= 182
            assert counts(labels)[""] == 0
