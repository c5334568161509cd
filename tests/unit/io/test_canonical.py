"""One form for the fields of all kinds of files."""

from __future__ import annotations

import logging

import cftime
import netCDF4
import numpy as np
import pyproj
import pytest
import xarray as xr

from dl4ds_core import io
from dl4ds_core.errors import DataError

LAEA = {
    "grid_mapping_name": "lambert_azimuthal_equal_area",
    "latitude_of_projection_origin": 52.0,
    "longitude_of_projection_origin": 10.0,
    "false_easting": 4321000.0,
    "false_northing": 3210000.0,
    "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257222101,
}


@pytest.fixture
def opened(tmp_path):
    """Write a field or dataset and open its variable."""

    def write_and_open(dataset, variable="tas", **options):
        dataset = dataset.to_dataset() if isinstance(dataset, xr.DataArray) else dataset
        dataset.to_netcdf(tmp_path / "a.nc")
        return io.open_variable(tmp_path / "a.nc", variable, **options)

    return write_and_open


def projected(field, unit="m", **mapping):
    """A field on axes of a projection, without latitudes and longitudes."""
    factor = {"m": 1.0, "km": 1e-3}[unit]
    attributes = {"units": unit}
    flat = field.drop_vars(["lat", "lon"]).rename(lat="northing", lon="easting")
    y, x = 2.3e6 + 5e3 * np.arange(flat.sizes["northing"]), 4.1e6 + 5e3 * np.arange(flat.sizes["easting"])
    flat = flat.assign_coords(
        northing=("northing", y * factor, {"standard_name": "projection_y_coordinate", **attributes}),
        easting=("easting", x * factor, {"standard_name": "projection_x_coordinate", **attributes}),
    )
    flat.attrs["grid_mapping"] = "laea"
    mapping = {key: value * factor if key.startswith("false") else value for key, value in {**LAEA, **mapping}.items()}
    return flat.to_dataset().assign(laea=((), np.int32(0), mapping))


def turned(field):
    """A field with two-dimensional latitudes and longitudes, which aren't those of rows and columns."""
    rows, columns = np.meshgrid(field["lat"], field["lon"], indexing="ij")
    flat = field.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    return flat.assign_coords(
        lat=(("y", "x"), rows + 0.2 * columns, {"units": "degrees_north"}),
        lon=(("y", "x"), columns - 0.1 * rows, {"units": "degrees_east"}),
    )


class TestNames:
    def test_other_names_orders_and_single_levels(self, opened, field_of):
        field = field_of()
        odd = field.rename(lat="nav_lat", lon="x", time="t").expand_dims(height=[2.0])
        found = opened(odd.transpose("x", "height", "t", ...).isel(x=slice(None, None, -1)))
        xr.testing.assert_equal(found.load().drop_attrs(), field.drop_attrs())
        assert found.attrs == field.attrs

    def test_coordinates_beside_their_dimensions(self, opened, field_of):
        field = field_of()
        odd = field.rename(lat="j", lon="i").assign_coords(
            lat=("j", field["lat"].values, field["lat"].attrs), lon=("i", field["lon"].values, field["lon"].attrs)
        )
        found = opened(odd.drop_vars(["i", "j"]).transpose("i", "time", "j"))
        xr.testing.assert_equal(found.load().drop_attrs(), field.drop_attrs())

    def test_coordinates_that_nothing_links_to_the_variable(self, tmp_path, field_of):
        field = field_of()
        with netCDF4.Dataset(tmp_path / "a.nc", "w") as raw:
            for name, size in (("time", 6), ("a", 8), ("b", 12)):
                raw.createDimension(name, size)
            raw.createVariable("when", "f8", ("time",))[:] = np.arange(6)
            raw["when"].units = "Day Since 2000-01-01"
            raw.createVariable("Latitude", "f8", ("a",))[:] = field["lat"].values
            raw.createVariable("Longitude", "f8", ("b",))[:] = field["lon"].values
            raw.createVariable("tas", "f4", ("b", "time", "a"))[:] = field.transpose("lon", "time", "lat").values
            raw["tas"].units = "K"
            raw.createVariable("latent", "f4", ("a",)).units = "W m-2"
        xr.testing.assert_equal(io.open_variable(tmp_path / "a.nc", "tas").load().drop_attrs(), field.drop_attrs())

    @pytest.mark.parametrize(("lat", "lon"), [("lat", "lon"), ("latitude", "longitude"), ("nav_lat", "nav_lon")])
    def test_names_tell_where_there_are_no_attributes(self, opened, field_of, lat, lon):
        field = field_of().drop_attrs(deep=True).assign_attrs(units="K")
        np.testing.assert_array_equal(opened(field.rename(lat=lat, lon=lon)).values, field.values)

    def test_the_standard_name_of_the_only_variable_with_it(self, opened, field_of):
        assert opened(field_of(), "air_temperature").name == "tas"

    def test_attributes_that_the_conventions_do_not_allow_are_mended(self, data_dir):
        # The file has "air_temperature maximum" and "time:  maximum"; the CF checker refuses both.
        path = data_dir / "quirks/crcm5_tasmax_1984-06_rotated-pole_noleap.nc"
        found = io.open_variable(path, "tasmax").attrs
        assert (found["standard_name"], found["cell_methods"]) == ("air_temperature", "time: maximum")

    def test_attributes_of_other_things_are_dropped(self, opened, field_of):
        field = field_of().rename(time="t")
        field.attrs |= {"cell_methods": "t: mean area: mean", "cell_measures": "area: areacella", "_odd": "x"}
        found = opened(field).attrs
        assert found == {
            "units": "K",
            "standard_name": "air_temperature",
            "long_name": "air temperature",
            "cell_methods": "time: mean area: mean",
        }


class TestLatitudesAndLongitudes:
    def test_descending_latitude_is_turned_with_its_values(self, data_dir):
        path = data_dir / "era5-uk/era5_t2m_hourly_2019-03_uk.nc"
        field = io.open_variable(path, "t2m")
        with netCDF4.Dataset(path) as raw:
            expected = raw["t2m"][:][:, ::-1, :]
            latitudes = raw["latitude"][:][::-1]
        assert field.dims == ("time", "lat", "lon")
        np.testing.assert_array_equal(field["lat"], latitudes)
        np.testing.assert_array_equal(field.values, expected)

    @pytest.mark.parametrize(
        ("longitudes", "expected"),
        [
            ([350, 355, 0, 5], [-10, -5, 0, 5]),
            ([170, 175, 180, -175], [170, 175, 180, 185]),
            ([225, 230, 235, 240], [225, 230, 235, 240]),
            ([5, 0, -5, -10], [-10, -5, 0, 5]),
        ],
    )
    def test_longitudes_go_on_where_they_jump_by_a_circle(self, opened, field_of, longitudes, expected):
        field = field_of(columns=4)
        found = opened(field.assign_coords(lon=("lon", np.array(longitudes, dtype=float), field["lon"].attrs)))
        assert found["lon"].values.tolist() == expected
        values = field.values[..., ::-1] if longitudes[0] == 5 else field.values
        np.testing.assert_array_equal(found.values, values)

    @pytest.mark.parametrize("descending", [False, True])
    def test_a_meridian_that_is_there_twice_counts_once(self, opened, field_of, descending):
        field = field_of(columns=13, west=0.0, step=30.0, rows=5, south=-60.0)
        field = field.assign_coords(lon=("lon", 30.0 * np.arange(13), field["lon"].attrs))
        found = opened(field.isel(lon=slice(None, None, -1)) if descending else field)
        assert found["lon"].values.tolist() == (30.0 * np.arange(12)).tolist()
        np.testing.assert_array_equal(found.values, field.values[..., :12])

    def test_radians(self, opened, field_of):
        field = field_of()
        for axis in ("lat", "lon"):
            attributes = field[axis].attrs | {"units": "radian"}
            field = field.assign_coords({axis: (axis, np.deg2rad(field[axis].values), attributes)})
        np.testing.assert_allclose(opened(field)["lat"], 40.0 + 0.5 * np.arange(8), rtol=1e-12)

    def test_rounding_beyond_the_pole_is_forgiven(self, opened, field_of):
        field = field_of(rows=3, south=0, step=45.0)
        lat = np.array([0.0, 45.0, 90.00001], dtype=np.float32)
        assert opened(field.assign_coords(lat=("lat", lat, field["lat"].attrs)))["lat"].values[-1] == 90.0

    def test_two_dimensions_that_say_no_more_than_one(self, opened, field_of):
        field = field_of()
        rows, columns = np.meshgrid(field["lat"], field["lon"], indexing="ij")
        flat = field.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
        flat = flat.assign_coords(
            lat=(("y", "x"), rows, {"units": "degrees_north"}), lon=(("y", "x"), columns, {"units": "degrees_east"})
        )
        xr.testing.assert_equal(opened(flat).load().drop_attrs(), field.drop_attrs())

    @pytest.mark.parametrize("descending", [False, True])
    def test_bounds_are_kept_ascending(self, opened, field_of, descending):
        field = field_of()
        field["lat"].attrs["bounds"] = "lat_bounds"
        edges = np.stack([field["lat"] - 0.2, field["lat"] + 0.3], axis=1)
        dataset = field.to_dataset().assign(lat_bounds=(("lat", "nv"), edges))
        found = opened(dataset.isel(lat=slice(None, None, -1)) if descending else dataset)
        np.testing.assert_allclose(np.stack([found["lat_bnds_0"], found["lat_bnds_1"]], axis=1), edges, rtol=1e-12)
        assert set(found.coords) == {"time", "lat", "lon", "lat_bnds_0", "lat_bnds_1"}

    def test_bounds_in_another_convention_follow_the_centres(self, opened, field_of):
        field = field_of(west=-2.0, columns=4)
        edges = np.stack([field["lon"] - 0.25, field["lon"] + 0.25], axis=1)
        found = opened(field.to_dataset().assign(lon_bnds=(("lon", "bnds"), edges % 360.0)))
        np.testing.assert_allclose(np.stack([found["lon_bnds_0"], found["lon_bnds_1"]], axis=1), edges, atol=1e-12)

    def test_bounds_that_do_not_enclose_their_cells_are_not_believed(self, opened, field_of):
        field = field_of()
        edges = np.stack([field["lat"] + 5, field["lat"] + 6], axis=1)
        found = opened(field.to_dataset().assign(lat_bnds=(("lat", "bnds"), edges)))
        assert set(found.coords) == {"time", "lat", "lon"}


class TestOtherGrids:
    @pytest.mark.parametrize("unit", ["m", "km"])
    def test_latitudes_of_a_projection(self, opened, field_of, unit):
        field = field_of(rows=4, columns=5)
        found = opened(projected(field, unit).isel(northing=slice(None, None, -1)).transpose("easting", ...))
        assert found.dims == ("time", "y", "x")
        np.testing.assert_allclose(found["y"], 2.3e6 + 5e3 * np.arange(4))
        np.testing.assert_allclose(found["x"], 4.1e6 + 5e3 * np.arange(5))
        np.testing.assert_array_equal(found.values, field.values)
        # EPSG:3035 is this projection; the point is computed from its number alone.
        lon, lat = pyproj.Transformer.from_crs(3035, 4258, always_xy=True).transform(4.115e6, 2.305e6)
        np.testing.assert_allclose([found["lat"][1, 3], found["lon"][1, 3]], [lat, lon], atol=1e-8)
        assert set(found.coords) == {"time", "y", "x", "lat", "lon", "crs"}
        assert found.attrs["grid_mapping"] == "crs"
        assert found["crs"].attrs["false_easting"] == pytest.approx(4321000.0)

    def test_rotated_pole(self, opened, field_of):
        field = field_of(rows=4, columns=5, south=-1.0, west=-1.0)
        flat = field.drop_vars(["lat", "lon"]).rename(lat="rlat", lon="rlon")
        flat = flat.assign_coords(
            rlat=("rlat", field["lat"].values, {"standard_name": "grid_latitude", "units": "degrees"}),
            rlon=("rlon", field["lon"].values, {"standard_name": "grid_longitude", "units": "degrees"}),
        )
        flat.attrs["grid_mapping"] = "rotated_pole: rlat rlon"
        pole = {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
        mapping = {"grid_mapping_name": "rotated_latitude_longitude", **pole}
        found = opened(flat.to_dataset().assign(rotated_pole=((), b"", mapping)))
        assert found.dims == ("time", "rlat", "rlon")
        # The origin of the rotated grid lies 90 degrees from its pole: at 50.75 N, 18 E.
        assert float(found["rlat"][2]) == float(found["rlon"][2]) == 0.0
        np.testing.assert_allclose([found["lat"][2, 2], found["lon"][2, 2]], [50.75, 18.0], atol=1e-9)
        # Half a degree along the meridian through both poles.
        np.testing.assert_allclose([found["lat"][3, 2], found["lon"][3, 2]], [51.25, 18.0], atol=1e-9)

    def test_curvilinear_in_the_order_of_the_file(self, opened, field_of):
        field = turned(field_of())
        found = opened(field.isel(y=slice(None, None, -1)).transpose("x", "y", "time"))
        assert found.dims == ("time", "y", "x")
        assert set(found.coords) == {"time", "lat", "lon"}
        np.testing.assert_array_equal(found.values, field.values[:, ::-1])
        np.testing.assert_allclose(found["lat"], field["lat"][::-1])

    def test_corners_of_curvilinear_cells(self, opened, field_of):
        field = turned(field_of())
        corners = {}
        for name, shift in (("lat", [-1, -1, 1, 1]), ("lon", [-1, 1, 1, -1])):
            field[name].attrs["bounds"] = f"{name}_corner"
            corners[f"{name}_corner"] = (("y", "x", "nv"), field[name].values[..., None] + 0.1 * np.array(shift))
        found = opened(field.to_dataset().assign(corners))
        for name in ("lat", "lon"):
            for corner in range(4):
                expected = corners[f"{name}_corner"][1][..., corner]
                np.testing.assert_allclose(found[f"{name}_vertices_{corner}"], expected)

    def test_dimensions_named_like_those_of_a_model(self, opened, field_of):
        field = turned(field_of()).rename(y="south_north", x="west_east", lat="XLAT", lon="XLONG", time="Time")
        for name in ("XLAT", "XLONG"):
            field = field.assign_coords(
                {name: field[name].expand_dims(Time=field["Time"]).assign_attrs(field[name].attrs)}
            )
        found = opened(field)
        assert found.dims == ("time", "y", "x")
        np.testing.assert_allclose(found["lat"], turned(field_of())["lat"])

    def test_a_mapping_of_another_earth_is_not_believed(self, opened, field_of, caplog):
        dataset = projected(field_of(rows=4, columns=5), semi_major_axis=6371000.0, inverse_flattening=0.0)
        lon, lat = pyproj.Transformer.from_crs(3035, 4258, always_xy=True).transform(
            *np.meshgrid(dataset["easting"], dataset["northing"])
        )
        dims = ("northing", "easting")
        dataset = dataset.assign_coords(
            lat=(dims, lat, {"units": "degrees_north"}), lon=(dims, lon, {"units": "degrees_east"})
        )
        with caplog.at_level(logging.WARNING):
            found = opened(dataset)
        assert set(found.coords) == {"time", "lat", "lon"}
        np.testing.assert_allclose(found["lat"], lat)
        assert "a.nc: tas: the grid mapping lambert_azimuthal_equal_area puts cells elsewhere" in caplog.text

    def test_the_only_mapping_of_a_file_need_not_be_named(self, opened, field_of):
        dataset = projected(field_of(rows=4, columns=5))
        del dataset["tas"].attrs["grid_mapping"]
        assert opened(dataset)["crs"].attrs["grid_mapping_name"] == LAEA["grid_mapping_name"]


class TestTimes:
    def test_times_of_a_forecast_are_those_of_validity(self, opened, field_of):
        field = field_of()
        field["time"].attrs["standard_name"] = "forecast_reference_time"
        valid = field["time"].values + np.timedelta64(6, "h")
        found = opened(field.assign_coords(valid_time=("time", valid, {"standard_name": "time"})))
        np.testing.assert_array_equal(found["time"].values, valid)

    def test_one_time_beside_the_field_becomes_its_axis(self, opened, field_of):
        found = opened(field_of().isel(time=2))
        assert found.dims == ("time", "lat", "lon")
        assert found["time"].values.tolist() == field_of()["time"].values[2:3].tolist()

    def test_no_time_at_all(self, opened, field_of):
        assert opened(field_of(None)).dims == ("lat", "lon")

    @pytest.mark.parametrize(
        ("units", "calendar", "values", "expected"),
        [
            ("Hour since 2001-12-31T23:00:00Z", None, [1, 25], ["2002-01-01T00", "2002-01-02T00"]),
            ("DAYS SINCE 1950-1-1 12:00", None, [0, 1], ["1950-01-01T12", "1950-01-02T12"]),
            ("days since 1600-1-1 0:0:0", "gregorian", [113406, 113407], ["1910-07-01", "1910-07-02"]),
            ("day as %Y%m%d.%f", "proleptic_gregorian", [19991231.25, 20000229.5], ["1999-12-31T06", "2000-02-29T12"]),
            ("days since 1900-01-01", None, [43000 + 1 / 24, 43000 + 2 / 24], ["2017-09-24T01", "2017-09-24T02"]),
        ],
    )
    def test_units(self, opened, field_of, units, calendar, values, expected):
        field = field_of(steps=2)
        attributes = {"units": units} | ({"calendar": calendar} if calendar else {})
        found = opened(field.assign_coords(time=("time", np.array(values, dtype=float), attributes)))
        np.testing.assert_array_equal(found["time"].values, np.array(expected, dtype="datetime64[ns]"))

    @pytest.mark.parametrize("calendar", ["360_day", "noleap", "365_day", "julian", "366_day"])
    def test_calendars(self, opened, field_of, calendar):
        attributes = {"units": "days since 2000-02-28", "calendar": calendar.upper()}
        found = opened(field_of(steps=2).assign_coords(time=("time", [1.0, 2.0], attributes)))
        expected = cftime.num2date([1, 2], "days since 2000-02-28", calendar)
        assert [str(moment) for moment in found["time"].values] == [str(moment) for moment in expected]

    @pytest.mark.parametrize(
        ("calendar", "values", "expected"),
        [
            ("noleap", [20000228.75, 20000301.25], ["2000-02-28 18:00:00", "2000-03-01 06:00:00"]),
            ("360_DAY", [20000230.25, 20000301.0], ["2000-02-30 06:00:00", "2000-03-01 00:00:00"]),
            ("366_day", [20010228.0, 20010229.5], ["2001-02-28 00:00:00", "2001-02-29 12:00:00"]),
            ("julian", [19000229.0, 19000301.0], ["1900-02-29 00:00:00", "1900-03-01 00:00:00"]),
        ],
    )
    def test_days_written_as_dates_are_of_the_calendar_of_the_file(self, opened, field_of, calendar, values, expected):
        attributes = {"units": "day as %Y%m%d.%f", "calendar": calendar}
        found = opened(field_of(steps=2).assign_coords(time=("time", values, attributes)))["time"].values
        assert [str(moment) for moment in found] == expected
        assert found[0].calendar == calendar.lower().replace("366_day", "all_leap")

    def test_order_and_repetition_are_those_of_the_file(self, opened, field_of):
        field = field_of().isel(time=[3, 1, 1, 5])
        np.testing.assert_array_equal(opened(field)["time"].values, field["time"].values)


class TestLevels:
    @pytest.fixture
    def levels(self, field_of):
        def make(values, units, **attributes):
            fields = [field_of(seed=number) for number in range(len(values))]
            described = {"units": units, "standard_name": "air_pressure", **attributes}
            return xr.concat(fields, "plev").assign_coords(plev=("plev", np.array(values, dtype=np.float32), described))

        return make

    @pytest.mark.parametrize(
        ("values", "units", "level", "position"),
        [
            ([100000, 85000, 50000], "Pa", 850, 1),
            ([100000, 85000, 50000], "Pa", 50000, 2),
            ([1000, 850, 500], "hPa", 500, 2),
            ([1000, 850, 500], "millibars", 85000, 1),
            ([2.0, 10.0], "m", 10, 1),
            ([100000, 50000, 500], "Pa", 50000, 1),
        ],
    )
    def test_level_in_either_unit_of_pressure(self, opened, levels, field_of, values, units, level, position):
        found = opened(levels(values, units), level=level)
        np.testing.assert_array_equal(found.values, field_of(seed=position).values)

    def test_a_member_and_a_level(self, opened, levels, field_of):
        both = xr.concat([levels([850, 500], "hPa"), levels([850, 500], "hPa") + 1], "member").assign_attrs(units="K")
        found = opened(both, level=500, select={"member": 1})
        np.testing.assert_array_equal(found.values, field_of(seed=1).values + 1)

    @pytest.mark.parametrize(("label", "position"), [("r2i1p1", 1), ("r1i1p1", 0)])
    def test_labels_of_text(self, opened, field_of, label, position):
        both = xr.concat([field_of(seed=1), field_of(seed=2)], "member").assign_coords(member=["r1i1p1", "r2i1p1"])
        np.testing.assert_array_equal(opened(both, select={"member": label}).values, field_of(seed=position + 1).values)

    def test_months_of_a_static_field(self, opened, field_of):
        field = field_of()
        np.testing.assert_array_equal(opened(field, select={"time": 3}).values, field[[3]].values)


class TestValues:
    def test_packed_integers_are_unpacked(self, data_dir):
        path = data_dir / "quirks/era-interim_2017-02_packed-int16_global.nc"
        found = io.open_variable(path, "t2m")
        with netCDF4.Dataset(path) as raw:
            np.testing.assert_allclose(found.values, raw["t2m"][:][:, ::-1], atol=1e-3)

    @pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int32", "float32", "float64"])
    def test_whole_numbers_become_floating_point(self, opened, field_of, dtype):
        field = (field_of() / 5).astype(dtype).assign_attrs(units="K")
        found = opened(field)
        assert found.dtype == (np.float64 if dtype in ("int32", "float64") else np.float32)
        assert found.values.dtype == found.dtype
        np.testing.assert_array_equal(found.values, field.values)

    def test_minimum(self, opened, field_of):
        field = field_of(units="mm d-1", name="pr") - 280
        field[0, 0, 0] = np.nan
        found = opened(field.rename("pr").assign_attrs(units="mm d-1"), "pr", minimum=0.0)
        np.testing.assert_array_equal(found.values, np.where(field.values < 0, 0, field.values))
        assert found.attrs["units"] == "mm d-1"

    def test_the_minimum_is_in_the_units_wanted(self, opened, field_of):
        found = opened(field_of(), units="degC", minimum=7.0)
        np.testing.assert_allclose(found.values, np.maximum(field_of().values - np.float32(273.15), 7.0), atol=3e-5)

    def test_infinity_in_a_part_that_nobody_asks_for(self, opened, field_of):
        field = field_of(steps=4)
        field[3, 0, 0] = -np.inf
        found = opened(field)
        with pytest.raises(DataError, match=r"a\.nc: tas: 1 values are infinite"):
            found.load()
