"""Join regridded files and divide them into training, validation and test samples."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dask
import numpy as np
import xarray as xr
from pydantic import TypeAdapter

from dl4ds_core import io
from dl4ds_core.config.splits import SPLITS, AnySplit
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.masks import ever_valid
from dl4ds_core.samples import Joined, assemble, in_order, take_split
from dl4ds_core.splits import assign, counts, leakage

logger = logging.getLogger("dl4ds_core.prepare")

FLAGS = {"flag_values": np.array([0, 1], dtype=np.int8), "flag_meanings": "without_truth with_truth"}


def main(
    parts: Mapping[str, Mapping[str, Sequence[str]]],
    timing: Mapping[str, Mapping[str, Mapping[str, Any]]],
    policy: Mapping[str, Any],
    split: Mapping[str, Any],
    folds: Sequence[str],
    folder: str,
    static: Sequence[str],
    about: Mapping[str, str],
    static_output: str | None,
) -> None:
    """Write samples to ``folder``.

    Parameters
    ----------
    parts : mapping
        Regridded files by grid (`fine`, `coarse`) and field.
    timing, policy : mapping
        As of `samples.assemble`.
    split : mapping
        The section `split` of the configuration.
    folds : sequence of str
        Folder of each fold below ``folder``; one empty text where the record is divided once.
    static : sequence of str
        Static fields on the fine grid, one file each, for ``static_output``.
    """
    attributes = product_attributes(about, "prepare")
    # Hardly anything is computed: more threads would only hold more chunks that wait to be written.
    with dask.config.set(scheduler="synchronous"):
        joined = assemble(parts, timing, policy)
        times = joined.fine["time"]
        method: AnySplit = TypeAdapter(AnySplit).validate_python(dict(split))
        labels = assign(times, method)
        notes = list(joined.notes)
        for fold, (number, found) in zip(folds, labels.items(), strict=True):
            leakage(found, times, "0d" if method.method == "periods" else method.gap)
            said = ", ".join(f"{name or 'left out'} {count}" for name, count in counts(found).items())
            notes.append(f"{f'fold {number}: ' if number else ''}time steps: {said}")
            notes += _write_fold(joined, found, f"{folder}/{fold}", attributes)
        if len(folds) > 1:
            _write_pooled(folds, folder, attributes)
        for note in notes:
            logger.info("%s", note)
        with io.atomic(f"{folder}/notes.txt") as temporary:
            temporary.write_text("".join(f"{note}\n" for note in notes), encoding="utf-8")
        if static_output:
            layers = [io.open_dataset(path) for path in static]
            merged = xr.merge(layers, join="override", compat="override", combine_attrs="override")
            io.write(merged, static_output, attributes)
        _write_statistics(f"{folder}/{folds[0]}train/fine.nc", f"{folder}/statistics.json")


def _write_fold(joined: Joined, labels: np.ndarray, folder: str, attributes: Mapping[str, Any]) -> list[str]:
    """Write the samples of a fold, and which cells have any truth to train on; others are left out of all splits."""
    valid = {str(name): ever_valid(field) for name, field in take_split(joined.fine, labels, "train").data_vars.items()}
    notes = []
    for split in SPLITS:
        fine = take_split(joined.fine, labels, split)
        for name, known in valid.items():
            untaught = int((ever_valid(fine[name]) & ~known).sum()) if split != "train" else 0
            if untaught:
                fine[name] = fine[name].where(known)
                notes.append(f"{name}: {untaught} cells have truth in {split}, but none to train on: they are left out")
        io.write(fine, f"{folder}{split}/fine.nc", attributes)
        io.write(take_split(joined.coarse, labels, split), f"{folder}{split}/coarse.nc", attributes)
    grid = Grid.of(joined.fine)
    fields = {
        name: (
            grid.dims,
            known.values.astype(np.int8),
            {"long_name": f"truth of {name} to train on", **FLAGS, **grid.attributes()},
        )
        for name, known in valid.items()
    }
    io.write(xr.Dataset(fields, coords=grid.coordinates()), f"{folder}valid.nc", attributes)
    return notes


def _write_pooled(folds: Sequence[str], folder: str, attributes: Mapping[str, Any]) -> None:
    """Write the steps that are validated on, or tested on, in any fold."""
    for split in ("validation", "test"):
        for grid in ("fine", "coarse"):
            parts = [io.open_dataset(f"{folder}/{fold}{split}/{grid}.nc") for fold in folds]
            io.write(in_order(parts), f"{folder}/{split}/{grid}.nc", attributes)


def _write_statistics(train: str, path: str) -> None:
    """Write the range of each predictand in the training period."""
    with io.open_dataset(train) as dataset, io.atomic(path) as temporary:
        found = {str(name): [float(field.min()), float(field.max())] for name, field in dataset.data_vars.items()}
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        static=list(job.input.get("static", [])),
        about=about(job.config),
        static_output=job.output.get("static"),
        **job.params.arguments,
    )
