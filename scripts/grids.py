"""Lay out the fine grid, of the predictands, and the coarse grid, of the inputs."""

import logging
from collections.abc import Mapping
from typing import Any

import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.inputs import Domain, TargetGrid
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.regrid import fine_grid, open_entry

logger = logging.getLogger("dl4ds_core.grids")

EARTH_RADIUS = 6.371e6  # metres


def main(
    path: str,
    entry: Mapping[str, Any],
    domain: Mapping[str, list[float]] | None,
    grid: Mapping[str, Any] | None,
    scale: int,
    context: int,
    about: Mapping[str, str],
    fine: str,
    coarse: str,
) -> None:
    """Write both grids, with the areas of their cells."""
    limits = Domain.model_validate(domain) if domain else None
    chosen = TargetGrid.model_validate(grid) if grid else None
    target = fine_grid(open_entry(path, entry), limits, chosen, scale)
    for name, found, file in (
        ("fine", target, fine),
        ("coarse", target.coarsened(scale).extended(context), coarse),
    ):
        io.write(_dataset(found), file, product_attributes(about, "regrid"))
        logger.info("%s grid: %s", name, found.describe())


def _dataset(grid: Grid) -> xr.Dataset:
    # CF wants square metres under this standard name.
    attributes = {"standard_name": "cell_area", "long_name": "cell area", "units": "m2"} | grid.attributes()
    areas = {"cell_area": (grid.dims, grid.cell_areas * EARTH_RADIUS**2, attributes)}
    return xr.Dataset(areas, coords=grid.coordinates())


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        path=job.input[0],
        fine=job.output.fine,
        coarse=job.output.coarse,
        about=about(job.config),
        **job.params.arguments,
    )
