"""The look at inputs of different origin: grids, times, units, files that don't belong together."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dl4ds_core.check import inspect
from dl4ds_core.config import parse
from dl4ds_core.errors import DataError
from dl4ds_core.samples import assemble

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not installed")


@pytest.fixture
def file(tmp_path, field_of):
    """Forty days of temperature on 16 x 20 cells of half a degree, from 40 N and 5 W."""
    path = tmp_path / "fine.nc"
    field_of(steps=40, rows=16, columns=20).to_netcdf(path)
    return path


@pytest.fixture
def coarse(tmp_path, field_of):
    """Forty days on 10 x 12 cells of a degree, all around the fine ones."""
    path = tmp_path / "coarse.nc"
    field_of(steps=40, rows=12, columns=14, step=1, south=38, west=-7, name="psl", units="Pa").to_netcdf(path)
    return path


def with_predictor(content, path, **entry):
    content["sources"]["other"] = {"paths": [str(path)]}
    content["data"]["predictors"] = {"p": {"source": "other", "variable": "psl", **entry}}
    return content


def problems_of(content) -> str:
    with pytest.raises(DataError) as raised:
        inspect(parse(content))
    return str(raised.value)


def notes_of(content) -> list[str]:
    return inspect(parse(content)).notes


@needs_cdo
class TestPredictors:
    def test_method_and_engine_are_named(self, configuration, file, coarse, field_of):
        field = field_of(steps=40, rows=4, columns=5, step=4, south=36, west=-9, name="psl", units="Pa")
        field.to_netcdf(coarse)
        notes = notes_of(with_predictor(configuration(file), coarse))
        assert "p (coarse grid): bilinear with cdo" in notes

    def test_states_on_smaller_cells_are_averaged(self, configuration, file, coarse):
        notes = notes_of(with_predictor(configuration(file), coarse))
        assert "p (coarse grid): conservative with cdo" in notes

    def test_fluxes_are_conservative(self, configuration, file, coarse, field_of):
        field = field_of(steps=40, rows=12, columns=14, step=1, south=38, west=-7, name="psl", units="mm d-1")
        field.attrs = {"units": "mm d-1", "standard_name": "lwe_precipitation_rate"}
        field.to_netcdf(coarse)
        assert "p (coarse grid): conservative with cdo" in notes_of(with_predictor(configuration(file), coarse))

    def test_an_entry_may_say_otherwise_and_inputs_treated_alike_are_one_note(self, configuration, file, coarse):
        content = with_predictor(configuration(file), coarse, regrid={"method": "bicubic"})
        content["data"]["predictors"]["q"] = content["data"]["predictors"]["p"]
        assert "p, q (coarse grid): bicubic with cdo" in notes_of(content)

    def test_cells_outside_are_counted(self, configuration, file, coarse, field_of):
        # Coarse cells have centres at 40.75 ... 46.75 N and -4.25 ... 3.75 E, the source's begin at 42 N: one row of 5.
        field_of(steps=40, rows=8, columns=14, step=1, south=42, west=-7, name="psl").to_netcdf(coarse)
        assert (
            "p (coarse grid): bilinear with cdo; 5 of 20 cells lie outside and get the value of the nearest cell"
            in notes_of(with_predictor(configuration(file), coarse, regrid={"method": "bilinear"}))
        )

    def test_cells_outside_may_be_refused(self, configuration, file, coarse, field_of):
        field_of(steps=40, rows=8, columns=14, step=1, south=42, west=-7, name="psl").to_netcdf(coarse)
        message = problems_of(with_predictor(configuration(file), coarse, regrid={"outside": "refuse"}))
        assert message.startswith(
            "p (coarse grid): 5 of 20 cells lie outside of it (latitude 42 to 49, longitude -7 to"
        )

    def test_context_is_part_of_the_coarse_grid(self, configuration, file, coarse):
        content = with_predictor(configuration(file), coarse)
        content["data"]["context"] = 1
        notes = notes_of(content)
        assert "coarse grid: 6 x 7 latlon 2 x 2 deg (scale 4, of which 1 on each side are context)" in notes[0]

    def test_a_predictor_that_lies_elsewhere(self, configuration, file, coarse, field_of):
        field_of(steps=40, rows=8, columns=14, step=1, south=-20, west=100, name="psl").to_netcdf(coarse)
        message = problems_of(with_predictor(configuration(file), coarse))
        assert message == (
            "p (coarse grid) lies elsewhere than the predictands: latitude -20 to -13, longitude 100 to 113; expected "
            "some of latitude 40.75 to 46.75, longitude -4.25 to 3.75; check data.domain and the files"
        )

    def test_context_beyond_a_pole(self, configuration, tmp_path, field_of):
        field_of(steps=40, rows=16, columns=20, south=82).to_netcdf(tmp_path / "north.nc")
        content = configuration(tmp_path / "north.nc")
        content["data"]["context"] = 2
        assert "beyond a pole" in problems_of(content)

    def test_a_predictor_without_any_value(self, configuration, file, coarse):
        with xr.open_dataset(coarse) as dataset:
            empty = dataset.load()
        empty["psl"][:] = np.nan
        empty.to_netcdf(coarse)
        assert "'p' (coarse grid): all values are missing in" in problems_of(
            with_predictor(configuration(file), coarse)
        )

    def test_missing_values_of_predictors_are_a_warning(self, configuration, file, coarse):
        with xr.open_dataset(coarse) as dataset:
            holed = dataset.load()
        holed["psl"][3, 0, 0] = np.nan
        holed.to_netcdf(coarse)
        content = with_predictor(configuration(file), coarse)
        (warning,) = inspect(parse(content)).warnings
        assert warning.startswith("'p' (coarse grid): 1 of 6720 values that were looked at are missing")
        content["data"]["missing_predictors"] = "fill"
        assert inspect(parse(content)).warnings == []

    def test_a_level_that_is_not_there(self, configuration, file, coarse, field_of):
        field = field_of(steps=40, rows=12, columns=14, step=1, south=38, west=-7, name="psl")
        level = xr.DataArray([500.0, 850.0], dims="plev", attrs={"units": "hPa", "standard_name": "air_pressure"})
        field.expand_dims(plev=level, axis=1).to_netcdf(coarse)
        content = with_predictor(configuration(file), coarse, level=700)
        assert "there is no level 700; plev has 500, 850" in problems_of(content)
        content["data"]["predictors"]["p"]["level"] = 500
        assert inspect(parse(content)).rows[1].variable == "psl (level 500)"

    def test_explicit_pairs_have_the_units_of_the_predictand(self, configuration, file, coarse, field_of):
        field_of(steps=40, rows=12, columns=14, step=1, south=38, west=-7, name="air").to_netcdf(coarse)
        content = configuration(file)
        content["sources"]["other"] = {"paths": [str(coarse)]}
        content["data"]["predictands"]["tas"]["units"] = "degC"
        content["data"]["coarse"] = {"from": "other", "variables": {"tas": "air"}}
        assert [row.units for row in inspect(parse(content)).rows] == ["degC", "degC"]
        field_of(steps=40, rows=12, columns=14, step=1, south=38, west=-7, name="air", units="m").to_netcdf(coarse)
        assert "units 'm' of the file can't be converted to 'degC'" in problems_of(content)


class TestEngines:
    def test_a_missing_engine_is_one_problem(self, configuration, file, coarse, monkeypatch):
        content = with_predictor(configuration(file), coarse)
        content["data"]["predictors"]["q"] = content["data"]["predictors"]["p"]
        monkeypatch.setenv("PATH", "")
        assert problems_of(content).startswith("data.regrid.engine: p, q need cdo, which is not installed")

    def test_a_missing_xesmf(self, configuration, file, coarse, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        content = with_predictor(configuration(file), coarse)
        content["data"]["regrid"] = {"engine": "xesmf"}
        assert problems_of(content).startswith("data.regrid.engine: p need xesmf with esmpy, which are not installed")


class TestPredictands:
    def second(self, content, path):
        content["sources"]["other"] = {"paths": [str(path)]}
        content["data"]["predictands"]["pr"] = {"source": "other", "variable": "pr"}
        return content

    def test_the_same_cells_in_a_larger_file_are_cut_out(self, configuration, file, field_of):
        field_of(steps=40, rows=20, columns=24, name="pr").to_netcdf(file.parent / "b.nc")
        assert len(inspect(parse(self.second(configuration(file), file.parent / "b.nc"))).rows) == 2

    @needs_cdo
    def test_a_target_grid_brings_all_together(self, configuration, file, field_of):
        field_of(steps=40, rows=8, columns=10, step=1, name="pr").to_netcdf(file.parent / "b.nc")
        content = self.second(configuration(file), file.parent / "b.nc")
        axes = {"lat": {"first": 40, "last": 46, "step": 0.5}, "lon": {"first": -5, "last": 2, "step": 0.5}}
        content["data"]["grid"] = axes
        found = inspect(parse(content))
        assert found.notes[0].startswith("fine grid: 12 x 12 latlon 0.5 x 0.5 deg")
        assert "tas (fine grid): its cells are those of the grid, nothing is remapped" in found.notes
        assert any(note.startswith("pr (fine grid): bilinear with cdo") for note in found.notes)

    def test_files_of_one_input_on_two_grids(self, configuration, file, field_of):
        other = field_of(steps=40, rows=16, columns=24)
        other.assign_coords(time=other["time"] + np.timedelta64(40, "D")).to_netcdf(file.parent / "fine2.nc")
        message = problems_of(configuration(file.parent / "fine*.nc"))
        assert "expected the grid of" in message
        assert "found 16 x 24 latlon" in message

    def test_files_of_one_input_in_two_units(self, configuration, file, field_of):
        other = field_of(steps=40, rows=16, columns=20, units="degC")
        other.assign_coords(time=other["time"] + np.timedelta64(40, "D")).to_netcdf(file.parent / "fine2.nc")
        content = configuration(file.parent / "fine*.nc")
        assert "expected the units 'K' of" in problems_of(content)
        content["data"]["predictands"]["tas"]["units"] = "K"
        assert inspect(parse(content)).rows[0].steps == "80 x 1 d"

    def test_no_time_axis(self, configuration, tmp_path, field_of):
        field_of(steps=None, rows=16, columns=20).to_netcdf(tmp_path / "still.nc")
        assert "expected a time axis" in problems_of(configuration(tmp_path / "still.nc"))


@needs_cdo
class TestTimes:
    def two(self, configuration, file, coarse, times, **settings):
        with xr.open_dataset(coarse) as dataset:
            moved = dataset.load().isel(time=np.arange(len(times)) % dataset.sizes["time"])
        moved.assign_coords(time=times).to_netcdf(coarse)
        content = with_predictor(configuration(file), coarse)
        content["data"]["time"] = settings
        return content

    def test_no_common_times(self, configuration, file, coarse):
        content = self.two(configuration, file, coarse, pd.date_range("1990-01-01", periods=40))
        assert "'tas' (fine grid) and 'p' (coarse grid) have no common times" in problems_of(content)

    def test_a_tolerance_or_an_offset_brings_them_together(self, configuration, file, coarse):
        content = self.two(configuration, file, coarse, pd.date_range("2000-01-01T12", periods=40))
        content["data"]["time"] = {"tolerance": "11h"}
        assert "have no common times" in problems_of(content)
        content["data"]["time"] = {"tolerance": "12h"}
        assert "time steps: train 20, validation 10, test 10" in notes_of(content)
        content["data"]["time"] = {}
        content["sources"]["other"]["time_offset"] = "-12h"
        assert "time steps: train 20, validation 10, test 10" in notes_of(content)

    def test_steps_that_others_lack_are_counted(self, configuration, file, coarse):
        content = self.two(configuration, file, coarse, pd.date_range("1999-12-30", periods=45))
        assert "p (coarse grid): 40 of 45 time steps are shared by all inputs, others are left out" in notes_of(content)

    def test_calendars_that_differ(self, configuration, file, coarse):
        times = xr.date_range("2000-01-01", periods=40, calendar="360_day", use_cftime=True)
        message = problems_of(self.two(configuration, file, coarse, times))
        assert (
            "expected one calendar in all inputs, found 'tas' (fine grid): standard, 'p' (coarse grid): 360_day"
            in message
        )

    def test_a_hole_in_a_predictor_is_refused_or_left_out(self, configuration, file, coarse):
        times = pd.date_range("2000-01-01", periods=40).delete([4, 5])
        content = self.two(configuration, file, coarse, times)
        assert "'p' (coarse grid) lacks 2 time steps of 'tas' (fine grid)" in problems_of(content)
        content["data"]["missing_predictors"] = "fill"
        notes = notes_of(content)
        assert "time steps: train 18, validation 10, test 10" in notes
        assert "record: 1 gap, the longest from 2000-01-04 to 2000-01-07" in notes

    def test_days_are_made_where_one_side_is_finer(self, configuration, file, coarse):
        content = self.two(configuration, file, coarse, pd.date_range("2000-01-01T06", periods=161, freq="6h"))
        content["sources"]["other"]["cell_methods"] = "mean"
        notes = notes_of(content)
        assert "'p' (coarse grid): daily means of 4 steps each; 40 days, 1 incomplete days left out" in notes

    @pytest.mark.parametrize(
        ("order", "key", "value"),
        [([1, 0, *range(2, 40)], "unsorted", "sort"), ([0, 0, *range(1, 40)], "duplicates", "first")],
    )
    def test_disorder_is_refused_or_mended(self, configuration, file, coarse, order, key, value):
        times = pd.date_range("2000-01-01", periods=40)[order]
        content = self.two(configuration, file, coarse, times)
        message = problems_of(content)
        assert f"data.time.{key}" in message
        assert str(coarse) in message
        content["data"]["time"] = {key: value}
        assert "time steps: train 20, validation 10, test 10" in notes_of(content)

    @pytest.mark.parametrize("step", ["native", "day"])
    def test_the_steps_are_those_that_samples_get(self, configuration, file, coarse, step):
        """The look at times alone and the joining of fields agree."""
        times = pd.date_range("2000-01-03T03", periods=300, freq="3h").delete([20, 21])
        content = self.two(configuration, file, coarse, times, step=step)
        content["data"]["missing_predictors"] = "fill"
        config = parse(content)
        timing = {"coarse": {"psl": {"time_offset": "0h", "cell_methods": None}}}
        policy = {**config.data.time.model_dump(), "missing_predictors": "fill"}
        joined = assemble({"fine": {"tas": [file]}, "coarse": {"psl": [coarse]}}, timing, policy)
        found = sum(int(word) for word in _counts(notes_of(content)))
        assert found == joined.fine.sizes["time"] > 30


def _counts(notes):
    (note,) = [note for note in notes if note.startswith("time steps: ")]
    return [part.split()[-1] for part in note.removeprefix("time steps: ").split("; ")[0].split(", ")]


class TestSplits:
    def of(self, configuration, file, **split):
        content = configuration(file)
        content["split"] = split
        content["verification"]["bootstrap"]["block"] = "1d"
        return content

    def test_blocks(self, configuration, file):
        content = self.of(configuration, file, method="blocks", block="5d", gap="1d")
        (note,) = [note for note in notes_of(content) if note.startswith("time steps: ")]
        assert note.endswith("are in no split")
        assert sum(int(count) for count in _counts([note])) < 40

    def test_folds_need_years(self, configuration, file):
        message = problems_of(self.of(configuration, file, method="kfold", folds=3))
        assert message.startswith("split.folds: expected at least 3 years, found 1 in the record")

    def test_every_fold_is_counted(self, configuration, tmp_path, field_of):
        field_of(steps=1461, rows=16, columns=20).to_netcdf(tmp_path / "years.nc")
        content = self.of(configuration, tmp_path / "years.nc", method="kfold", folds=4, gap="2d")
        notes = [note for note in notes_of(content) if note.startswith("fold ")]
        assert [note.split(":")[0] for note in notes] == ["fold 1", "fold 2", "fold 3", "fold 4"]
        assert all("are in no split" in note for note in notes)

    def test_years_that_are_not_there(self, configuration, file):
        content = self.of(configuration, file, method="years", train=[1990], validation=[1991], test=[2000])
        assert "the record has no step in 1990" in problems_of(content)

    def test_a_regression_with_more_inputs_than_steps_is_a_warning(self, configuration, file):
        split = {"train": ["2000-01-01", "2000-01-02"], "validation": ["2000-01-10", "2000-01-14"]}
        content = self.of(configuration, file, **split, test=["2000-01-15", "2000-02-01"])
        content["verification"]["baselines"] = ["multiple-regression"]
        (warning,) = inspect(parse(content)).warnings
        assert "multiple-regression has 1 inputs and 2 time steps to learn from" in warning


class TestScenarios:
    def test_inputs_of_a_scenario_are_looked_at(self, configuration, file, field_of):
        future = field_of(steps=30, rows=16, columns=20)
        future.assign_coords(time=pd.date_range("2090-01-01", periods=30)).to_netcdf(file.parent / "future.nc")
        content = configuration(file)
        content["sources"]["gcm"] = {"paths": [str(file.parent / "future.nc")]}
        content["prediction"] = {
            "scenarios": {"rcp85": {"sources": {"input": "gcm"}, "period": ["2090-01-11", "2090"]}}
        }
        found = inspect(parse(content))
        assert (found.rows[1].group, found.rows[1].name) == ("scenario rcp85", "tas")
        assert "scenario rcp85: 20 of 30 time steps" in found.notes
        content["prediction"]["scenarios"]["rcp85"]["period"] = ["2000", "2001"]
        assert "prediction.scenarios.rcp85.period: no time step lies in this period" in problems_of(content)


class TestTable:
    def test_many_files_are_one_row(self, configuration, tmp_path, field_of):
        for number in range(4):
            part = field_of(steps=10, rows=16, columns=20)
            start = np.datetime64("2000-01-01") + np.timedelta64(10 * number, "D")
            part.assign_coords(time=pd.date_range(start, periods=10)).to_netcdf(tmp_path / f"part{number}.nc")
        found = inspect(parse(configuration(tmp_path / "part*.nc")))
        assert (found.rows[0].period, found.rows[0].steps) == ("2000-01-01 to 2000-02-09", "40 x 1 d")
        assert "      tas in 4 files: part0.nc ... part3.nc" in found.table().splitlines()

    def test_only_what_differs_of_paths_is_shown(self, configuration, tmp_path, field_of):
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        field_of(steps=40, rows=16, columns=20).to_netcdf(tmp_path / "a" / "x y.nc")
        field_of(steps=None, rows=16, columns=20, name="z").to_netcdf(tmp_path / "b" / "z.nc")
        content = configuration(tmp_path / "a" / "x y.nc")
        content["sources"]["fixed"] = {"paths": [str(tmp_path / "b" / "*.nc")]}
        content["data"]["static"] = {"relief": {"source": "fixed", "variable": "z"}, "phi": {"derived": "latitude"}}
        lines = inspect(parse(content)).table().splitlines()
        assert lines[0] == f"files below {tmp_path}"
        assert "      tas in a/x y.nc" in lines
        assert "      z in b/z.nc" in lines
        assert "'phi' (static): derived from the fine grid (latitude)" in lines

    def test_notes_fit_a_terminal(self, configuration, file):
        content = configuration(file)
        content["sources"]["left"] = {"paths": [str(file)]}
        table = inspect(parse(content)).table()
        assert max(len(line) for line in table.splitlines()[1:]) <= 120
        assert "warning: sources.left is not used" in table

    def test_disk_and_memory_are_estimated(self, configuration, file):
        """One model, one seed, one baseline: all steps twice, and 20 predicted steps twice, of 4 bytes a value."""
        notes = notes_of(configuration(file))
        cells, coarse = 16 * 20, 4 * 5
        regridded = 4 * 40 * (cells + coarse)
        predictions = 4 * 2 * 20 * cells
        (disk,) = [note for note in notes if note.startswith("disk: ")]
        total = (2 * regridded + predictions) / 1000
        expected = (
            f"disk: at most {total:.3g} kB (regridded {regridded / 1000:.3g} kB, samples {regridded / 1000:.3g} kB"
        )
        assert disk.startswith(expected)
        assert f"predictions {predictions / 1000:.3g} kB" in disk
        assert any(note.startswith("memory: about 0.3") or note.startswith("memory: about 30") for note in notes)

    def test_names_with_blanks_quotes_and_commands_are_only_names(self, configuration, tmp_path, field_of, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = tmp_path / "a b'$(touch hacked);`touch hacked`\N{SNOWMAN}.nc"
        field_of(steps=40, rows=16, columns=20, name="2t 'x;$(touch hacked)").to_netcdf(path)
        content = configuration(path, "2t 'x;$(touch hacked)")
        assert inspect(parse(content)).rows[0].files == (str(path),)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_hundred_files_take_seconds(configuration, tmp_path, field_of):
    """Processor time, as the machine may be busy: opening a file is some 20 ms."""
    part = field_of(steps=5, rows=16, columns=20)
    for year in range(1900, 2000):
        moved = part.assign_coords(time=pd.date_range(f"{year}-01-01", periods=5))
        moved.to_netcdf(tmp_path / f"tas_{year}.nc")
    split = {"train": ["1900", "1979"], "validation": ["1980", "1989"], "test": ["1990", "1999"]}
    content = configuration(tmp_path / "*.nc", split=split)
    began = time.process_time()
    assert inspect(parse(content)).rows[0].steps.startswith("500 x ")
    assert time.process_time() - began < 15
