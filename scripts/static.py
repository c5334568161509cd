"""Bring a static field to the fine grid, or derive it from that grid."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from dl4ds_core import io
from dl4ds_core.config.inputs import Regrid, StaticField
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.regrid import derived_field, on_grid, static_field, without_time


def main(
    paths: Sequence[str],
    grid: str,
    name: str,
    entry: Mapping[str, Any],
    regrid: Mapping[str, Any],
    filters: Mapping[str, Any],
    land: Mapping[str, Any] | None,
    weights: str,
    about: Mapping[str, str],
    output: str,
) -> None:
    """Write the static field ``name`` on the grid of the file ``grid``; ``land`` tells where coasts are."""
    target, chosen = Grid.of(io.open_dataset(grid)), StaticField.model_validate(entry)
    if chosen.derived:
        field = derived_field(chosen.derived, target, _land(land) if land else None).rename(name)
    else:
        reading = {"select": chosen.select, "filters": filters}
        settings = Regrid.model_validate(regrid)
        variable = str(chosen.variable)
        field = static_field(paths, name, variable, chosen.units, target, settings, weights, **reading).rename(name)
    io.write(on_grid(field, target), output, product_attributes(about, "regrid"))


def _land(land: Mapping[str, Any]) -> xr.DataArray:
    entry = StaticField.model_validate(land["entry"])
    reading = {"select": entry.select, "filters": land["filters"]}
    field, _ = without_time(land["paths"], land["name"], str(entry.variable), entry.units, **reading)
    return field


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        paths=list(job.input.sources),
        grid=job.input.grid,
        weights=job.params.weights,
        output=job.output[0],
        about=about(job.config),
        **job.params.arguments,
    )
