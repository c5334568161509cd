"""Time series at places, and which models are shown side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core import figures
from dl4ds_core.errors import DataError
from dl4ds_core.figures.places import SHOWN_STEPS
from dl4ds_core.grids import Grid, nearest_cells
from dl4ds_core.report.scores import leading
from dl4ds_core.verification import complete_rows


def series(values: np.ndarray, start: str = "2019-01-01") -> xr.DataArray:
    time = pd.date_range(start, periods=values.size, freq="h")
    return xr.DataArray(values, {"time": time, "lat": 51.5, "lon": 359.88}, ["time"])


def test_typical_cells_are_those_of_the_median_and_the_largest_score() -> None:
    score = xr.DataArray([[np.nan, 3.0, 1.0], [9.0, 2.0, 4.0]], dims=["lat", "lon"])
    assert figures.typical_cells(score) == {"typical error": (0, 1), "largest error": (1, 0)}
    with pytest.raises(DataError, match="expected a score of some cells"):
        figures.typical_cells(score * np.nan)


@pytest.mark.parametrize("lon", [[-1.0, 0.0, 1.0], [359.0, 0.0, 1.0], [178.0, 179.0, 180.0]])
def test_the_nearest_cell_is_found_across_greenwich_and_the_date_line(lon: list[float]) -> None:
    rows = np.array([59.0, 60.0])
    fields = xr.Dataset({"t": (("lat", "lon"), np.zeros((2, 3)))}, {"lat": rows, "lon": np.unwrap(lon, period=360)})
    fields["lat"].attrs["units"], fields["lon"].attrs["units"] = "degrees_north", "degrees_east"
    grid = Grid.of(fields)
    for row, column in np.ndindex(2, 3):
        for turn in (-360, 0, 360):
            place = (rows[row] + 0.2, lon[column] - 0.3 + turn)
            assert nearest_cells(grid, {"here": place}) == {"here": (row, column)}
    with pytest.raises(DataError, match=r"verification\.places\.far: expected a place in the domain, found 40 degrees"):
        nearest_cells(grid, {"far": (40.0, lon[0])})


def test_a_place_at_the_coast_is_shown_by_the_nearest_cell_with_values() -> None:
    fields = xr.Dataset({"t": (("lat", "lon"), np.zeros((2, 3)))}, {"lat": [59.0, 60.0], "lon": [1.0, 2.0, 3.0]})
    fields["lat"].attrs["units"], fields["lon"].attrs["units"] = "degrees_north", "degrees_east"
    known = np.array([[False, False, True], [True, False, False]])
    assert nearest_cells(Grid.of(fields), {"a": (59.1, 1.1), "b": (59.1, 2.4)}, known) == {"a": (1, 0), "b": (0, 2)}
    with pytest.raises(DataError, match="expected cells with values"):
        nearest_cells(Grid.of(fields), {"a": (59.1, 1.1)}, known & False)


def test_a_long_record_is_shown_around_the_largest_error_of_the_first_model() -> None:
    truth = series(np.sin(np.arange(1000.0)))
    bad = truth.copy(data=truth.values + 0.1)
    bad[700] += 5
    figure = figures.series_at_places(
        {"London": truth}, {"London": {"net": bad, "bicubic": truth}}, networks=["net"], units="degC"
    )
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "London (51.50°N, 0.12°W)"
    lines = [np.asarray(line.get_ydata()) for line in axes.get_lines()]
    assert [line.size for line in lines] == [SHOWN_STEPS] * 3
    np.testing.assert_array_equal(lines[0], truth[640:760])
    np.testing.assert_array_equal(lines[1], bad[640:760])
    assert "°C" in axes.get_ylabel()


def test_of_a_long_record_with_gaps_one_part_is_shown() -> None:
    winters = [series(np.zeros(90), f"{year}-12-01") for year in (2000, 2001, 2002)]
    truth = xr.concat(winters, "time")
    bad = truth.copy()
    bad[90 + 3] = 1.0
    figure = figures.series_at_places({"a": truth}, {"a": {"net": bad}}, networks=["net"])
    np.testing.assert_array_equal(np.asarray(figure.axes[0].get_lines()[1].get_ydata()), bad[90:180])


def test_no_line_crosses_a_gap() -> None:
    parts = [series(np.arange(5.0)), series(np.arange(4.0), "2019-03-01")]
    truth = xr.concat(parts, "time")
    figure = figures.series_at_places({"a": truth}, {"a": {"net": truth + 1}}, networks=["net"])
    for line in figure.axes[0].get_lines():
        assert np.isnan(np.asarray(line.get_ydata())).sum() == 1


def test_a_place_without_values_is_refused() -> None:
    truth = series(np.full(5, np.nan))
    with pytest.raises(DataError, match="Rome: expected values of truth and prediction there"):
        figures.series_at_places({"Rome": truth}, {"Rome": {"net": truth}}, networks=["net"])
    with pytest.raises(DataError, match="at least one place"):
        figures.series_at_places({}, {}, networks=["net"])


def test_the_best_on_validation_are_shown() -> None:
    scores = {f"net{number}": 9 - number for number in range(8)} | {"nearest": 0.5, "bicubic": 0.4, "regression": 0.3}
    tables = [
        complete_rows(
            pd.DataFrame({"variable": ["t"], "metric": "rmse", "unit": "K", "value": sign * score}),
            model=name,
            seed=0,
            split=split,
        )
        for name, score in scores.items()
        for split, sign in (("validation", 1.0), ("test", -1.0))
    ]
    chosen = leading(pd.concat(tables), "t", [name for name in scores if name.startswith("net")])
    assert chosen == ["net7", "net6", "net5", "net4", "net3", "regression", "bicubic"]


def test_land_is_known_by_its_standard_name() -> None:
    field = xr.DataArray(np.array([[0.0, 1.02]]), dims=["lat", "lon"])
    fields = xr.Dataset({"elevation": field, "lsm": field.assign_attrs(standard_name="land_binary_mask")})
    land = figures.land_of(fields)
    assert land is not None
    assert land.name == "lsm"
    assert land.max() == 1
    assert figures.land_of(fields[["elevation"]]) is None
