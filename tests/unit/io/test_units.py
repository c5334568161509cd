"""Units of fields."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core import io
from dl4ds_core.errors import DataError


class TestUnits:
    def test_kelvin_to_celsius_and_back(self, field_of):
        field = field_of()
        celsius = io.convert_units(field, "degC", "here")
        np.testing.assert_allclose(celsius.values, field.values.astype(np.float64) - 273.15, atol=3e-5)
        assert celsius.attrs == {**field.attrs, "units": "degC"}
        assert celsius.dtype == np.float32
        back = io.convert_units(celsius, "K", "here")
        np.testing.assert_allclose(back.values, field.values, atol=6e-5)

    @pytest.mark.parametrize(
        ("found", "wanted", "factor", "offset"),
        [
            ("K", "degC", 1.0, -273.15),
            ("Celsius", "K", 1.0, 273.15),
            ("hPa", "Pa", 100.0, 0.0),
            ("m", "mm", 1000.0, 0.0),
            ("m s-1", "km h-1", 3.6, 0.0),
            ("m s**-1", "m s-1", 1.0, 0.0),
            ("degF", "degC", 1 / 1.8, -32 / 1.8),
            ("%", "1", 0.01, 0.0),
            ("mm d-1", "m s-1", 1e-3 / 86400, 0.0),
            ("kg m-2 s-1", "mm d-1", 86400.0, 0.0),
            ("mm d-1", "kg m-2 s-1", 1 / 86400, 0.0),
            ("kg m**-2", "mm", 1.0, 0.0),
            ("m", "kg m-2", 1000.0, 0.0),
            ("(0 - 1)", "%", 100.0, 0.0),
            ("fraction", "1", 1.0, 0.0),
            ("degrees_celsius", "K", 1.0, 273.15),
            ("Kelvin", "degC", 1.0, -273.15),
            ("mb", "Pa", 100.0, 0.0),
            ("gpm", "m", 1.0, 0.0),
            ("\N{DEGREE CELSIUS}", "K", 1.0, 273.15),
            ("K", "\N{DEGREE CELSIUS}", 1.0, -273.15),
            ("\N{DEGREE FAHRENHEIT}", "degC", 1 / 1.8, -32 / 1.8),
            ("m^2 s^-2", "m2 s-2", 1.0, 0.0),
            ("m**(2) s**(-2)", "m**2 s**-2", 1.0, 0.0),
            ("kg m**-2 s**-1", "mm d**-1", 86400.0, 0.0),
        ],
    )
    def test_factor_and_offset(self, found, wanted, factor, offset):
        assert io.unit_conversion(found, wanted, "here") == pytest.approx((factor, offset), rel=1e-9, abs=1e-12)

    @pytest.mark.parametrize(
        ("found", "wanted"),
        [
            ("K", "mm"),
            ("K", "nonsense"),
            ("celcius", "K"),
            ("m", "K"),
            ("hPa)(", "Pa"),
            ("K", "degC d-1"),
            ("kg m-3", "mm"),
            ("kg m-2", "mm d-1"),
            ("m2 s-2", "m"),
            ("m s-1", "kg m-3"),
            ("()", "K"),
            ("K*", "K"),
            ("K**", "degC"),
            ("K -", "degC"),
            ("K (", "K"),
            ("'K'", "degC"),
            ('"', "K"),
            ("[K", "degC"),
            ("K\nK", "degC"),
            ("0 K", "degC"),
            ("inf K", "degC"),
            ("1/0 K", "degC"),
            ("1e300 K", "1e-300 K"),
        ],
    )
    def test_what_cannot_be_converted_is_named(self, found, wanted):
        with pytest.raises(DataError) as raised:
            io.unit_conversion(found, wanted, "x.nc: tas")
        message = str(raised.value)
        assert message.startswith("x.nc: tas: units ")
        assert repr(found) in message
        assert repr(wanted) in message

    @pytest.mark.parametrize(
        "units",
        [
            "9**9**9**9 K",
            "9 ** 9 ** 9 ** 9 K",
            "9^9^9^9 K",
            "9**(9**9**9) K",
            "((9**99)**99)**99 K",
            "K**99999999999",
            "km999999999",
            "km-999999999 km1000000000",
            "9**K",
        ],
    )
    def test_absurd_powers_are_refused_before_they_are_computed(self, units, monkeypatch):
        monkeypatch.setattr("pint.UnitRegistry.parse_expression", lambda *_: pytest.fail("computed"))
        with pytest.raises(DataError, match="expected powers of one or two digits, found") as raised:
            io.unit_conversion(units, "K", "x.nc: tas")
        assert repr(units) in str(raised.value)

    @pytest.mark.parametrize("wanted", [None, "K"])
    def test_missing_units_are_an_error_not_a_guess(self, field_of, wanted):
        field = field_of().drop_attrs()
        with pytest.raises(DataError, match=r"x\.nc: tas: the variable has no units attribute; expected"):
            io.convert_units(field, wanted, "x.nc: tas")

    def test_equal_units_change_nothing(self, field_of):
        field = field_of()
        assert io.convert_units(field, "K", "here") is field
        assert io.convert_units(field, None, "here") is field

    @pytest.mark.parametrize(
        ("units", "expected"),
        [
            ("degC", "K"),
            ("degrees_Celsius", "K"),
            ("Deg C", "K"),
            ("\N{DEGREE CELSIUS}", "K"),
            ("K", "K"),
            ("mm d-1", "mm d-1"),
        ],
    )
    def test_units_of_a_difference(self, units, expected):
        assert io.difference_units(units) == expected

    def test_no_message_of_the_library_of_units(self, caplog):
        io.unit_conversion("K", "degC", "here")
        assert caplog.text == ""
