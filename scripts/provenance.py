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
    benchmarks: str,
    stages: Mapping[str, str],
    checkout: str,
) -> None:
    """Write ``provenance.json``: the inputs get checksums, the jobs' benchmark files are summed per stage."""
    collected = provenance.collect(parse(config), inputs, benchmarks=benchmarks, stages=stages, checkout=checkout)
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
        benchmarks=job.params.benchmarks,
        stages=dict(job.params.stages),
        checkout=str(Path(job.scriptdir).parent),
    )
