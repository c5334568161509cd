"""Verification of a data set: maps, domain values, intervals, and each refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.errors import DataError
from dl4ds_core.verification import METRICS, block_weights, ssim, table, verify

Pair = tuple[xr.DataArray, xr.DataArray]
Datasets = tuple[xr.Dataset, xr.Dataset]


def verified(both: Sequence[xr.Dataset], area: xr.DataArray, **options: Any) -> tuple[xr.Dataset, pd.DataFrame]:
    prediction, truth = both
    ranges = dict.fromkeys((str(name) for name in truth.data_vars), 20.0)
    defaults: dict[str, Any] = {
        "data_ranges": ranges,
        "block": "4h",
        "samples": 60,
        "confidence": 0.9,
        "seed": 1,
    }
    return verify(prediction, truth, area=area, **(defaults | options))


@pytest.fixture
def values(datasets: Datasets, area: xr.DataArray) -> pd.DataFrame:
    return verified(datasets, area)[1].set_index("metric")


def test_rows(values: pd.DataFrame) -> None:
    assert list(values.index) == list(METRICS)
    assert list(values.columns) == ["variable", "unit", "value", "lower", "upper"]
    assert (values["variable"] == "t2m").all()
    assert values["unit"].to_dict() == {
        "bias": "K", "mae": "K", "rmse": "K", "pearson": "1", "spearman": "1", "std_ratio": "1", "ssim": "1"
    }  # fmt: skip
    assert (values["lower"] < values["upper"]).all()
    assert values["value"].between(values["lower"], values["upper"]).all()


def test_pooled_values(values: pd.DataFrame, fields: Pair, area: xr.DataArray) -> None:
    error = (fields[0] - fields[1]).values
    weights = np.broadcast_to(area.values, error.shape)
    assert values.loc["bias", "value"] == pytest.approx(np.average(error, weights=weights), rel=1e-10)
    assert values.loc["mae", "value"] == pytest.approx(np.average(np.abs(error), weights=weights), rel=1e-10)
    assert values.loc["rmse", "value"] == pytest.approx(np.sqrt(np.average(error**2, weights=weights)), rel=1e-10)
    for name in ("bias", "mae", "rmse"):
        library = float(METRICS[name].function(*fields, weights=area))
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


def test_maps(datasets: Datasets, fields: Pair, area: xr.DataArray) -> None:
    maps, _ = verified(datasets, area)
    assert list(maps.data_vars) == [f"t2m_{name}" for name in METRICS]
    for name, metric in METRICS.items():
        field = maps[f"t2m_{name}"]
        assert field.dims == ("lat", "lon")
        if metric.needs == "series":
            expected = metric.function(*fields, reduce_dims="time")
        else:
            expected = metric.function(*fields, data_range=20.0).mean("time")
        np.testing.assert_allclose(field, expected, rtol=1e-10)
        np.testing.assert_array_equal(field["lat"], fields[1]["lat"])
    assert maps["t2m_rmse"].attrs == {"long_name": "RMSE of 2 m temperature", "units": "K"}
    assert maps["t2m_ssim"].attrs["units"] == "1"
    assert maps["t2m_ssim"].attrs["comment"] == "Gaussian window of 11 cells"


def test_intervals_are_those_of_an_explicit_bootstrap(values: pd.DataFrame, fields: Pair, area: xr.DataArray) -> None:
    """The fields drawn and scored anew, resample by resample."""
    counts = block_weights(fields[0]["time"], block_steps=4, samples=60, seed=1)
    found: dict[str, list[float]] = {"rmse": [], "pearson": []}
    for row in counts:
        drawn = np.repeat(np.arange(40), row)
        pair = [field.isel(time=drawn).drop_vars("time") for field in fields]
        found["rmse"].append(float(METRICS["rmse"].function(*pair, weights=area)))
        cells = METRICS["pearson"].function(*pair, reduce_dims="time")
        found["pearson"].append(float(cells.weighted(area).mean()))
    for name, scores in found.items():
        expected = np.quantile(scores, [0.05, 0.95])
        np.testing.assert_allclose(values.loc[name, ["lower", "upper"]].astype(float), expected, rtol=1e-9)


def test_a_wider_confidence_gives_wider_intervals(datasets: Datasets, area: xr.DataArray, values: pd.DataFrame) -> None:
    narrow = verified(datasets, area, confidence=0.5)[1].set_index("metric")
    assert (narrow["upper"] - narrow["lower"] < values["upper"] - values["lower"]).all()


def test_repeatable_and_independent_of_the_pieces(
    datasets: Datasets, area: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, rows = verified(datasets, area)
    pd.testing.assert_frame_equal(rows, verified(datasets, area)[1], check_exact=True)
    for cells in (7, 30):  # less and more than one row of cells
        monkeypatch.setattr(table, "_ARRAY_BYTES", cells * 60 * 8)
        pieces = verified(datasets, area)
        xr.testing.assert_allclose(pieces[0], maps, rtol=1e-12)
        pd.testing.assert_frame_equal(pieces[1], rows, rtol=1e-10)


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


def test_cells_of_constant_series_are_left_out(datasets: Datasets, area: xr.DataArray) -> None:
    _, before = verified(datasets, area)
    flat = [data.copy(deep=True) for data in datasets]
    flat[1]["t2m"][:, :6] = 280.1
    maps, rows = verified(flat, area)
    assert maps["t2m_pearson"][:6].isnull().all()
    assert maps["t2m_pearson"][6:].notnull().all()
    assert maps["t2m_rmse"].notnull().all()
    assert rows[["value", "lower", "upper"]].notna().all(axis=None)
    rest = [data.isel(lat=slice(6, None)) for data in datasets]
    _, expected = verified(rest, area[6:])
    for name in ("pearson", "spearman", "std_ratio"):
        row, other = (frame.set_index("metric").loc[name, ["value", "lower", "upper"]] for frame in (rows, expected))
        np.testing.assert_allclose(row.astype(float), other.astype(float), rtol=1e-9)
    assert not before.equals(rows)


def test_all_cells_constant(datasets: Datasets, area: xr.DataArray) -> None:
    flat = xr.full_like(datasets[1], 280.1).assign(t2m=xr.full_like(datasets[1]["t2m"], 280.1))
    rows = verified((datasets[0], flat), area)[1].set_index("metric")
    undefined = ["pearson", "spearman", "std_ratio"]
    assert rows.loc[undefined, ["value", "lower", "upper"]].isna().all(axis=None)
    assert rows.drop(undefined)["value"].notna().all()


def test_several_predictands(datasets: Datasets, area: xr.DataArray) -> None:
    both = [data.assign(pr=(data["t2m"] - 270).assign_attrs(units="mm day-1")) for data in datasets]
    both[1]["time_bnds"] = (("time", "bnds"), np.zeros((40, 2)))
    maps, rows = verified(both, area, data_ranges={"t2m": 20.0, "pr": 5.0})
    assert rows["variable"].tolist() == ["t2m"] * 7 + ["pr"] * 7
    assert rows.loc[rows["metric"] == "rmse", "unit"].tolist() == ["K", "mm day-1"]
    assert len(maps.data_vars) == 14


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
