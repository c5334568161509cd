"""Join regridded files and divide them into training, validation and test samples."""

import json
import logging
from collections.abc import Mapping, Sequence

import xarray as xr

from dl4ds_core import io
from dl4ds_core.config import parse_period
from dl4ds_core.identity import product_attributes
from dl4ds_core.samples import assemble, take

logger = logging.getLogger("dl4ds_core.prepare")


def main(
    parts: Mapping[str, Mapping[str, Sequence[str]]],
    static: Sequence[str],
    periods: Mapping[str, tuple[str, str]],
    about: Mapping[str, str],
    outputs: Mapping[str, Mapping[str, str]],
    static_output: str | None,
    statistics: str,
) -> None:
    """Write samples.

    Parameters
    ----------
    parts : mapping
        Regridded files by grid (`fine`, `coarse`) and predictand.
    static : sequence of str
        Static fields on the fine grid, one file each.
    periods : mapping
        First and last date by split.
    outputs : mapping
        Path by split and grid.
    static_output, statistics : str
        Where all static fields, and the range of the predictands in the training period, go.
    """
    attributes = product_attributes(about, "prepare")
    for grid, fields in parts.items():
        joined = assemble(fields)
        for split, ends in periods.items():
            chosen = take(joined, parse_period(ends), split)
            io.write(chosen, outputs[split][grid], attributes)
            logger.info("%s, %s grid: %d time steps", split, grid, chosen.sizes["time"])
    if static_output:
        layers = [io.open_dataset(path) for path in static]
        io.write(
            xr.merge(layers, join="exact", compat="no_conflicts", combine_attrs="override"), static_output, attributes
        )
    with io.open_dataset(outputs["train"]["fine"]) as train, io.atomic(statistics) as temporary:
        found = {str(name): [float(field.min()), float(field.max())] for name, field in train.data_vars.items()}
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        parts=job.params.parts,
        static=list(job.input.get("static", [])),
        periods=job.params.periods,
        about=about(job.config),
        outputs=job.params.outputs,
        static_output=job.output.get("static"),
        statistics=job.output.statistics,
    )
