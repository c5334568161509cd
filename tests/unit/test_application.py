"""A finished network applied to new files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from dl4ds_core import cli, io, scaling
from dl4ds_core.application import predict_files
from dl4ds_core.config import Config, parse
from dl4ds_core.config.schema import Model, Normalization
from dl4ds_core.errors import ConfigError, DataError
from dl4ds_core.grids import Grid, coarsen
from dl4ds_core.masks import fill_nearest
from dl4ds_core.models.networks import build_network
from dl4ds_core.prediction import network_predictor
from dl4ds_core.regrid import on_grid
from dl4ds_core.retransformation import Interface
from dl4ds_core.scaling import Scaler
from dl4ds_core.time import calendar_channels

pytestmark = pytest.mark.usefixtures("keras_reset")
SCALE, CONTEXT, STEPS = 4, 1, 10
MINIMUM = 2.5
CONTENT: dict[str, Any] = {
    "experiment": "trial",
    "title": "A trial",
    "sources": {"obs": {"paths": ["obs.nc"]}, "era5": {"paths": ["era5.nc"], "time_offset": "-12h"}},
    "data": {
        "predictands": {"tas": {"source": "obs", "variable": "t2m", "units": "degC", "minimum": MINIMUM}},
        "coarse": {"from": "era5", "variables": {"tas": "T2"}},
        "predictors": {"z_500": {"source": "era5", "variable": "z", "units": "m"}},
        "scale": SCALE,
        "context": CONTEXT,
        "missing": "mask",
        "missing_predictors": "fill",
    },
    "split": {"train": ["2001", "2001"], "validation": ["2002", "2002"], "test": ["2003", "2003"]},
    "models": {"net": {"backbone": "resnet", "upsampling": "spc", "filters": 4, "blocks": 1}},
    "seeds": [3, 4],
}


def coarse_fields(field_of: Callable[..., xr.DataArray], steps: int, seed: int) -> xr.Dataset:
    """Fields on the coarse grid and its context, at noon, in the units of the experiment."""
    place = {"rows": 4, "columns": 5, "step": 2.0, "south": 38.75, "west": -6.25}
    fields = [
        field_of(steps=steps, name=name, units=units, seed=seed + number, **place)
        for number, (name, units) in enumerate((("tas", "degC"), ("z_500", "m")))
    ]
    fields[0] = (fields[0] - 273.15).assign_attrs(fields[0].attrs)
    dataset = xr.merge(fields, combine_attrs="drop")
    return dataset.assign_coords(time=dataset["time"] + pd.Timedelta("12h"))


@pytest.fixture
def config() -> Config:
    return parse(CONTENT)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field_of: Callable[..., xr.DataArray]) -> Path:
    """The folder of an experiment with what a finished training leaves, of which no training is left."""
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results" / "trial"
    truth = field_of(steps=STEPS, rows=8, columns=12, units="degC")
    fine = Grid.of(truth)
    coarse = coarse_fields(field_of, STEPS, 11)
    assert Grid.of(coarse).same(fine.coarsened(SCALE).extended(CONTEXT))
    for name, grid in (("fine", fine), ("coarse", Grid.of(coarse))):
        io.write(grid.area.to_dataset(name="area"), results / "data" / "grids" / f"{name}.nc", {})
    valid = xr.ones_like(truth[0].drop_vars("time")).astype(np.int8).assign_attrs(units="1")
    valid[:2, :3] = 0
    io.write(on_grid(valid, fine), results / "data" / "samples" / "valid.nc", {})
    methods = {"tas": Normalization(), "z_500": Normalization(per="cell")}
    scalers = scaling.fit_all(truth.to_dataset(), coarse, None, methods)
    home = results / "net" / "seed3"
    scaling.save(scalers, home / "scalers.nc", {})
    attributes = {"tas": {"units": "degC", "standard_name": "air_temperature"}, "z_500": {"units": "m"}}
    Interface(["tas"], ["tas", "z_500"], {}, attributes).append(home / "scalers.nc")
    settings = Model(backbone="resnet", upsampling="spc", filters=4, blocks=1)
    shape = coarse["tas"].shape[1:]
    network = build_network(settings, coarse_shape=shape, scale=SCALE, context=CONTEXT, channels=2, outputs=1, base=[0])
    random = np.random.default_rng(5)
    for weight in network.weights:
        weight.assign(0.2 * random.normal(size=weight.shape).astype("float32"))
    network.save(home / "model.keras")
    return tmp_path


@pytest.fixture
def new(folder: Path, field_of: Callable[..., xr.DataArray]) -> xr.Dataset:
    """New fields, also in files as the experiment's source has them: Kelvin, at midnight of the next day."""
    fields = coarse_fields(field_of, 5, 31)
    raw = fields.assign_coords(time=fields["time"] + pd.Timedelta("12h"))
    kelvin = (raw["tas"] + 273.15).assign_attrs(units="K").rename("T2")
    kilometres = (raw["z_500"] / 1000).assign_attrs(units="km").rename("z")
    for number, part in enumerate((slice(0, 2), slice(2, 5))):
        kelvin[part].to_dataset().to_netcdf(folder / f"tas{number}.nc")
    kilometres.to_dataset().to_netcdf(folder / "z.nc")
    return fields


FILES = {"tas": ["tas1.nc", "tas0.nc"], "z_500": ["z.nc"]}


def expected(folder: Path, fields: xr.Dataset) -> np.ndarray:
    """What the network gives for fields, limited and masked by hand; the limit is that of the input, too."""
    fields = fields.assign(tas=fields["tas"].clip(min=MINIMUM))
    home = folder / "results" / "trial" / "net" / "seed3"
    predictor = network_predictor(
        home / "model.keras", scaling.load(home / "scalers.nc"), None, ["tas"], ["tas", "z_500"]
    )
    values = np.maximum(predictor(fields)["tas"], MINIMUM)
    values[:, :2, :3] = np.nan
    return values


def test_new_files_become_a_prediction(folder: Path, config: Config, new: xr.Dataset) -> None:
    """In any order, at the times and in the units of the experiment, on its grid."""
    predict_files(config, "net", 3, FILES, folder / "out.nc")
    with io.open_dataset(folder / "out.nc") as found:
        assert list(found.data_vars) == ["tas"]
        np.testing.assert_array_equal(found["time"].values, new["time"].values)
        assert Grid.of(found).same(Grid.of(io.open_dataset("results/trial/data/grids/fine.nc")))
        assert found["tas"].attrs["units"] == "degC"
        assert found["tas"].attrs["standard_name"] == "air_temperature"
        assert found.attrs["title"] == "A trial"
        values = found["tas"].values
    np.testing.assert_allclose(values, expected(folder, new), rtol=1e-4, atol=1e-3)
    assert (values == MINIMUM).any()
    assert np.nanmax(values) > MINIMUM


def test_a_variable_may_have_another_name(folder: Path, config: Config, new: xr.Dataset) -> None:
    with xr.open_dataset("z.nc") as dataset:
        dataset.rename(z="zg").to_netcdf("zg.nc")
    files = FILES | {"z_500": ["zg.nc"]}
    with pytest.raises(DataError, match=r"zg\.nc"):
        predict_files(config, "net", 3, files, "out.nc")
    predict_files(config, "net", 3, files, "out.nc", {"z_500": "zg"})
    with io.open_dataset("out.nc") as found:
        np.testing.assert_allclose(found["tas"].values, expected(folder, new), rtol=1e-4, atol=1e-3)


def test_missing_cells_are_filled_and_empty_steps_left_out(folder: Path, config: Config, new: xr.Dataset) -> None:
    with xr.open_dataset("z.nc") as dataset:
        dataset.load()
    dataset["z"][1, 1, 2] = dataset["z"][4, 0, 0] = np.nan
    dataset["z"][3] = np.nan
    dataset.to_netcdf("z.nc")
    predict_files(config, "net", 3, FILES, "out.nc")
    given = new.copy(deep=True)
    given["z_500"].values[np.isnan(dataset["z"].values)] = np.nan
    given = given.isel(time=[0, 1, 2, 4])
    given["z_500"].values[...] = fill_nearest(given["z_500"].values)
    with io.open_dataset("out.nc") as found:
        np.testing.assert_array_equal(found["time"].values, given["time"].values)
        np.testing.assert_allclose(found["tas"].values, expected(folder, given), rtol=1e-4, atol=1e-3)


def test_files_on_finer_grids_are_brought_to_the_coarse_one(
    folder: Path, config: Config, new: xr.Dataset, field_of: Callable[..., xr.DataArray]
) -> None:
    """Here by nested cells, whose means are known."""
    if shutil.which("cdo") is None:
        pytest.skip("cdo is not installed")
    fine = field_of(steps=5, rows=16, columns=20, step=0.5, south=38.0, west=-7.0, units="degC", name="T2")
    fine = (fine - 273.15).assign_attrs(units="degC", cell_methods="time: mean", standard_name="precipitation_flux")
    fine = fine.assign_coords(time=fine["time"] + pd.Timedelta("24h"))
    fine.to_dataset().to_netcdf("fine.nc")
    predict_files(config, "net", 3, FILES | {"tas": ["fine.nc"]}, "out.nc")
    given = new.assign(tas=(("time", "lat", "lon"), coarsen(fine.clip(min=MINIMUM), Grid.of(fine), 4)[0].values))
    with io.open_dataset("out.nc") as found:
        np.testing.assert_allclose(found["tas"].values, expected(folder, given), rtol=1e-3, atol=1e-2)


def test_the_calendar_needs_no_files(folder: Path, config: Config, new: xr.Dataset) -> None:
    """A network of windows that gives the cosine of the hour, of the step before: the inputs are at noon."""
    home = folder / "results" / "trial" / "net" / "seed3"
    coarse = keras.Input((2, None, None, 4), name="coarse")
    inner = keras.layers.Cropping2D(CONTEXT)(coarse[:, 0, ..., 3:] * 10.0 + coarse[:, 1, ..., :1])
    keras.Model([coarse], keras.layers.UpSampling2D(SCALE)(inner)).save(home / "model.keras")
    channels = ["tas", "z_500", *calendar_channels(["hour"])]
    scalers = {**scaling.load(home / "scalers.nc"), "fine.tas": Scaler(np.array(100.0), np.array(1.0))}
    (home / "scalers.nc").unlink()
    scaling.save(scalers, home / "scalers.nc", {})
    attributes = {"tas": {"units": "degC"}, "z_500": {"units": "m"}} | {name: {"units": "1"} for name in channels[2:]}
    Interface(["tas"], channels, {}, attributes).append(home / "scalers.nc")
    predict_files(config, "net", 3, FILES, "out.nc")
    normalised = scalers["coarse.tas"].apply(new["tas"].clip(min=MINIMUM).values[:, 1:-1, 1:-1])
    expected = np.repeat(np.repeat(100 - 10 + normalised, SCALE, 1), SCALE, 2)
    expected[:, :2, :3] = np.nan
    with io.open_dataset("out.nc") as found:
        np.testing.assert_allclose(found["tas"].values, expected, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"the inputs tas, z_500; calendar\.hour_sin is no input of this network"):
        predict_files(config, "net", 3, FILES | {"calendar.hour_sin": ["z.nc"]}, "out.nc")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tas": ["tas0.nc"]}, "expected files for the inputs tas, z_500; nothing is given for z_500"),
        (FILES | {"q_850": ["z.nc"]}, "q_850 is no input of this network"),
        ({"z": ["z.nc"]}, "nothing is given for tas; nothing is given for z_500; z is no input of this network"),
    ],
)
def test_all_inputs_must_be_named_and_no_others(
    folder: Path, config: Config, new: xr.Dataset, files: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        predict_files(config, "net", 3, files, "out.nc")
    assert not Path("out.nc").exists()


def test_a_variable_of_no_input_is_refused(folder: Path, config: Config, new: xr.Dataset) -> None:
    with pytest.raises(ConfigError, match="--variable: expected one of tas, z_500, found 'z'"):
        predict_files(config, "net", 3, FILES, "out.nc", {"z": "zg"})


def test_unknown_models_and_trainings_that_are_not_there(folder: Path, config: Config, new: xr.Dataset) -> None:
    with pytest.raises(ConfigError, match="--model: expected one of net, found 'nett'"):
        predict_files(config, "nett", 3, FILES, "out.nc")
    with pytest.raises(
        DataError, match=r"seed4/model\.keras: no such file; expected a finished training of net, seed 4"
    ):
        predict_files(config, "net", 4, FILES, "out.nc")
    Path("results/trial/data/samples/valid.nc").unlink()
    with pytest.raises(DataError, match=r"valid\.nc: no such file"):
        predict_files(config, "net", 3, FILES, "out.nc")


def test_files_that_share_no_time_are_refused(folder: Path, config: Config, new: xr.Dataset) -> None:
    with xr.open_dataset("z.nc") as dataset:
        dataset.assign_coords(time=dataset["time"] + pd.Timedelta("3650D")).to_netcdf("later.nc")
    with pytest.raises(DataError, match="time"):
        predict_files(config, "net", 3, FILES | {"z_500": ["later.nc"]}, "out.nc")


def test_the_command(folder: Path, new: xr.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the first seed, where none is given; several files of an input by naming it again."""
    Path("my.yaml").write_text(yaml.safe_dump(CONTENT), encoding="utf-8")
    command = ["predict", "my.yaml", "tas=tas0.nc", "tas=tas1.nc", "z_500=z.nc", "--model", "net", "--output", "o.nc"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == "o.nc\n"
    with io.open_dataset("o.nc") as found:
        np.testing.assert_allclose(found["tas"].values, expected(folder, new), rtol=1e-4, atol=1e-3)
    assert cli.main([*command, "--seed", "4"]) == 1
    assert "expected a finished training of net, seed 4" in capsys.readouterr().err
    for wrong, message in (
        (["tas"], "expected NAME=FILE, found 'tas'"),
        (["tas="], "expected NAME=FILE, found 'tas='"),
        (["tas=a.nc", "--variable", "T2"], "expected --variable NAME=VARIABLE, found 'T2'"),
    ):
        assert cli.main(["predict", "my.yaml", *wrong, "--model", "net", "--output", "o.nc"]) == 1
        assert message in capsys.readouterr().err
