"""Compare all models with the network that is chosen on validation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dl4ds_core import io
from dl4ds_core.config import parse
from dl4ds_core.report import by_run
from dl4ds_core.verification import COMPARED, compare, ranking, read_summary, write_comparison


def main(config: Mapping[str, Any], summary: str, scores: Sequence[str], root: str, comparison: str) -> None:
    """Write `comparisons.csv`: differences on the test period, per predictand and score."""
    settings, rows = parse(config), read_summary(summary)
    opened = {run: io.open_dataset(files[0]) for run, files in by_run(settings, root, scores).items()}
    tables = []
    for variable in settings.data.predictands:
        ranked = ranking(rows[rows["variable"] == variable], split="validation")
        chosen = next(str(name) for name in ranked["model"] if name in settings.models)
        for metric in COMPARED:
            resampled = {
                model: [opened[run][f"{variable}_{metric}_resampled"].values for run in opened if run[0] == model]
                for model in dict.fromkeys(model for model, _ in opened)
            }
            test = rows[(rows["variable"] == variable) & (rows["metric"] == metric) & (rows["split"] == "test")]
            whole = test[(test[["scenario", "season", "region"]] == "").all(axis=1)]
            tables.append(
                compare(
                    {str(model): found["value"].tolist() for model, found in whole.groupby("model")},
                    resampled,
                    chosen,
                    variable=variable,
                    metric=metric,
                    unit=str(whole["unit"].iloc[0]),
                    confidence=settings.verification.bootstrap.confidence,
                )
            )
    write_comparison(pd.concat(tables, ignore_index=True), Path(comparison))


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        config=job.params.config,
        summary=job.input.summary,
        scores=list(job.input.scores),
        root=job.params.root,
        comparison=job.output[0],
    )
