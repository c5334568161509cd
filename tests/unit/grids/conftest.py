"""Fields of every kind of grid in canonical form: made up, and of real files, built here by hand with xarray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

KINDS = ["latlon", "rotated", "laea", "lambert", "curvilinear"]
FieldMaker = Callable[..., xr.DataArray]
#: File, variable, names of its horizontal dimensions as Y and X, kind, number of cells.
FILES: dict[str, tuple[str, str, tuple[str, str], str, tuple[int, int]]] = {
    "eobs": ("eobs-iberia/eobs_tas_0.25deg_djf_1990-2000.nc", "tas", ("lat", "lon"), "latlon", (41, 61)),
    "era5": ("era5-uk/era5_t2m_hourly_2019-03_uk.nc", "t2m", ("lat", "lon"), "latlon", (33, 49)),
    "gaussian": (
        "climate4r-iberia/cmip5_cnrm-cm5_historical_djf_1983-2002.nc",
        "tas",
        ("lat", "lon"),
        "latlon",
        (8, 11),
    ),
    "racmo": (
        "climate4r-iberia/cordex_eur44_racmo22e_historical_djf_1983-1992.nc",
        "tas",
        ("rlat", "rlon"),
        "rotated",
        (28, 30),
    ),
    "crcm5": (
        "quirks/crcm5_tasmax_1984-06_rotated-pole_noleap.nc",
        "tasmax",
        ("rlat", "rlon"),
        "rotated",
        (300, 340),
    ),
    # Its grid mapping has another pole than its latitudes and longitudes, so that it counts as curvilinear.
    "hirham": ("quirks/rotated-pole_precip_1958.nc", "pr", ("rlat", "rlon"), "curvilinear", (190, 174)),
    "rcm": ("static/rcm_0.11deg_europe_orography_landfraction.nc", "HSURF", ("rlat", "rlon"), "rotated", (438, 450)),
    "po": ("po-basin-5km/ta6_5km_6hourly_1951-01.nc", "ta6", ("y", "x"), "projected", (57, 80)),
    "uk": ("quirks/uk_tmean_transverse-mercator_1910.nc", "tmean", ("y", "x"), "projected", (290, 180)),
    "stageiv": (
        "quirks/stageiv_precip_hourly_curvilinear_2018-09.nc",
        "Total_precipitation_surface_1_Hour_Accumulation",
        ("y", "x"),
        "curvilinear",
        (118, 87),
    ),
}
LAEA = {
    "grid_mapping_name": "lambert_azimuthal_equal_area",
    "false_easting": 4321000.0,
    "false_northing": 3210000.0,
    "longitude_of_projection_origin": 10.0,
    "latitude_of_projection_origin": 52.0,
    "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257222101,
}
LAMBERT = {
    "grid_mapping_name": "lambert_conformal_conic",
    "standard_parallel": [30.0, 60.0],
    "longitude_of_central_meridian": 9.0,
    "latitude_of_projection_origin": 45.0,
    "earth_radius": 6371229.0,
}
ROTATED = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 39.25,
    "grid_north_pole_longitude": -162.0,
}


def canonical(path: Path, variable: str, dims: tuple[str, str]) -> xr.DataArray:
    """The first step of a variable in the form the stages pass on, made without the reader of this package."""
    with xr.open_dataset(path, decode_times=False) as dataset:
        field = dataset[variable]
        usual = {"latitude": "lat", "longitude": "lon"}
        field = field.rename({name: usual[name] for name in field.dims if name in usual})
        field = field.isel({dim: 0 for dim in field.dims if dim not in dims}, drop=True)
        field = field.drop_vars([name for name in field.coords if name not in (*dims, "lat", "lon")])
        field = field.transpose(*dims).sortby([dim for dim in dims if dim in field.coords]).load()
        mapping = dataset[variable].attrs.get("grid_mapping", dataset[variable].encoding.get("grid_mapping"))
        if dims != ("lat", "lon") and mapping in dataset:
            field = field.assign_coords(crs=xr.DataArray(np.int32(0), attrs=dataset[mapping].attrs))
    return field


@pytest.fixture(params=list(FILES))
def real_field(request: pytest.FixtureRequest, data_dir: Path) -> xr.DataArray:
    """One field of each real file."""
    path, variable, dims, _, _ = FILES[request.param]
    return canonical(data_dir / path, variable, dims)


@pytest.fixture
def field_from(data_dir: Path) -> Callable[[str], xr.DataArray]:
    """The function that reads one field by the short name of its file."""
    return lambda name: canonical(data_dir / FILES[name][0], *FILES[name][1:3])


def made_up(kind: str, rows: int = 8, columns: int = 12, steps: int | None = None, seed: int = 1) -> xr.DataArray:
    """A field of each kind over Europe, random values in float64."""
    dims = {"latlon": ("lat", "lon"), "rotated": ("rlat", "rlon")}.get(kind, ("y", "x"))
    coordinates: dict[str, Any] = {}
    if kind == "latlon":
        coordinates = {"lat": 40 + 0.5 * np.arange(rows), "lon": -5 + 0.75 * np.arange(columns)}
    elif kind == "rotated":
        coordinates = {"rlat": -4 + 0.5 * np.arange(rows), "rlon": -6 + 0.75 * np.arange(columns)}
        coordinates["crs"] = xr.DataArray(np.int32(0), attrs=ROTATED)
    elif kind in ("laea", "lambert"):
        start = {"laea": (2.4e6, 4.1e6), "lambert": (-4e5, -3e5)}[kind]
        for dim, first, size in zip(dims, start, (rows, columns), strict=True):
            coordinates[dim] = (dim, first + 12500.0 * np.arange(size), {"units": "m"})
        coordinates["crs"] = xr.DataArray(np.int32(0), attrs=LAEA if kind == "laea" else LAMBERT)
    elif kind == "curvilinear":
        j, i = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        coordinates["lat"] = (dims, 40 + 0.4 * j - 0.1 * i + 0.002 * i * j)
        coordinates["lon"] = (dims, 2 + 0.5 * i + 0.2 * j + 0.003 * j**2)
    shape = (rows, columns) if steps is None else (steps, rows, columns)
    all_dims = dims if steps is None else ("time", *dims)
    values = 280 + 5 * np.random.default_rng(seed).normal(size=shape)
    return xr.DataArray(values, coordinates, all_dims, "tas", {"units": "K", "standard_name": "air_temperature"})


@pytest.fixture
def field_on() -> FieldMaker:
    """The function that makes fields by kind: latlon, rotated, laea, lambert, curvilinear."""
    return made_up
