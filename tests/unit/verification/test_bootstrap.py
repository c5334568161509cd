"""Blocks, gaps, calendars and the coverage of the intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.verification import block_steps, block_weights, intervals, resampled_sums
from dl4ds_core.verification.bootstrap import automatic_block


def times(values: object) -> xr.DataArray:
    return xr.DataArray(values, dims="time", name="time")


def winters(count: int, days: int = 90) -> xr.DataArray:
    """Daily winters with gaps of nine months."""
    starts = [pd.Timestamp(f"{2000 + year}-12-01") for year in range(count)]
    return times(np.concatenate([pd.date_range(start, periods=days, freq="D").values for start in starts]))


HOURS = times(pd.date_range("2019-03-26", periods=144, freq="h"))
YEARS_360 = times(xr.date_range("2040-06-01", periods=60, freq="YS-JUN", calendar="360_day", use_cftime=True))


@pytest.mark.parametrize(
    ("time", "block", "steps"),
    [
        (HOURS, "24h", 24),
        (HOURS, "2 d", 48),
        (HOURS, "90min", 2),
        (HOURS, "10min", 1),
        (HOURS, "1w", 168),
        (YEARS_360, "10y", 10),
        (YEARS_360, "24h", 1),
        (YEARS_360, "18month", 2),
        (times(xr.date_range("2000", periods=900, calendar="360_day", use_cftime=True)), "1month", 30),
        (times(xr.date_range("2000", periods=900, calendar="noleap", use_cftime=True)), "1y", 365),
        (times(pd.date_range("2000-01-01", periods=240, freq="MS")), "10y", 120),
        (times(pd.date_range("1900-01-01", periods=100, freq="YS")), "10y", 10),
        (winters(3), "5d", 5),
        (HOURS[:1], "24h", 1),
    ],
)
def test_block_steps(time: xr.DataArray, block: str, steps: int) -> None:
    result = block_steps(time, block)
    assert type(result) is int
    assert result == steps


@pytest.mark.parametrize("time", [HOURS, winters(4, 50), YEARS_360], ids=["hours", "winters", "360_day"])
@pytest.mark.parametrize("steps", [1, 7, 24])
def test_rows_sum_to_the_record(time: xr.DataArray, steps: int) -> None:
    counts = block_weights(time, block_steps=steps, samples=50, seed=3)
    assert counts.shape == (50, time.size)
    assert counts.dtype == np.int32
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == time.size).all()


def test_the_same_seed_gives_the_same_resamples() -> None:
    one, same, other = (block_weights(HOURS, block_steps=24, samples=20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_single_steps_are_the_ordinary_bootstrap() -> None:
    counts = block_weights(HOURS, block_steps=1, samples=4000, seed=0)
    assert counts.var() == pytest.approx(1 - 1 / 144, rel=0.02)  # multinomial


def test_blocks_are_consecutive() -> None:
    # Two blocks of half the record: every resample is the sum of two arcs of the circle.
    time = HOURS[:8]
    counts = block_weights(time, block_steps=4, samples=300, seed=5)
    block = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    blocks = [np.roll(block, shift) for shift in range(8)]
    possible = {tuple(one + two) for one in blocks for two in blocks}
    found = {tuple(row) for row in counts.tolist()}
    assert found <= possible
    assert len(found) > 20


def test_no_block_crosses_a_gap() -> None:
    # Blocks as long as each run: a run is drawn whole or not at all, unless a block held steps of two runs.
    time = winters(6, 30)
    counts = block_weights(time, block_steps=30, samples=200, seed=1).reshape(200, 6, 30)
    assert (counts == counts[:, :, :1]).all()
    assert counts.max() > 1


def test_runs_shorter_than_a_block_are_drawn_whole_and_as_often() -> None:
    long, short = pd.date_range("2000-01-01", periods=300), pd.date_range("2001-06-01", periods=4)
    counts = block_weights(times(long.append(short)), block_steps=10, samples=6000, seed=2)
    assert counts[:, :300].mean() == pytest.approx(1, abs=0.01)
    assert counts[:, 300:].mean() == pytest.approx(1, abs=0.06)
    np.testing.assert_allclose(counts[:, :300].mean(axis=0), 1, atol=0.08)
    whole = (counts[:, 300:] == counts[:, 300:301]).all(axis=1)
    assert whole.mean() > 0.98  # all but those where the end of the resample cuts it


def test_records_of_less_than_two_blocks() -> None:
    with pytest.raises(DataError, match="found 144 time steps and blocks of 73 steps"):
        block_weights(HOURS, block_steps=73, samples=10, seed=0)
    with pytest.raises(DataError, match="two blocks or more"):
        block_weights(HOURS[:1], block_steps=1, samples=10, seed=0)
    assert block_weights(HOURS, block_steps=72, samples=10, seed=0).shape == (10, 144)


@pytest.mark.parametrize(("steps", "samples"), [(0, 10), (5, 0)])
def test_numbers_must_be_positive(steps: int, samples: int) -> None:
    with pytest.raises(DataError, match="positive block_steps and samples"):
        block_weights(HOURS, block_steps=steps, samples=samples, seed=0)


@pytest.mark.parametrize("time", [HOURS[::-1], times(np.repeat(YEARS_360.values[:2], 2))])
def test_times_must_increase(time: xr.DataArray) -> None:
    with pytest.raises(DataError, match="expected strictly ascending times"):
        block_weights(time, block_steps=1, samples=1, seed=0)
    with pytest.raises(DataError, match="expected strictly ascending times"):
        block_steps(time, "24h")


def test_resampled_sums() -> None:
    random = np.random.default_rng(0)
    values, counts = random.normal(size=(3, 4, 144)), block_weights(HOURS, block_steps=6, samples=600, seed=0)
    sums = resampled_sums(values, counts)
    assert sums.shape == (3, 4, 600)
    drawn = np.repeat(np.arange(144), counts[333])
    np.testing.assert_allclose(sums[..., 333], values[..., drawn].sum(axis=-1), rtol=1e-12)


def test_intervals() -> None:
    resampled = np.stack([np.arange(101.0), np.full(101, np.nan), np.r_[np.nan, np.full(100, 2.0)]])
    lower, upper = intervals(resampled)
    np.testing.assert_allclose(lower, [5, np.nan, 2])
    np.testing.assert_allclose(upper, [95, np.nan, 2])
    lower, upper = intervals(resampled[0], confidence=0.5)
    assert (float(lower), float(upper)) == pytest.approx((25, 75))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 90.0])
def test_confidence_is_a_fraction(confidence: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        intervals(np.arange(10.0), confidence=confidence)


def autoregressive(shape: tuple[int, int], memory: float, seed: int) -> np.ndarray:
    """AR(1) series ``(series, time)`` of mean 0."""
    noise = np.random.default_rng(seed).normal(size=shape)
    series = np.empty(shape)
    series[:, 0] = noise[:, 0] / np.sqrt(1 - memory**2)
    for step in range(1, shape[1]):
        series[:, step] = memory * series[:, step - 1] + noise[:, step]
    return series


def coverage(series: np.ndarray, time: xr.DataArray, steps: int, samples: int) -> float:
    """How often the 90% interval of the mean holds the true mean, 0."""
    counts = block_weights(time, block_steps=steps, samples=samples, seed=11)
    lower, upper = intervals(resampled_sums(series, counts) / time.size, confidence=0.9)
    return float(((lower <= 0) & (upper >= 0)).mean())


def test_intervals_cover_the_mean_of_autocorrelated_series() -> None:
    series = autoregressive((1500, 600), 0.5, 1)
    time = times(pd.date_range("2000-01-01", periods=600))
    assert 0.85 <= coverage(series, time, 20, 300) <= 0.95
    assert coverage(series, time, 1, 300) < 0.75  # what blocks are for


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_intervals_cover_the_bias_of_a_domain(missing: float) -> None:
    """Errors of two cells that go together, weighted by area: as verification pools them."""
    repetitions, steps, bias = (
        1500,
        1500,
        0.4,
    )  # 87 % are covered in the long run, so fewer might miss the 85 % by chance
    area = np.array([3.0, 1.0])
    common, *own = (autoregressive((repetitions, steps), 0.6, seed) for seed in range(3))
    error = bias + np.stack([0.7 * common + each for each in own])
    valid = np.random.default_rng(9).random(error.shape) >= missing
    sums, areas = (np.einsum("c,crt->rt", area, each) for each in (np.where(valid, error, 0.0), valid))
    counts = block_weights(times(pd.date_range("2000-01-01", periods=steps)), block_steps=20, samples=400, seed=12)
    lower, upper = intervals(resampled_sums(sums, counts) / resampled_sums(areas, counts), confidence=0.9)
    covered = ((lower <= bias) & (bias <= upper)).mean()
    assert 0.85 <= covered <= 0.95


@pytest.mark.full
@pytest.mark.parametrize(("memory", "steps"), [(0.0, 1), (0.3, 10), (0.6, 25), (0.8, 50), (0.9, 100)])
def test_coverage_for_shorter_and_longer_memory(memory: float, steps: int) -> None:
    series = autoregressive((2500, 2000), memory, 2)
    time = times(pd.date_range("2000-01-01", periods=2000))
    assert 0.85 <= coverage(series, time, steps, 600) <= 0.95


@pytest.mark.full
def test_coverage_of_records_with_gaps() -> None:
    # Every winter its own series: independent of the others, as nine months lie between.
    count, winters_each = 1000, 20
    series = autoregressive((count * winters_each, 90), 0.6, 3).reshape(count, winters_each * 90)
    assert 0.85 <= coverage(series, winters(winters_each), 15, 500) <= 0.95


@pytest.mark.parametrize(("memory", "size"), [(0.0, 1000), (0.6, 1000), (0.9, 1000), (0.9, 4000), (0.99, 300)])
def test_an_automatic_block_solves_its_equation(memory: float, size: int) -> None:
    """L = (n - L + 1)^((2/3)(1 - n'/n)), to the step, with the autocorrelation that the series has."""
    series = autoregressive((1, size), memory, 1)[0]
    found = automatic_block(series, np.arange(size) < size - 1)
    measured = max(np.mean(series[:-1] * series[1:]) / np.mean(series**2), 0)
    exponent = 2 / 3 * (1 - (1 - measured) / (1 + measured))
    assert found <= (size - found + 1) ** exponent
    assert found == size // 4 or found + 1 > (size - found) ** exponent
    assert found > 1 or memory == 0


def test_an_automatic_block_does_not_look_across_gaps_or_at_missing_steps() -> None:
    whole = autoregressive((1, 400), 0.9, 1)[0]
    follows = np.arange(400) < 399
    follows[199] = False
    broken = whole.copy()
    broken[200:] *= -1  # the pair across the gap would tell another story
    assert automatic_block(broken, follows) == automatic_block(whole, follows) > 10
    missing = whole.copy()
    missing[::7] = np.nan
    assert abs(automatic_block(missing, follows) - automatic_block(whole, follows)) <= 5
    assert automatic_block(np.full(50, np.nan), np.ones(50, dtype=bool)) == 1
    assert automatic_block(np.zeros(50), np.ones(50, dtype=bool)) == 1
