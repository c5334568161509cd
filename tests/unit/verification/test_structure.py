"""Scores of the structure of fields against libraries, plain loops and waves that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import scores.spatial
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from dl4ds_core.verification import block_weights, verify
from dl4ds_core.verification.setting import Setting, largest_box
from dl4ds_core.verification.structure import (
    COARSE,
    FRACTIONS,
    PATTERN,
    PERFECT_PSNR,
    POWER_RATIO,
    PSNR,
    SHORT_DISTANCE,
    SPECTRAL_DISTANCE,
    SUBGRID_POWER_RATIO,
    Structure,
)

STEPS, ROWS, COLUMNS = 12, 24, 32

Arrays = tuple[np.ndarray, np.ndarray]


def setting_of(shape: tuple[int, int] = (ROWS, COLUMNS), **options: Any) -> Setting:
    """One kilometre between cells, without missing ones, if nothing else is said."""
    defaults: dict[str, Any] = {
        "area": np.ones(shape),
        "spacing": (1.0, 1.0),
        "scale": 1,
        "data_range": 20.0,
        "thresholds": (),
        "box": (slice(0, shape[0]), slice(0, shape[1])),
    }
    return Setting(**(defaults | options))


def values_of(structure: Structure, forecast: np.ndarray, observation: np.ndarray, setting: Setting) -> np.ndarray:
    """Scores of some fields: those of the means over the steps where a term is defined."""
    terms = structure.terms(forecast, observation, setting)
    means = {}
    for name, values in terms.items():
        assert values.shape[0] == forecast.shape[0]
        nowhere = np.isnan(values).all(axis=0)
        means[name] = np.where(nowhere, np.nan, np.nansum(values, axis=0) / np.sum(~np.isnan(values), axis=0).clip(1))
    return structure.score(means, setting)


@pytest.fixture
def pair() -> Arrays:
    """Forecast and observation ``(time, Y, X)``."""
    random = np.random.default_rng(6)
    observation = 15 + 4 * scipy.ndimage.gaussian_filter(random.normal(size=(STEPS, ROWS, COLUMNS)), (0, 1, 1))
    return 1 + 0.9 * observation + random.normal(size=observation.shape), observation


@pytest.fixture
def area() -> np.ndarray:
    """Cell areas that change much from cell to cell."""
    return np.random.default_rng(8).uniform(1, 9, (ROWS, COLUMNS))


@pytest.fixture
def missing() -> np.ndarray:
    """Other cells from step to step, a coast, and a whole step."""
    gaps = np.random.default_rng(9).random((STEPS, ROWS, COLUMNS)) < 0.1
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    gaps |= rows + columns < 9
    gaps[4] = True
    return gaps


def masked(pair: Arrays, missing: np.ndarray) -> Arrays:
    return np.where(missing, np.nan, pair[0]), np.where(missing, np.nan, pair[1])


# The largest box.


def largest_area(missing: np.ndarray) -> int:
    """Cells of the largest box, found by looking at all of them."""
    rows, columns = missing.shape
    best = 0
    for top, left in np.ndindex(rows, columns):
        for bottom in range(top + 1, rows + 1):
            for right in range(left + 1, columns + 1):
                if not missing[top:bottom, left:right].any():
                    best = max(best, (bottom - top) * (right - left))
    return best


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 7), st.floats(0, 1))
def test_the_largest_box(seed: int, rows: int, columns: int, share: float) -> None:
    missing = np.random.default_rng(seed).random((rows, columns)) < share
    box = largest_box(missing)
    cells = missing[box]
    assert not cells.any()
    assert cells.size == largest_area(missing)


def test_boxes_of_whole_and_empty_domains() -> None:
    nothing = np.zeros((4, 6), dtype=bool)
    assert largest_box(nothing) == (slice(0, 4), slice(0, 6))
    assert nothing[largest_box(~nothing)].size == 0
    split = nothing.copy()
    split[:, 3] = True
    assert largest_box(split) == (slice(0, 4), slice(0, 3))


# Spectra.


def wave(shape: tuple[int, int], up: int, across: int, phase: float = 0.3) -> np.ndarray:
    """So many whole waves from edge to edge along both axes, ``(1, Y, X)``."""
    rows, columns = np.meshgrid(*(np.arange(size) / size for size in shape), indexing="ij")
    return np.cos(2 * np.pi * (up * rows + across * columns) + phase)[None]


GRIDS: dict[str, tuple[tuple[int, int], tuple[float, float]]] = {
    "square": ((64, 64), (1.0, 1.0)),
    "rectangle": ((48, 80), (1.0, 1.0)),
    "odd": ((45, 61), (1.0, 1.0)),
    "oblong cells": ((64, 64), (1.0, 2.0)),
    "rectangle of oblong cells": ((40, 96), (2.0, 0.5)),
}


@pytest.mark.parametrize("grid", list(GRIDS))
@pytest.mark.parametrize(("up", "across"), [(0, 6), (9, 0), (7, 8), (12, 3)])
def test_a_wave_has_its_power_in_its_ring(grid: str, up: int, across: int) -> None:
    shape, spacing = GRIDS[grid]
    setting = setting_of(shape, spacing=spacing)
    lengths = [size * step for size, step in zip(shape, spacing, strict=True)]
    number = np.hypot(up / lengths[0], across / lengths[1])
    power = setting.spectra(wave(shape, up, across))[0]
    assert power.shape == setting.wavenumbers.shape
    width = 1 / max(lengths)
    np.testing.assert_allclose(setting.wavenumbers, width * np.arange(1, power.size + 1))
    assert abs(setting.wavenumbers[power.argmax()] - number) <= width / 2 + 1e-12
    # The taper spreads it to the neighbouring waves of both axes.
    far = abs(setting.wavenumbers - number) > 3 / min(lengths)
    assert power[far].max() < 1e-3 * power.max()


@pytest.mark.parametrize("grid", list(GRIDS))
def test_the_shortest_wave_is_that_of_the_wider_spacing(grid: str) -> None:
    shape, spacing = GRIDS[grid]
    numbers = setting_of(shape, spacing=spacing).wavenumbers
    assert numbers[-1] == pytest.approx(0.5 / max(spacing), rel=0.05)


@pytest.mark.parametrize("grid", list(GRIDS))
def test_the_power_of_white_noise_is_its_variance(grid: str) -> None:
    shape, spacing = GRIDS[grid]
    setting = setting_of(shape, spacing=spacing)
    fields = 280 + 3 * np.random.default_rng(2).normal(size=(60, *shape))
    power = setting.spectra(fields).mean(axis=0)
    # All waves have the same, and together they have the variance: the waves of each ring are counted here.
    np.testing.assert_allclose(power * fields[0].size, 9, rtol=0.25)
    numbers = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape, spacing), indexing="ij"))
    limit = 0.5 / max(spacing)
    waves, _ = np.histogram(numbers[numbers <= limit], [0, *(setting.wavenumbers + setting.wavenumbers[0] / 2)])
    share = (numbers <= limit).mean()
    assert (power * waves).sum() == pytest.approx(9 * share, rel=0.02)


def test_only_the_box_is_looked_at() -> None:
    shape, box = (40, 50), (slice(5, 37), slice(3, 43))
    fields = np.random.default_rng(3).normal(size=(2, *shape))
    inside = setting_of((32, 40)).spectra(fields[:, *box])
    gaps = np.ones(shape, dtype=bool)
    gaps[box] = False
    result = setting_of(shape, box=box).spectra(np.where(gaps, np.nan, fields))
    np.testing.assert_array_equal(result, inside)


def test_a_constant_field_adds_nothing_and_has_no_power() -> None:
    fields = np.random.default_rng(4).normal(size=(3, ROWS, COLUMNS))
    setting = setting_of()
    np.testing.assert_allclose(setting.spectra(fields + 280.1), setting.spectra(fields), rtol=1e-9)
    assert (setting.spectra(np.full((2, ROWS, COLUMNS), 280.1)) == 0).all()


@pytest.mark.parametrize("box", [(slice(0, 0), slice(0, 0)), (slice(0, 7), slice(0, 30))])
def test_a_box_that_is_too_small_has_no_spectrum(box: tuple[slice, slice], pair: Arrays) -> None:
    setting = setting_of(box=box)
    assert setting.wavenumbers.size == 0
    assert setting.spectra(pair[0]).shape == (STEPS, 0)
    for structure in (SPECTRAL_DISTANCE, POWER_RATIO):
        assert np.isnan(values_of(structure, *pair, setting)).all()


@pytest.mark.parametrize("scale", [1, 2])
def test_a_smoothed_field_lacks_power(scale: int, pair: Arrays) -> None:
    setting = setting_of(scale=scale)
    smooth = scipy.ndimage.gaussian_filter(pair[1], (0, 1, 1), mode="reflect")
    assert values_of(POWER_RATIO, smooth, pair[1], setting) < 0.6
    assert values_of(POWER_RATIO, pair[1], smooth, setting) > 1 / 0.6
    assert values_of(SPECTRAL_DISTANCE, smooth, pair[1], setting) > 3


def test_a_doubled_field_has_four_times_the_power(pair: Arrays) -> None:
    setting = setting_of()
    assert values_of(POWER_RATIO, 2 * pair[1], pair[1], setting) == pytest.approx(4)
    assert values_of(SPECTRAL_DISTANCE, 2 * pair[1], pair[1], setting) == pytest.approx(20 * np.log10(2))
    assert values_of(SPECTRAL_DISTANCE, pair[1] / 2, pair[1], setting) == pytest.approx(20 * np.log10(2))
    assert values_of(POWER_RATIO, pair[1], pair[1], setting) == pytest.approx(1)
    assert values_of(SPECTRAL_DISTANCE, pair[1], pair[1], setting) == pytest.approx(0)


def test_short_waves_are_those_of_less_than_four_coarse_cells() -> None:
    shape = (64, 64)
    setting = setting_of(shape, spacing=(2.0, 2.0), scale=2)  # shorter than 16 km, or 8 fine cells
    observation = np.random.default_rng(5).normal(size=(20, *shape))
    long, short = 3 * wave(shape, 0, 4), 3 * wave(shape, 0, 16)
    assert values_of(POWER_RATIO, observation + long, observation, setting) == pytest.approx(1, abs=0.02)
    assert values_of(POWER_RATIO, observation + short, observation, setting) > 2
    for structure in (POWER_RATIO, SUBGRID_POWER_RATIO):
        assert values_of(structure, observation, observation, setting) == pytest.approx(1)


def test_subgrid_waves_are_those_of_less_than_two_coarse_cells() -> None:
    shape = (64, 64)
    setting = setting_of(shape, spacing=(2.0, 2.0), scale=4)  # shorter than 16 km, or 8 fine cells
    observation = np.random.default_rng(5).normal(size=(20, *shape))
    resolved, subgrid = 3 * wave(shape, 0, 6), 3 * wave(shape, 0, 11)
    assert values_of(SUBGRID_POWER_RATIO, observation + resolved, observation, setting) == pytest.approx(1, abs=0.02)
    assert values_of(POWER_RATIO, observation + resolved, observation, setting) > 2
    assert values_of(SUBGRID_POWER_RATIO, observation + subgrid, observation, setting) > 2


def test_subgrid_power_is_that_of_the_periodogram(pair: Arrays) -> None:
    """Wave by wave: the power of a ring is the mean over its waves, and a ring counts as it is long."""
    setting = setting_of((24, 24), scale=3)  # rings are a wave per domain wide; those beyond 24 / (2 x 3) = 4 count
    window = np.hanning(26)[1:-1]
    sums = []
    for field in (values[:, :, :24] for values in pair):
        less = (field - field.mean((1, 2), keepdims=True)) * np.outer(window, window)
        power = (np.abs(np.fft.fft2(less)) ** 2).mean(0)
        rings: dict[int, list[float]] = {}
        for row, column in np.ndindex(24, 24):
            length = np.hypot(min(row, 24 - row), min(column, 24 - column))
            if length <= 12:
                rings.setdefault(int(np.rint(length)), []).append(power[row, column])
        sums.append(sum(ring * np.mean(waves) for ring, waves in rings.items() if ring > 4))
    assert values_of(SUBGRID_POWER_RATIO, *(values[:, :, :24] for values in pair), setting) == pytest.approx(
        sums[0] / sums[1], rel=1e-9
    )


@pytest.mark.parametrize("constant", [0.0, 280.1])
def test_scores_of_constant_fields_are_undefined(constant: float, pair: Arrays) -> None:
    flat = np.full_like(pair[0], constant)
    setting = setting_of()
    for structure in (SPECTRAL_DISTANCE, POWER_RATIO, PATTERN):
        assert np.isnan(values_of(structure, pair[0], flat, setting))
    for structure in (SPECTRAL_DISTANCE, PATTERN):
        assert np.isnan(values_of(structure, flat, pair[1], setting))
    assert values_of(POWER_RATIO, flat, pair[1], setting) == 0


# Fractions of events in windows.


def fractions(field: np.ndarray, threshold: float, width: int) -> np.ndarray:
    """Share of the window's cells with an event; cells beyond the edge have none."""
    half = width // 2
    events = np.pad(field >= threshold, half)
    result = np.empty(field.shape)
    for row, column in np.ndindex(field.shape):
        result[row, column] = events[row : row + width, column : column + width].mean()
    return result


def test_windows_and_labels() -> None:
    setting = setting_of(thresholds=(15.0, 17.5))
    assert setting.windows == (1, 3, 9)
    expected = [(15.0, 1.0), (15.0, 3.0), (15.0, 9.0), (17.5, 1.0), (17.5, 3.0), (17.5, 9.0)]
    assert FRACTIONS.labels(setting) == expected
    assert setting_of((27, 30)).windows == (1, 3, 9, 27)
    np.testing.assert_array_equal(PSNR.labels(setting), [[np.nan, np.nan]])


def test_fractions_skill_score_is_that_of_the_library(pair: Arrays) -> None:
    setting = setting_of(thresholds=(14.0, 17.0))
    # The library's windows go one cell further than the field at two of its sides: no events there.
    forecast, observation = (field.copy() for field in pair)
    for field in (forecast, observation):
        field[:, -4:], field[:, :, -4:] = 0, 0
    result = values_of(FRACTIONS, forecast, observation, setting)
    fields = [xr.DataArray(field, dims=("time", "y", "x")) for field in (forecast, observation)]
    for place, (threshold, width) in enumerate(FRACTIONS.labels(setting)):
        expected = scores.spatial.fss_2d(
            *fields,
            event_threshold=threshold,
            window_size=(int(width), int(width)),
            spatial_dims=("y", "x"),
            zero_padding=True,
            threshold_operator=np.greater_equal,
        )
        assert result[place] == pytest.approx(float(expected), rel=1e-10)
        assert 0.2 < result[place] < 1
    turned = values_of(FRACTIONS, forecast[:, ::-1, ::-1], observation[:, ::-1, ::-1], setting)
    np.testing.assert_allclose(turned, result, rtol=1e-10)


def test_fractions_skill_score_written_out_with_missing_cells(pair: Arrays, missing: np.ndarray) -> None:
    setting = setting_of(thresholds=(16.0,))
    forecast, observation = masked(pair, missing)
    result = values_of(FRACTIONS, forecast, observation, setting)
    for place, width in enumerate(setting.windows):
        distance = reference = 0.0
        for step in range(STEPS):
            f, o = (fractions(field[step], 16.0, width) for field in (forecast, observation))
            distance += ((f - o) ** 2).sum()
            reference += (f**2 + o**2).sum()
        assert result[place] == pytest.approx(1 - distance / reference, rel=1e-10)


def test_an_event_is_a_value_of_at_least_the_threshold() -> None:
    observation = np.zeros((1, 9, 9))
    observation[0, 4, 4] = 5.0
    setting = setting_of((9, 9), thresholds=(5.0, 5.1))
    result = values_of(FRACTIONS, observation, observation, setting)
    np.testing.assert_allclose(result, [1, 1, 1, np.nan, np.nan, np.nan])  # no event at all
    moved = np.roll(observation, 2, axis=2)
    result = values_of(FRACTIONS, moved, observation, setting)[:3]
    assert result[0] == 0
    assert (np.diff(result) > 0).all()


# Errors, patterns and coarse means.


def test_peak_signal_to_noise_ratio_is_that_of_the_library(pair: Arrays) -> None:
    forecast, observation = pair
    expected = [peak_signal_noise_ratio(o, f, data_range=20.0) for f, o in zip(forecast, observation, strict=True)]
    assert values_of(PSNR, forecast, observation, setting_of()) == pytest.approx(np.mean(expected), rel=1e-12)
    assert values_of(PSNR, observation, observation, setting_of()) == PERFECT_PSNR


def test_peak_signal_to_noise_ratio_of_weighted_and_missing_cells(
    pair: Arrays, area: np.ndarray, missing: np.ndarray
) -> None:
    result = values_of(PSNR, *masked(pair, missing), setting_of(area=area))
    ratios = []
    for step in np.delete(np.arange(STEPS), 4):
        valid = ~missing[step]
        error = np.average((pair[0][step] - pair[1][step])[valid] ** 2, weights=area[valid])
        ratios.append(10 * np.log10(20.0**2 / error))
    assert result == pytest.approx(np.mean(ratios), rel=1e-12)


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "missing"])
def test_correlation_of_patterns(gaps: bool, pair: Arrays, area: np.ndarray, missing: np.ndarray) -> None:
    missing = missing if gaps else np.zeros_like(missing)
    result = values_of(PATTERN, *masked(pair, missing), setting_of(area=area))
    expected = []
    for step in range(STEPS):
        valid = ~missing[step]
        if valid.any():
            (var_f, both), (_, var_o) = np.cov(pair[0][step][valid], pair[1][step][valid], aweights=area[valid])
            expected.append(both / np.sqrt(var_f * var_o))
    assert result == pytest.approx(np.mean(expected), rel=1e-10)
    even = values_of(PATTERN, *pair, setting_of())
    plain = [np.corrcoef(f.ravel(), o.ravel())[0, 1] for f, o in zip(*pair, strict=True)]
    assert even == pytest.approx(np.mean(plain), rel=1e-10)


def test_large_constant_fields_have_no_pattern() -> None:
    """Sums over so many cells round more than those of a few."""
    field = np.full((1, 1000, 1000), 0.1)
    setting = setting_of((1000, 1000), area=np.full((1000, 1000), 123.4))
    assert np.isnan(PATTERN.terms(field, field, setting)["correlation"]).all()


def test_a_step_with_a_constant_field_has_no_pattern(pair: Arrays) -> None:
    observation = pair[1].copy()
    observation[3] = 280.1
    terms = PATTERN.terms(pair[0], observation, setting_of())
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(terms["correlation"])), [3])


@pytest.mark.parametrize("scale", [1, 4, 5])
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "missing"])
def test_rmse_of_coarse_means(scale: int, gaps: bool, pair: Arrays, area: np.ndarray, missing: np.ndarray) -> None:
    missing = missing if gaps else np.zeros_like(missing)
    missing[:, 10:15, 10:15] = gaps  # a coarse cell and more
    result = values_of(COARSE, *masked(pair, missing), setting_of(area=area, scale=scale))
    squares = []
    for step in range(STEPS):
        blocks = []
        for row in range(0, ROWS - scale + 1, scale):
            for column in range(0, COLUMNS - scale + 1, scale):
                place = (slice(row, row + scale), slice(column, column + scale))
                valid = ~missing[step][place]
                if valid.any():
                    weights = area[place][valid]
                    f, o = (np.average(field[step][place][valid], weights=weights) for field in pair)
                    blocks.append((weights.sum(), (f - o) ** 2))
        if blocks:
            weights, errors = zip(*blocks, strict=True)
            squares.append(np.average(errors, weights=weights))
    assert result == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-11)


def test_errors_that_cancel_in_a_coarse_cell(pair: Arrays) -> None:
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    checks = np.where((rows + columns) % 2, 1.0, -1.0)
    assert values_of(COARSE, pair[1] + checks, pair[1], setting_of(scale=2)) == pytest.approx(0, abs=1e-12)
    assert values_of(COARSE, pair[1] + checks, pair[1], setting_of(scale=1)) == pytest.approx(1)


# In the verification of a data set.

OPTIONS: dict[str, Any] = {"data_ranges": {"tas": 20.0}, "block": "4d", "samples": 30, "seed": 1, "scale": 4}
ALL = {
    "psnr": PSNR,
    "pattern_correlation": PATTERN,
    "coarse_rmse": COARSE,
    "spectral_distance": SPECTRAL_DISTANCE,
    "short_spectral_distance": SHORT_DISTANCE,
    "power_ratio": POWER_RATIO,
    "subgrid_power_ratio": SUBGRID_POWER_RATIO,
    "fss": FRACTIONS,
}


@pytest.fixture
def datasets(missing: np.ndarray) -> tuple[xr.Dataset, xr.Dataset]:
    """Prediction and truth of 60 days; a coast at all steps, other cells at some, and nothing on one day."""
    random = np.random.default_rng(11)
    values = 15 + 4 * scipy.ndimage.gaussian_filter(random.normal(size=(60, ROWS, COLUMNS)), (0, 1, 1))
    gaps = np.repeat(missing[:1] & missing[1:2], 60, axis=0)  # hardly more than the coast
    gaps[7, 20:, 28:], gaps[4] = True, True
    coordinates = {
        "time": pd.date_range("2001-01-01", periods=60),
        "lat": 40 + 0.25 * np.arange(ROWS),
        "lon": 5 + 0.25 * np.arange(COLUMNS),
    }
    attributes = {"units": "degC"}
    truth = xr.DataArray(np.where(gaps, np.nan, values), coordinates, ("time", "lat", "lon"), "tas", attributes)
    prediction = truth.copy(data=1 + 0.9 * values + random.normal(size=values.shape))
    return prediction.to_dataset(), truth.to_dataset()


def drawn_scores(
    name: str, datasets: tuple[xr.Dataset, xr.Dataset], area: np.ndarray, thresholds: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Values and interval ends: the steps drawn and scored anew, resample by resample."""
    truth = datasets[1]["tas"].values
    forecast = np.where(np.isnan(truth), np.nan, datasets[0]["tas"].values)
    gaps = np.isnan(np.delete(truth, 4, axis=0)).any(axis=0)  # nothing is known of the fifth day
    degree = 6371 * np.pi / 180
    across = 2 * 6371 * np.arcsin(np.cos(np.deg2rad(datasets[1]["lat"].values)) * np.sin(np.deg2rad(0.125)))
    setting = setting_of(
        area=area, spacing=(0.25 * degree, across.mean()), scale=4, thresholds=thresholds, box=largest_box(gaps)
    )
    whole = values_of(ALL[name], forecast, truth, setting)
    counts = block_weights(datasets[1]["time"], block_steps=4, samples=30, seed=1)
    drawn = [np.repeat(np.arange(60), row) for row in counts]
    resampled = [values_of(ALL[name], forecast[steps], truth[steps], setting) for steps in drawn]
    if ALL[name].centred:
        resampled = np.asarray(resampled) + whole - np.median(resampled, axis=0)
    return whole, np.quantile(resampled, [0.05, 0.95], axis=0)


def test_rows_of_the_table_are_those_of_an_explicit_bootstrap(
    datasets: tuple[xr.Dataset, xr.Dataset], area: np.ndarray
) -> None:
    events = (16.0, 18.0)
    given_area = xr.DataArray(area, dims=("lat", "lon"))
    _, rows = verify(*datasets, area=given_area, thresholds={"tas": events}, **OPTIONS)
    for name in ALL:
        whole, (lower, upper) = drawn_scores(name, datasets, area, events)
        found = rows[rows["metric"] == name]
        np.testing.assert_allclose(found["value"], whole, rtol=1e-9)
        np.testing.assert_allclose(found["lower"], lower, rtol=1e-8)
        np.testing.assert_allclose(found["upper"], upper, rtol=1e-8)


def test_what_is_predicted_at_missing_cells_changes_no_score(
    datasets: tuple[xr.Dataset, xr.Dataset], area: np.ndarray
) -> None:
    given_area = xr.DataArray(area, dims=("lat", "lon"))
    _, rows = verify(*datasets, area=given_area, **OPTIONS)
    changed = datasets[0].where(datasets[1].notnull(), 1e20)
    changed["tas"].attrs = datasets[0]["tas"].attrs
    pd.testing.assert_frame_equal(verify(changed, datasets[1], area=given_area, **OPTIONS)[1], rows, check_exact=True)
    assert rows.loc[rows["metric"].isin(list(ALL)), ["value", "lower", "upper"]].notna().all(axis=None)


def test_two_predictands_with_boxes_of_their_own(datasets: tuple[xr.Dataset, xr.Dataset], area: np.ndarray) -> None:
    """Each has its spectrum, at the wavenumbers of its box."""
    given_area = xr.DataArray(area, dims=("lat", "lon"))
    alone, _ = verify(*datasets, area=given_area, **OPTIONS)
    both = [data.assign(pr=datasets[0]["tas"].assign_attrs(units="mm")) for data in datasets]
    maps, _ = verify(*both, area=given_area, **(OPTIONS | {"data_ranges": {"tas": 20.0, "pr": 20.0}}))
    for name in ("tas_spectrum_truth", "tas_spectrum_prediction"):
        spectrum = maps[name].dropna(maps[name].dims[0])
        np.testing.assert_array_equal(spectrum, alone[name])
        np.testing.assert_array_equal(spectrum["wavenumber"], alone["wavenumber"])
    assert maps["pr_spectrum_truth"].notnull().sum() > alone["wavenumber"].size
