"""Fields without time: from files, and derived from the grid."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.schema import Regrid
from dl4ds_core.errors import DataError, RegridError
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import cut_to_blocks, derived_field, is_land, static_field

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed")
ERA5 = "era5-uk/era5_t2m_hourly_2019-03_uk.nc"
ETOPO = "static/etopo5_western-europe.nc"
RCM = "static/rcm_0.11deg_europe_orography_landfraction.nc"


@pytest.fixture
def era5_grid(data_dir) -> Grid:
    """The grid of ERA5 over the UK, cut to blocks of four."""
    return Grid.of(cut_to_blocks(io.open_variable(data_dir / ERA5, "t2m"), 4, "x"))


def block_average(edges: np.ndarray, bounds: np.ndarray, *, sine: bool) -> np.ndarray:
    """Matrix of the shares that source intervals have in target intervals, by overlap."""
    measure = (lambda x: np.sin(np.deg2rad(x))) if sine else (lambda x: x)
    lower = np.maximum(edges[None, :-1], bounds[:-1, None])
    upper = np.minimum(edges[None, 1:], bounds[1:, None])
    overlap = np.where(upper > lower, measure(upper) - measure(np.minimum(lower, upper)), 0.0)
    return overlap / overlap.sum(axis=1, keepdims=True)


class TestFiles:
    def test_equal_grids_need_no_engine(self, tmp_path, field_of, monkeypatch):
        monkeypatch.setenv("PATH", "")
        field = field_of(steps=None, rows=12, columns=16, name="orog", units="km")
        field.isel(lat=slice(None, None, -1)).to_netcdf(tmp_path / "a.nc")
        field_of(steps=None).rename("other").to_netcdf(tmp_path / "b.nc")
        target = Grid.of(field.isel(lat=slice(2, 10), lon=slice(4, 16)))
        found = static_field([tmp_path / "b.nc", tmp_path / "a.nc"], "height", "orog", "m", target, Regrid(), None)
        np.testing.assert_allclose(found.values, 1000 * field.values[2:10, 4:16], rtol=1e-6)
        assert found.attrs["units"] == "m"
        assert found.dtype == np.float32
        assert found.name == "height"

    def test_a_single_time_step_is_no_time(self, tmp_path, field_of):
        field = field_of(steps=1)
        field.to_netcdf(tmp_path / "a.nc")
        found = static_field([tmp_path / "a.nc"], "x", "tas", None, Grid.of(field), Regrid(), None)
        np.testing.assert_array_equal(found.values, field.values[0])

    def test_a_field_that_varies_in_time_is_refused(self, tmp_path, field_of):
        field = field_of(steps=3)
        field.to_netcdf(tmp_path / "a.nc")
        with pytest.raises(DataError, match="expected a field without time, found 3 time steps"):
            static_field([tmp_path / "a.nc"], "x", "tas", None, Grid.of(field), Regrid(), None)

    def test_cells_without_value_are_counted(self, tmp_path, field_of):
        field = field_of(steps=None)
        field[0, :2] = np.nan
        field.to_netcdf(tmp_path / "a.nc")
        with pytest.raises(RegridError, match="tas has no value in 2 of 96 cells of the fine grid"):
            static_field([tmp_path / "a.nc"], "x", "tas", None, Grid.of(field), Regrid(), None)

    def test_a_variable_that_no_file_has_is_told(self, tmp_path, field_of):
        field_of(steps=None).to_netcdf(tmp_path / "a.nc")
        with pytest.raises(DataError, match=r"data\.static\.height: none of the files .*a\.nc has the variable 'orog'"):
            static_field([tmp_path / "a.nc"], "height", "orog", "m", Grid.of(field_of()), Regrid(), None)

    @needs_cdo
    def test_relief_against_area_averages(self, data_dir, era5_grid):
        found = static_field([data_dir / ETOPO], "orography", "elevation", "m", era5_grid, Regrid(), None)
        with xr.open_dataset(data_dir / ETOPO) as dataset:
            values = dataset["elevation"].values.astype(np.float64)
            lat, lon = (dataset[axis].values for axis in ("lat", "lon"))
        edges = [np.append(axis - 1 / 24, axis[-1] + 1 / 24) for axis in (lat, lon)]
        rows = block_average(edges[0], era5_grid.y_bounds, sine=True)
        columns = block_average(edges[1], era5_grid.x_bounds, sine=False)
        assert found.dims == ("lat", "lon")
        np.testing.assert_allclose(found["lat"], era5_grid.y)
        np.testing.assert_allclose(found.values, rows @ values @ columns.T, atol=0.05, rtol=1e-5)

    @needs_cdo
    @pytest.mark.parametrize("method", ["conservative", "bilinear"])
    def test_a_rotated_pole_against_the_cells_within(self, data_dir, era5_grid, method):
        found = static_field([data_dir / RCM], "land", "FR_LAND", "1", era5_grid, Regrid(method=method), None)
        with xr.open_dataset(data_dir / RCM) as dataset:
            values, lat, lon = (dataset[name].values.astype(np.float64) for name in ("FR_LAND", "lat", "lon"))
        # Some five source cells have their centre in a target cell; their mean is a coarse but independent estimate.
        row = np.searchsorted(era5_grid.y_bounds, lat) - 1
        column = np.searchsorted(era5_grid.x_bounds, lon) - 1
        inside = (row >= 0) & (row < era5_grid.shape[0]) & (column >= 0) & (column < era5_grid.shape[1])
        counts, sums = np.zeros(era5_grid.shape), np.zeros(era5_grid.shape)
        np.add.at(counts, (row[inside], column[inside]), 1)
        np.add.at(sums, (row[inside], column[inside]), values[inside])
        assert counts.min() >= 1
        difference = found.values - sums / counts
        assert found.values.min() >= -1e-6
        assert found.values.max() <= 1 + 1e-6
        assert np.corrcoef(found.values.ravel(), (sums / counts).ravel())[0, 1] > (
            0.97 if method == "bilinear" else 0.99
        )
        assert np.abs(difference).mean() < 0.04
        assert np.average(difference, weights=era5_grid.cell_areas) == pytest.approx(0.0, abs=0.005)

    @needs_cdo
    def test_fine_fields_are_averaged_and_coarse_ones_interpolated(self, tmp_path, field_of):
        field = field_of(steps=None, rows=40, columns=40, south=38, west=-8)
        field.to_netcdf(tmp_path / "a.nc")
        for step, method in ((1.2, "conservative"), (0.2, "bilinear")):
            target = Grid.of(field_of(steps=None, south=42.13, west=-1.37, step=step))
            static_field([tmp_path / "a.nc"], "x", "tas", None, target, Regrid(), tmp_path / method)
            assert [path.name.split("-")[3] for path in (tmp_path / method).iterdir()] == [method]

    @needs_cdo
    @pytest.mark.parametrize(
        "name",
        ["with blanks", "a;touch harm", "$(touch harm)", "`touch harm`", "it's", "a*b?[c]", "-x", "a,b", "ä | é"],
    )
    def test_odd_names_of_files_are_harmless(self, tmp_path, field_of, name, monkeypatch):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(tmp_path)
        field_of(steps=None, rows=40, columns=40, south=38, west=-8).to_netcdf(folder / f"{name}.nc")
        target = Grid.of(field_of(south=42.1))
        found = static_field([folder / f"{name}.nc"], name, "tas", None, target, Regrid(), folder / name)
        assert found.shape == (8, 12)
        assert not list(tmp_path.rglob("harm"))


class TestDerived:
    @pytest.mark.parametrize("kind", ["latitude", "longitude"])
    def test_coordinates(self, field_on, kind):
        field = field_on("rotated", 6, 7, 0.5)
        found = derived_field(kind, Grid.of(field))
        # The pole of the grid is that of the place 42N 2E moved to the equator: its centre is known.
        assert found.dims == ("rlat", "rlon")
        assert found.dtype == np.float32
        assert found.attrs["units"] == {"latitude": "degrees_north", "longitude": "degrees_east"}[kind]
        assert float(found.mean()) == pytest.approx({"latitude": 42.0, "longitude": 2.0}[kind], abs=0.2)

    def test_distance_to_a_straight_coast(self, field_of):
        # Land north of 45N: cells at 45.5, 46.5 ... are land, those at 44.5, 43.5 ... are sea.
        land = field_of(steps=None, rows=20, columns=60, south=35.5, west=-30, step=1.0, units="1", name="land")
        land[:] = (land["lat"] > 45).values[:, None] * np.ones(60)
        target = Grid.of(field_of(steps=None, rows=6, columns=8, south=42.5, west=-4, step=1.0))
        found = derived_field("coast_distance", target, land)
        degree = 2 * np.pi * 6371.0088 / 360
        expected = np.array([3, 2, 1, 1, 2, 3]) * degree  # rows at 42.5, 43.5, 44.5 | 45.5, 46.5, 47.5
        np.testing.assert_allclose(found.values, np.broadcast_to(expected[:, None], (6, 8)), rtol=1e-5)
        assert found.attrs["units"] == "km"

    @pytest.mark.parametrize(
        ("units", "values", "expected"),
        [
            ("1", [0.0, 0.49, 0.5, 1.0, np.nan], [0, 0, 1, 1, 0]),
            ("%", [0.0, 49, 50, 100, np.nan], [0, 0, 1, 1, 0]),
            ("m", [-3000.0, 0, 0.4, 4000, np.nan], [0, 0, 1, 1, 0]),
            ("km", [-3.0, 0, 0.0004, 4, np.nan], [0, 0, 1, 1, 0]),
        ],
    )
    def test_what_is_land(self, units, values, expected):
        field = xr.DataArray([values, values], dims=("lat", "lon"), name="land", attrs={"units": units})
        np.testing.assert_array_equal(is_land(field), np.array([expected, expected], bool))

    def test_other_quantities_are_refused(self, field_of):
        with pytest.raises(DataError, match=r"tas: expected a land fraction .*or an elevation .* found units 'K'"):
            is_land(field_of(steps=None))

    @pytest.mark.parametrize(("value", "word"), [(1.0, "land"), (0.0, "sea")])
    def test_a_field_without_coast_is_refused(self, field_of, value, word):
        land = field_of(steps=None, units="1", name="lsm")
        land[:] = value
        with pytest.raises(DataError, match=f"lsm: all of its cells are {word}, .* reaches beyond the coast"):
            derived_field("coast_distance", Grid.of(field_of()), land)

    def test_real_coasts(self, data_dir):
        """Distances of two places to the sea, as an atlas has them, in a field of 5 arc-minutes."""
        relief = io.open_variable(data_dir / ETOPO, "elevation")
        places = {"Madrid": (40.4, -3.7, 300), "Bern": (46.95, 7.45, 270)}
        for lat, lon, expected in places.values():
            place = xr.DataArray(np.zeros((2, 2)), {"lat": [lat, lat + 0.01], "lon": [lon, lon + 0.01]}, ("lat", "lon"))
            found = derived_field("coast_distance", Grid.of(place), relief)
            assert found.values[0, 0] == pytest.approx(expected, rel=0.15)
