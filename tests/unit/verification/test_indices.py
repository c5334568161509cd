"""Biases of climate indices against loops over cells, years and days in plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.config.verification import INDEX_NAMES
from dl4ds_core.errors import DataError
from dl4ds_core.report.scoring import score_tables
from dl4ds_core.time import seconds
from dl4ds_core.verification import INDICES, METRICS, complete_rows, verify
from dl4ds_core.verification.annual import FEWEST_DAYS, FEWEST_YEARS, Annual
from dl4ds_core.verification.indices import quantity_of, suitable

ROWS, COLUMNS = 2, 3
ATTRIBUTES: dict[str, dict[str, str]] = {
    "temperature": {"units": "K", "standard_name": "air_temperature"},
    "precipitation": {"units": "kg m-2 s-1", "standard_name": "precipitation_flux"},
    "wind": {"units": "km h-1", "standard_name": "wind_speed"},
}
AREA = xr.DataArray(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), dims=("lat", "lon"))
WINTER = (12, 1, 2)
MONTHS = tuple(range(1, 13))


def days(calendar: str = "standard", months: tuple[int, ...] = MONTHS, years: int = 6, hours: int = 24) -> xr.DataArray:
    """Times from July of one year to June of another, of some months only."""
    cftime = calendar != "standard"
    last = f"{2000 + years}-06-30"
    time = xr.date_range("2000-07-01", last, freq=f"{hours}h", calendar=calendar, use_cftime=cftime)
    axis = xr.DataArray(time, dims="time", name="time")
    axis = axis[axis.dt.month.isin(months)]
    return axis.assign_coords(time=axis)


def values_of(kind: str, time: xr.DataArray, seed: int) -> np.ndarray:
    """Values ``(time, lat, lon)`` in degC, mm d-1 or m s-1 that all thresholds lie among."""
    random = np.random.default_rng(seed)
    shape = (time.size, ROWS, COLUMNS)
    if kind == "temperature":
        cycle = 14 - 14 * np.cos(2 * np.pi * time.dt.dayofyear.values / 365)[:, None, None]
        return cycle + 6 * random.normal(size=shape)
    wet = np.repeat(random.random(size=(time.size // 3 + 1, ROWS, COLUMNS)), 3, axis=0)[: time.size] < 0.5
    return random.gamma(0.7, 9, size=shape) * wet if kind == "precipitation" else random.gamma(2, 3, size=shape)


def pair_of(kind: str, time: xr.DataArray, missing: bool = False, **attributes: str) -> list[xr.DataArray]:
    """Prediction and truth in units that are none of the indices'."""
    about = ATTRIBUTES[kind] | {"long_name": kind} | attributes
    factor, offset = {"temperature": (1.0, 273.15), "precipitation": (1 / 86_400, 0.0), "wind": (3.6, 0.0)}[kind]
    gaps = np.zeros((time.size, ROWS, COLUMNS), dtype=bool)
    if missing:
        gaps = np.random.default_rng(5).random(gaps.shape) < 0.04
        gaps[:, 0, 0] = True  # the sea
        gaps[10:300, 1, 1] = True  # a year that doesn't count
    fields = [np.where(gaps, np.nan, values_of(kind, time, seed) * factor + offset) for seed in (1, 2)]
    place = {"time": time.values, "lat": np.arange(ROWS) * 1.0, "lon": np.arange(COLUMNS) * 1.0}
    return [xr.DataArray(field, place, ("time", "lat", "lon"), "x", about) for field in fields]


def annual(pair: list[xr.DataArray], names: list[str] | None = None, samples: int = 20) -> Annual:
    indices = Annual(pair[1], AREA, {"south": np.array([[True] * 3, [False] * 3])}, names, samples, seed=3)
    turned = [field.transpose("lat", "lon", "time") for field in pair]
    for row in range(ROWS):  # in pieces
        indices.add(*(field[row : row + 1] for field in turned), {"lat": slice(row, row + 1), "lon": slice(0, COLUMNS)})
    return indices


def longest(events: list[bool]) -> int:
    return max((len(list(run)) for event, run in groupby(events) if event), default=0)


def intensity(values: np.ndarray) -> float:
    wet = values[values >= 1]
    return float(wet.mean()) if wet.size else np.nan


def wettest(values: np.ndarray, window: int) -> float:
    return float(np.nanmax([values[first : first + window].sum() for first in range(values.size - window + 1)]))


PLAIN: dict[str, Callable[[np.ndarray], float]] = {
    "txx": np.nanmax,
    "su": lambda values: (values > 25).sum(),
    "tnn": np.nanmin,
    "fd": lambda values: (values < 0).sum(),
    "tgx": np.nanmax,
    "tgn": np.nanmin,
    "sdii": intensity,
    "r1mm": lambda values: (values >= 1).sum(),
    "r10mm": lambda values: (values >= 10).sum(),
    "rx1day": np.nanmax,
    "rx5day": lambda values: wettest(values, 5),
    "cdd": lambda values: longest(list(values < 1)),
    "cwd": lambda values: longest(list(values >= 1)),
    "fgx": np.nanmax,
    "fgcalm": lambda values: (values < 2).sum(),
    "fg6bft": lambda values: (values >= 10.8).sum(),
}
"""Indices of the values of a year: all its days from the first to the last, those that are lacking as NaN."""


def in_unit_of_indices(field: xr.DataArray) -> np.ndarray:
    values = field.values.astype(np.float64)
    known = {"K": values - 273.15, "kg m-2 s-1": values * 86_400, "km h-1": values / 3.6}
    return known.get(field.attrs["units"], values)


def by_year(name: str, field: xr.DataArray, first_month: int) -> np.ndarray:
    """Index ``(year, lat, lon)``, NaN where a year lacks a tenth of the days of the fullest."""
    time = field["time"]
    number = seconds(time) // 86_400
    label = time.dt.year.values - (time.dt.month.values < first_month)
    values = in_unit_of_indices(field).astype(np.float32).astype(np.float64)
    fullest = max((label == year).sum() for year in set(label))
    years = []
    for year in sorted(set(label)):
        some = label == year
        if some.sum() < 0.9 * fullest:
            continue
        whole = np.full((number[some].max() - number[some].min() + 1, ROWS, COLUMNS), np.nan)
        whole[number[some] - number[some].min()] = values[some]
        result = np.full((ROWS, COLUMNS), np.nan)
        for cell in np.ndindex(ROWS, COLUMNS):
            series = whole[:, *cell]
            if np.isfinite(series).sum() >= 0.9 * fullest:
                result[cell] = PLAIN[name](series)
        years.append(result)
    return np.stack(years)


RECORDS: dict[str, tuple[dict[str, Any], bool, int]] = {
    "whole years": ({}, False, 1),
    "missing days": ({}, True, 1),
    "winters": ({"months": WINTER}, True, 7),
    "360 days": ({"calendar": "360_day"}, True, 1),
    "no leap years, winters": ({"calendar": "noleap", "months": WINTER}, False, 7),
    "summers": ({"months": (6, 7, 8)}, False, 1),
}


@pytest.mark.parametrize("record", list(RECORDS))
@pytest.mark.parametrize("kind", list(ATTRIBUTES))
def test_indices_are_those_of_plain_numpy(kind: str, record: str) -> None:
    options, missing, first_month = RECORDS[record]
    pair = pair_of(kind, days(**options), missing)
    names = [name for name, index in INDICES.items() if index.kind == kind]
    found = annual(pair, names)
    rows = pd.DataFrame(found.rows("x", 0.9)).set_index("metric")
    whole = rows[rows["region"].isna()]
    counts = np.random.default_rng(3).multinomial(
        found._years.count, np.full(found._years.count, 1 / found._years.count), 20
    )
    for name in names:
        predicted, true = (by_year(name, field, first_month) for field in pair)
        bias = predicted - true
        with np.testing.suppress_warnings() as quiet:
            quiet.filter(RuntimeWarning)
            of_cells = np.nanmean(bias, axis=0)
            true_of_cells = np.nanmean(np.where(np.isnan(bias), np.nan, true), axis=0)
        np.testing.assert_allclose(found.maps()[f"bias_{name}"], of_cells, rtol=1e-4, atol=1e-4)
        weights = np.where(np.isnan(of_cells), 0.0, AREA.values)
        for metric, cells in ((f"bias_{name}", of_cells), (f"truth_{name}", true_of_cells)):
            expected = np.average(np.nan_to_num(cells), weights=weights)
            assert whole.loc[metric, "value"] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        south = rows[rows["region"] == "south"].loc[f"bias_{name}", "value"]
        assert south == pytest.approx(np.average(np.nan_to_num(of_cells[0]), weights=weights[0]), rel=1e-4, abs=1e-4)
        # Years drawn anew.
        resampled = []
        for row in counts:
            drawn = np.repeat(np.arange(len(row)), row)
            with np.testing.suppress_warnings() as quiet:
                quiet.filter(RuntimeWarning)
                means = np.nanmean(bias[drawn], axis=0)
            weights = np.where(np.isnan(means), 0.0, AREA.values)
            resampled.append(np.average(np.nan_to_num(means), weights=weights))
        ends = whole.loc[f"bias_{name}", ["lower", "upper"]].astype(float)
        np.testing.assert_allclose(ends, np.quantile(resampled, [0.05, 0.95]), rtol=1e-4, atol=1e-4)


def test_the_names_are_those_of_configuration_and_scores() -> None:
    assert tuple(INDICES) == INDEX_NAMES
    assert set(PLAIN) == set(INDICES)
    assert [name for name in METRICS if name.startswith("bias_")] == [f"bias_{name}" for name in INDICES]


def test_five_days_and_spells_never_cross_a_gap() -> None:
    """The last days of a winter and the first ones of the next are all the rain there is."""
    time = days(months=WINTER, years=6)
    pair = pair_of("precipitation", time, units="mm d-1")
    ends = (time.dt.month.values == 12) & (time.dt.day.values <= 3)
    ends |= (time.dt.month.values == 2) & (time.dt.day.values >= 26) & (time.dt.day.values <= 28)
    rain = np.where(ends, 20.0, 0.0)[:, None, None] * np.ones((ROWS, COLUMNS))
    pair = [field.copy(data=rain) for field in pair]
    truth = pd.DataFrame(annual(pair).rows("x", 0.9)).set_index(["region", "metric"])["value"]
    assert truth[np.nan, "truth_rx5day"] == pytest.approx(60.0)
    assert truth[np.nan, "truth_cwd"] == 3.0
    assert truth[np.nan, "truth_r1mm"] == 6.0
    assert truth[np.nan, "truth_sdii"] == pytest.approx(20.0)


@pytest.mark.parametrize("method", ["point", "mean"])
def test_shorter_steps_are_put_together_to_days_that_are_whole(method: str) -> None:
    time = days(hours=6, years=2)[1:]  # the first day lacks a step, if values are of its beginning
    pair = pair_of("temperature", time, cell_methods=f"time: {method}")
    found = annual(pair)
    assert found.names == ["txx", "su", "tnn", "fd"]
    shifted = (time - np.timedelta64(6 if method == "mean" else 0, "h")).dt.floor("D").values
    for name, combine in (("txx", "max"), ("tnn", "min")):
        grouped = [field.assign_coords(time=shifted).groupby("time") for field in pair]
        whole = grouped[0].count()[:, 0, 0] == 4
        daily = [getattr(each, combine)().isel(time=whole.values) for each in grouped]
        daily = [each.assign_attrs(units="K") for each in daily]
        predicted, true = (by_year(name, each, 1) for each in daily)
        np.testing.assert_allclose(
            found.maps()[f"bias_{name}"], np.nanmean(predicted - true, axis=0), rtol=1e-4, atol=1e-4
        )


def test_amounts_of_shorter_steps_are_summed() -> None:
    time = days(hours=6, years=2)
    amounts = {"units": "m", "standard_name": "lwe_thickness_of_precipitation_amount", "cell_methods": "time: sum"}
    pair = [field.copy(data=np.full(field.shape, 0.003)) for field in pair_of("precipitation", time, **amounts)]
    rows = pd.DataFrame(annual(pair).rows("x", 0.9)).set_index("metric")
    assert rows.loc["truth_rx1day", "value"].iloc[0] == pytest.approx(12.0)
    assert rows.loc["truth_rx5day", "unit"].iloc[0] == "mm"
    assert rows.loc["truth_cdd", "value"].iloc[0] == 0


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("tas", {"units": "degC", "standard_name": "air_temperature", "cell_methods": "time: mean"}, ["tgx", "tgn"]),
        ("tas", {"units": "K", "standard_name": "air_temperature", "cell_methods": "time: maximum"}, ["txx", "su"]),
        ("tasmin", {"units": "K", "standard_name": "air_temperature"}, ["tnn", "fd"]),
        ("t2m", {"units": "K"}, ["tgx", "tgn"]),
        ("tp", {"units": "m"}, ["sdii", "r1mm", "r10mm", "rx1day", "rx5day", "cdd", "cwd"]),
        ("q", {"units": "mm d-1", "long_name": "Precipitation"}, list(PLAIN)[6:13]),
        ("pr", {"units": "kg m-2 s-1", "standard_name": "precipitation_flux"}, list(PLAIN)[6:13]),
        ("ws", {"units": "m s-1", "standard_name": "wind_speed"}, ["fgx", "fgcalm", "fg6bft"]),
        ("sfcWind", {"units": "m s-1"}, ["fgx", "fgcalm", "fg6bft"]),
        ("u10", {"units": "m s**-1", "long_name": "10 metre U wind component"}, []),
        ("psl", {"units": "Pa"}, []),
        ("pr", {"units": "K", "standard_name": "precipitation_flux"}, []),
        ("evspsbl", {"units": "kg m-2 s-1", "standard_name": "water_evapotranspiration_flux"}, []),
    ],
)
def test_which_indices_suit_a_predictand(name: str, attributes: dict[str, str], expected: list[str]) -> None:
    field = pair_of("wind", days(years=1))[1].rename(name)
    field.attrs = attributes
    assert annual([field, field]).names == expected


def test_wet_steps_are_those_of_a_millimetre_a_day() -> None:
    def wet(units: str, standard_name: str, step: float = 0.25) -> float | None:
        about = {"units": units, "standard_name": standard_name}
        quantity = quantity_of(xr.DataArray(0.0, attrs=about, name="x"))
        return quantity.wet(step) if quantity else None

    assert wet("kg m-2 s-1", "precipitation_flux") == pytest.approx(1 / 86_400)
    assert wet("mm h-1", "lwe_precipitation_rate") == pytest.approx(1 / 24)
    assert wet("kg m-2", "precipitation_amount") == pytest.approx(0.25)
    assert wet("K", "air_temperature") is None
    assert suitable(None, {"mean"}) == []


@pytest.mark.parametrize(
    "time",
    [
        days(years=6)[::5],
        days(years=6)[: FEWEST_DAYS - 1],
        days(years=1, hours=3)[: 8 * 31],
        days(years=6)[::30],
        days(years=1, hours=5),
    ],
    ids=["five days", "few days", "a month", "months", "no whole steps of a day"],
)
def test_records_without_indices(time: xr.DataArray) -> None:
    found = annual(pair_of("temperature", time))
    assert found.names == []
    assert found.maps() == {}
    assert found.rows("x", 0.9) == []


def test_few_years_have_no_interval() -> None:
    rows = pd.DataFrame(annual(pair_of("wind", days(months=WINTER, years=FEWEST_YEARS - 1))).rows("x", 0.9))
    assert rows["value"].notna().all()
    assert rows[["lower", "upper"]].isna().all(axis=None)


def test_equal_fields_have_no_bias() -> None:
    truth = pair_of("precipitation", days(), True)[1]
    rows = pd.DataFrame(annual([truth, truth]).rows("x", 0.9))
    biases = rows[rows["metric"].str.startswith("bias_")]
    assert (biases[["value", "lower", "upper"]] == 0).all(axis=None)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["txx", "hot"], r"verification.indices.x: expected names among txx, su, .*, fg6bft; found hot\."),
        (["tgx", "cdd"], r"verification.indices.x: expected indices of temperature \(txx, .*, tgn\); found cdd\."),
    ],
)
def test_indices_that_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        annual(pair_of("temperature", days()), names)
    other = [field.assign_attrs(units="Pa", standard_name="air_pressure") for field in pair_of("wind", days())]
    with pytest.raises(DataError, match=r"expected a temperature, precipitation or wind speed .* found x, which is"):
        annual(other, names[:1])


def test_verify_has_rows_and_maps_of_indices() -> None:
    time = days(months=WINTER)
    kinds = {"tas": "temperature", "pr": "precipitation", "ws": "wind"}
    grid = {"lat": 40 + np.arange(6) / 10, "lon": np.arange(7) / 10}

    def dataset(which: int, chunks: dict[str, int] | None = None) -> xr.Dataset:
        fields = {
            name: pair_of(kind, time)[which].rename(name).pad(lat=(0, 4), lon=(0, 4), mode="wrap")
            for name, kind in kinds.items()
        }
        data = xr.Dataset({name: field.drop_vars(["lat", "lon"]) for name, field in fields.items()})
        return data.assign_coords(grid).chunk(chunks) if chunks else data.assign_coords(grid)

    options: dict[str, Any] = {"data_ranges": dict.fromkeys(kinds, 20.0), "block": "10d", "samples": 10}
    options |= {"area": xr.DataArray(np.ones((6, 7)), dims=("lat", "lon"))}
    options |= {"indices": {"pr": ["cdd", "rx5day"], "ws": []}}
    maps, rows = verify(dataset(0), dataset(1), **options)
    found = rows[rows["metric"].str.match("bias_|truth_")]
    assert found[found["variable"] == "tas"]["metric"].tolist() == ["bias_tgx", "truth_tgx", "bias_tgn", "truth_tgn"]
    named = ["bias_rx5day", "truth_rx5day", "bias_cdd", "truth_cdd"]
    assert found[found["variable"] == "pr"]["metric"].tolist() == named
    assert not (found["variable"] == "ws").any()
    assert found.set_index("metric")["unit"].to_dict() == {
        **{"bias_tgx": "K", "truth_tgx": "degC", "bias_tgn": "K", "truth_tgn": "degC"},
        **{"bias_rx5day": "mm", "truth_rx5day": "mm", "bias_cdd": "d", "truth_cdd": "d"},
    }
    assert maps["tas_bias_tgx"].attrs["long_name"] == "bias of highest daily mean (TGx) of temperature"
    assert maps["tas_bias_tgx"].attrs["units"] == "K"
    assert maps["pr_bias_cdd"].dims == ("lat", "lon")
    lazy = verify(dataset(0, {"time": 50}), dataset(1, {"time": 70, "lat": 4}), **options)
    xr.testing.assert_allclose(lazy[0], maps)
    pd.testing.assert_frame_equal(lazy[1], rows)


def test_the_report_shows_the_index_of_the_truth_beside_its_bias() -> None:
    rows = pd.DataFrame(annual(pair_of("precipitation", days()), ["rx1day", "cdd"]).rows("x", 0.9))
    rmse = pd.DataFrame([{"variable": "x", "metric": "rmse", "unit": "mm d-1", "value": 1.0}])
    summary = complete_rows(pd.concat([rmse, rows], ignore_index=True), model="net", seed=1, split="test")
    tables = {table["title"]: table for table in score_tables(summary, "x", "test", ["net"])}
    assert list(tables) == ["Errors", "Climate indices: bias of the mean over years"]
    truth = rows[rows["region"].isna()].set_index("metric")["value"]
    names = [column["name"] for column in tables["Climate indices: bias of the mean over years"]["columns"]]
    expected = {"Rx1day (mm)": (truth["truth_rx1day"], "mm"), "CDD (d)": (truth["truth_cdd"], "d")}
    assert names == [f"{name}, truth {value:.1f} {unit}" for name, (value, unit) in expected.items()]
