"""Fields as the configuration describes them, brought to the grids of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from grid_kinds import KINDS, field_on

from dl4ds_core import io
from dl4ds_core.config.inputs import Domain, Predictor, Regrid, TargetGrid
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import coarse_predictand, fine_grid, fine_predictand, on_grid, open_entry, units_of

SCALE = 4


def entry(variable: str = "tas", **keys: Any) -> dict[str, Any]:
    """An entry as scripts get it from rules."""
    given = Predictor(source="input", variable=variable, **keys).model_dump()
    return given | {"regrid": Regrid().model_dump(), "filters": {}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A made-up file of two variables, on two levels and of two members, and one without time."""
    random = np.random.default_rng(1)
    dims = ("time", "member", "plev", "lat", "lon")
    sizes = dict(zip(dims, (5, 2, 2, 3, 4), strict=True))
    coordinates = {
        "time": pd.date_range("2001-01-01", periods=5),
        "plev": ("plev", [50000.0, 85000.0], {"units": "Pa", "standard_name": "air_pressure", "positive": "down"}),
        "lat": ("lat", 40 + np.arange(3.0), {"units": "degrees_north"}),
        "lon": ("lon", 5 + np.arange(4.0), {"units": "degrees_east"}),
    }
    values = {name: (dims, 280 + random.normal(size=list(sizes.values())), {"units": "K"}) for name in ("ta", "other")}
    height = (("lat", "lon"), random.random((3, 4)), {"units": "m"})
    xr.Dataset({**values, "height": height}, coordinates).to_netcdf(tmp_path / "input.nc")
    return tmp_path / "input.nc"


class TestOpenEntry:
    def test_level_member_units_and_minimum(self, file: Path) -> None:
        given = entry("ta", units="degC", level=850, select={"member": 1}, minimum=6.5)
        found = open_entry(file, given)
        with xr.open_dataset(file) as raw:
            expected = np.maximum(raw["ta"].values[:, 1, 1] - 273.15, 6.5)
        assert found.dims == ("time", "lat", "lon")
        assert found.attrs["units"] == "degC"
        np.testing.assert_allclose(found.values, expected, rtol=1e-6)

    def test_units_of_another_file_come_before_those_of_the_entry(self, file: Path, tmp_path: Path) -> None:
        like = field_on("latlon", 2)
        io.write(on_grid(like.assign_attrs(units="degF"), Grid.of(like)), tmp_path / "like.nc", {})
        assert units_of(tmp_path / "like.nc") == "degF"
        assert units_of(None) is None
        given = entry("ta", units="degC", level=500, select={"member": 0})
        found = open_entry(file, given, units_of(tmp_path / "like.nc"))
        with xr.open_dataset(file) as raw:
            celsius = raw["ta"].values[:, 0, 0] - 273.15
        np.testing.assert_allclose(found.values, celsius * 9 / 5 + 32, rtol=1e-5)

    def test_without_time_it_is_no_input(self, file: Path) -> None:
        with pytest.raises(DataError, match=r"input\.nc: height: expected a time axis, found the dimensions lat, lon"):
            open_entry(file, entry("height"))


class TestFineGrid:
    @pytest.mark.parametrize("kind", KINDS)
    def test_that_of_the_field_cut_to_whole_blocks(self, kind: str) -> None:
        field = field_on(kind, 1, 18, 23)
        found = fine_grid(field, None, None, SCALE)
        assert found.same(Grid.of(field[:, :16, :20]))

    def test_cut_to_a_domain(self) -> None:
        field = field_on("latlon", 1, 18, 23)
        found = fine_grid(field, Domain(lat=(41, 43.5), lon=(-3, 5)), None, SCALE)
        np.testing.assert_allclose(found.y, np.arange(41, 43, 0.25))
        np.testing.assert_allclose(found.x, np.arange(-3, 5, 0.5))

    def test_a_chosen_one(self) -> None:
        """Whatever that of the field is; its last row makes no whole block."""
        chosen = TargetGrid.model_validate(
            {"lat": {"first": 50, "last": 52, "step": 0.25}, "lon": {"first": 5, "last": 8.5, "step": 0.5}}
        )
        found = fine_grid(field_on("rotated", 1), None, chosen, SCALE)
        assert found.kind == "latlon"
        np.testing.assert_allclose(found.y, np.arange(50, 52, 0.25))
        np.testing.assert_allclose(found.x, np.arange(5, 9, 0.5))
        cut = fine_grid(field_on("rotated", 1), Domain(lat=(51, 52), lon=(5, 7)), chosen, SCALE)
        np.testing.assert_allclose(cut.y, np.arange(51, 52, 0.25))
        np.testing.assert_allclose(cut.x, np.arange(5, 7, 0.5))

    def test_less_than_a_block_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"data\.scale"):
            fine_grid(field_on("latlon", 1, 3, 20), None, None, SCALE)


def block_means(values: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area-weighted means over valid cells of blocks, and the valid part of their area."""
    rows, columns = values.shape[-2] // SCALE, values.shape[-1] // SCALE

    def summed(field: np.ndarray) -> np.ndarray:
        return field.reshape(*field.shape[:-2], rows, SCALE, columns, SCALE).sum(axis=(-3, -1))

    valid = ~np.isnan(values)
    weights = summed(np.where(valid, areas, 0.0))
    with np.errstate(invalid="ignore"):
        return summed(np.where(valid, values, 0.0) * areas) / weights, weights / summed(areas)


@pytest.mark.parametrize("kind", KINDS)
class TestPredictand:
    def test_complete_fields(self, kind: str, tmp_path: Path) -> None:
        field = field_on(kind, 3, 18, 22)
        target = fine_grid(field, None, None, SCALE)
        fine = fine_predictand(field, target, entry(), tmp_path, "x", "refuse")
        assert set(fine.data_vars) == {"tas"}
        assert Grid.of(fine).same(target)
        np.testing.assert_array_equal(fine["tas"].values, field.values[:, :16, :20].astype(np.float32))
        coarse = coarse_predictand(field, target, entry(), tmp_path, "x", scale=SCALE, context=0, missing="refuse")
        assert set(coarse.data_vars) == {"tas"}
        assert Grid.of(coarse).same(target.coarsened(SCALE))
        means, _ = block_means(field.values[:, :16, :20], target.cell_areas)
        np.testing.assert_allclose(coarse["tas"].values, means, rtol=1e-5)
        assert "area: mean" in coarse["tas"].attrs["cell_methods"]

    def test_context_lies_around_the_domain(self, kind: str, tmp_path: Path) -> None:
        """Its means are those of the cells there; beyond the file's edge they are the nearest cell's."""
        if kind == "curvilinear":
            with pytest.raises(DataError, match="context"):
                fine_grid(field_on(kind, 1), None, None, SCALE).extended(SCALE)
            return
        field = field_on(kind, 2, 24, 28)
        y, x = field.dims[-2:]
        target = Grid.of(field.isel({y: slice(4, 20), x: slice(4, 24)}))
        coarse = coarse_predictand(field, target, entry(), tmp_path, "x", scale=SCALE, context=1, missing="refuse")
        assert Grid.of(coarse).same(target.coarsened(SCALE).extended(1))
        means, _ = block_means(field.values, Grid.of(field).cell_areas)
        np.testing.assert_allclose(coarse["tas"].values, means, rtol=1e-5)
        inner = field.isel({y: slice(4, 24), x: slice(4, 24)})
        beyond = coarse_predictand(inner, target, entry(), tmp_path, "x", scale=SCALE, context=1, missing="refuse")
        np.testing.assert_allclose(beyond["tas"].values[:, 1:, 1:-1], means[:, 1:, 1:-1], rtol=1e-5)
        # South of the file: each column's southernmost cell, four times.
        areas = target.extended(SCALE).cell_areas[4, 4:-4].reshape(5, SCALE)
        edge = (inner.values[:, 0].reshape(2, 5, SCALE) * areas).sum(axis=-1) / areas.sum(axis=-1)
        np.testing.assert_allclose(beyond["tas"].values[:, 0, 1:-1], edge, rtol=1e-3)

    def test_missing_cells(self, kind: str, tmp_path: Path) -> None:
        field = field_on(kind, 3, 16, 20)
        field[:, :4, :4] = np.nan  # a whole block
        field[0, 4:8, 4:7] = np.nan  # three quarters of one
        field[1, 9, 9] = np.nan
        target = fine_grid(field, None, None, SCALE)
        with pytest.raises(DataError, match=r"x: \d+ values are missing, in 3 of 3 time steps"):
            fine_predictand(field, target, entry(), tmp_path, "x", "refuse")
        fine = fine_predictand(field, target, entry(), tmp_path, "x", "mask")
        np.testing.assert_array_equal(fine["tas"].values, field.values.astype(np.float32))
        coarse = coarse_predictand(field, target, entry(), tmp_path, "x", scale=SCALE, context=0, missing="mask")
        means, shares = block_means(field.values, target.cell_areas)
        assert list(coarse.data_vars)[:2] == ["tas", "tas_valid_fraction"]
        np.testing.assert_allclose(coarse["tas_valid_fraction"].values, shares, atol=1e-6)
        assert coarse["tas_valid_fraction"].attrs["units"] == "1"
        expected = np.where(shares < 0.5, np.nan, means)
        assert np.isnan(expected).sum() == 4
        np.testing.assert_allclose(coarse["tas"].values, expected, rtol=1e-5)


def test_the_least_valid_part_is_that_of_the_entry(tmp_path: Path) -> None:
    field = field_on("latlon", 1, 8, 8)
    field[0, 4:, 4:7] = np.nan  # one quarter is left
    target = fine_grid(field, None, None, SCALE)
    given = entry() | {"regrid": Regrid(min_valid_fraction=0.2).model_dump()}
    keys = {"scale": SCALE, "context": 0, "missing": "mask"}
    assert np.isnan(coarse_predictand(field, target, entry(), tmp_path, "x", **keys)["tas"].values).sum() == 1
    assert np.isfinite(coarse_predictand(field, target, given, tmp_path, "x", **keys)["tas"].values).all()
