"""Draw the ranking of models and baselines."""

from collections.abc import Mapping, Sequence
from typing import Any

from dl4ds_core import figures
from dl4ds_core.config import parse
from dl4ds_core.verification import read_summary


def main(config: Mapping[str, Any], summary: str, rankings: Sequence[str]) -> None:
    """Write one figure per predictand, in the order of the configuration: RMSE on the test period."""
    settings, rows = parse(config), read_summary(summary)
    for variable, path in zip(settings.data.predictands, rankings, strict=True):
        figure = figures.ranking(
            rows, variable, networks=settings.models, confidence=settings.verification.bootstrap.confidence
        )
        figures.save(figure, path)


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(main, job.log[0], config=job.params.config, summary=job.input.summary, rankings=list(job.output))
