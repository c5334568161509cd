"""Time of regridding against bare cdo doing the same in the same run; its memory is in bench_memory.py.

By default 1500 steps of 120 x 160 cells, and 20 times as many, conservatively to cells three times as wide.

python tests/benchmark/bench_regrid.py [--steps 1500] [--longer 20] [--missing] [--method bilinear]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.schema import Regrid
from dl4ds_core.grids import Grid
from dl4ds_core.regrid import on_grid, to_grid

OPERATORS = {"conservative": "remapcon", "bilinear": "remapbil", "bicubic": "remapbic", "nearest": "remapnn"}


def generate(path: Path, steps: int, missing: bool) -> None:
    """Write smooth fields with some noise, to a hundredth of a kelvin, as observations come; a month at a time."""
    lat, lon = 30 + 0.25 * np.arange(120), -10 + 0.25 * np.arange(160)
    random = np.random.default_rng(0)
    with netCDF4.Dataset(path, "w") as file:
        for name, values in (("lat", lat), ("lon", lon)):
            file.createDimension(name, values.size)
            axis = file.createVariable(name, "f8", (name,))
            axis[:] = values
            axis.units = {"lat": "degrees_north", "lon": "degrees_east"}[name]
        file.createDimension("time", None)
        days = file.createVariable("time", "f8", ("time",))
        days.units, days.calendar = "days since 1900-01-01", "standard"
        field = file.createVariable(
            "tas", "f4", ("time", "lat", "lon"), zlib=True, complevel=1, chunksizes=(10, 120, 160), fill_value=1e20
        )
        field.units, field.standard_name = "K", "air_temperature"
        sea = random.random((120, 160)) < 0.3
        pattern = 280 - 0.5 * (lat[:, None] - 45) + 3 * np.sin(np.deg2rad(6 * lon))[None, :]
        for start in range(0, steps, 30):
            number = min(30, steps - start)
            values = pattern + random.normal(size=(number, 1, 1)) * 5 + random.normal(size=(number, 120, 160))
            values = np.round(values, 2).astype(np.float32)
            field[start : start + number] = np.where(sea, np.float32(1e20), values) if missing else values
            days[start : start + number] = np.arange(start, start + number)


def target_grid() -> Grid:
    """Cells of 0.75 degrees within the source."""
    axes = {"lat": 32 + 0.75 * np.arange(35), "lon": -8 + 0.75 * np.arange(48)}
    return Grid.of(xr.DataArray(np.zeros((35, 48)), axes, ("lat", "lon"), "tas"))


def ours(source: str, target: str, method: str) -> None:
    """Regrid as the workflow does, in this process."""
    grid = target_grid()
    field = io.open_variable(source, "tas")
    settings = Regrid.model_validate({"method": method})
    io.write(on_grid(to_grid(field, grid, settings, None, source), grid), target, {})


def seconds_of(command: list[str], folder: str) -> float:
    """Run a command and return how long it took."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True)
    return time.perf_counter() - start


def main(steps: int, longer: int, missing: bool, method: str) -> None:
    """Make the records, regrid them both ways, print seconds."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "target.txt").write_text(target_grid().cdo_description(), encoding="ascii")
        me = [sys.executable, str(Path(__file__).resolve()), "--ours", method]
        cdo = ["cdo", "-s", "-O", "-f", "nc4", "-z", "zip_1", f"{OPERATORS[method]},target.txt"]
        for number in (steps, steps * longer):
            generate(Path(folder) / "in.nc", number, missing)
            size = (Path(folder) / "in.nc").stat().st_size / 2**20
            print(f"{number} steps, {size:.0f} MiB in the file, {method}{', cells missing' if missing else ''}")
            first = seconds_of([*cdo, "in.nc", "cdo.nc"], folder)
            seconds = seconds_of([*me, "in.nc", "ours.nc"], folder)
            again = seconds_of([*cdo, "in.nc", "cdo.nc"], folder)
            bare = (first + again) / 2
            print(f"  cdo {first:.1f} and {again:.1f} s, ours {seconds:.1f} s: ratio {seconds / bare:.2f}")
            with xr.open_dataset(f"{folder}/cdo.nc") as one, xr.open_dataset(f"{folder}/ours.nc") as other:
                difference = float(np.abs(one["tas"][-50:].values - other["tas"][-50:].values).max())
            print(f"  largest difference {difference:.2g} K")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--longer", type=int, default=20)
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--method", choices=OPERATORS, default="conservative")
    parser.add_argument("--ours", nargs=3, metavar=("METHOD", "SOURCE", "TARGET"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ours:
        ours(chosen.ours[1], chosen.ours[2], chosen.ours[0])
    else:
        main(chosen.steps, chosen.longer, chosen.missing, chosen.method)
