"""The climatological ensemble: which steps of the training period become members."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.baselines import fit_baseline, share_members
from dl4ds_core.baselines.climatology import ClimatologicalEnsemble
from dl4ds_core.grids import horizontal

FIELD = 4  # cells along each axis


def record(first: str, steps: int, frequency: str, calendar: str = "standard") -> xr.DataArray:
    """A field whose value is the number of the step."""
    time = xr.date_range(first, periods=steps, freq=frequency, calendar=calendar, use_cftime=calendar != "standard")
    values = np.broadcast_to(np.arange(steps, dtype=np.float32)[:, None, None], (steps, FIELD, FIELD)).copy()
    coordinates = {"time": time, "lat": np.linspace(40.0, 43, FIELD), "lon": np.linspace(5.0, 8, FIELD)}
    attributes = {"lat": {"units": "degrees_north"}, "lon": {"units": "degrees_east"}}
    field = xr.DataArray(values, coordinates, ("time", "lat", "lon"), "tas", {"units": "K"})
    for name, attrs in attributes.items():
        field[name].attrs |= attrs
    return field


def fitted(fine: xr.DataArray) -> ClimatologicalEnsemble:
    found = fit_baseline("climatological-ensemble", xr.Dataset(coords={"time": fine["time"]}), fine, 2)
    assert isinstance(found, ClimatologicalEnsemble)
    return found


def chosen(fine: xr.DataArray, other: xr.DataArray) -> np.ndarray:
    """Numbers of the training steps ``(member, time)``, read from the values."""
    found = fitted(fine)(other.to_dataset())
    assert found.dims == ("member", "time", *horizontal(fine))
    assert (found == found[..., 0, 0]).all()
    return found[..., 0, 0].values.astype(int)


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_members_are_true_fields_of_the_same_time_of_the_year(calendar: str) -> None:
    fine = record("1990-01-01", 3650, "D", calendar)
    other = record("2001-01-01", 400, "D", calendar)
    steps = chosen(fine, other)
    assert steps.shape == (20, 400)
    assert (np.diff(steps, axis=0) > 0).all()
    length = 365.25
    days, wanted = (
        (time.dt.dayofyear.values - 1) / time.dt.days_in_year.values * length for time in (fine["time"], other["time"])
    )
    apart = np.abs(days[steps] - wanted)
    assert np.minimum(apart, length - apart).max() <= 15.5
    # Evenly spread: no year has more than its share, and the first and the last are there.
    years = fine["time"].dt.year.values[steps]
    counts = np.array([(years == year).sum(axis=0) for year in np.unique(fine["time"].dt.year.values)])
    assert counts[1:-1].max() <= 3
    assert (years.max(axis=0) - years.min(axis=0) >= 8).all()
    np.testing.assert_array_equal(steps, chosen(fine, other))


def test_hourly_members_are_of_the_same_hour() -> None:
    fine, other = record("2019-03-01", 24 * 25, "h"), record("2019-03-28", 48, "h")
    steps = chosen(fine, other)
    assert steps.shape[0] == 16  # the first and the last day have fewest candidates: themselves and 15 days on a side
    assert (steps % 24 == np.arange(48) % 24).all()
    assert (steps < 24 * 25).all()


def test_the_window_of_a_short_record_is_wider() -> None:
    fine = record("2001-01-01", 30, "MS")
    steps = chosen(fine, record("2011-01-01", 12, "MS"))
    assert steps.shape[0] >= 10
    assert len(np.unique(steps[:, 0])) == steps.shape[0]


def test_fewer_steps_than_members() -> None:
    steps = chosen(record("2001-07-01", 7, "YS-JUL"), record("2020-07-01", 3, "YS-JUL"))
    np.testing.assert_array_equal(steps, np.repeat(np.arange(7)[:, None], 3, axis=1))


def test_missing_cells_have_their_mean_and_missing_steps_are_none() -> None:
    fine = record("2001-07-01", 12, "YS-JUL")
    fine[3] = np.nan
    fine[5, 1, 2] = np.nan
    found = fitted(fine)(record("2020-07-01", 1, "YS-JUL").to_dataset())
    assert found.sizes["member"] == 11
    assert found.notnull().all()
    expected = float(fine[:, 1, 2].mean())
    place = list(found[:, 0, 0, 0].values).index(5.0)
    assert float(found[place, 0, 1, 2]) == pytest.approx(expected)
    assert 3.0 not in found[:, 0, 0, 0].values


def test_members_of_all_predictands_are_of_the_same_steps() -> None:
    fine = record("2001-07-01", 15, "YS-JUL")
    other = fine.rename("pr").copy()
    other[:4] = np.nan
    both = {"tas": fitted(fine), "pr": fitted(other)}
    assert [each.members for each in both.values()] == [15, 11]
    assert share_members(both) == 11
    fields = record("2020-07-01", 2, "YS-JUL").to_dataset()
    assert both["tas"](fields).sizes["member"] == 11
    assert both["pr"](fields)[:, 0, 0, 0].astype(int).values.tolist() == list(range(4, 15))
    plain = {"tas": fit_baseline("climatology", fine.to_dataset(), fine, 2)}
    assert share_members(plain) is None
