"""Peak memory of regridding, preparing and predicting for a record, and for one 20 times as long.

By default 200 days of 96 x 96 cells, and 20 times as many: for regridding in one file, for preparing in yearly ones.
With `--gigabytes`, a record of that size on disk (or what the disk allows) is written in pieces, then regridded and
prepared.

python tests/benchmark/bench_memory.py [--size 96] [--steps 200] [--longer 20] [--stages remap predict] [--gigabytes 20]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Heavy modules are imported in the processes that need them: a process inherits the peak of the one that starts it.

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SCALE, CONTEXT = 4, 1
MARGIN = SCALE * CONTEXT
ABOUT = {
    "title": "Memory",
    "source": "noise",
    "experiment": "memory",
    "config_digest": "0123456789ab",
    "references": "",
}
ENTRIES = {
    "tas": {"variable": "tas", "regrid": {}},
    "psl": {"variable": "psl", "regrid": {"method": "conservative"}},
}
BLOCKS = {"method": "blocks", "block": "10d", "gap": "3d"}
LIMITS = {"tas": {"minimum": None, "dry_below": None}}
#: Rows of the table: what is run, and the longest growth of its peak memory that is accepted.
STAGES = ("coarsen", "remap", "prepare", "scalers", "scalers-cell", "scalers-robust", "predict", "baseline")
ACCEPTED = 1.2


def script(name: str) -> Any:
    """Import a script of the workflow."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _axis(file: Any, name: str, values: Any) -> None:
    file.createDimension(name, values.size)
    axis = file.createVariable(name, "f8", (name,))
    axis[:] = values
    axis.units = {"lat": "degrees_north", "lon": "degrees_east"}[name]


def generate(
    path: str, name: str, size: int, first: int, steps: int, hours: int, packed: bool, compressed: bool
) -> None:
    """Write noise, to a hundredth of a unit, ten steps at a time; the predictor's cells are wider and reach farther."""
    import netCDF4
    import numpy as np

    width = {"tas": 0.25, "psl": 0.35}[name]
    middle = (np.arange(size) - (size - 1) / 2) * width
    random = np.random.default_rng(first)
    with netCDF4.Dataset(path, "w") as file:
        _axis(file, "lat", 40 + middle)
        _axis(file, "lon", 10 + middle)
        file.createDimension("time", None)
        times = file.createVariable("time", "f8", ("time",), chunksizes=(1024,))
        times.units, times.calendar = "hours since 1950-01-01", "standard"
        kind, fill = ("i2", -32768) if packed else ("f4", 1e20)
        sizes = (max(1, min(steps, 92_160 // size**2)), size, size)
        settings = {"zlib": True, "complevel": 1} if compressed else {}
        field = file.createVariable(name, kind, ("time", "lat", "lon"), chunksizes=sizes, fill_value=fill, **settings)
        field.units, field.standard_name = {
            "tas": ("K", "air_temperature"),
            "psl": ("Pa", "air_pressure_at_sea_level"),
        }[name]
        if packed:
            field.scale_factor, field.add_offset = 0.01, 280.0
        piece = max(sizes[0], 2_000_000 // size**2)
        for start in range(0, steps, piece):
            number = min(piece, steps - start)
            values = 280 + 5 * random.standard_normal((number, size, size), dtype=np.float32)
            field[start : start + number] = np.round(values, 2)
            times[start : start + number] = (first + start + np.arange(number)) * hours


def grids(folder: str, size: int) -> None:
    """Lay out the grids: the fine one leaves out as many cells as the context of the coarse one needs."""
    half = ((size - 1) / 2 - MARGIN) * 0.25 + 0.1
    domain = {"lat": [40 - half, 40 + half], "lon": [10 - half, 10 + half]}
    script("grids").main(
        f"{folder}/tas-0.nc",
        ENTRIES["tas"],
        domain,
        None,
        SCALE,
        CONTEXT,
        ABOUT,
        f"{folder}/fine.nc",
        f"{folder}/coarse.nc",
    )


def coarsen(folder: str, part: str, output: str) -> None:
    """Cut the predictand to its grid and coarsen it."""
    script("coarsen").main(
        path=f"{folder}/tas-{part}.nc",
        name="tas",
        entry=ENTRIES["tas"],
        scale=SCALE,
        context=CONTEXT,
        missing="refuse",
        weights=f"{folder}/weights",
        grid=f"{folder}/fine.nc",
        like=None,
        about=ABOUT,
        fine=f"{output}/fine-tas-{part}.nc",
        coarse=f"{output}/coarse-tas-{part}.nc",
    )


def remap(folder: str, part: str, output: str) -> None:
    """Bring the predictor to the coarse grid."""
    script("remap").main(
        path=f"{folder}/psl-{part}.nc",
        name="psl",
        entry=ENTRIES["psl"],
        weights=f"{folder}/weights",
        grid=f"{folder}/coarse.nc",
        like=None,
        about=ABOUT,
        output=f"{output}/coarse-psl-{part}.nc",
    )


def regridded(folder: str, parts: list[str]) -> None:
    """Regrid all parts of the record, for the stages that follow."""
    for part in parts:
        coarsen(folder, part, folder)
        remap(folder, part, folder)


def prepare(folder: str, parts: list[str], samples: str) -> None:
    """Join the parts and divide the record into blocks at random: steps are taken from everywhere."""
    script("prepare").main(
        parts={
            "fine": {"tas": [f"{folder}/fine-tas-{part}.nc" for part in parts]},
            "coarse": {name: [f"{folder}/coarse-{name}-{part}.nc" for part in parts] for name in ("tas", "psl")},
        },
        timing={},
        policy={"missing_predictors": "refuse"},
        split=BLOCKS,
        folds=[""],
        folder=samples,
        static=[],
        about=ABOUT,
        static_output=None,
    )


def scalers(samples: str, output: str, method: str, per: str) -> None:
    """Fit the scalers."""
    normalization = {name: {"method": method, "per": per} for name in ("tas", "psl")}
    script("scalers").main(f"{samples}/train/fine.nc", f"{samples}/train/coarse.nc", None, normalization, ABOUT, output)


def network(folder: str, samples: str) -> None:
    """Save a small network that has learned nothing, and its scalers."""
    import xarray as xr

    from dl4ds_core.config.schema import Model
    from dl4ds_core.models.networks import build_network
    from dl4ds_core.retransformation import Interface

    scalers(samples, f"{folder}/scalers.nc", "standard", "domain")
    Interface(["tas"], ["tas", "psl"], {}, {"tas": {"units": "K"}, "psl": {"units": "Pa"}}).append(
        f"{folder}/scalers.nc"
    )
    with xr.open_dataset(f"{folder}/coarse.nc") as grid:
        shape = grid["cell_area"].shape
    settings = Model(backbone="resnet", upsampling="spc", filters=8, blocks=1)
    build_network(settings, coarse_shape=shape, scale=SCALE, channels=2, outputs=1, base=[0], context=CONTEXT).save(
        f"{folder}/model.keras"
    )


def predict(folder: str, samples: str, output: str) -> None:
    """Apply the network to the training period: the longest there is."""
    script("predict").main(
        model=f"{folder}/model.keras",
        scalers=f"{folder}/scalers.nc",
        static=None,
        coarse={"test": f"{samples}/train/coarse.nc"},
        fine=f"{folder}/samples-1/train/fine.nc",
        valid=f"{folder}/samples-1/valid.nc",
        limits=LIMITS,
        about=ABOUT,
        predictions={"test": f"{output}/prediction.nc"},
        threads=1,
    )


def baseline(samples: str, output: str) -> None:
    """Fit a baseline, which holds the training period in memory, and apply it."""
    script("baseline").main(
        name="bilinear-corrected",
        scale=SCALE,
        context=CONTEXT,
        train={grid: f"{samples}/train/{grid}.nc" for grid in ("fine", "coarse")},
        coarse={"test": f"{samples}/train/coarse.nc"},
        limits=LIMITS,
        about=ABOUT,
        predictions={"test": f"{output}/baseline.nc"},
    )


JOBS: Mapping[str, Callable[..., None]] = {
    function.__name__: function
    for function in (generate, grids, coarsen, remap, regridded, prepare, scalers, network, predict, baseline)
}


def measured(job: str, **arguments: Any) -> tuple[float, float]:
    """Run a job in a process of its own; return its peak memory in MiB and seconds."""
    command = [sys.executable, str(Path(__file__).resolve()), "--job", job, json.dumps(arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{job} failed")
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), time.perf_counter() - start


def arguments_of(stage: str, folder: str, case: str, parts: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the job of a row of the table and what it works on: ``case`` is 1, or how much longer the record is."""
    samples = f"{folder}/samples-{case}"
    if stage in ("coarsen", "remap"):
        return stage, {"folder": folder, "part": "0" if case == "1" else "long", "output": f"{folder}/out"}
    if stage == "prepare":
        return stage, {"folder": folder, "parts": parts, "samples": samples}
    if stage.startswith("scalers"):
        method, per = ("robust" if "robust" in stage else "standard", "domain" if stage == "scalers" else "cell")
        return "scalers", {"samples": samples, "output": f"{folder}/out/scalers.nc", "method": method, "per": per}
    place = {"samples": samples, "output": f"{folder}/out"}
    return stage, place | ({"folder": folder} if stage == "predict" else {})


def compare(folder: str, size: int, steps: int, longer: int, stages: list[str]) -> None:
    """Print the peak memory of each stage for both records."""
    record = {"size": size, "hours": 24, "compressed": True}
    parts = [str(year) for year in range(longer)]
    for name, packed in (("tas", False), ("psl", True)):
        for part, first, number in [("long", 0, steps * longer)] + [(part, int(part) * steps, steps) for part in parts]:
            generate_to = f"{folder}/{name}-{part}.nc"
            measured("generate", path=generate_to, name=name, first=first, steps=number, packed=packed, **record)
    measured("grids", folder=folder, size=size)
    later = set(stages) - {"coarsen", "remap"}
    if later:
        measured("regridded", folder=folder, parts=parts)
    cases = {"1": parts[:1], str(longer): parts}
    print(f"{steps} and {steps * longer} steps of {size} x {size} cells; peak memory in MiB, and seconds")
    print(f"{'stage':<16} {'1x':>8} {f'{longer}x':>8} {'ratio':>6} {'1x s':>7} {f'{longer}x s':>7}")
    found: dict[str, list[tuple[float, float]]] = {}
    for stage in STAGES:
        if stage not in stages and not (stage == "prepare" and later):
            continue
        if stage == "predict":
            measured("network", folder=folder, samples=f"{folder}/samples-1")
        found[stage] = []
        for case, used in cases.items():
            job, arguments = arguments_of(stage, folder, case, used)
            found[stage].append(measured(job, **arguments))
        (one, short), (many, long) = found[stage]
        note = "" if many / one < ACCEPTED else "  grows"
        print(f"{stage:<16} {one:8.0f} {many:8.0f} {many / one:6.2f} {short:7.1f} {long:7.1f}{note}", flush=True)


def large(folder: str, size: int, gigabytes: float) -> None:
    """Regrid and prepare a record of hours whose predictand alone takes so much of the disk, if that has room."""
    usage = shutil.disk_usage(folder)
    # The predictor at a quarter of the rate, and compressed products: about twice as much again, at worst.
    room = (usage.free - 0.2 * usage.total) / 3 / 1e9
    if room < gigabytes:
        print(f"the disk has room for a record of {max(room, 0):.1f} GB, not {gigabytes:g}: that much is left free")
    total = int(min(room, gigabytes) * 1e9 / (4 * size * size))
    if total < 1000:
        sys.exit("too little room on the disk")
    record = {"size": size, "hours": 1, "compressed": False}
    for name in ("tas", "psl"):
        for part, number in (("0", 200), ("long", total)):
            path = f"{folder}/{name}-{part}.nc"
            measured("generate", path=path, name=name, first=0, steps=number, packed=name == "psl", **record)
    measured("grids", folder=folder, size=size)
    on_disk = Path(folder, "tas-long.nc").stat().st_size / 1e9
    print(f"{total} steps of {size} x {size} cells, {on_disk:.1f} GB in the file; peak memory and time")
    for stage in ("coarsen", "remap", "prepare"):
        output = {"output": folder, "part": "long"}
        given = {"parts": ["long"], "samples": f"{folder}/samples"} if stage == "prepare" else output
        peak, seconds = measured(stage, folder=folder, **given)
        print(f"{stage:<16} {peak:8.0f} MiB {seconds:7.1f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96, help="cells along each side")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--longer", type=int, default=20)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--gigabytes", type=float, help="instead: a record of this size on disk")
    parser.add_argument("--folder", help="where the files are written; a temporary one if not given")
    parser.add_argument("--job", nargs=2, metavar=("NAME", "ARGUMENTS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.job:
        JOBS[chosen.job[0]](**json.loads(chosen.job[1]))
    else:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as place:
            Path(place, "out").mkdir()
            if chosen.gigabytes:
                large(place, chosen.size, chosen.gigabytes)
            else:
                compare(place, chosen.size, chosen.steps, chosen.longer, chosen.stages)
