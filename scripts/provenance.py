"""Record where the results of an experiment come from and what they cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dl4ds_core import provenance
from dl4ds_core.config import parse


def main(
    config: Mapping[str, Any],
    inputs: Sequence[str],
    record: str,
    cost: str,
    benchmarks: str,
    checkout: str,
) -> None:
    """Write ``provenance.json``: the inputs get checksums, the jobs' benchmark files tell when they ran."""
    collected = provenance.collect(parse(config), inputs, cost=cost, benchmarks=benchmarks, checkout=checkout)
    provenance.write(collected, record)


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        config=job.params.config,
        inputs=list(job.input.sources),
        record=job.output.record,
        cost=job.input.cost,
        benchmarks=job.params.benchmarks,
        checkout=str(Path(job.scriptdir).parent),
    )
