"""Inputs of scenarios brought to the distribution of the training, their range, and changes with their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on

from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.scenarios import change_scores, changes, harmonised, on_fine_grid, outside_range, where_known

METHODS = ("mean-variance", "quantile-mapping")


def inputs(values: np.ndarray, calendar: str = "standard", name: str = "tas", **attributes: Any) -> xr.Dataset:
    """Coarse fields (time, lat, lon) from values of any number of steps."""
    times = xr.date_range("1981-01-01", periods=len(values), calendar=calendar, use_cftime=calendar != "standard")
    coordinates = {"time": times, "lat": 40.0 + np.arange(values.shape[1]), "lon": 5.0 + np.arange(values.shape[2])}
    field = xr.DataArray(values, coordinates, ("time", "lat", "lon"), name, {"units": "degC", **attributes})
    return field.to_dataset()


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_the_reference_gets_the_distribution_of_the_training(random, method, calendar):
    """Per cell, whatever its calendar and the number of its steps."""
    scale, shift = 1 + random.random((2, 3)), random.normal(size=(2, 3))
    own = random.gamma(2.0, size=(500, 2, 3))
    reference = inputs(own, calendar)
    training = inputs(np.concatenate([own, own])[random.permutation(1000)] * scale + shift)
    found = harmonised(reference, reference, training, method)["tas"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found["time"].values, reference["time"].values)
    np.testing.assert_allclose(found.mean("time"), training["tas"].mean("time"), rtol=1e-2)
    if method == "mean-variance":
        np.testing.assert_allclose(found.mean("time"), training["tas"].mean("time"), rtol=1e-6)
        np.testing.assert_allclose(found.std("time"), training["tas"].std("time"), rtol=1e-6)
        np.testing.assert_allclose(found.values, own * scale + shift, rtol=1e-5, atol=1e-5)
    else:
        nodes = (np.arange(50) + 0.5) / 50
        np.testing.assert_allclose(
            found.quantile(nodes, "time"), training["tas"].quantile(nodes, "time"), rtol=0.02, atol=0.01
        )
        # A straight line between the outermost quantiles.
        lower, upper = np.quantile(own, [nodes[0], nodes[-1]], axis=0)
        inside = (own > lower) & (own < upper)
        np.testing.assert_allclose(found.values[inside], (own * scale + shift)[inside], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_a_scenario_keeps_its_difference_from_the_reference(random, method):
    own = random.normal(size=(400, 2, 2))
    reference, training = inputs(own, "noleap"), inputs(own + 2.5)
    warmer = inputs(own[:100] + 30.0, "noleap")
    found = harmonised(warmer, reference, training, method)["tas"]
    np.testing.assert_allclose(found.values, own[:100] + 32.5, rtol=1e-5)
    assert found.attrs == warmer["tas"].attrs


@pytest.mark.parametrize("method", METHODS)
def test_constant_cells(random, method):
    """They get the training's mean, not a division by zero."""
    own, other = random.normal(size=(60, 1, 2)), random.normal(size=(60, 1, 2))
    own[:, 0, 0], other[:, 0, 0] = 3.0, 7.0
    found = harmonised(inputs(own), inputs(own), inputs(other), method)["tas"]
    np.testing.assert_allclose(found.values[:, 0, 0], 7.0, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_missing_values_stay_missing(random, method):
    own, other = random.normal(size=(80, 1, 4)), random.normal(size=(80, 1, 4)) + 5
    own[:, 0, 0] = np.nan
    other[:, 0, 1] = np.nan
    own[10:30, 0, 2] = np.nan
    found = harmonised(inputs(own), inputs(own), inputs(other), method)["tas"].values[:, 0]
    assert np.isnan(found[:, :2]).all()
    np.testing.assert_array_equal(np.isnan(found[:, 2]), np.isnan(own[:, 0, 2]))
    assert np.nanmean(found[:, 2]) == pytest.approx(other[:, 0, 2].mean(), abs=0.1)
    assert np.isfinite(found[:, 3]).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_minimum_of_a_variable_is_kept(random, method):
    own, other = random.gamma(0.3, size=(200, 1, 2)), random.gamma(0.3, size=(200, 1, 2)) / 3
    given = [inputs(values, name="pr") for values in (own - own.mean(), own, other)]
    assert float(harmonised(*given, method)["pr"].min()) < 0
    given[0]["pr"][:5] = np.nan
    found = harmonised(*given, method, {"pr": 0.0, "tas": None})["pr"]
    assert float(found.min()) == 0
    np.testing.assert_array_equal(found.isnull(), given[0]["pr"].isnull())


def test_units_with_a_factor_are_no_matter(random):
    own = random.random((60, 1, 1))
    given = inputs(own, units="(0 - 1)")
    np.testing.assert_allclose(harmonised(given, given, given, "quantile-mapping")["tas"].values, own, rtol=1e-6)


def test_without_a_method_inputs_are_what_they_were(random):
    given = inputs(random.normal(size=(5, 1, 2)))
    assert harmonised(given, given + 1, given + 2, "none") is given


def test_valid_fractions_are_left_alone(random):
    own = inputs(random.normal(size=(30, 1, 2)))
    own["tas_valid_fraction"] = own["tas"].copy(data=random.random((30, 1, 2)))
    reference = own + 1
    found = harmonised(own, reference, own, "mean-variance")
    np.testing.assert_array_equal(found["tas_valid_fraction"], own["tas_valid_fraction"])
    # A coarse scenario has none.
    bare = own[["tas"]]
    assert set(harmonised(bare, bare + 1, own, "mean-variance")) == {"tas"}


@pytest.mark.parametrize(("lacking", "what"), [(1, "reference"), (2, "training")])
def test_other_variables_are_refused(random, lacking, what):
    given = [inputs(random.normal(size=(5, 1, 2))) for _ in range(3)]
    given[lacking] = given[lacking].rename(tas="pr")
    with pytest.raises(DataError, match=f"expected the inputs tas in the {what}, found pr"):
        harmonised(*given, "mean-variance")


def test_shares_outside_the_range_of_the_training(random):
    training, found = random.normal(size=(50, 2, 3)), 2 * random.normal(size=(40, 2, 3))
    training[:, 1, 1] = np.nan  # no range: nothing is outside
    found[3:9, 0, 0] = np.nan
    second = {"name": "pr", "units": "mm"}
    data = inputs(found).merge(inputs(abs(found), **second)), inputs(training).merge(inputs(abs(training), **second))
    table = outside_range(*data).set_index("variable")
    assert list(table.columns) == ["unit", "below", "above", "lowest", "highest"]
    assert dict(table["unit"]) == {"tas": "degC", "pr": "mm"}
    for name, values, known in (("tas", found, training), ("pr", abs(found), abs(training))):
        count = (np.isfinite(values) & np.isfinite(known).any(axis=0)).sum()
        with np.errstate(invalid="ignore"):
            below = (values < np.nanmin(np.where(np.isnan(known), np.inf, known), axis=0)) & np.isfinite(known[0])
            above = (values > np.nanmax(np.where(np.isnan(known), -np.inf, known), axis=0)) & np.isfinite(known[0])
        assert table.loc[name, "below"] == pytest.approx(below.sum() / count)
        assert table.loc[name, "above"] == pytest.approx(above.sum() / count)
        assert table.loc[name, "lowest"] == pytest.approx(np.nanmin(values))
        assert table.loc[name, "highest"] == pytest.approx(np.nanmax(values))
    assert table.loc["tas", "below"] > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_changes_of_the_mean(kind):
    """Of periods of different length, with missing values."""
    later, earlier = field_on(kind, 30, seed=1), field_on(kind, 12, seed=2)
    later[3:7, 2, 2] = np.nan
    earlier[:, 5, 5] = np.nan
    found = changes(later.to_dataset(), earlier.to_dataset(), "true_change")
    assert list(found) == ["tas_true_change"]
    change = found["tas_true_change"]
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(RuntimeWarning)
        expected = np.nanmean(later.values, axis=0) - np.nanmean(earlier.values, axis=0)
    np.testing.assert_allclose(change.values, expected)
    assert np.isnan(change.values[5, 5])
    assert np.isnan(change.values).sum() == 1
    assert change.attrs.items() >= {"long_name": "true change of temperature", "units": "K"}.items()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [0, 2])
def test_coarse_changes_on_the_fine_grid(kind, context):
    fine = Grid.of(field_on(kind, 1, 8, 12))
    values = np.arange((2 + 2 * context) * (3 + 2 * context), dtype=np.float64).reshape(2 + 2 * context, -1)
    values[context, context + 1] = np.nan
    coarse = xr.DataArray(values, dims=fine.dims, attrs={"units": "K"})
    found = on_fine_grid({"tas_coarse_change": coarse}, fine, 4, context)["tas_coarse_change"]
    assert Grid.of(found).same(fine)
    assert found.attrs["units"] == "K"
    for row in range(8):
        for column in range(12):
            np.testing.assert_equal(found.values[row, column], values[context + row // 4, context + column // 4])
    assert np.isnan(found.values).sum() == 16


def test_scores_of_changes(random):
    """Over the cells that have all of them, weighted by area."""
    area = xr.DataArray(1 + random.random((6, 8)), dims=("lat", "lon"))
    fields = {
        f"{name}_{kind}": xr.DataArray(random.normal(size=(6, 8)), dims=("lat", "lon"), attrs={"units": unit})
        for name, unit in (("tas", "K"), ("pr", "mm d-1"))
        for kind in ("change", "coarse_change", "true_change")
        if (name, kind) != ("pr", "true_change")
    }
    fields["tas_change"][0, 0] = fields["tas_true_change"][1, 1] = fields["tas_coarse_change"][2, :3] = np.nan
    table = change_scores(xr.Dataset(fields), area)
    found = table.set_index(["variable", "metric"])
    scores = ["change_bias", "change_rmse", "change_pearson"]
    assert list(table["metric"][table["variable"] == "tas"]) == ["change", "coarse_change", "true_change", *scores]
    assert list(table["metric"][table["variable"] == "pr"]) == ["change", "coarse_change"]

    valid = np.ones((6, 8), dtype=bool)
    valid[0, 0] = valid[1, 1] = False
    valid[2, :3] = False
    weights = area.values[valid] / area.values[valid].sum()
    predicted, coarse, true = (
        fields[f"tas_{kind}"].values[valid] for kind in ("change", "coarse_change", "true_change")
    )
    errors = predicted - true
    spread = [values - weights @ values for values in (predicted, true)]
    expected = {
        "change": weights @ predicted,
        "coarse_change": weights @ coarse,
        "true_change": weights @ true,
        "change_bias": weights @ errors,
        "change_rmse": np.sqrt(weights @ errors**2),
        "change_pearson": weights
        @ (spread[0] * spread[1])
        / np.sqrt((weights @ spread[0] ** 2) * (weights @ spread[1] ** 2)),
    }
    for metric, value in expected.items():
        assert found.loc[("tas", metric), "value"] == pytest.approx(value, rel=1e-6), metric
        assert found.loc[("tas", metric), "unit"] == ("1" if metric == "change_pearson" else "K")
    mean = np.average(fields["pr_change"].values, weights=area.values)
    assert found.loc[("pr", "change"), "value"] == pytest.approx(mean)
    assert isinstance(table, pd.DataFrame)


@pytest.mark.parametrize("garbage", [0.0, 283.0, 1e30])
def test_what_has_no_truth_has_no_influence_on_the_scores_of_the_change(random, garbage):
    """Cells may be missing in some steps only, and in different ones in the two periods."""
    fields = [inputs(280 + random.normal(size=(100, 3, 4))) for _ in range(2)]
    true = [field.where(random.random((100, 3, 4)) > 0.3) for field in fields]
    predicted = [field.fillna(garbage) for field in true]
    compared = [where_known(*pair, ["tas"]) for pair in zip(predicted, true, strict=True)]
    found = changes(*compared, "change") | changes(*true, "true_change")
    table = change_scores(xr.Dataset(found), Grid.of(fields[0]).area).set_index("metric")["value"]
    assert table["change_rmse"] == pytest.approx(0, abs=1e-12)
    assert table["change_pearson"] == pytest.approx(1)


def test_predictions_and_truth_of_different_shapes_are_refused(random):
    field = inputs(random.normal(size=(10, 2, 2)))
    with pytest.raises(DataError, match=r"tas: expected predictions of the shape of the truth, \(9, 2, 2\), found"):
        where_known(field, field.isel(time=slice(9)), ["tas"])
