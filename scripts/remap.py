"""Bring one file of an input to the coarse grid."""

import logging
from collections.abc import Mapping
from typing import Any

from dl4ds_core import io
from dl4ds_core.config.inputs import Regrid
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.regrid import on_grid, open_entry, to_grid, units_of

logger = logging.getLogger("dl4ds_core.remap")


def main(
    path: str,
    name: str,
    entry: Mapping[str, Any],
    weights: str,
    grid: str,
    like: str | None,
    about: Mapping[str, str],
    output: str,
) -> None:
    """Write the input ``name`` on the coarse grid.

    ``grid`` names the file of that grid, ``like`` one whose units are taken, ``weights`` the folder of weights.
    """
    where = f"{path}: {entry['variable']}"
    field = open_entry(path, entry, units_of(like)).rename(name)
    target = Grid.of(io.open_dataset(grid))
    remapped = to_grid(field, target, Regrid.model_validate(entry["regrid"]), weights, where)
    io.write(on_grid(remapped, target), output, product_attributes(about, "regrid"))
    logger.info("%s: %d time steps", where, field.sizes["time"])


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        path=job.input.source,
        grid=job.input.grid,
        like=job.input.get("like") or None,
        weights=job.params.weights,
        output=job.output[0],
        about=about(job.config),
        **job.params.arguments,
    )
