"""Real files with quirks: values at places named here, found with other programs, or refused with the right message.

``cdo X`` stands for the output of cdo 2.1.1, ``outputtab,date,time,lon,lat,value`` of the operators named; ``eccodes``
for ``codes_get_values`` and the arrays ``latitudes`` and ``longitudes`` of a message; ``netCDF4`` for that module.
"""

from __future__ import annotations

import logging

import cftime
import numpy as np
import pytest

from dl4ds_core import io
from dl4ds_core.errors import DataError

A1B = "quirks/a1b_north_america_360day_lon0-360.nc"
CRCM5 = "quirks/crcm5_tasmax_1984-06_rotated-pole_noleap.nc"
ROTATED = "quirks/rotated-pole_precip_1958.nc"
PACKED = "quirks/era-interim_2017-02_packed-int16_global.nc"
STAGE4 = "quirks/stageiv_precip_hourly_curvilinear_2018-09.nc"
RAIN = "Total_precipitation_surface_1_Hour_Accumulation"
NAM = "quirks/nam_awip_lambert_multi-level.grib2"
NCEP = "quirks/ncep_2t_iberia_1961-1965_transposed-dims.nc"
UK = "quirks/uk_tmean_transverse-mercator_1910.nc"
EOBS = "eobs-iberia/eobs_tas_0.25deg_djf_1990-2000.nc"
MEMBERS = "eobs-iberia/s4_hindcast_pr_0.75deg_5members_djf_1990-1993.nc"
CMIP5 = "climate4r-iberia/cmip5_cnrm-cm5_historical_djf_1983-2002.nc"
GAUSSIAN = "climate4r-iberia/ncep_surface_gaussian_djf_1983-2002.nc"
RACMO = "climate4r-iberia/cordex_eur44_racmo22e_historical_djf_1983-1992.nc"
ERA5 = "era5-uk/era5_t2m_hourly_2019-03_uk.nc"
GRIB = "era5-uk/era5-2mt-2019-03-01_03_uk.grib"
PO = "po-basin-5km/ta6_5km_6hourly_1951-01.nc"
ETOPO = "static/etopo5_western-europe.nc"
RCM = "static/rcm_0.11deg_europe_orography_landfraction.nc"

NAM_LEVELS = "1000, 950, 900, 850, 800, 750, 700, 650, 600, 550, 500, 450, 400, 350, 300, 250, 200, 150, 100"
PLACE = (38.172848, 253.229793)  # eccodes: the point of row 29 and column 39 (from 0) of NAM; latitude, longitude


def nearest(field, lat, lon):
    """Position of the cell nearest to a place."""
    if field.dims[-2:] == ("lat", "lon"):
        rows, columns = np.meshgrid(field["lat"], field["lon"], indexing="ij")
    else:
        rows, columns = field["lat"].values, field["lon"].values
    distance = np.hypot(rows - lat, ((columns - lon + 180) % 360 - 180) * np.cos(np.deg2rad(lat)))
    assert distance.min() < 1e-3
    return tuple(int(part) for part in np.unravel_index(distance.argmin(), distance.shape))


#: file, variable, options, dimensions, time step, latitude, longitude, value, absolute tolerance
VALUES = [
    # cdo -selindexbox,10,11,20,21 -seltimestep,3
    (A1B, "air_temperature", {}, "lat lon", cftime.Datetime360Day(1862, 6, 1), 40.0, 241.875, 280.7811, 5e-5),
    # cdo -selindexbox,101,102,51,51 -seltimestep,4
    (CRCM5, "tasmax", {}, "rlat rlon", cftime.DatetimeNoLeap(1984, 6, 4, 1, 30), 26.8136, -109.658, 305.51651, 1e-5),
    # cdo -selindexbox,88,89,96,96 -seltimestep,2; the grid mapping of this file is wrong, see below
    (ROTATED, "pr", {}, "y x", "1958-01-02T12:00", 50.8722, 13.211, 6.293403e-05, 5e-12),
    # 1 kg m-2 s-1 is 86400 mm d-1
    (ROTATED, "pr", {"units": "mm d-1"}, "y x", "1958-01-02T12:00", 50.8722, 13.211, 6.293403e-05 * 86400, 5e-6),
    # cdo -remapnn,lon=351_lat=40.5; netCDF4 with set_auto_maskandscale(False): raw 12464, unpacked 286.34116
    (PACKED, "t2m", {}, "lat lon", "2017-02-01T12:00", 40.5, 351.0, 286.341156, 2e-4),
    (PACKED, "u10", {}, "lat lon", "2017-02-01T12:00", 40.5, 351.0, 1.059573, 1e-5),
    # cdo -selindexbox,40,41,60,60 -seltimestep,9
    (STAGE4, RAIN, {}, "y x", "2018-09-14T03:00", 35.0837, -77.9651, 5.5, 0),
    (STAGE4, RAIN, {}, "y x", "2018-09-14T03:00", 35.0672, -77.9258, 7.25, 0),
    # eccodes, see PLACE
    (NAM, "t", {"level": 500}, "y x", "2018-09-17T00:00", *PLACE, 265.989868, 1e-5),
    (NAM, "t", {"level": 50000}, "y x", "2018-09-17T00:00", *PLACE, 265.989868, 1e-5),
    (NAM, "v", {"level": 850}, "y x", "2018-09-17T00:00", *PLACE, -2.3513806, 1e-6),
    (NAM, "2t", {}, "y x", "2018-09-17T00:00", *PLACE, 292.457344, 1e-5),
    (NAM, "t2m", {"units": "degC"}, "y x", "2018-09-17T00:00", *PLACE, 292.457344 - 273.15, 3e-5),
    (NAM, "t", {"filters": {"typeOfLevel": "tropopause"}}, "y x", "2018-09-17T00:00", *PLACE, 202.830212, 1e-5),
    # netCDF4: 2T[99, 0, 3, 2] and the last value; cdo can't read it
    (NCEP, "2T", {}, "lat lon", "1961-04-10", 40.0, -7.5, 284.04233, 1e-5),
    (NCEP, "2T", {}, "lat lon", "1965-12-31", 47.5, 5.0, 280.45703, 1e-5),
    # cdo -selindexbox,100,101,150,150
    (UK, "tmean", {}, "y x", "1910-07-01", 54.4075, -3.57938, 9.214272, 5e-7),
    (UK, "tmean", {"units": "K"}, "y x", "1910-07-01", 54.4085, -3.50237, 9.117464 + 273.15, 3e-5),
    # cdo -remapnn,lon=-3.625_lat=40.375 -seldate,1999-01-15; the other cell is the fill value 1e20
    (EOBS, "tas", {}, "lat lon", "1999-01-15", 40.375, -3.625, 6.07, 5e-6),
    (EOBS, "tas", {}, "lat lon", "1999-01-15", 34.125, -9.875, np.nan, 0),
    # netCDF4: member 2 is pr[1], at [50, 4, 6]; at [149, 9, 14] is the smallest value, -0.12207
    (MEMBERS, "pr", {"select": {"member": 2}}, "lat lon", "1991-01-20", 36.749996, -5.249969, 12.573242, 1e-6),
    (MEMBERS, "pr", {"select": {"member": 2}}, "lat lon", 149, 40.499996, 0.75, -0.12207031, 1e-8),
    (MEMBERS, "pr", {"select": {"member": 2}, "minimum": 0.0}, "lat lon", 149, 40.499996, 0.75, 0.0, 0),
    # cdo -selindexbox,3,3,2,2 -seltimestep,1000, both
    (CMIP5, "pr", {}, "lat lon", "1993-12-07", 35.7195, -7.03125, 7.059235e-06, 5e-13),
    (GAUSSIAN, "tas", {"units": "K"}, "lat lon", "1993-12-07", 37.1422, -5.625, 9.17499695 + 273.15, 3e-5),
    # cdo -selindexbox,5,5,7,7 -seltimestep,100
    (RACMO, "tas", {}, "rlat rlon", "1983-12-10", 34.8885, -7.4871, 288.0395, 5e-5),
    # cdo -remapnn,lon=-0.25_lat=51.5 -seltimestep,30, both
    (ERA5, "t2m", {}, "lat lon", "2019-03-02T05:00", 51.5, -0.25, 281.2609, 5e-5),
    (GRIB, "t2m", {}, "lat lon", "2019-03-02T05:00", 51.5, -0.25, 281.2609, 5e-5),
    (GRIB, "2t", {"units": "degC"}, "lat lon", "2019-03-02T05:00", 51.5, -0.25, 281.2609 - 273.15, 8e-5),
    # cdo -selindexbox,10,10,20,20 -seltimestep,5, which computes latitude and longitude from the projection
    (PO, "ta6", {}, "y x", "1951-01-02T00:00", 45.7314, 7.13177, 4.242188, 5e-7),
    # cdo -remapnn,lon=7_lat=46; -selindexbox,200,200,220,220
    (ETOPO, "elevation", {}, "lat lon", None, 46.0, 7.0, 2213, 0),
    (RCM, "HSURF", {}, "rlat rlon", None, 49.3814, 5.78952, 295.7372, 5e-5),
]


@pytest.mark.parametrize(
    ("path", "variable", "options", "dims", "time", "lat", "lon", "value", "tolerance"),
    VALUES,
    ids=[f"{row[0].rsplit('/')[-1].split('_')[0]}-{row[1][:5]}-{number}" for number, row in enumerate(VALUES)],
)
def test_values(data_dir, path, variable, options, dims, time, lat, lon, value, tolerance):
    field = io.open_variable(data_dir / path, variable, **options)
    assert field.dims[-2:] == tuple(dims.split())
    assert field.dims[:-2] == (() if time is None else ("time",))
    assert field.name is not None
    assert field.attrs["units"] == options.get("units", field.attrs["units"])
    row, column = nearest(field, lat, lon)
    series = field[..., row, column]
    if time is not None:
        series = series[time] if isinstance(time, int) else series.sel(time=time).squeeze()
    np.testing.assert_allclose(float(series), value, rtol=0, atol=tolerance)
    check_form(field)


def check_form(field):
    """What all stages rely on."""
    assert field.dtype in (np.float32, np.float64)
    for dim in field.dims[-2:]:
        if dim in field.coords:
            assert np.all(np.diff(field[dim].values) > 0)
    names = {"time", *field.dims[-2:]} & set(field.coords)
    if field.dims[-2:] != ("lat", "lon"):
        names |= {"lat", "lon"}
        assert field["lat"].dims == field["lon"].dims == field.dims[-2:]
        assert ("crs" in field.coords) == (field.attrs.get("grid_mapping") == "crs")
        assert ("crs" in field.coords) == (field.dims[-1] in field.coords)
        names |= {"crs"} & set(field.coords)
    assert set(field.coords) == names
    if field.chunks is not None and "time" in field.dims:
        assert [len(sizes) for sizes in field.chunks[1:]] == [1, 1]


@pytest.mark.parametrize(
    ("path", "variable", "name", "pole"),
    [
        (CRCM5, "tasmax", "rotated_latitude_longitude", (42.5, 83.0)),
        (RACMO, "tas", "rotated_latitude_longitude", (39.25, -162.0)),
        (UK, "tmean", "transverse_mercator", None),
        (PO, "ta6", "lambert_azimuthal_equal_area", None),
        (NAM, "t2m", "lambert_conformal_conic", None),
    ],
)
def test_grid_mappings(data_dir, path, variable, name, pole):
    field = io.open_variable(data_dir / path, variable)
    attributes = field["crs"].attrs
    assert attributes["grid_mapping_name"] == name
    if pole:
        found = attributes["grid_north_pole_latitude"], attributes["grid_north_pole_longitude"]
        np.testing.assert_allclose(found, pole)


def test_lambert_axes_of_grib_have_the_spacing_that_the_file_says(data_dir):
    # eccodes: DxInMetres = DyInMetres = 81271; cdo griddes: the first point has false_easting 4226107, so x = -4226107
    field = io.open_variable(data_dir / NAM, "t2m")
    np.testing.assert_allclose(np.diff(field["x"]), 81271, rtol=1e-6)
    np.testing.assert_allclose(np.diff(field["y"]), 81271, rtol=1e-6)
    np.testing.assert_allclose([field["x"][0], field["y"][0]], [-4226107.0, -832698.3], atol=0.5)


def test_a_grid_mapping_that_contradicts_the_coordinates_is_not_believed(data_dir, caplog):
    # The mapping has a pole at 18 N, 140.75 W. That of the coordinates, found by least squares, is at 39.25 N, 162 W.
    with caplog.at_level(logging.WARNING):
        field = io.open_variable(data_dir / ROTATED, "pr")
    assert "crs" not in field.coords
    assert "rlat" not in field.coords
    assert "puts cells elsewhere" in caplog.text


@pytest.mark.parametrize(("path", "variable", "share"), [(UK, "tmean", 0.6083716), (EOBS, "tas", 0.403)])
def test_missing_cells(data_dir, path, variable, share):
    # netCDF4: the mean of the mask of tmean; README of the data for E-OBS
    assert float(io.open_variable(data_dir / path, variable).isnull().mean()) == pytest.approx(share, abs=5e-4)


def test_gaussian_latitudes_are_kept(data_dir):
    # cdo griddes: yvals = 35.2374992370605 37.1422004699707 39.0470008850098 ...
    field = io.open_variable(data_dir / GAUSSIAN, "tas")
    np.testing.assert_allclose(field["lat"][:3], [35.2374992370605, 37.1422004699707, 39.0470008850098], atol=1e-9)


@pytest.mark.parametrize(
    ("path", "variable", "options", "message"),
    [
        (
            NAM,
            "t",
            {},
            r"t is on several kinds of levels: choose one with `filter: \{typeOfLevel: ...\}`: isobaricInhPa",
        ),
        (
            NAM,
            "t",
            {"filters": {"typeOfLevel": "isobaricInhPa"}},
            rf"found also isobaricInhPa \({NAM_LEVELS}\).*`level`",
        ),
        (
            NAM,
            "t",
            {"filters": {"typeOfLevel": "isobaricInhPa"}, "level": 510},
            rf"no level 510; .* has {NAM_LEVELS} hPa",
        ),
        (
            NAM,
            "t",
            {"filters": {"typeOfLevel": "depth"}},
            r"no field with `filter: \{typeOfLevel: depth\}`; there are: ",
        ),
        (NAM, "tas", {}, r"there is no variable 'tas'; the file has: absv, acpcp,"),
        (MEMBERS, "pr", {}, r"found also member \(1, 2, 3, 4, 5\): choose by `select: \{member: ...\}`"),
        (MEMBERS, "pr", {"select": {"member": 6}}, r"member has no label 6; it has: 1, 2, 3, 4, 5"),
        (NCEP, "2T", {"units": "mm"}, r"units 'K' of the file can't be converted to 'mm'"),
        (NCEP, "2T", {"level": 10}, r"there is no level 10; height has 2 m"),
        (A1B, "t2m", {}, r"there is no variable 't2m'; the file has: air_temperature"),
    ],
)
def test_refusals(data_dir, path, variable, options, message):
    with pytest.raises(DataError, match=message) as raised:
        io.open_variable(data_dir / path, variable, **options)
    assert str(data_dir / path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_level_of_a_single_one_may_be_named(data_dir):
    assert io.open_variable(data_dir / NCEP, "2T", level=2).dims == ("time", "lat", "lon")
