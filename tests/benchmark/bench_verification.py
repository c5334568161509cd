"""Time and peak memory of `verify` on synthetic fields.

By default 10,000 steps of 128 x 128 cells and 200 resamples.

python tests/benchmark/bench_verification.py [--steps 2000] [--size 64] [--files]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dl4ds_core.verification import verify


def synthetic(steps: int, size: int, seed: int, signal: np.ndarray | None) -> xr.Dataset:
    """Noise in float32, added to a signal where one is given."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((steps, size, size), dtype=np.float32)
    if signal is not None:
        values *= 0.3
        values += signal
    coordinates = {
        "time": pd.date_range("2000-01-01", periods=steps, freq="h"),
        "lat": np.linspace(30, 60, size),
        "lon": np.linspace(0, 30, size),
    }
    field = xr.DataArray(values, coordinates, ("time", "lat", "lon"), attrs={"units": "K", "long_name": "temperature"})
    return field.to_dataset(name="t2m")


def stored(data: xr.Dataset, path: Path) -> xr.Dataset:
    """Write to compressed netCDF and open it lazily."""
    data.to_netcdf(path, encoding={"t2m": {"zlib": True, "complevel": 1, "chunksizes": (240, 32, 32)}})
    return xr.open_dataset(path)


def main(steps: int, size: int, samples: int, files: bool) -> None:
    """Make the fields, verify them, print seconds and memory."""
    truth = synthetic(steps, size, 0, None)
    prediction = synthetic(steps, size, 1, truth["t2m"].values)
    area = np.cos(np.deg2rad(truth["lat"])) * xr.ones_like(truth["lon"])
    with tempfile.TemporaryDirectory() as folder:
        if files:
            truth = stored(truth, Path(folder) / "truth.nc")
            prediction = stored(prediction, Path(folder) / "prediction.nc")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        _, rows = verify(
            prediction,
            truth,
            area=area,
            data_ranges={"t2m": 8.0},
            block="24h",
            samples=samples,
            confidence=0.9,
            seed=1,
        )
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(rows.to_string(index=False))
    print(f"{steps} x {size} x {size}, {samples} resamples: {seconds:.1f} s")
    print(f"peak memory {peak / 2**20:.2f} GiB, of which before verifying {before / 2**20:.2f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=128, help="cells along each side")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--files", action="store_true", help="read from compressed netCDF files")
    arguments = parser.parse_args()
    main(arguments.steps, arguments.size, arguments.samples, arguments.files)
