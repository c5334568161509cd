"""Cut one file of a predictand to the domain and coarsen it."""

import logging
from collections.abc import Mapping

from dl4ds_core import io
from dl4ds_core.config.schema import Domain
from dl4ds_core.identity import product_attributes
from dl4ds_core.regrid import coarsen_predictand, fine_field

logger = logging.getLogger("dl4ds_core.coarsen")


def main(
    path: str,
    name: str,
    variable: str,
    units: str | None,
    domain: Mapping[str, list[float]] | None,
    scale: int,
    about: Mapping[str, str],
    fine: str,
    coarse: str,
) -> None:
    """Write the predictand ``name`` on the fine and on the coarse grid."""
    limits = Domain.model_validate(domain) if domain else None
    field = fine_field(path, variable, units, limits, scale).rename(name)
    attributes = product_attributes(about, "regrid")
    for dataset, target in zip(coarsen_predictand(field, scale, f"{path}: {variable}"), (fine, coarse), strict=True):
        io.write(dataset, target, attributes)
    logger.info("%s: %d time steps", path, field.sizes["time"])


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
