"""Write which share of a scenario's inputs lies outside the range of the training."""

from dl4ds_core import io
from dl4ds_core.scenarios import outside_range


def main(inputs: str, training: str, table: str) -> None:
    """Write one row per variable."""
    with io.atomic(table) as temporary:
        outside_range(io.open_dataset(inputs), io.open_dataset(training)).to_csv(temporary, index=False)


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(main, job.log[0], inputs=job.input.inputs, training=job.input.training, table=job.output[0])
