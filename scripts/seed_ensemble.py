"""Put the predictions of all seeds of a model together as the members of one."""

import logging
from collections.abc import Mapping, Sequence

import dask

from dl4ds_core import io
from dl4ds_core.ensembles import joined_members
from dl4ds_core.identity import product_attributes

logger = logging.getLogger("dl4ds_core.seed_ensemble")


def main(seeds: Mapping[str, Sequence[str]], about: Mapping[str, str], predictions: Mapping[str, str]) -> None:
    """Write one file per split or scenario; ``seeds`` has the files of all seeds of each."""
    for name, paths in seeds.items():
        joined = joined_members([io.open_dataset(path) for path in paths])
        with dask.config.set(scheduler="synchronous"):
            io.write(joined, predictions[name], product_attributes(about, "predict"))
        logger.info("%s: %d members from %d seeds", name, joined.sizes["member"], len(paths))


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        seeds={name: list(job.input[name]) for name, _ in job.output.items()},
        about=about(job.config),
        predictions=dict(job.output.items()),
    )
