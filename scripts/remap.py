"""Bring a static field to the fine grid."""

from collections.abc import Mapping, Sequence

from dl4ds_core import io
from dl4ds_core.config.schema import Regrid
from dl4ds_core.errors import DataError
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.regrid import on_grid, remap


def main(
    paths: Sequence[str],
    fine: str,
    name: str,
    variable: str,
    units: str | None,
    regrid: Mapping[str, str],
    about: Mapping[str, str],
    target: str,
) -> None:
    """Write the static field ``name`` on the grid of ``fine``, from the first file that has the variable."""
    with io.open_dataset(fine) as dataset:
        grid = Grid.of(dataset)
    path = next((path for path in paths if variable in io.open_dataset(path).data_vars), None)
    if path is None:
        raise DataError(f"data.static.{name}: none of the files {', '.join(paths)} has the variable {variable!r}")
    field = remap(path, variable, units, grid, Regrid.model_validate(regrid)).rename(name)
    io.write(on_grid(field, grid), target, product_attributes(about, "regrid"))


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        paths=list(job.input.sources),
        fine=job.input.fine,
        target=job.output[0],
        about=about(job.config),
        **job.params.arguments,
    )
