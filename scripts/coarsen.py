"""Bring one file of a predictand to the fine grid and, for implicit pairs, coarsen it."""

import logging
from collections.abc import Mapping
from typing import Any, Literal

from dl4ds_core import io
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.regrid import coarse_predictand, fine_predictand, open_entry, units_of

logger = logging.getLogger("dl4ds_core.coarsen")

Missing = Literal["refuse", "mask"]


def main(
    path: str,
    name: str,
    entry: Mapping[str, Any],
    scale: int,
    context: int,
    missing: Missing,
    weights: str,
    grid: str,
    like: str | None,
    about: Mapping[str, str],
    fine: str,
    coarse: str | None,
) -> None:
    """Write the predictand ``name`` on the fine grid, and its means on the coarse grid where that is asked for.

    ``grid`` names the file of the fine grid, ``like`` one whose units are taken, ``weights`` the folder of weights.
    """
    field = open_entry(path, entry, units_of(like)).rename(name)
    where = f"{path}: {entry['variable']}"
    target = Grid.of(io.open_dataset(grid))
    attributes = product_attributes(about, "regrid")
    io.write(fine_predictand(field, target, entry, weights, where, missing), fine, attributes)
    if coarse:
        means = coarse_predictand(field, target, entry, weights, where, scale=scale, context=context, missing=missing)
        io.write(means, coarse, attributes)
    logger.info("%s: %d time steps", path, field.sizes["time"])


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
        fine=job.output.fine,
        coarse=job.output.get("coarse"),
        about=about(job.config),
        **job.params.arguments,
    )
