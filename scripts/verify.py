"""Score one model over the validation and test periods."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dl4ds_core import io
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.verification import cells_of_regions, complete_rows, verify, write_summary


def main(
    predictions: Mapping[str, str],
    truths: Mapping[str, str],
    statistics: str,
    model: str,
    seed: int,
    settings: Mapping[str, Any],
    scale: int,
    static: str | None,
    about: Mapping[str, str],
    scores: str,
    rows: str,
    scenario: str = "",
    threads: int = 1,
) -> None:
    """Write the rows of all periods, and maps of scores over the last: the test period, or that of a scenario."""
    extremes = json.loads(Path(statistics).read_text(encoding="utf-8"))
    ranges = {name: upper - lower for name, (lower, upper) in extremes.items()}
    bootstrap = settings["bootstrap"]
    fields = io.open_dataset(static).load() if static else None
    tables = []
    for split, path in predictions.items():
        truth = io.open_dataset(truths[split])
        grid = Grid.of(truth)
        maps, table = verify(
            io.open_dataset(path),
            truth,
            area=grid.area,
            data_ranges=ranges,
            **bootstrap,
            scale=scale,
            thresholds=settings["thresholds"],
            indices=settings["indices"],
            regions=cells_of_regions(grid, settings["regions"], fields),
            threads=threads,
        )
        tables.append(complete_rows(table, model=model, seed=seed, split=split, scenario=scenario))
        if split != "validation":
            io.write(maps, scores, product_attributes(about, "verify"))
    write_summary(pd.concat(tables, ignore_index=True), rows)


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    scenario = job.wildcards.get("scenario", "")
    given = {"": "prediction"} if scenario else {"validation": "predicted_validation", "test": "predicted_test"}
    run(
        main,
        job.log[0],
        predictions={split: job.input[name] for split, name in given.items()},
        truths={split: job.input["truth" if scenario else split] for split in given},
        scenario=scenario,
        statistics=job.input.statistics,
        model=job.wildcards.model,
        seed=int(job.wildcards.seed),
        settings=job.params.settings,
        scale=job.params.scale,
        static=job.input.get("static") or None,
        about=about(job.config),
        scores=job.output.scores,
        rows=job.output.rows,
        threads=job.threads,
    )
