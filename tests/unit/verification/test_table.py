"""Verification of a data set: maps, domain values, intervals, and each refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from score_rows import of_the_whole

from dl4ds_core import verification
from dl4ds_core.errors import DataError
from dl4ds_core.verification import (
    METRICS,
    block_weights,
    collecting,
    distribution,
    pearson,
    pieces,
    rmse,
    ssim,
    table,
    verify,
)

Pair = tuple[xr.DataArray, xr.DataArray]
Datasets = tuple[xr.Dataset, xr.Dataset]
Results = tuple[xr.Dataset, pd.DataFrame]


def verified(both: Sequence[xr.Dataset], area: xr.DataArray, **options: Any) -> Results:
    prediction, truth = both
    ranges = dict.fromkeys((str(name) for name in truth.data_vars), 20.0)
    defaults: dict[str, Any] = {
        "data_ranges": ranges,
        "block": "4h",
        "samples": 60,
        "confidence": 0.9,
        "seed": 1,
        "scale": 2,
    }
    return verify(prediction, truth, area=area, **(defaults | options))


@pytest.fixture(scope="module")
def results(datasets: Datasets, area: xr.DataArray) -> Results:
    return verified(datasets, area)


@pytest.fixture(scope="module")
def values(results: Results) -> pd.DataFrame:
    return of_the_whole(results[1])


LIBRARY = ("bias", "mae", "rmse", "pearson", "spearman", "std_ratio", "perkins", "wasserstein")
"""Scores of series that are public functions."""


def of_any_record() -> list[str]:
    """Scores that need no years and no members."""
    return [
        name
        for name, metric in METRICS.items()
        if not (metric.members or isinstance(metric.source, verification.Index))
    ]


def test_rows(results: Results) -> None:
    _, rows = results
    keys = ["variable", "metric", "unit", "threshold", "scale", "season", "region"]
    assert list(rows.columns) == [*keys, "value", "lower", "upper"]
    assert list(rows["metric"].unique()) == of_any_record()
    assert not rows.duplicated(keys).any()
    assert (rows["variable"] == "t2m").all()
    assert (rows["lower"] < rows["upper"]).all()
    assert rows[["season", "region"]].isna().all(axis=None)
    rest = rows.set_index("metric").drop(
        ["spectral_distance", "short_spectral_distance", "fss"]
    )  # what is drawn twice is nearer or farther
    assert rest["value"].between(rest["lower"], rest["upper"]).all()
    in_kelvin = {"bias", "mae", "rmse", "quantile_bias", "wasserstein", "coarse_rmse"}
    expected = dict.fromkeys(of_any_record(), "1") | dict.fromkeys(in_kelvin, "K")
    expected |= {
        "psnr": "dB",
        "spectral_distance": "dB",
        "short_spectral_distance": "dB",
        "correlation_length_bias": "km",
    }
    expected |= {"high_spell_bias": "d", "low_spell_bias": "d"}
    assert rows.groupby("metric")["unit"].unique().map(list).to_dict() == {
        name: [unit] for name, unit in expected.items()
    }


def test_scores_with_several_values(results: Results, datasets: Datasets, area: xr.DataArray) -> None:
    _, rows = results
    several = rows[rows["threshold"].notna()]
    assert list(several["metric"].unique()) == ["quantile_bias", "fss"]
    percentiles = several[several["metric"] == "quantile_bias"]
    assert percentiles["threshold"].tolist() == list(distribution.PERCENTILES)
    assert percentiles["scale"].isna().all()
    events = np.percentile(datasets[1]["t2m"], [90, 99])
    fractions = several[several["metric"] == "fss"]
    np.testing.assert_allclose(fractions["threshold"], np.repeat(events, 3), rtol=1e-12)
    assert fractions["scale"].tolist() == [1, 3, 9, 1, 3, 9]
    given = verified(datasets, area, thresholds={"t2m": [284.0]})[1]
    assert given.loc[given["metric"] == "fss", "threshold"].tolist() == [284.0] * 3
    pd.testing.assert_frame_equal(given[given["metric"] != "fss"], rows[rows["metric"] != "fss"])


def test_pooled_values(values: pd.DataFrame, fields: Pair, area: xr.DataArray) -> None:
    error = (fields[0] - fields[1]).values
    weights = np.broadcast_to(area.values, error.shape)
    assert values.loc["bias", "value"] == pytest.approx(np.average(error, weights=weights), rel=1e-10)
    assert values.loc["mae", "value"] == pytest.approx(np.average(np.abs(error), weights=weights), rel=1e-10)
    assert values.loc["rmse", "value"] == pytest.approx(np.sqrt(np.average(error**2, weights=weights)), rel=1e-10)
    for name in ("bias", "mae", "rmse"):
        library = float(getattr(verification, name)(*fields, weights=area))
        assert values.loc[name, "value"] == pytest.approx(library, rel=1e-10)
    local = ssim(*fields, data_range=20.0).values
    assert values.loc["ssim", "value"] == pytest.approx(np.average(local, weights=weights), rel=1e-10)


def test_values_by_cells(values: pd.DataFrame, fields: Pair, area: xr.DataArray) -> None:
    f, o = (field.values.reshape(40, -1) for field in fields)
    correlations = [np.corrcoef(f[:, cell], o[:, cell])[0, 1] for cell in range(f.shape[1])]
    weights = area.values.ravel()
    assert values.loc["pearson", "value"] == pytest.approx(np.average(correlations, weights=weights), rel=1e-10)
    ratios = f.std(axis=0) / o.std(axis=0)
    assert values.loc["std_ratio", "value"] == pytest.approx(np.average(ratios, weights=weights), rel=1e-10)
    ranks = [pd.DataFrame(series).rank().values for series in (f, o)]
    correlations = [np.corrcoef(ranks[0][:, cell], ranks[1][:, cell])[0, 1] for cell in range(f.shape[1])]
    assert values.loc["spearman", "value"] == pytest.approx(np.average(correlations, weights=weights), rel=1e-10)


def test_maps(results: Results, fields: Pair) -> None:
    maps, _ = results
    percentiles = [f"quantile_bias_{percentile:g}" for percentile in distribution.PERCENTILES]
    names = [name for name in of_any_record() if not isinstance(METRICS[name].source, verification.Structure)]
    names[names.index("quantile_bias") : names.index("quantile_bias") + 1] = percentiles
    assert [name for name, field in maps.data_vars.items() if "lat" in field.dims] == [f"t2m_{name}" for name in names]
    for name in names:
        assert maps[f"t2m_{name}"].dims == ("lat", "lon")
        np.testing.assert_array_equal(maps[f"t2m_{name}"]["lat"], fields[1]["lat"])
    expected = {name: getattr(verification, name)(*fields, reduce_dims="time") for name in LIBRARY}
    quantiles = verification.quantile_bias(*fields, reduce_dims="time")
    expected |= {name: quantiles[..., place] for place, name in enumerate(percentiles)}
    expected |= {"ssim": ssim(*fields, data_range=20.0).mean("time")}
    for name, field in expected.items():
        np.testing.assert_allclose(maps[f"t2m_{name}"], field, rtol=1e-10)
    assert maps["t2m_rmse"].attrs == {"long_name": "RMSE of 2 m temperature", "units": "K"}
    assert maps["t2m_quantile_bias_99"].attrs == {
        "long_name": "bias of percentiles (99) of 2 m temperature", "units": "K"
    }  # fmt: skip
    assert maps["t2m_ssim"].attrs["units"] == "1"
    assert maps["t2m_ssim"].attrs["comment"] == "Gaussian window of 11 cells"


def test_a_domain_value_by_cells_is_the_mean_of_the_map(results: Results, area: xr.DataArray) -> None:
    maps, rows = results
    chosen = [name for name in of_any_record() if METRICS[name].domain == "cells"]
    assert len(chosen) == 9
    for row in rows[rows["metric"].isin(chosen)].itertuples():
        name = f"t2m_{row.metric}" if np.isnan(row.threshold) else f"t2m_{row.metric}_{row.threshold:g}"
        assert row.value == pytest.approx(float(maps[name].weighted(area).mean()), rel=1e-12)


def test_scores_of_each_step(results: Results, fields: Pair, area: xr.DataArray) -> None:
    maps, _ = results
    for name in ("bias", "mae", "rmse"):
        expected = getattr(verification, name)(*fields, reduce_dims=["lat", "lon"], weights=area)
        xr.testing.assert_allclose(maps[f"t2m_{name}_by_step"].drop_attrs(), expected.drop_attrs(), rtol=1e-12)
        assert maps[f"t2m_{name}_by_step"].attrs == {
            "long_name": f"{METRICS[name].long_name} of 2 m temperature", "units": "K"
        }  # fmt: skip


def test_resampled_scores_give_the_intervals(results: Results, values: pd.DataFrame) -> None:
    maps, _ = results
    for name in ("bias", "mae", "rmse"):
        resampled = maps[f"t2m_{name}_resampled"]
        assert resampled.dims == ("sample",)
        assert resampled.size == 60
        ends = np.quantile(resampled, [0.05, 0.95])
        np.testing.assert_allclose(values.loc[name, ["lower", "upper"]].astype(float), ends, rtol=1e-12)


def test_spectra(results: Results, datasets: Datasets, area: xr.DataArray) -> None:
    maps, _ = results
    double = datasets[1].assign(t2m=datasets[1]["t2m"] * 2).assign(t2m=lambda data: data["t2m"].assign_attrs(units="K"))
    other, _ = verified((double, datasets[1]), area)
    truth = maps["t2m_spectrum_truth"]
    assert truth.dims == ("wavenumber",)
    assert truth["wavenumber"].attrs["units"] == "km-1"
    assert truth.attrs["units"] == "(K)2"
    assert truth.attrs["long_name"] == "power spectrum of 2 m temperature, truth"
    xr.testing.assert_identical(other["t2m_spectrum_truth"], truth)
    np.testing.assert_allclose(other["t2m_spectrum_prediction"], 4 * truth, rtol=1e-10)


def test_intervals_are_those_of_an_explicit_bootstrap(values: pd.DataFrame, fields: Pair, area: xr.DataArray) -> None:
    """The fields drawn and scored anew, resample by resample."""
    counts = block_weights(fields[0]["time"], block_steps=4, samples=60, seed=1)
    found: dict[str, list[float]] = {"rmse": [], "pearson": []}
    for row in counts:
        drawn = np.repeat(np.arange(40), row)
        pair = [field.isel(time=drawn).drop_vars("time") for field in fields]
        found["rmse"].append(float(rmse(*pair, weights=area)))
        cells = pearson(*pair, reduce_dims="time")
        found["pearson"].append(float(cells.weighted(area).mean()))
    for name, scores in found.items():
        expected = np.quantile(scores, [0.05, 0.95])
        np.testing.assert_allclose(values.loc[name, ["lower", "upper"]].astype(float), expected, rtol=1e-9)


def test_intervals_without_moments_are_the_spread_of_resamples(
    datasets: Datasets, fields: Pair, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all cells here; their median is moved to the value of the record."""
    monkeypatch.setattr(collecting, "SOME_CELLS", fields[0][0].size)
    rows = verified(datasets, area, samples=10)[1].set_index(["metric", "threshold"])
    counts = block_weights(fields[0]["time"], block_steps=4, samples=10, seed=1)
    for name in ("quantile_bias", "perkins", "wasserstein"):
        resampled = []
        for row in counts:
            drawn = np.repeat(np.arange(40), row)
            pair = [field.isel(time=drawn).drop_vars("time") for field in fields]
            cells = getattr(verification, name)(*pair, reduce_dims="time")
            resampled.append(cells.weighted(area).mean(("lat", "lon")).values)
        whole = getattr(verification, name)(*fields, reduce_dims="time").weighted(area).mean(("lat", "lon")).values
        expected = np.quantile(resampled + whole - np.median(resampled, axis=0), [0.05, 0.95], axis=0)
        found = rows.loc[[name], ["lower", "upper"]].astype(float).values
        np.testing.assert_allclose(found, np.atleast_2d(expected.T), rtol=1e-9)


def test_a_wider_confidence_gives_wider_intervals(results: Results, datasets: Datasets, area: xr.DataArray) -> None:
    narrow, wide = verified(datasets, area, confidence=0.5)[1], results[1]
    pd.testing.assert_series_equal(narrow["value"], wide["value"])
    assert (narrow["upper"] - narrow["lower"] < wide["upper"] - wide["lower"]).all()


def test_repeatable_and_independent_of_the_pieces(
    results: Results, datasets: Datasets, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, rows = results
    pd.testing.assert_frame_equal(rows, verified(datasets, area)[1], check_exact=True)
    for cells in (7, 30):  # less and more than one row of cells
        monkeypatch.setattr(table, "_ARRAY_BYTES", cells * 60 * 8)
        again = verified(datasets, area)
        xr.testing.assert_allclose(again[0], maps, rtol=1e-12)
        pd.testing.assert_frame_equal(again[1], rows, rtol=1e-10)


def test_threads_and_the_pieces_they_work_on(
    results: Results, datasets: Datasets, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces change rounding at most; how many threads work on them changes nothing at all."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2**13)
    one, three = (verified(datasets, area, threads=threads) for threads in (1, 3))
    xr.testing.assert_identical(one[0], three[0])
    pd.testing.assert_frame_equal(one[1], three[1], check_exact=True)
    xr.testing.assert_allclose(one[0], results[0], rtol=1e-12)
    pd.testing.assert_frame_equal(one[1], results[1], rtol=1e-10)


def test_what_fails_in_a_thread_is_what_is_raised(datasets: Datasets, area: xr.DataArray) -> None:
    narrow = [data.isel(lat=slice(0, 2)) for data in datasets]
    with pytest.raises(DataError, match="3 x 3 cells or more; found 2 x 13"):
        verified(narrow, area.isel(lat=slice(0, 2)), threads=2)


def test_dask_and_files(datasets: Datasets, area: xr.DataArray, tmp_path: Path) -> None:
    single = [data.astype(np.float32) for data in datasets]
    _, expected = verified(single, area)
    lazy = [data.chunk(time=9, lat=5) for data in single]
    pd.testing.assert_frame_equal(verified(lazy, area)[1], expected, rtol=1e-12)
    for name, data in zip(("prediction", "truth"), single, strict=True):
        data.to_netcdf(tmp_path / f"{name}.nc")
    with xr.open_dataset(tmp_path / "prediction.nc") as one, xr.open_dataset(tmp_path / "truth.nc") as two:
        pd.testing.assert_frame_equal(verified((one, two), area)[1], expected, rtol=1e-12)


def test_a_calendar_of_360_days(datasets: Datasets, area: xr.DataArray) -> None:
    years = xr.date_range("2040-06-01", periods=40, freq="YS-JUN", calendar="360_day", use_cftime=True)
    annual = [data.assign_coords(time=years) for data in datasets]
    rows = verified(annual, area, block="10y")[1]
    assert rows["lower"].notna().all()


UNDEFINED_OF_CONSTANTS = [
    "relative_rmse", "pearson", "deseasonalised_pearson", "spearman", "std_ratio", "memory_bias"
]  # fmt: skip
"""Scores of series that a cell whose truth is constant has not."""


def test_cells_of_constant_series_are_left_out(results: Results, datasets: Datasets, area: xr.DataArray) -> None:
    flat = [data.copy(deep=True) for data in datasets]
    flat[1]["t2m"][:, :6] = 280.1
    maps, rows = verified(flat, area)
    assert maps["t2m_pearson"][:6].isnull().all()
    assert maps["t2m_pearson"][6:].notnull().all()
    assert maps["t2m_rmse"].notnull().all()
    assert rows[["value", "lower", "upper"]].notna().all(axis=None)
    rest = [data.isel(lat=slice(6, None)) for data in datasets]
    _, expected = verified(rest, area[6:])
    for name in UNDEFINED_OF_CONSTANTS:
        row, other = (of_the_whole(frame).loc[name, ["value", "lower", "upper"]] for frame in (rows, expected))
        np.testing.assert_allclose(row.astype(float), other.astype(float), rtol=1e-9)
    assert not results[1].equals(rows)


def test_all_cells_constant(datasets: Datasets, area: xr.DataArray) -> None:
    flat = xr.full_like(datasets[1], 280.1).assign(t2m=xr.full_like(datasets[1]["t2m"], 280.1))
    rows = verified((datasets[0], flat), area)[1].set_index("metric")
    undefined = [*UNDEFINED_OF_CONSTANTS, "pattern_correlation", "spectral_distance", "power_ratio"]
    undefined += ["short_spectral_distance", "subgrid_power_ratio", "correlation_length_bias"]
    assert rows.loc[undefined, ["value", "lower", "upper"]].isna().all(axis=None)
    assert rows.drop(undefined)["value"].notna().all()


def test_several_predictands(datasets: Datasets, area: xr.DataArray) -> None:
    both = [data.assign(pr=(data["t2m"] - 270).assign_attrs(units="mm day-1")) for data in datasets]
    both[1]["time_bnds"] = (("time", "bnds"), np.zeros((40, 2)))
    maps, rows = verified(both, area, data_ranges={"t2m": 20.0, "pr": 5.0})
    assert rows["variable"].tolist() == ["t2m"] * (len(rows) // 2) + ["pr"] * (len(rows) // 2)
    one, other = (of_the_whole(rows[rows["variable"] == name]) for name in ("t2m", "pr"))
    assert list(one.index) == list(other.index)
    assert (one.loc["rmse", "unit"], other.loc["rmse", "unit"]) == ("K", "mm day-1")
    assert one.loc["rmse", "value"] == pytest.approx(other.loc["rmse", "value"], rel=1e-12)
    assert len([name for name in maps.data_vars if name.startswith("pr_")]) == len(maps.data_vars) // 2
    xr.testing.assert_allclose(maps["pr_spectrum_truth"].drop_attrs(), maps["t2m_spectrum_truth"].drop_attrs())


def test_another_order_of_dimensions(datasets: Datasets, area: xr.DataArray) -> None:
    turned = [data.transpose("lon", "time", "lat") for data in datasets]
    expected, result = verified(datasets, area)[1], verified(turned, area.transpose("lon", "lat"))[1]
    pd.testing.assert_frame_equal(result, expected, rtol=1e-12)


def without_units(data: xr.Dataset) -> xr.Dataset:
    data["t2m"].attrs = {}
    return data


def with_missing(data: xr.Dataset) -> xr.Dataset:
    data["t2m"][3, :2, 0] = np.nan
    return data


def in_360_days(data: xr.Dataset) -> xr.Dataset:
    hours = xr.date_range("2019-03-01", periods=40, freq="h", calendar="360_day", use_cftime=True)
    return data.assign_coords(time=hours)


REFUSED: dict[str, tuple[Callable[[xr.Dataset], xr.Dataset], str]] = {
    "names": (lambda data: data.rename(t2m="tas"), r"\['t2m'\]; found \['tas'\]"),
    "no predictand": (lambda data: data.drop_vars("t2m"), r"found \[\]"),
    "times": (lambda data: data.isel(time=slice(1, None)), "equal times.*40 from.*39 from"),
    "shifted times": (
        lambda data: data.assign_coords(time=data["time"] + np.timedelta64(1, "h")),
        "equal times",
    ),
    "calendar": (in_360_days, "equal times.*proleptic_gregorian.*360_day"),
    "latitudes": (lambda data: data.isel(lat=slice(None, None, -1)), "equal lat of truth and the prediction"),
    "longitudes": (lambda data: data.isel(lon=slice(2)), "equal lon of truth and the prediction"),
    "units": (lambda data: data.assign(t2m=data["t2m"].assign_attrs(units="degC")), "t2m: .*'K' and 'degC'"),
    "no units": (without_units, "'K' and None"),
    "missing": (with_missing, "t2m: expected no missing values in the prediction; found 2 of 6240"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_predictions_that_are_refused(case: str, datasets: Datasets, area: xr.DataArray) -> None:
    change, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        verified((change(datasets[0].copy(deep=True)), datasets[1]), area)


def test_truth_without_units(datasets: Datasets, area: xr.DataArray) -> None:
    both = [without_units(data.copy(deep=True)) for data in datasets]
    with pytest.raises(DataError, match="None and None"):
        verified(both, area)


def test_areas_that_are_refused(datasets: Datasets, area: xr.DataArray) -> None:
    with pytest.raises(DataError, match="equal lat of truth and the cell areas"):
        verified(datasets, area[1:])
    with pytest.raises(DataError, match="positive cell areas"):
        verified(datasets, area * 0)


@pytest.mark.parametrize("ranges", [{}, {"t2m": 0.0}, {"t2m": np.nan}])
def test_data_ranges_that_are_refused(ranges: dict[str, float], datasets: Datasets, area: xr.DataArray) -> None:
    with pytest.raises(DataError, match="t2m: expected a positive data range"):
        verified(datasets, area, data_ranges=ranges)


def test_blocks_that_are_refused(datasets: Datasets, area: xr.DataArray) -> None:
    with pytest.raises(DataError, match="two blocks or more"):
        verified(datasets, area, block="24h")
