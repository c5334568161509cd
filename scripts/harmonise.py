"""Bring the inputs of a scenario to the distribution of the training."""

from collections.abc import Mapping

from dl4ds_core import io
from dl4ds_core.identity import product_attributes
from dl4ds_core.scenarios import Harmonisation, harmonised


def main(
    inputs: str,
    reference: str,
    training: str,
    method: Harmonisation,
    minimum: Mapping[str, float | None],
    about: Mapping[str, str],
    output: str,
) -> None:
    """Write the inputs, changed by what brings the distribution of ``reference`` to that of ``training``."""
    fields = [io.open_dataset(path) for path in (inputs, reference, training)]
    result = harmonised(fields[0], fields[1], fields[2], method, minimum)
    io.write(result, output, product_attributes(about, "harmonise"))


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        inputs=job.input.coarse,
        reference=job.input.reference,
        training=job.input.training,
        method=job.params.method,
        minimum=job.params.minimum,
        about=about(job.config),
        output=job.output[0],
    )
