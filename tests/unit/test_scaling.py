"""Scalers: fitted numbers against numpy, there and back, and on disk."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dl4ds_core import scaling, statistics
from dl4ds_core.config.schema import Normalization
from dl4ds_core.errors import DataError
from dl4ds_core.scaling import Scaler, fit, fit_all, forward, inverse

STANDARD = Normalization()
CELL = Normalization(per="cell")


def test_standard_over_the_domain(field_of):
    field = field_of(steps=20)
    scaler = fit(field, STANDARD)
    values = field.values.astype(np.float64)
    assert float(scaler.offset) == pytest.approx(values.mean(), rel=1e-12)
    assert float(scaler.factor) == pytest.approx(values.std(), rel=1e-9)
    scaled = scaler.apply(field.values)
    assert scaled.dtype == np.float32
    assert scaled.mean() == pytest.approx(0.0, abs=1e-5)
    assert scaled.std() == pytest.approx(1.0, abs=1e-5)


def test_standard_per_cell(field_of):
    field = field_of(steps=20)
    scaler = fit(field, CELL)
    values = field.values.astype(np.float64)
    np.testing.assert_allclose(scaler.offset, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaler.factor, values.std(axis=0), rtol=1e-9)


@pytest.mark.parametrize("method", ["standard", "minmax", "robust"])
def test_a_cell_with_few_values_has_the_usual_factor(field_of, method):
    """Two equal values in a hundred steps would blow up all else that comes there, filled from neighbours or later."""
    field = field_of(steps=100)
    field[2:, 1, 2] = np.nan
    field[:2, 1, 2] = [281.0, 281.02]
    scaler = fit(field, Normalization(method=method, per="cell"))
    others = np.delete(scaler.factor.ravel(), 1 * field.shape[2] + 2)
    assert scaler.factor[1, 2] == pytest.approx(np.median(others))


@pytest.mark.parametrize(("per", "axis"), [("domain", None), ("cell", 0)])
def test_minmax(field_of, per, axis):
    field = field_of(steps=20)
    scaled = fit(field, Normalization(method="minmax", per=per)).apply(field.values)
    np.testing.assert_allclose(scaled.min(axis=axis), 0.0, atol=1e-6)
    np.testing.assert_allclose(scaled.max(axis=axis), 1.0, atol=1e-6)


def test_none_changes_nothing(field_of):
    field = field_of()
    np.testing.assert_array_equal(fit(field, Normalization(method="none")).apply(field.values), field.values)


METHODS = ["standard", "minmax", "robust", "none"]
EPS = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("transform", ["none", "log1p", "cube-root"])
@pytest.mark.parametrize("per", ["domain", "cell"])
def test_there_and_back(field_of, method, transform, per):
    field = field_of(steps=20)
    scaler = fit(field, Normalization(method=method, per=per, transform=transform))
    np.testing.assert_allclose(scaler.invert(scaler.apply(field.values)), field.values, rtol=2e-6)


@st.composite
def physical_fields(draw):
    """Values of any magnitude: 1e-9 kg m-2 s-1 as well as 1e5 Pa, dry days among them, some missing."""
    magnitude = draw(st.sampled_from([1e-9, 1e-5, 1e-2, 1.0, 300.0, 1e5]))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, 100.0])) * magnitude
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 3), st.integers(1, 3)))
    parts = draw(hnp.arrays(np.float64, shape, elements=st.floats(0, 1)))
    values = (offset + magnitude * np.where(parts < 0.2, 0.0, parts)).astype(np.float32)
    values[draw(hnp.arrays(bool, shape))] = np.nan
    values[0, 0, 0] = np.float32(offset)
    return values


@given(
    physical_fields(),
    st.sampled_from(METHODS),
    st.sampled_from(["none", "log1p", "cube-root"]),
    st.sampled_from(["domain", "cell"]),
)
@settings(deadline=None, max_examples=300)
def test_what_is_applied_can_be_undone_to_rounding(values, method, transform, per):
    field = xr.DataArray(values, dims=("time", "y", "x"), name="v")
    scaler = fit(field, Normalization(method=method, transform=transform, per=per))
    scaled = scaler.apply(values)
    back = scaler.invert(scaled)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    # Normalised values are rounded to float32; that error, through the inverse, and the result's own rounding.
    exact = values.astype(np.float64)
    transformed = forward(transform, exact)
    error = 0.5 * EPS * np.abs(transformed - scaler.offset)
    steepest = {"none": 1.0, "log1p": 1.0 + exact, "cube-root": 3.0 * (np.abs(transformed) + error) ** 2}[transform]
    allowed = 1.01 * (steepest * error + 0.5 * EPS * np.abs(exact)) + 1e-37
    valid = ~np.isnan(values)
    assert np.all(np.abs(back.astype(np.float64) - exact)[valid] <= allowed[valid])


@given(physical_fields(), st.sampled_from(METHODS), st.sampled_from(["domain", "cell"]))
@settings(deadline=None, max_examples=100)
def test_missing_values_change_no_fitted_number(values, method, per):
    """The same field without its missing values, cell by cell and over the domain."""
    how = Normalization(method=method, per=per)
    scaler = fit(xr.DataArray(values, dims=("time", "y", "x"), name="v"), how)
    if per == "domain":
        series = values[~np.isnan(values)][:, None, None]
        alone = fit(xr.DataArray(series, dims=("time", "y", "x"), name="v"), how)
        np.testing.assert_allclose(scaler.offset, alone.offset, rtol=1e-12, atol=1e-30)
        np.testing.assert_allclose(scaler.factor, alone.factor, rtol=1e-6)
        return
    if method == "none":
        return
    for y, x in np.ndindex(values.shape[1:]):
        series = values[:, y, x][~np.isnan(values[:, y, x])]
        if series.size == 0:
            assert (scaler.offset[y, x], scaler.factor[y, x]) == (0.0, 1.0)
            continue
        alone = fit(xr.DataArray(series[:, None, None], dims=("time", "y", "x"), name="v"), how)
        np.testing.assert_allclose(scaler.offset[y, x], alone.offset[0, 0], rtol=1e-12, atol=1e-30)
        np.testing.assert_allclose(scaler.factor[y, x], alone.factor[0, 0], rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 273.15, -1e-3])
@pytest.mark.parametrize("method", ["standard", "minmax", "robust"])
@pytest.mark.parametrize("per", ["domain", "cell"])
def test_a_constant_field_is_only_shifted(field_of, value, method, per):
    field = field_of(steps=7, rows=3, columns=5)
    field[:] = value
    scaler = fit(field, Normalization(method=method, per=per))
    np.testing.assert_allclose(scaler.apply(field.values), 0.0, atol=1e-6)
    # A later value that differs by one must not become astronomical.
    np.testing.assert_allclose(scaler.apply(field.values + 1), 1.0, atol=1e-6)


@pytest.mark.parametrize("value", [0.1, 273.15, 1e-9, 101_325.7])
def test_rounding_of_a_mean_is_no_variation(field_of, value, monkeypatch):
    monkeypatch.setattr(statistics.blocks, "__defaults__", (700,))
    field = field_of(steps=997, rows=3, columns=7)
    field[:] = value
    for how in (STANDARD, CELL, Normalization(transform="cube-root")):
        np.testing.assert_array_equal(fit(field, how).factor, 1.0)


def test_small_variations_of_large_values_count(field_of):
    field = field_of(steps=50)
    field[:] = 101325 + np.random.default_rng(1).normal(size=field.shape)
    assert float(fit(field, STANDARD).factor) == pytest.approx(1.0, rel=0.05)


def test_static_fields_have_one_pair_of_numbers(field_of):
    field = field_of(steps=None)
    scaler = fit(field, CELL)
    assert scaler.offset.shape == ()
    assert float(scaler.factor) == pytest.approx(field.values.astype(np.float64).std(), rel=1e-9)


@pytest.mark.parametrize(("per", "axis"), [("domain", None), ("cell", 0)])
def test_robust(field_of, per, axis):
    field = field_of(steps=21)
    scaler = fit(field.chunk(time=4), Normalization(method="robust", per=per))
    lower, median, upper = np.quantile(field.values.astype(np.float64), [0.25, 0.5, 0.75], axis=axis)
    np.testing.assert_allclose(scaler.offset, median, rtol=1e-14)
    np.testing.assert_allclose(scaler.factor, upper - lower, rtol=1e-12)


def rain(field_of, scale: float = 1.0) -> xr.DataArray:
    """Two thirds of the days dry, some of them with a trace or a little below 0."""
    random = np.random.default_rng(5)
    field = field_of(steps=60, name="pr", units="mm d-1")
    values = np.where(random.random(field.shape) < 0.85, random.uniform(-0.02, 0.09, field.shape), 0)
    wet = random.random(field.shape) < 0.2
    return field.copy(data=(scale * np.where(wet, random.gamma(0.7, 8, field.shape) + 0.1, values)).astype(np.float32))


@pytest.mark.parametrize("per", ["domain", "cell"])
def test_mostly_dry_fields_have_no_quartiles_and_take_the_deviation(field_of, per):
    field = rain(field_of)
    scaler = fit(field, Normalization(method="robust", dry_below=0.1, per=per))
    axis = 0 if per == "cell" else None
    dry = np.where(field.values < np.float32(0.1), 0, field.values).astype(np.float64)
    lower, median, upper = np.quantile(dry, [0.25, 0.5, 0.75], axis=axis)
    deviation = dry.std(axis=axis)
    assert np.any(lower == upper)
    np.testing.assert_allclose(scaler.factor, np.where(upper > lower, upper - lower, deviation), rtol=1e-9)
    np.testing.assert_array_equal(scaler.offset, median)


def test_transformations_come_before_the_statistics(field_of):
    field = rain(field_of)
    values = np.where(field.values < np.float32(0.1), 0, field.values).astype(np.float64)
    for transform, changed in (("log1p", np.log1p(values)), ("cube-root", np.cbrt(values))):
        scaler = fit(field, Normalization(transform=transform, dry_below=0.1))
        assert float(scaler.offset) == pytest.approx(changed.mean(), rel=1e-12)
        assert float(scaler.factor) == pytest.approx(changed.std(), rel=1e-9)
        np.testing.assert_allclose(
            scaler.apply(field.values), (changed - changed.mean()) / changed.std(), rtol=1e-5, atol=1e-6
        )


def test_dry_days_are_zero_after_a_round(field_of):
    field = rain(field_of)
    scaler = fit(field, Normalization(transform="cube-root", dry_below=0.1))
    back = scaler.invert(scaler.apply(field.values))
    dry = field.values < np.float32(0.1)
    np.testing.assert_allclose(back[dry], 0.0, atol=1e-15)
    np.testing.assert_allclose(back[~dry], field.values[~dry], rtol=1e-6)


def test_log1p_refuses_negative_values_and_says_what_to_do(field_of):
    field = rain(field_of)
    with pytest.raises(DataError, match=r"normalization of 'pr': .*log1p.* found -0\.0.*set `minimum: 0`"):
        fit(field, Normalization(transform="log1p"))
    scaler = fit(abs(field).rename("pr"), Normalization(transform="log1p"))
    with pytest.raises(DataError, match="set `minimum: 0`"):
        scaler.apply(field.values)
    assert np.isfinite(fit(field, Normalization(transform="cube-root")).apply(field.values)).all()


@pytest.mark.parametrize("transform", ["none", "log1p", "cube-root"])
def test_the_inverse_works_on_tensors(transform):
    values = np.array([0.0, 1e-3, 0.5, 30.0, 400.0])
    transformed = forward(transform, values)
    np.testing.assert_allclose(inverse(transform, transformed), values, rtol=1e-12)

    class Ops:
        """Stands in for ``keras.ops``, which data modules never load."""

        called = 0

        @classmethod
        def expm1(cls, found):
            cls.called += 1
            return np.expm1(found)

    scaler = Scaler(np.array(0.3), np.array(2.5), transform)
    found = scaler.inverse(scaler.apply(values), Ops)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=2e-6, atol=1e-6)
    assert Ops.called == (transform == "log1p")


def test_missing_values_stay_missing(field_of):
    field = field_of(steps=20)
    field[:5, 0, 0] = np.nan
    field[:, 1, 1] = np.nan
    for per in ("domain", "cell"):
        scaler = fit(field, Normalization(per=per))
        np.testing.assert_array_equal(np.isnan(scaler.apply(field.values)), np.isnan(field.values))
        assert np.isfinite(scaler.offset).all()
        assert (scaler.factor > 0).all()


def test_fields_without_or_with_infinite_values_are_refused(field_of):
    field = field_of()
    with pytest.raises(DataError, match="normalization of 'tas': no value is valid"):
        fit(field * np.nan, STANDARD)
    for value in (np.inf, -np.inf):
        for how in (STANDARD, CELL, Normalization(method="robust")):
            field[2, 3, 4] = value
            with pytest.raises(DataError, match="expected finite values"):
                fit(field, how)


@pytest.mark.parametrize("method", METHODS)
def test_lazy_fields_give_the_numbers_of_loaded_ones(field_of, method, monkeypatch):
    field = field_of(steps=20)
    monkeypatch.setattr(statistics.blocks, "__defaults__", (300,))
    for how in (Normalization(method=method), Normalization(method=method, per="cell")):
        whole, chunked = fit(field, how), fit(field.chunk(time=3), how)
        np.testing.assert_allclose(chunked.offset, whole.offset, rtol=1e-13)
        np.testing.assert_allclose(chunked.factor, whole.factor, rtol=1e-12)


def fitted(field_of, how: Normalization) -> tuple[dict[str, Scaler], xr.Dataset, xr.Dataset]:
    fine = field_of(steps=10).to_dataset()
    coarse = field_of(steps=10, rows=2, columns=3, step=2.0, seed=5).to_dataset()
    coarse["z"] = 100 * coarse["tas"]
    coarse["tas_valid_fraction"] = coarse["tas"] > 280
    static = field_of(steps=None, name="elevation", units="m").to_dataset()
    return fit_all(fine, coarse, static, {"tas": how, "z": how, "elevation": STANDARD}), fine, coarse


def test_a_predictand_and_its_coarsened_self_share_one_scaling(field_of):
    scalers, fine, _ = fitted(field_of, STANDARD)
    assert set(scalers) == {"fine.tas", "coarse.tas", "coarse.tas_valid_fraction", "coarse.z", "static.elevation"}
    assert scalers["coarse.tas"] is scalers["fine.tas"]
    assert float(scalers["fine.tas"].offset) == pytest.approx(fine["tas"].values.astype(np.float64).mean())


def test_per_cell_each_grid_has_its_own(field_of):
    scalers, fine, coarse = fitted(field_of, CELL)
    assert scalers["fine.tas"].offset.shape == fine["tas"].shape[1:]
    np.testing.assert_allclose(scalers["coarse.tas"].offset, coarse["tas"].values.astype(np.float64).mean(axis=0))


@pytest.mark.parametrize("how", [STANDARD, CELL], ids=["domain", "cell"])
def test_predictors_have_their_own_and_valid_fractions_none(field_of, how):
    scalers, _, coarse = fitted(field_of, how)
    axis = 0 if how.per == "cell" else None
    np.testing.assert_allclose(scalers["coarse.z"].offset, coarse["z"].values.astype(float).mean(axis=axis), rtol=1e-12)
    unscaled = scalers["coarse.tas_valid_fraction"]
    assert (unscaled.offset, unscaled.factor, unscaled.transform) == (0.0, 1.0, "none")


def test_predictors_alone(field_of):
    fine = field_of(steps=10).to_dataset()
    coarse = field_of(steps=10, rows=2, columns=3, step=2.0, name="z").to_dataset()
    assert set(fit_all(fine, coarse, None, {"tas": CELL, "z": STANDARD})) == {"fine.tas", "coarse.z"}


SKEWED = Normalization(method="minmax", transform="cube-root", dry_below=0.1)


@pytest.mark.parametrize("how", [STANDARD, CELL, SKEWED], ids=["domain", "cell", "skewed"])
def test_on_disk_and_back_bit_by_bit(tmp_path, field_of, how):
    scalers, _, _ = fitted(field_of, how)
    scaling.save(scalers, tmp_path / "scalers.nc", {"title": "x"})
    again = scaling.load(tmp_path / "scalers.nc")
    assert list(again) == list(scalers)
    for key, scaler in scalers.items():
        np.testing.assert_array_equal(again[key].offset, scaler.offset)
        np.testing.assert_array_equal(again[key].factor, scaler.factor)
        assert (again[key].transform, again[key].dry_below) == (scaler.transform, scaler.dry_below)


def test_names_with_underscores_come_back(tmp_path):
    scalers = {
        f"{grid}.{name}": Scaler(np.array(1.0), np.array(2.0))
        for grid in ("fine", "coarse")
        for name in ("t2m_max", "t2m", "offset")
    }
    scaling.save(scalers, tmp_path / "scalers.nc", {})
    assert list(scaling.load(tmp_path / "scalers.nc")) == list(scalers)


def test_a_file_without_scalers_is_refused(tmp_path, field_of):
    field_of().to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DataError, match=r"a\.nc: expected a file of scalers"):
        scaling.load(tmp_path / "a.nc")
    with pytest.raises(DataError, match="no such file"):
        scaling.load(tmp_path / "b.nc")


def test_precipitation_of_a_real_record(data_dir):
    """Against numpy on the whole field: E-OBS, with missing cells that change."""
    with xr.open_dataset(
        data_dir / "eobs-iberia" / "eobs_pr_0.25deg_djf_1990-2000.nc", chunks={"time": 903}
    ) as dataset:
        field = dataset["pr"].astype(np.float32)
        valid = field.values[~np.isnan(field.values)].astype(np.float64)
        changed = np.cbrt(np.where(valid < np.float32(0.1), 0, valid))
        scaler = fit(field, Normalization(method="robust", transform="cube-root", dry_below=0.1))
    lower, median, upper = np.quantile(changed, [0.25, 0.5, 0.75])
    np.testing.assert_allclose([scaler.offset, scaler.factor], [median, upper - lower], rtol=1e-12)
