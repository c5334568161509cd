"""Sum what an experiment has cost."""

from collections.abc import Mapping

from dl4ds_core.cluster import cost, runs


def main(benchmarks: str, logs: str, stages: Mapping[str, str], table: str) -> None:
    """Write ``cost.csv`` from the benchmarks and, for runs on a cluster recorded below ``logs``, SLURM's accounting."""
    cost.write(cost.collect(benchmarks, runs.records(logs), stages), table)


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        benchmarks=job.params.benchmarks,
        logs=job.params.logs,
        stages=dict(job.params.stages),
        table=job.output.table,
    )
