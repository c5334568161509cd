"""Compare all models with the network that is chosen on validation."""

from collections.abc import Collection, Sequence

import pandas as pd

from dl4ds_core import io
from dl4ds_core.verification import COMPARED, compare, ranking, read_summary, write_comparison


def main(
    summary: str,
    scores: Sequence[str],
    models: Sequence[str],
    predictands: Sequence[str],
    networks: Collection[str],
    confidence: float,
    comparison: str,
) -> None:
    """Write `comparisons.csv`: differences on the test period; ``models`` are those of the files of scores."""
    rows = read_summary(summary)
    opened = [(model, io.open_dataset(path)) for model, path in zip(models, scores, strict=True)]
    tables = []
    for variable in predictands:
        ranked = ranking(rows[rows["variable"] == variable], split="validation")
        chosen = next(str(name) for name in ranked["model"] if name in networks)
        for metric in COMPARED:
            resampled = {
                name: [dataset[f"{variable}_{metric}_resampled"].values for model, dataset in opened if model == name]
                for name in dict.fromkeys(models)
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
                    confidence=confidence,
                )
            )
    write_comparison(pd.concat(tables, ignore_index=True), comparison)


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        summary=job.input.summary,
        scores=list(job.input.scores),
        models=list(job.params.models),
        predictands=list(job.params.predictands),
        networks=list(job.params.networks),
        confidence=job.params.confidence,
        comparison=job.output[0],
    )
