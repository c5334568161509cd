"""The change that a model predicts for a scenario, beside that of its coarse inputs and, where known, the true one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from dl4ds_core import figures, io
from dl4ds_core.ensembles import ensemble_mean
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.scenarios import change_scores, changes, on_fine_grid, where_known
from dl4ds_core.verification import complete_rows, write_summary

#: Time steps that are read at once.
STEPS = 100


def main(
    predictions: Sequence[str],
    coarse: Sequence[str],
    truths: Sequence[str],
    scale: int,
    context: int,
    model: str,
    seed: int,
    scenario: str,
    about: Mapping[str, str],
    fields: str,
    rows: str,
    pictures: Sequence[str],
) -> None:
    """Write fields, rows of the summary and one figure per predictand; pairs are the scenario and its reference."""
    predicted = [ensemble_mean(io.open_dataset(path).chunk({"time": STEPS})) for path in predictions]
    names = [str(name) for name in predicted[0].data_vars]
    grid = Grid.of(predicted[0])
    found = changes(predicted[0], predicted[1], "change", names)
    low = [io.open_dataset(path) for path in coarse]
    known = [name for name in names if name in low[0]]
    found |= on_fine_grid(changes(low[0], low[1], "coarse_change", known), grid, scale, context)
    scored = {}
    if truths:
        true = [io.open_dataset(path).chunk({"time": STEPS}) for path in truths]
        found |= changes(true[0], true[1], "true_change", names)
        compared = [where_known(*pair, names) for pair in zip(predicted, true, strict=True)]
        scored = changes(compared[0], compared[1], "change", names)
    dataset, judged = (
        xr.Dataset(
            {name: (field.dims, field.values, {**field.attrs, **grid.attributes()}) for name, field in chosen.items()},
            coords=grid.coordinates(),
        )
        for chosen in (found, found | scored)
    )
    io.write(dataset, fields, product_attributes(about, "verify"))
    table = change_scores(judged, grid.area)
    write_summary(complete_rows(table, model=model, seed=seed, split="", scenario=scenario), rows)
    for name, path in zip(names, pictures, strict=True):
        figures.save(figures.change_maps(dataset, name), Path(path))


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        predictions=[job.input.scenario, job.input.reference],
        coarse=list(job.input.coarse),
        truths=list(job.input.get("truth", [])),
        scale=job.params.scale,
        context=job.params.context,
        model=job.wildcards.model,
        seed=int(job.wildcards.seed),
        scenario=job.wildcards.scenario,
        about=about(job.config),
        fields=job.output.fields,
        rows=job.output.rows,
        pictures=list(job.output.figures),
    )
