"""Domains on every kind of grid, in either convention of longitudes, across Greenwich and the date line."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.config.inputs import Domain
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid, crop, with_bounds


def globe(west: float, step: float = 2.5) -> xr.DataArray:
    """A field over the whole globe whose values tell the place, whatever the convention."""
    lat, lon = np.arange(-88.75, 90, step), west + step * np.arange(int(360 / step))
    place = np.mod(lon, 360.0) + 1000 * np.arange(lat.size)[:, np.newaxis]
    bounds = xr.DataArray(np.stack([lon - step / 2, lon + step / 2], axis=1), dims=("lon", "bnds"))
    field = xr.DataArray(place, {"lat": lat, "lon": lon}, ("lat", "lon"), "place", {"units": "1"})
    return with_bounds(field, {"lon_bnds": bounds})


DOMAINS = {
    "greenwich": ((-10.0, 10.0), 9),
    "date line": ((170.0, -170.0), 9),
    "date line, 0-360": ((170.0, 190.0), 9),
    "atlantic, 0-360": ((280.0, 350.0), 29),
    "atlantic": ((-80.0, -10.0), 29),
    "all": ((-180.0, 180.0), 144),
    "all, 0-360": ((0.0, 360.0), 144),
}


class TestLongitudes:
    @pytest.mark.parametrize(("limits", "count"), DOMAINS.values(), ids=DOMAINS)
    def test_both_conventions_give_the_same_field(self, limits, count):
        domain = Domain(lat=(40.0, 60.0), lon=limits)
        of_greenwich, of_date_line = (crop(globe(west), domain) for west in (0.0, -180.0))
        xr.testing.assert_identical(of_greenwich, of_date_line)
        assert of_greenwich.sizes == {"lat": 8, "lon": count}

    @pytest.mark.parametrize(("limits", "count"), DOMAINS.values(), ids=DOMAINS)
    @pytest.mark.parametrize("west", [0.0, -180.0])
    def test_values_stay_with_their_place(self, limits, count, west):
        field = crop(globe(west), Domain(lon=limits))
        lon = field["lon"].values
        np.testing.assert_array_equal(field.values % 1000, np.mod(lon, 360.0) + 0 * field.values)
        assert np.all(np.diff(lon) == 2.5)
        assert lon[0] >= limits[0]
        assert lon[-1] <= limits[1] + (360 if limits[1] < limits[0] else 0)
        np.testing.assert_array_equal(Grid.of(field).x_bounds, np.append(lon - 1.25, lon[-1] + 1.25))

    def test_a_regional_file_gets_the_convention_of_the_domain(self):
        field = globe(0.0).isel(lon=slice(90, 126))  # 225 to 312.5
        cropped = crop(field, Domain(lon=(-100.0, -60.0)))
        assert cropped["lon"].values[[0, -1]].tolist() == [-100.0, -60.0]
        np.testing.assert_array_equal(cropped.values, field.sel(lon=slice(260, 300)).values)

    def test_a_sorted_file_across_greenwich_is_joined(self):
        parts = globe(0.0).isel(lon=[0, 1, 2, 141, 142, 143])
        cropped = crop(parts, Domain(lon=(-20.0, 20.0)))
        assert cropped["lon"].values.tolist() == [-7.5, -5, -2.5, 0, 2.5, 5]
        np.testing.assert_array_equal(cropped.values % 1000, np.mod(cropped["lon"].values, 360) + 0 * cropped.values)

    def test_longitudes_in_the_convention_keep_every_bit(self):
        field = globe(-180.0).assign_coords(lon=np.linspace(-180, 180, 144, endpoint=False) + 0.1234567)
        cropped = crop(field, Domain(lon=(-20.0, 20.0)))
        assert set(cropped["lon"].values) <= set(field["lon"].values)

    def test_rounding_is_forgiven(self):
        field = globe(0.0)
        field = field.assign_coords(lon=field["lon"].astype(np.float32) - np.float32(1e-7))
        assert crop(field, Domain(lon=(10.0, 20.0))).sizes["lon"] == 5


class TestOtherGrids:
    @pytest.mark.parametrize("kind", ["rotated", "lambert", "curvilinear"])
    def test_the_smallest_box_with_all_cells_inside(self, field_on, kind):
        field = field_on(kind, rows=20, columns=30)
        grid = Grid.of(field)
        field = grid.placed(field)
        middle = float(np.median(grid.lat)), float(np.median(grid.lon))
        domain = Domain(lat=(middle[0] - 0.5, middle[0] + 0.5), lon=(middle[1] - 0.7, middle[1] + 0.7))
        cropped = crop(field, domain)
        inside = (np.abs(grid.lat - middle[0]) <= 0.5) & (np.abs(grid.lon - middle[1]) <= 0.7)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        expected = field[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        xr.testing.assert_identical(cropped, expected)
        shifted = Domain(lat=domain.lat, lon=(domain.lon[0] - 360, domain.lon[1] - 360))
        xr.testing.assert_identical(crop(field, shifted), expected)
        # Bounds and corners are cut with the cells.
        part = grid.subset(slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        assert Grid.of(cropped).digest == part.digest

    def test_across_the_date_line(self, field_on):
        field = field_on("curvilinear", rows=20, columns=30)
        moved = field.assign_coords(lon=(field["lon"] + 172.0 + 180.0) % 360.0 - 180.0)
        near = crop(field, Domain(lat=(40, 45), lon=(5.0, 12.0)))
        far = crop(moved, Domain(lat=(40, 45), lon=(177.0, -176.0)))
        np.testing.assert_array_equal(near.values, far.values)

    def test_limits_along_the_axes(self, field_from):
        field = field_from("po")
        cropped = crop(field, Domain(y=(2.4e6, 2.5e6), x=(4.1e6, 4.2e6)))
        assert cropped["y"].values[[0, -1]].tolist() == [2402500.0, 2497500.0]
        assert cropped["x"].values[[0, -1]].tolist() == [4102500.0, 4197500.0]

    def test_limits_along_rotated_axes(self, field_from):
        cropped = crop(field_from("racmo"), Domain(y=(-10.01, -5.61), x=(-20.29, -15.0)))
        assert cropped["rlat"].values[[0, -1]] == pytest.approx([-10.01, -5.61])
        assert cropped["rlon"].values[0] == pytest.approx(-20.29)

    def test_a_pole_in_the_domain(self, field_on):
        # In these rotated coordinates the north pole is at 39.25 north, 0 east.
        field = field_on("rotated", rows=40, columns=40)
        field = field.assign_coords(rlat=30.0 + 0.5 * np.arange(40), rlon=-10.0 + 0.5 * np.arange(40))
        field = Grid.of(field).placed(field)
        cropped = crop(field, Domain(lat=(86.0, 90.0), lon=(-180.0, 180.0)))
        assert cropped["rlat"].values[[0, -1]].tolist() == [35.5, 43.0]
        assert cropped["rlon"].values[[0, -1]].tolist() == [
            -5.0,
            5.0,
        ]  # 4 degrees, of circles with cos(39) of the radius


class TestRefused:
    def test_no_domain_changes_nothing(self, field_on):
        field = field_on("latlon")
        assert crop(field, None) is field

    @pytest.mark.parametrize(
        ("kind", "domain", "message"),
        [
            ("latlon", {"lat": (60, 70)}, r"data.domain.lat: \[60, 70\] holds 0 cells of tas, whose lat goes from 40"),
            ("latlon", {"lon": (100, 110)}, r"data.domain.lon: \[100, 110\] holds 0 cells"),
            ("latlon", {"lon": (0.2, 0.7)}, "holds 1 cells"),
            ("latlon", {"x": (0, 10)}, "data.domain.x: tas has no axis x: give limits in lat and lon"),
            ("curvilinear", {"y": (0, 10)}, "data.domain.y: tas has no axis y"),
            ("curvilinear", {"lat": (60, 70), "lon": (0, 10)}, r"lat \[60, 70\], lon \[0, 10\] holds 0 rows of tas"),
            ("laea", {"x": (0, 10)}, r"data.domain.x: \[0, 10\] holds 0 cells of tas, whose x goes from 4.1e\+06"),
        ],
    )
    def test_domains_without_cells(self, field_on, kind, domain, message):
        with pytest.raises(DataError, match=message):
            crop(field_on(kind), Domain(**domain))
