"""Lengths of spells and of correlations in space, against loops and fields whose length is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import xarray as xr
from score_rows import of_the_whole

from dl4ds_core.verification import METRICS, Structure, block_weights, verify
from dl4ds_core.verification.setting import Setting
from dl4ds_core.verification.structure import LENGTH

ROWS, COLUMNS = 4, 5
OPTIONS: dict[str, Any] = {"data_ranges": {"x": 20.0}, "block": "5d", "samples": 12, "seed": 1}
AREA = xr.DataArray(np.random.default_rng(8).uniform(1, 9, (ROWS, COLUMNS)), dims=("lat", "lon"))
KINDS = {
    "precipitation": {"units": "kg m-2 s-1", "standard_name": "precipitation_flux"},
    "temperature": {"units": "K", "standard_name": "air_temperature"},
    "pressure": {"units": "Pa"},
}


def pair_of(kind: str, calendar: str, missing: bool, hours: int = 24) -> tuple[xr.Dataset, xr.Dataset]:
    """Prediction and truth of some winters, with memory from step to step."""
    times = {"calendar": calendar, "use_cftime": calendar != "standard"}
    time = xr.date_range("2000-01-01", periods=500, freq=f"{hours}h", **times)
    axis = xr.DataArray(time, dims="time")
    some = axis.dt.month.isin([12, 1, 2]).values
    random = np.random.default_rng(3)
    fields = []
    for _ in range(2):
        values = scipy.ndimage.uniform_filter1d(random.normal(size=(500, ROWS, COLUMNS)), 3, axis=0)[some]
        values = np.maximum(values * 20, 0) / 86_400 if kind == "precipitation" else 280 + values
        gaps = random.random(values.shape) < (0.05 if missing else 0)
        fields.append((values, gaps))
    gaps = fields[1][1]
    coordinates = {"time": time[some], "lat": 40 + np.arange(ROWS) / 10, "lon": np.arange(COLUMNS) / 10}
    made = [
        xr.DataArray(np.where(gaps, np.nan, values), coordinates, ("time", "lat", "lon"), "x", KINDS[kind])
        for values, _ in fields
    ]
    return made[0].to_dataset(), made[1].to_dataset()


def spells(events: np.ndarray, follows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps in spells and beginnings of spells, ``(time,)``, found step by step."""
    starts = np.zeros(events.size)
    for step, event in enumerate(events):
        if event and not (step and events[step - 1] and follows[step - 1]):
            starts[step] = 1
    return events.astype(float), starts


def terms_of(kind: str, pair: tuple[xr.Dataset, xr.Dataset], high: bool, hours: int) -> np.ndarray:
    """Days in spells and beginnings, of prediction and truth ``(4, time, lat, lon)``."""
    fields = [data["x"].values for data in pair]
    time = pair[1]["time"].values
    follows = np.array([step <= pd.Timedelta(hours=1.5 * hours) for step in time[1:] - time[:-1]])
    result = np.zeros((4, *fields[0].shape))
    for cell in np.ndindex(ROWS, COLUMNS):
        observed = fields[1][:, *cell]
        for which, field in enumerate(fields):
            values = field[:, *cell]
            if kind == "precipitation":
                events = values * 86_400 >= 1 if high else values * 86_400 < 1
            else:
                limit = np.nanpercentile(observed, 90 if high else 10)
                events = values >= limit if high else values <= limit
            inside, starts = spells(events, follows)
            result[2 * which, :, *cell], result[2 * which + 1, :, *cell] = inside * hours / 24, starts
    return result


@pytest.mark.parametrize(
    ("kind", "calendar", "missing", "hours"),
    [
        ("precipitation", "standard", False, 24),
        ("precipitation", "360_day", True, 24),
        ("temperature", "noleap", True, 24),
        ("pressure", "standard", True, 6),
    ],
)
def test_lengths_of_spells(kind: str, calendar: str, missing: bool, hours: int) -> None:
    pair = pair_of(kind, calendar, missing, hours)
    maps, rows = verify(*pair, area=AREA, **OPTIONS)
    lazy = verify(*(data.chunk(time=40, lat=3) for data in pair), area=AREA, **OPTIONS)[1]
    steps = round(5 * 24 / hours)
    counts = block_weights(pair[1]["time"], block_steps=steps, samples=12, seed=1)
    found, again = of_the_whole(rows), of_the_whole(lazy)
    for name, high in (("high_spell_bias", True), ("low_spell_bias", False)):
        terms = terms_of(kind, pair, high, hours)
        cells = terms.sum(axis=1)
        expected = np.divide(*cells[:2]) - np.divide(*cells[2:])
        np.testing.assert_allclose(maps[f"x_{name}"], expected, rtol=1e-9)
        pooled = (terms * AREA.values).sum(axis=(2, 3))

        def bias(weights: np.ndarray, pooled: np.ndarray = pooled) -> float:
            days_f, starts_f, days_o, starts_o = pooled @ weights
            return days_f / starts_f - days_o / starts_o

        assert found.loc[name, "unit"] == "d"
        assert found.loc[name, "value"] == pytest.approx(bias(np.ones(counts.shape[1])), rel=1e-9)
        ends = np.quantile([bias(row) for row in counts], [0.05, 0.95])
        np.testing.assert_allclose(found.loc[name, ["lower", "upper"]].astype(float), ends, rtol=1e-9)
        assert again.loc[name, "value"] == pytest.approx(found.loc[name, "value"], rel=1e-12)
        assert f"x_{name}_by_step" not in maps
    assert not rows[rows["season"].notna()]["metric"].str.contains("spell").any()


def test_a_spell_ends_at_a_gap() -> None:
    """Rain without end, in two winters: two spells rather than one."""
    pair = pair_of("precipitation", "standard", False)
    wet = [data.assign(x=xr.full_like(data["x"], 5 / 86_400)) for data in pair]
    dry = wet[1].assign(x=wet[1]["x"].where(wet[1]["time"].dt.day % 2 == 0, 0.0))
    found = of_the_whole(verify(wet[0], dry, area=AREA, **OPTIONS)[1])["value"]
    lengths = [60, 90]  # January and February, and the next winter
    assert pair[1].sizes["time"] == sum(lengths)
    assert found["high_spell_bias"] == pytest.approx(np.mean(lengths) - 1)
    assert np.isnan(found["low_spell_bias"])  # nothing dry is predicted


# Correlation in space.


def setting_of(shape: tuple[int, int], spacing: tuple[float, float] = (1.0, 1.0)) -> Setting:
    box = (slice(0, shape[0]), slice(0, shape[1]))
    return Setting(np.ones(shape), spacing, 1, 20.0, (), box)


def means_of(forecast: np.ndarray, observation: np.ndarray, setting: Setting | None = None) -> dict[str, np.ndarray]:
    terms = LENGTH.terms(forecast, observation, setting or setting_of(forecast.shape[1:]))
    return {name: np.nanmean(values, axis=0) for name, values in terms.items()}


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


def loop_length(fields: np.ndarray, setting: Setting) -> float:
    """The distance where the correlation falls to 1/e, by masked arrays."""
    departures = np.ma.masked_invalid(fields)
    departures = departures - departures.mean(axis=(1, 2))[:, None, None]
    variance = (departures**2).mean(axis=(1, 2)).mean()
    curves, distances = [], []
    for axis in (1, 2):
        lags = setting.lags[axis - 1]
        first = np.moveaxis(departures, axis, 0)
        products = [(first[lag:] * first[: len(first) - lag]).mean(axis=(0, 2)).mean() / variance for lag in lags]
        curves.append(np.array([1.0, *products]))
        distances.append(np.array([0, *lags]) * setting.spacing[axis - 1])
    fine = np.linspace(0, min(each[-1] for each in distances), 200_001)
    mean = np.mean([np.interp(fine, each, curve) for each, curve in zip(distances, curves, strict=True)], axis=0)
    below = np.flatnonzero(mean <= 1 / np.e)
    return float(fine[below[0]]) if below.size else float(fine[-1])


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 3.0), (2.0, 1.0)])
@pytest.mark.parametrize("missing", ["none", "coast", "changing"])
def test_the_correlation_length_is_that_of_a_loop(spacing: tuple[float, float], missing: str) -> None:
    shape = (20, 24, 30)
    smooth = scipy.ndimage.gaussian_filter(noise(shape), (0, 2, 2)) + 5
    rough = scipy.ndimage.gaussian_filter(noise(shape)[::-1], (0, 1, 1)) + 5
    gaps = np.zeros(shape, dtype=bool)
    if missing != "none":
        gaps |= np.add.outer(np.arange(24), np.arange(30)) < 12
    if missing == "changing":
        gaps |= np.random.default_rng(2).random(shape) < 0.1
        gaps[3] = True
    setting = setting_of(shape[1:], spacing)
    fields = [np.where(gaps, np.nan, field) for field in (smooth, rough)]
    value = LENGTH.score(means_of(fields[0], fields[1], setting), setting)
    known = [field[~gaps.all(axis=(1, 2))] for field in fields]
    expected = loop_length(known[0], setting) - loop_length(known[1], setting)
    np.testing.assert_allclose(value, [expected], atol=1e-3)
    assert expected > 0


def test_the_length_of_fields_with_a_gaussian_correlation() -> None:
    """White noise under a Gaussian filter of sigma s has the correlation exp(-h2 / 4 s2): 1/e at a distance of 2 s."""
    setting = setting_of((96, 96), (5.0, 5.0))
    fields = [scipy.ndimage.gaussian_filter(noise((40, 96, 96)), (0, s, s), mode="wrap") for s in (2.0, 4.0)]
    value = LENGTH.score(means_of(fields[1], fields[0], setting), setting)[0]
    assert value == pytest.approx(5.0 * 2 * (4.0 - 2.0), rel=0.07)


def test_equal_and_constant_fields() -> None:
    setting = setting_of((12, 16))
    fields = noise((6, 12, 16))
    assert LENGTH.score(means_of(3 * fields + 7, fields), setting) == pytest.approx(0, abs=1e-9)
    assert np.isnan(LENGTH.score(means_of(fields, np.full(fields.shape, 280.1)), setting)).all()
    tiny = setting_of((1, 16))
    assert np.isnan(LENGTH.score(means_of(fields[:, :1], fields[:, :1], tiny), tiny)).all()


def test_a_length_beyond_half_the_domain_is_that() -> None:
    """Two halves of the domain that differ: the correlation stays above 1/e along the one axis."""
    setting = setting_of((8, 40))
    fields = np.where(np.arange(40) < 20, 1.0, -1.0) * np.ones((3, 8, 1))
    rough = noise((3, 8, 40))
    value = LENGTH.score(means_of(fields, rough, setting), setting)[0]
    assert value == pytest.approx(4 - loop_length(rough, setting), abs=1e-3)


def test_it_is_a_score() -> None:
    assert isinstance(METRICS["correlation_length_bias"].source, Structure)
    assert METRICS["correlation_length_bias"].unit == "km"
