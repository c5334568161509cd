"""The look at all inputs: each mistake of a user is one message, and all of them are listed at once."""

from __future__ import annotations

import numpy as np
import pytest

from dl4ds_core.check import inspect
from dl4ds_core.config import parse
from dl4ds_core.errors import ConfigError, DataError

EOBS = "eobs-iberia/eobs_tas_0.25deg_djf_1990-2000.nc"


@pytest.fixture
def file(tmp_path, field_of):
    """Forty days on 16 x 20 cells."""
    path = tmp_path / "a.nc"
    field_of(steps=40, rows=16, columns=20).to_netcdf(path)
    return path


def predictand(**entry):
    return {"predictands": {"tas": {"source": "input", "variable": "tas", **entry}}, "scale": 4}


def problems_of(content) -> str:
    with pytest.raises(DataError) as raised:
        inspect(parse(content))
    return str(raised.value)


class TestInventory:
    def test_what_will_be_made_of_the_inputs(self, configuration, file):
        found = inspect(parse(configuration(file, data=predictand(units="degC"))))
        (row,) = found.rows
        assert (row.group, row.name, row.variable, row.files) == ("predictands", "tas", "tas", (str(file),))
        assert (row.units, row.grid) == ("degC", "16 x 20 latlon 0.5 x 0.5 deg")
        assert (row.period, row.steps) == ("2000-01-01 to 2000-02-09", "40 x 1 d")
        assert row.size == f"{file.stat().st_size / 1000:.3g} kB"
        assert found.notes[:2] == [
            "fine grid: 16 x 20 latlon 0.5 x 0.5 deg; coarse grid: 4 x 5 latlon 2 x 2 deg (scale 4)",
            "time steps: train 20, validation 10, test 10",
        ]
        assert found.warnings == []

    def test_the_table_is_aligned_text(self, configuration, file):
        lines = inspect(parse(configuration(file))).table().splitlines()
        assert lines[0] == f"files below {file.parent}"
        assert lines[2].split() == ["name", "units", "grid", "period", "steps", "size"]
        assert lines[3] == "predictands:"
        assert lines[2].index("grid") == lines[4].index("16 x 20")
        assert lines[5].split() == ["tas", "in", "a.nc"]
        assert all(line == line.rstrip() for line in lines)

    def test_nothing_is_written(self, configuration, file):
        before = sorted(file.parent.iterdir())
        inspect(parse(configuration(file)))
        assert sorted(file.parent.iterdir()) == before

    def test_the_demo(self, configuration, demo_file):
        split = {"train": ["1860", "2009"], "validation": ["2010", "2039"], "test": ["2040", "2099"]}
        bootstrap = {"bootstrap": {"samples": 10, "block": "5y"}}
        found = inspect(parse(configuration(demo_file, "air_temperature", split=split, verification=bootstrap)))
        assert (found.rows[0].period, found.rows[0].steps) == ("1860-06-01 to 2099-06-01", "240 x 360 d")
        assert "fine grid: 36 x 48" in found.notes[0]
        assert "time steps: train 150, validation 30, test 60" in found.notes

    def test_files_to_be_downloaded_are_only_named(self, configuration, monkeypatch, tmp_path):
        monkeypatch.delenv("DL4DS_DATA", raising=False)
        monkeypatch.chdir(tmp_path)
        content = configuration("x")
        content["sources"]["input"] = {"downloads": [{"url": "https://example.org/x.nc", "sha256": "0" * 64}]}
        assert inspect(parse(content)).notes == ["to be downloaded: data/downloads/input/x.nc"]


class TestWrongInput:
    def test_missing_file(self, configuration, tmp_path):
        message = problems_of(configuration(tmp_path / "nowhere*.nc"))
        assert "sources.input.paths" in message
        assert "nowhere*.nc" in message

    def test_wrong_variable(self, configuration, file):
        message = problems_of(configuration(file, "t2m"))
        assert message == f"{file}: there is no variable 't2m'; the file has: tas"

    @pytest.mark.parametrize("units", ["mm d-1", "nonsense"])
    def test_units_that_cannot_be_converted(self, configuration, file, units):
        message = problems_of(configuration(file, data=predictand(units=units)))
        assert f"{file}: tas: units 'K' of the file can't be converted to {units!r}" in message

    @pytest.mark.parametrize("name", ["train", "validation", "test"])
    def test_empty_period(self, configuration, file, name):
        message = problems_of(configuration(file, split={name: ["2050", "2060"]}))
        assert f"split.{name}: no time step lies in it; the record goes from 2000-01-01 to 2000-02-09" in message

    def test_overlapping_periods_do_not_even_open_a_file(self, configuration, tmp_path):
        with pytest.raises(ConfigError, match=r"validation .* and test .* overlap"):
            parse(configuration(tmp_path / "nowhere.nc", split={"test": ["2000-01-30", "2000-02-09"]}))

    @pytest.mark.parametrize(
        ("model", "needed"),
        [
            ({"backbone": "resnet", "upsampling": "spc"}, 32),
            ({"backbone": "unet", "upsampling": "pin", "blocks": 6}, 48),
        ],
        ids=["resnet", "unet"],
    )
    def test_grid_smaller_than_the_network_needs(self, configuration, file, model, needed):
        content = configuration(file, data={**predictand(), "scale": 16}, models={"small": model})
        message = problems_of(content)
        assert message.startswith("models.small: ")
        assert f"needs a grid of at least {needed} x {needed} cells, found 16 x 16" in message

    def test_missing_values_in_the_predictand(self, configuration, data_dir):
        split = {"train": ["1990", "1996"], "validation": ["1997", "1997"], "test": ["1998", "2000"]}
        message = problems_of(configuration(data_dir / EOBS, split=split))
        assert EOBS.rsplit("/", 1)[-1] in message
        assert "values are missing, in 903 of 903 time steps" in message
        assert "data.missing: refuse" in message

    def test_a_scale_that_does_not_divide_is_a_warning(self, configuration, file):
        found = inspect(parse(configuration(file, data={**predictand(), "scale": 3})))
        assert found.warnings == [
            "data.scale 3 doesn't divide 16 cells along lat: left out are the rows at latitude 47.5",
            "data.scale 3 doesn't divide 20 cells along lon: left out are the columns at longitude 4, 4.5",
        ]
        assert "fine grid: 15 x 18 latlon 0.5 x 0.5 deg; coarse grid: 5 x 6 latlon 1.5 x 1.5 deg" in found.notes[0]
        assert found.table().count("warning: ") == 2

    def test_domain_without_cells(self, configuration, file):
        domain = {"lat": [60, 70], "lon": [-5, 4]}
        assert "data.domain.lat: [60, 70] holds 0 cells" in problems_of(
            configuration(file, data={**predictand(), "domain": domain})
        )

    def test_a_block_longer_than_the_period(self, configuration, file):
        message = problems_of(configuration(file, verification={"bootstrap": {"samples": 10, "block": "1y"}}))
        assert "bootstrap" in message or "block" in message

    def test_predictands_on_two_grids(self, configuration, file, field_of):
        field_of(steps=40, rows=8, columns=10, step=1, name="pr").to_netcdf(file.parent / "b.nc")
        content = configuration(file)
        content["sources"]["other"] = {"paths": [str(file.parent / "b.nc")]}
        content["data"]["predictands"]["pr"] = {"source": "other", "variable": "pr"}
        message = problems_of(content)
        assert message.startswith("data.predictands.pr: expected the cells of the first predictand (16 x 20 latlon")
        assert "found 8 x 10 latlon 1 x 1 deg" in message
        assert "data.grid" in message

    def test_all_problems_are_listed_at_once(self, configuration, file):
        content = configuration(file, split={"validation": ["1950", "1951"], "test": ["2050", "2060"]})
        content["sources"]["gone"] = {"paths": ["/no/such/place/*.nc"]}
        content["data"]["predictands"]["pr"] = {"source": "gone", "variable": "pr"}
        content["data"]["predictands"]["wind"] = {"source": "input", "variable": "wind"}
        content["data"]["static"] = {"relief": {"source": "input", "variable": "relief"}}
        content["models"]["deep"] = {"backbone": "unet", "upsampling": "pin", "blocks": 6}
        message = problems_of(content)
        expected = [
            "sources.gone.paths",
            "there is no variable 'wind'",
            "split.validation",
            "split.test",
            "models.deep",
            "data.static.relief",
        ]
        for part in expected:
            assert part in message
        assert message.splitlines()[0] == f"{len(expected)} problems:"


class TestStatic:
    def config(self, configuration, file, variable="orog", **entry):
        content = configuration(file)
        content["sources"]["fixed"] = {"paths": [str(file.parent / "fixed.nc")]}
        content["data"]["static"] = {"relief": {"source": "fixed", "variable": variable, **entry}}
        return content

    def test_a_field_on_the_same_grid_needs_no_cdo(self, configuration, file, field_of, monkeypatch):
        field_of(steps=None, rows=16, columns=20, name="orog", units="m").to_netcdf(file.parent / "fixed.nc")
        monkeypatch.setenv("PATH", "")
        found = inspect(parse(self.config(configuration, file)))
        assert [row.name for row in found.rows] == ["tas", "relief"]
        assert "relief (static field): its cells are those of the grid, nothing is remapped" in found.notes

    def test_a_field_on_another_grid_needs_cdo(self, configuration, file, field_of, monkeypatch):
        field_of(steps=None, rows=40, columns=40, step=0.3, name="orog", units="m").to_netcdf(file.parent / "fixed.nc")
        monkeypatch.setenv("PATH", "")
        message = problems_of(self.config(configuration, file))
        assert message.startswith("data.regrid.engine: relief need cdo, which is not installed")

    def test_a_wrong_variable_is_named(self, configuration, file, field_of):
        field_of(steps=None, name="orog", units="m").to_netcdf(file.parent / "fixed.nc")
        message = problems_of(self.config(configuration, file, "height"))
        assert "data.static.relief: none of the files" in message
        assert "has the variable 'height'" in message

    def test_units_that_cannot_be_converted(self, configuration, file, field_of):
        field_of(steps=None, name="orog", units="m").to_netcdf(file.parent / "fixed.nc")
        assert "units 'm' of the file can't be converted to 'K'" in problems_of(
            self.config(configuration, file, units="K")
        )


def test_long_records_are_searched_at_both_ends(configuration, file, field_of, monkeypatch):
    monkeypatch.setattr("dl4ds_core.check.values.SEARCHED_VALUES", 10)
    field = field_of(steps=40, rows=16, columns=20)
    field[39, 0, 0] = np.nan
    field.to_netcdf(file.parent / "b.nc")
    assert "1 values are missing, in 1 of 2 time steps" in problems_of(configuration(file.parent / "b.nc"))


class TestTimes:
    """Wrong times are found before a job starts, and named once."""

    @pytest.mark.parametrize(("order", "problem"), [([0, 1, 1, 2], "comes twice"), ([3, 2, 1, 0], "comes after")])
    def test_in_one_file(self, configuration, tmp_path, field_of, order, problem):
        path = tmp_path / "wrong.nc"
        field_of(steps=4, rows=16, columns=20).isel(time=order).to_netcdf(path)
        message = problems_of(configuration(path))
        assert problem in message
        assert message.count("wrong.nc") == 1

    def test_in_files_that_overlap(self, configuration, file, field_of):
        field_of(steps=3, rows=16, columns=20).to_netcdf(file.parent / "b.nc")
        message = problems_of(configuration(file.parent / "*.nc"))
        assert message.startswith("'tas' (fine grid), files joined: the time step ")
        assert "data.time" in message
