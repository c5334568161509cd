"""Score one model over the validation and test periods."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dl4ds_core import io
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.verification import complete_rows, verify, write_summary


def main(
    predictions: Mapping[str, str],
    truths: Mapping[str, str],
    statistics: str,
    model: str,
    seed: int,
    bootstrap: Mapping[str, object],
    about: Mapping[str, str],
    scores: str,
    rows: str,
) -> None:
    """Write maps of scores over the test period and the rows of both periods."""
    extremes = json.loads(Path(statistics).read_text(encoding="utf-8"))
    ranges = {name: upper - lower for name, (lower, upper) in extremes.items()}
    tables = []
    for split, path in predictions.items():
        truth = io.open_dataset(truths[split])
        grid = Grid.of(truth)
        maps, table = verify(
            io.open_dataset(path),
            truth,
            area=grid.area,
            data_ranges=ranges,
            block=str(bootstrap["block"]),
            samples=int(str(bootstrap["samples"])),
            confidence=float(str(bootstrap["confidence"])),
        )
        tables.append(complete_rows(table, model=model, seed=seed, split=split))
        if split == "test":
            io.write(maps.assign_coords(grid.coordinates()), scores, product_attributes(about, "verify"))
    write_summary(pd.concat(tables, ignore_index=True), rows)


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        predictions={"validation": job.input.predicted_validation, "test": job.input.predicted_test},
        truths={"validation": job.input.validation, "test": job.input.test},
        statistics=job.input.statistics,
        model=job.wildcards.model,
        seed=int(job.wildcards.seed),
        bootstrap=job.params.bootstrap,
        about=about(job.config),
        scores=job.output.scores,
        rows=job.output.rows,
    )
