"""Time and peak memory of `verify` on synthetic fields: all default scores, and beside DL4DS those that both have.

By default 10,000 daily steps of 128 x 128 cells and 200 resamples.

python tests/benchmark/bench_verification.py [--steps 2000] [--size 64] [--files] [--dl4ds PYTHON]

With the interpreter of an environment that has dl4ds 1.8 with its requirements, its compute_metrics scores the same
fields on as many cores, and `verify` does by the scores that both have; --peer-steps takes the first steps alone. The
ratio depends on their number, and on the machine: of few steps, compute_metrics spends most of its time on starting a
task for each cell.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dl4ds_core.verification import METRICS, verify

SHARED = ("bias", "mae", "rmse", "relative_rmse", "pearson", "ssim", "psnr", "pattern_correlation")
"""Scores that compute_metrics has, some of them scaled in another way."""

ALSO = ("spearman",)
"""Ours are the correlations of series, those of compute_metrics of fields: nobody has both."""

PEER = """
import sys, time, types
import numpy as np
sys.modules["ecubevis"] = types.SimpleNamespace(plot_ndarray=lambda *args, **options: None)  # no plots
import dl4ds.metrics
from sklearn.metrics import mean_squared_error

def with_root(truth, prediction, squared=True):  # scikit-learn has dropped the option that dl4ds uses
    return mean_squared_error(truth, prediction) ** (1.0 if squared else 0.5)

dl4ds.metrics.mean_squared_error = with_root
truth, prediction = (np.load(path)[..., None] for path in sys.argv[1:3])
seconds = []
for _ in range(3):
    start = time.perf_counter()
    dl4ds.metrics.compute_metrics(truth, prediction, n_jobs=int(sys.argv[3]))
    seconds.append(time.perf_counter() - start)
print(f"seconds {min(seconds):.3f}")
"""


def synthetic(steps: int, size: int, seed: int, signal: np.ndarray | None) -> xr.Dataset:
    """Noise in float32, added to a signal where one is given."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((steps, size, size), dtype=np.float32)
    if signal is not None:
        values *= 0.3
        values += signal
    coordinates = {
        "time": pd.date_range("2000-01-01", periods=steps, freq="D"),
        "lat": np.linspace(30, 60, size),
        "lon": np.linspace(0, 30, size),
    }
    attributes = {"units": "degC", "long_name": "temperature", "standard_name": "air_temperature"}
    return xr.DataArray(values, coordinates, ("time", "lat", "lon"), attrs=attributes).to_dataset(name="tas")


def stored(data: xr.Dataset, path: Path) -> xr.Dataset:
    """Write to compressed netCDF and open it lazily."""
    data.to_netcdf(path, encoding={"tas": {"zlib": True, "complevel": 1, "chunksizes": (240, 32, 32)}})
    return xr.open_dataset(path)


def verified(prediction: xr.Dataset, truth: xr.Dataset, samples: int, **options: Any) -> tuple[float, pd.DataFrame]:
    """Return seconds and rows."""
    area = np.cos(np.deg2rad(truth["lat"])) * xr.ones_like(truth["lon"])
    start = time.perf_counter()
    options |= {
        "area": area,
        "data_ranges": {"tas": 8.0},
        "block": "5d",
        "samples": samples,
        "confidence": 0.9,
        "seed": 1,
    }
    _, rows = verify(prediction, truth, **options)
    return time.perf_counter() - start, rows


def least_seconds(names: tuple[str, ...], prediction: xr.Dataset, truth: xr.Dataset, threads: int) -> float:
    """Verify by some scores alone, three times."""
    for name in set(METRICS) - set(names):
        del METRICS[name]
    return min(verified(prediction, truth, samples=1, indices={"tas": []}, threads=threads)[0] for _ in range(3))


def beside_dl4ds(python: str, prediction: xr.Dataset, truth: xr.Dataset, steps: int) -> None:
    """Score some steps by compute_metrics of DL4DS and by `verify`, in processes of their own.

    Print the least seconds of three runs of both.
    """
    first = [data.isel(time=slice(steps)).load() for data in (prediction, truth)]
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        for name, data in zip(("prediction", "truth"), first, strict=True):
            np.save(Path(folder) / f"{name}.npy", data["tas"].values)
        command = [python, "-c", PEER, f"{folder}/truth.npy", f"{folder}/prediction.npy", str(cores)]
        outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode:
        raise SystemExit(f"dl4ds failed:\n{outcome.stderr[-2000:]}")
    theirs = float(outcome.stdout.split("seconds ")[-1])
    print(f"{steps} steps, {cores} cores: dl4ds {theirs:.2f} s")
    for names in ((*SHARED, *ALSO), SHARED):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            ours = fresh.submit(least_seconds, names, *first, cores).result()
        print(f"verify {ours:.2f} s, {theirs / ours:.0f} times as fast: {', '.join(names)}")


def main(steps: int, size: int, samples: int, files: bool, dl4ds: str, peer_steps: int | None) -> None:
    """Make the fields, verify them, print seconds and memory."""
    truth = synthetic(steps, size, 0, None)
    prediction = synthetic(steps, size, 1, truth["tas"].values)
    with tempfile.TemporaryDirectory() as folder:
        if files:
            truth = stored(truth, Path(folder) / "truth.nc")
            prediction = stored(prediction, Path(folder) / "prediction.nc")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, rows = verified(prediction, truth, samples, threads=os.cpu_count() or 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(rows[rows["season"].isna() & rows["region"].isna()].to_string(index=False))
        print(f"{steps} x {size} x {size}, {samples} resamples: {seconds:.1f} s")
        print(f"peak memory {peak / 2**20:.2f} GiB, of which before verifying {before / 2**20:.2f} GiB")
        if dl4ds:
            beside_dl4ds(dl4ds, prediction, truth, peer_steps or steps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=128, help="cells along each side")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--files", action="store_true", help="read from compressed netCDF files")
    parser.add_argument("--dl4ds", default="", metavar="PYTHON", help="interpreter of an environment with dl4ds")
    parser.add_argument("--peer-steps", type=int, default=None, help="steps that DL4DS scores; by default all")
    arguments = parser.parse_args()
    main(**vars(arguments))
