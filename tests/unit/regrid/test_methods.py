"""The method that suits a quantity."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from dl4ds_core.regrid import default_method

FLUXES = [
    {"standard_name": "precipitation_flux", "units": "kg m-2 s-1"},
    {"standard_name": "lwe_precipitation_rate", "units": "m s-1"},
    {"standard_name": "surface_downwelling_shortwave_flux_in_air", "units": "W m-2"},
    {"standard_name": "water_evapotranspiration_flux"},
    {"standard_name": "precipitation_amount", "units": "kg m-2"},
    {"units": "kg m-2 s-1"},
    {"units": "kg m**-2 s**-1"},
    {"units": "mm d-1"},
    {"units": "mm/day"},
    {"units": "mm"},
    {"units": "mm h-1"},
    {"units": "W m-2"},
    {"units": "J m**-2"},
    {"units": "m", "cell_methods": "time: sum"},
    {"units": "m", "cell_methods": "area: mean time: sum (interval: 1 hour)"},
]
STATES = [
    {"standard_name": "air_temperature", "units": "K"},
    {"standard_name": "air_temperature", "units": "degC", "cell_methods": "time: mean"},
    {"standard_name": "eastward_wind", "units": "m s-1"},
    {"standard_name": "air_pressure_at_mean_sea_level", "units": "Pa"},
    {"standard_name": "specific_humidity", "units": "kg kg-1"},
    {"standard_name": "atmosphere_mass_content_of_water_vapor", "units": "kg m-2"},
    {"standard_name": "geopotential", "units": "m2 s-2"},
    {"standard_name": "wind_speed", "units": "m s-1", "cell_methods": "time: maximum"},
    {"units": "m"},
    {"units": "1"},
    {},
]


@pytest.mark.parametrize("attributes", FLUXES)
def test_fluxes_and_sums_are_averaged_by_area(attributes):
    assert default_method(xr.DataArray(np.zeros((2, 2)), attrs=attributes)) == "conservative"


@pytest.mark.parametrize("attributes", STATES)
def test_states_are_interpolated(attributes):
    assert default_method(xr.DataArray(np.zeros((2, 2)), attrs=attributes)) == "bilinear"
