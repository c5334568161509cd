"""Scores of the members of an ensemble, against loops over cells, steps and members, and closed forms."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import norm
from score_rows import of_the_whole

from dl4ds_core.ensembles import ensemble_mean
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.grids.sphere import mean_spacing
from dl4ds_core.verification import METRICS, Metric, Structure, bias, ensemble, table, verify

FloatArray = npt.NDArray[np.float64]

STEPS, ROWS, COLUMNS = 40, 12, 13
OPTIONS: dict[str, Any] = {
    "data_ranges": {"pr": 20.0}, "block": "4d", "samples": 30, "seed": 1, "scale": 2, "thresholds": {"pr": [0.5, 2.0]}
}  # fmt: skip
OF_MEMBERS = [name for name, metric in METRICS.items() if metric.members]


def made(members: int, *, calibrated: bool = False, steps: int = STEPS, seed: int = 3) -> tuple[xr.Dataset, xr.Dataset]:
    """Members and truth of a precipitation, mm/d, mostly dry: with ties, and cells without truth on some steps."""
    random = np.random.default_rng(seed)
    shape = (members + 1, steps, ROWS, COLUMNS)
    drawn = random.normal(size=shape[1:]) + random.normal(size=shape)
    if not calibrated:
        drawn[1:] = 0.3 + 0.7 * drawn[1:]
    values = np.maximum(drawn, 0.0)
    if not calibrated:
        values[0][random.random(shape[1:]) < 0.1] = np.nan
        values[0, 5] = np.nan  # a step without any
        values[0, :, 2, 3] = np.nan
    time = pd.date_range("2001-01-01", periods=steps)
    coordinates = {"time": time, "lat": np.linspace(0, 80, ROWS), "lon": np.linspace(0, 24, COLUMNS)}
    attributes = {"units": "mm d-1", "long_name": "precipitation", "standard_name": "lwe_precipitation_rate"}
    truth = xr.DataArray(values[0], coordinates, ("time", "lat", "lon"), "pr", attributes)
    numbers = {"member": np.arange(members), **coordinates}
    prediction = xr.DataArray(values[1:], numbers, ("member", "time", "lat", "lon"), "pr", attributes)
    return prediction.to_dataset(), truth.to_dataset()


@pytest.fixture(scope="module")
def both() -> tuple[xr.Dataset, xr.Dataset]:
    return made(4)


@pytest.fixture(scope="module")
def results(both: tuple[xr.Dataset, xr.Dataset], area: xr.DataArray) -> tuple[xr.Dataset, pd.DataFrame]:
    return verify(*both, area=area, **OPTIONS)


@pytest.fixture(scope="module")
def values(results: tuple[xr.Dataset, pd.DataFrame]) -> pd.Series:
    return of_the_whole(results[1])["value"]


def cases(both: tuple[xr.Dataset, xr.Dataset], area: xr.DataArray) -> list[tuple[FloatArray, float, float]]:
    """Members, truth and area of each cell and step that has a truth."""
    members, truth = both[0]["pr"].values, both[1]["pr"].values
    return [
        (members[:, step, row, column], truth[step, row, column], float(area[row, column]))
        for step, row, column in np.ndindex(truth.shape)
        if not np.isnan(truth[step, row, column])
    ]


def mean(values: list[float], weights: list[float]) -> float:
    return float(np.average(values, weights=weights))


def naive_crps(members: FloatArray, truth: float) -> float:
    m = len(members)
    apart = sum(abs(one - other) for one, other in itertools.product(members, members))
    return sum(abs(one - truth) for one in members) / m - apart / (2 * m * (m - 1))


def test_crps(both: Any, area: xr.DataArray, results: Any, values: pd.Series) -> None:
    known = cases(both, area)
    expected = [naive_crps(members, truth) for members, truth, _ in known]
    assert values["crps"] == pytest.approx(mean(expected, [each for *_, each in known]))
    cell = both[0]["pr"].values[:, :, 4, 5], both[1]["pr"].values[:, 4, 5]
    local = [naive_crps(cell[0][:, step], truth) for step, truth in enumerate(cell[1]) if not np.isnan(truth)]
    assert float(results[0]["pr_crps"][4, 5]) == pytest.approx(np.mean(local))
    assert np.isnan(results[0]["pr_crps"][2, 3])
    assert results[0]["pr_crps"].attrs == {"long_name": "CRPS of precipitation", "units": "mm d-1"}


def test_crps_of_gaussian_members_is_that_of_the_distribution() -> None:
    random = np.random.default_rng(0)
    members = xr.DataArray(1.0 + 2.0 * random.normal(size=(5, 4000, 10, 10)), dims=("member", "time", "y", "x"))
    truth = xr.DataArray(np.full((4000, 10, 10), 2.5), dims=("time", "y", "x"))
    found = ensemble.crps(members, truth, data_range=1.0)
    z = (2.5 - 1.0) / 2.0
    expected = 2.0 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    # Fair: already of five members.
    assert float(found.mean()) == pytest.approx(expected, rel=5e-3)


def test_spread_skill(both: Any, area: xr.DataArray, values: pd.Series) -> None:
    known = cases(both, area)
    weights = [each for *_, each in known]
    variance = mean([float(np.var(members, ddof=1)) for members, *_ in known], weights)
    square = mean([float((members.mean() - truth) ** 2) for members, truth, _ in known], weights)
    assert values["spread_skill"] == pytest.approx(math.sqrt(variance * 5 / 4 / square))
    assert math.sqrt(square) == pytest.approx(values["rmse"])


def naive_ranks(known: list[tuple[FloatArray, float, float]]) -> FloatArray:
    shares = np.zeros(len(known[0][0]) + 1)
    for members, truth, weight in known:
        possible = range(int((members < truth).sum()), int((members <= truth).sum()) + 1)
        for rank in possible:
            shares[rank] += weight / len(possible)
    return shares / shares.sum()


def test_rank_histogram_divides_ties(both: Any, area: xr.DataArray, results: Any, values: pd.Series) -> None:
    known = cases(both, area)
    assert sum(bool((members == truth).any()) for members, truth, _ in known) > 500
    expected = naive_ranks(known)
    np.testing.assert_allclose(results[0]["pr_rank_histogram"], expected, rtol=1e-12)
    np.testing.assert_array_equal(results[0]["rank"], np.arange(5))
    assert values["rank_deviation"] == pytest.approx(0.5 * np.abs(expected - 0.2).sum())


@pytest.mark.parametrize("place", [0, 1])
def test_brier_and_reliability(place: int, both: Any, area: xr.DataArray, results: Any) -> None:
    threshold = OPTIONS["thresholds"]["pr"][place]
    known = cases(both, area)
    weights = [each for *_, each in known]
    counts = [int((members >= threshold).sum()) for members, *_ in known]
    events = [float(truth >= threshold) for _, truth, _ in known]
    fair = [(k / 4 - event) ** 2 - k * (4 - k) / (4**2 * 3) for k, event in zip(counts, events, strict=True)]
    rows = results[1][results[1]["threshold"] == threshold].set_index("metric")["value"]
    assert rows["brier"] == pytest.approx(mean(fair, weights))
    expected = 0.0
    for k in range(5):
        chosen = [number for number, count in enumerate(counts) if count == k]
        share = sum(weights[number] for number in chosen) / sum(weights)
        frequency = mean([events[number] for number in chosen], [weights[number] for number in chosen])
        expected += share * (k / 4 - frequency) ** 2
        for name, value in (("frequency", frequency), ("forecast", k / 4), ("count", share)):
            assert float(results[0][f"pr_reliability_{name}"][place, k]) == pytest.approx(value)
    assert rows["reliability"] == pytest.approx(expected)
    assert results[0]["threshold"].values.tolist() == [0.5, 2.0]


def test_the_parts_of_the_brier_score_add_up(both: Any, area: xr.DataArray, results: Any) -> None:
    """Murphy (1973): reliability - resolution + uncertainty, where each probability has a bin of its own."""
    known = cases(both, area)
    weights = [each for *_, each in known]
    plain = mean([((members >= 0.5).mean() - (truth >= 0.5)) ** 2 for members, truth, _ in known], weights)
    maps = results[0].isel(threshold=0)
    frequency, share = maps["pr_reliability_frequency"].values, maps["pr_reliability_count"].values
    base = (share * frequency).sum()
    rows = results[1][results[1]["threshold"] == 0.5].set_index("metric")["value"]
    resolution = (share * (frequency - base) ** 2).sum()
    assert rows["reliability"] - resolution + base * (1 - base) == pytest.approx(plain)


def test_large_ensembles_have_eleven_bins(area: xr.DataArray) -> None:
    maps, _ = verify(*made(24, steps=12), area=area, **OPTIONS)
    assert maps.sizes["bin"] == 11
    forecast = maps["pr_reliability_forecast"].values
    assert (np.diff(forecast[0]) > 0).all()
    np.testing.assert_allclose(maps["pr_reliability_count"].sum("bin"), 1)


def naive_energy(members: FloatArray, truth: FloatArray, area: FloatArray) -> float:
    valid = ~np.isnan(truth)
    weights = area[valid] / area[valid].sum()

    def norm_of(field: FloatArray) -> float:
        return math.sqrt(float((weights * field[valid] ** 2).sum()))

    m = len(members)
    apart = sum(norm_of(one - other) for one, other in itertools.product(members, members))
    return sum(norm_of(one - truth) for one in members) / m - apart / (2 * m * (m - 1))


def test_energy_score(both: Any, area: xr.DataArray, values: pd.Series) -> None:
    members, truth = both[0]["pr"].values, both[1]["pr"].values
    expected = [
        naive_energy(members[:, step], truth[step], area.values)
        for step in range(STEPS)
        if not np.isnan(truth[step]).all()
    ]
    assert len(expected) == STEPS - 1
    assert values["energy_score"] == pytest.approx(np.mean(expected))


def test_spectra_of_members_are_not_that_of_their_mean(area: xr.DataArray) -> None:
    both = made(3, calibrated=True, steps=150)
    maps, rows = verify(*both, area=area, **OPTIONS)
    alone = [verify(both[0].isel(member=number), both[1], area=area, **OPTIONS)[0] for number in range(3)]
    spectra = [each["pr_spectrum_prediction"] for each in alone]
    np.testing.assert_allclose(maps["pr_spectrum_members"], sum(spectra) / 3, rtol=1e-12)
    values = of_the_whole(rows)["value"]
    ratios = maps["pr_spectrum_members"] / maps["pr_spectrum_truth"]
    distance = float(np.sqrt(((10 * np.log10(ratios)) ** 2).mean()))
    assert values["member_spectral_distance"] == pytest.approx(distance)
    numbers = maps["wavenumber"].values
    grid = Grid.of(both[1])
    short = ratios.values[numbers * 4 * OPTIONS["scale"] * max(mean_spacing(grid.lat, grid.lon)) > 1]
    assert 0 < short.size < numbers.size
    assert values["member_short_spectral_distance"] == pytest.approx(np.sqrt(((10 * np.log10(short)) ** 2).mean()))
    assert values["member_power_ratio"] == pytest.approx(1.0, abs=0.1)
    assert values["power_ratio"] < 0.8


def test_a_calibrated_ensemble_is_seen_to_be_one(area: xr.DataArray) -> None:
    maps, rows = verify(*made(9, calibrated=True, steps=300), area=area, **OPTIONS)
    values = of_the_whole(rows)["value"]
    assert values["spread_skill"] == pytest.approx(1.0, abs=0.01)
    assert values["rank_deviation"] < 0.01
    np.testing.assert_allclose(maps["pr_rank_histogram"], 0.1, atol=0.004)
    narrow = made(9, calibrated=True, steps=300)
    middle = narrow[0].mean("member")
    narrow[0]["pr"] = middle["pr"] + 0.5 * (narrow[0]["pr"] - middle["pr"])
    narrow[0]["pr"].attrs = narrow[1]["pr"].attrs
    worse = of_the_whole(verify(*narrow, area=area, **OPTIONS)[1])["value"]
    assert worse["spread_skill"] == pytest.approx(0.5, abs=0.01)
    assert worse["rank_deviation"] > 0.1
    assert worse["crps"] > values["crps"]


def test_other_scores_are_those_of_the_mean(both: Any, area: xr.DataArray, results: Any) -> None:
    average = both[0].mean("member", keep_attrs=True)
    maps, rows = verify(average, both[1], area=area, **OPTIONS)
    of_mean = results[1][~results[1]["metric"].isin(OF_MEMBERS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_mean, rows, rtol=1e-9)
    further = ["crps", "rank_histogram", *(f"reliability_{name}" for name in ("frequency", "forecast", "count"))]
    without = results[0].drop_vars([*(f"pr_{name}" for name in further), "rank", "threshold"])
    xr.testing.assert_allclose(without, maps)


def test_one_member_has_no_scores_of_members(both: Any, area: xr.DataArray) -> None:
    maps, rows = verify(both[0].isel(member=[0]), both[1], area=area, **OPTIONS)
    plain = verify(both[0].isel(member=0, drop=True), both[1], area=area, **OPTIONS)
    pd.testing.assert_frame_equal(rows, plain[1])
    xr.testing.assert_identical(maps, plain[0])


def test_results_do_not_depend_on_pieces(
    both: Any, area: xr.DataArray, results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "_ARRAY_BYTES", 8 * ROWS * COLUMNS * 4 * 3)
    sizes = [chunk["time"].stop - chunk["time"].start for chunk in table._time_chunks(both[0]["pr"])]
    assert set(sizes) == {3}
    lazy = both[0].chunk(member=2, time=7).transpose("time", "lat", "member", "lon"), both[1].chunk(time=9)
    maps, rows = verify(*lazy, area=area, **OPTIONS)
    xr.testing.assert_allclose(maps, results[0], rtol=1e-10)
    pd.testing.assert_frame_equal(rows, results[1], rtol=1e-8)


def test_regions_and_seasons_of_the_crps(area: xr.DataArray) -> None:
    both = made(3, steps=70)
    north = xr.ones_like(area, dtype=bool).where(area["lat"] > 40, False).astype(bool)
    rows = verify(*both, area=area, regions={"north": north, "south": ~north}, **OPTIONS)[1]
    crps = rows[rows["metric"] == "crps"]
    whole = float(crps[crps[["season", "region"]].isna().all(axis=1)]["value"].iloc[0])
    assert set(crps["region"].dropna()) == {"north", "south"}
    assert set(crps["season"].dropna()) == {"DJF", "MAM"}
    part = {name: both[1].isel(lat=rows_) for name, rows_ in (("south", both[1]["lat"].values <= 40),)}
    chosen = cases((both[0].sel(lat=part["south"]["lat"]), part["south"]), area.sel(lat=part["south"]["lat"]))
    expected = mean([naive_crps(members, truth) for members, truth, _ in chosen], [each for *_, each in chosen])
    assert float(crps[crps["region"] == "south"]["value"].iloc[0]) == pytest.approx(expected)
    assert crps["value"].min() < whole < crps["value"].max()
    assert (crps["lower"] < crps["value"]).all()
    assert (crps["value"] < crps["upper"]).all()


def test_intervals_hold_the_value(results: Any) -> None:
    rows = results[1][results[1]["metric"].isin(OF_MEMBERS)]
    assert set(rows["metric"]) == set(OF_MEMBERS)
    rows = rows[~rows["metric"].str.startswith("member_")]  # no box without missing cells is large enough
    assert (rows["lower"] < rows["upper"]).all()
    assert rows["value"].between(rows["lower"], rows["upper"]).all()


def test_a_member_that_is_missing_is_refused(both: Any, area: xr.DataArray) -> None:
    broken = both[0].copy(deep=True)
    step, row, column = np.argwhere(~np.isnan(both[1]["pr"].values))[7]
    broken["pr"][2, step, row, column] = np.nan
    with pytest.raises(DataError, match="expected no missing values in the prediction; found 1 of"):
        verify(broken, both[1], area=area, **OPTIONS)


def test_adding_a_score_of_members(both: Any, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def spread(members: FloatArray, observation: FloatArray, setting: Any) -> dict[str, FloatArray]:
        assert members.shape[1:] == observation.shape == (members.shape[1], *setting.area.shape)
        return {"range": np.ptp(np.nan_to_num(members), axis=0).mean(axis=(1, 2))}

    source = Structure(spread, lambda means, setting: np.atleast_1d(means["range"]))
    monkeypatch.setitem(METRICS, "range", Metric("range", "range", "same", 0, source, "pooled", members=True))
    assert "range" in verify(*both, area=area, **OPTIONS)[1]["metric"].tolist()
    assert "range" not in verify(ensemble_mean(both[0]), both[1], area=area, **OPTIONS)[1]["metric"].tolist()
    with pytest.raises(TypeError, match="of members, needs a structure or a function of fields"):
        Metric("other", "other", "1", 0, bias, members=True)
