"""Scalers: fitted numbers against numpy, there and back, and on disk."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import scaling
from dl4ds_core.config.schema import Normalization
from dl4ds_core.errors import DataError
from dl4ds_core.scaling import Scaler, fit, fit_all

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


@pytest.mark.parametrize(("per", "axis"), [("domain", None), ("cell", 0)])
def test_minmax(field_of, per, axis):
    field = field_of(steps=20)
    scaled = fit(field, Normalization(method="minmax", per=per)).apply(field.values)
    np.testing.assert_allclose(scaled.min(axis=axis), 0.0, atol=1e-6)
    np.testing.assert_allclose(scaled.max(axis=axis), 1.0, atol=1e-6)


def test_none_changes_nothing(field_of):
    field = field_of()
    np.testing.assert_array_equal(fit(field, Normalization(method="none")).apply(field.values), field.values)


@pytest.mark.parametrize("method", ["standard", "minmax", "none"])
@pytest.mark.parametrize("per", ["domain", "cell"])
def test_there_and_back(field_of, method, per):
    field = field_of(steps=20)
    scaler = fit(field, Normalization(method=method, per=per))
    np.testing.assert_allclose(scaler.invert(scaler.apply(field.values)), field.values, rtol=2e-7)


@pytest.mark.parametrize("value", [0.0, 0.1, 273.15, -1e-3])
@pytest.mark.parametrize("method", ["standard", "minmax"])
@pytest.mark.parametrize("per", ["domain", "cell"])
def test_a_constant_field_is_only_shifted(field_of, value, method, per):
    field = field_of(steps=7, rows=3, columns=5)
    field[:] = value
    scaler = fit(field, Normalization(method=method, per=per))
    np.testing.assert_allclose(scaler.apply(field.values), 0.0, atol=1e-6)
    # A later value that differs by one must not become astronomical.
    np.testing.assert_allclose(scaler.apply(field.values + 1), 1.0, atol=1e-6)


def test_small_variations_of_large_values_count(field_of):
    field = field_of(steps=50)
    field[:] = 101325 + np.random.default_rng(1).normal(size=field.shape)
    assert float(fit(field, STANDARD).factor) == pytest.approx(1.0, rel=0.05)


def test_static_fields_have_one_pair_of_numbers(field_of):
    field = field_of(steps=None)
    scaler = fit(field, CELL)
    assert scaler.offset.shape == ()
    assert float(scaler.factor) == pytest.approx(field.values.astype(np.float64).std(), rel=1e-9)


def test_lazy_fields_give_the_numbers_of_loaded_ones(field_of):
    field = field_of(steps=20)
    for how in (STANDARD, CELL):
        whole, chunked = fit(field, how), fit(field.chunk(time=3), how)
        np.testing.assert_allclose(chunked.offset, whole.offset, rtol=1e-13)
        np.testing.assert_allclose(chunked.factor, whole.factor, rtol=1e-12)


def fitted(field_of, how: Normalization) -> tuple[dict[str, Scaler], xr.Dataset, xr.Dataset]:
    fine = field_of(steps=10).to_dataset()
    coarse = field_of(steps=10, rows=2, columns=3, step=2.0, seed=5).to_dataset()
    static = field_of(steps=None, name="elevation", units="m").to_dataset()
    return fit_all(fine, coarse, static, {"tas": how, "elevation": STANDARD}), fine, coarse


def test_a_predictand_and_its_coarsened_self_share_one_scaling(field_of):
    scalers, fine, _ = fitted(field_of, STANDARD)
    assert set(scalers) == {"fine.tas", "coarse.tas", "static.elevation"}
    assert scalers["coarse.tas"] is scalers["fine.tas"]
    assert float(scalers["fine.tas"].offset) == pytest.approx(fine["tas"].values.astype(np.float64).mean())


def test_per_cell_each_grid_has_its_own(field_of):
    scalers, fine, coarse = fitted(field_of, CELL)
    assert scalers["fine.tas"].offset.shape == fine["tas"].shape[1:]
    np.testing.assert_allclose(scalers["coarse.tas"].offset, coarse["tas"].values.astype(np.float64).mean(axis=0))


@pytest.mark.parametrize("how", [STANDARD, CELL], ids=["domain", "cell"])
def test_on_disk_and_back_bit_by_bit(tmp_path, field_of, how):
    scalers, _, _ = fitted(field_of, how)
    scaling.save(scalers, tmp_path / "scalers.nc", {"title": "x"})
    again = scaling.load(tmp_path / "scalers.nc")
    assert list(again) == list(scalers)
    for key, scaler in scalers.items():
        np.testing.assert_array_equal(again[key].offset, scaler.offset)
        np.testing.assert_array_equal(again[key].factor, scaler.factor)


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
