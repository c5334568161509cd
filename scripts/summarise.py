"""Join the scores of all models in one long table."""

from collections.abc import Sequence

import pandas as pd

from dl4ds_core.verification import read_summary, write_summary


def main(tables: Sequence[str], summary: str) -> None:
    """Write ``summary.csv`` in an order that doesn't depend on the order of the jobs."""
    write_summary(pd.concat([read_summary(path) for path in tables], ignore_index=True), summary)


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(main, job.log[0], tables=list(job.input), summary=job.output[0])
