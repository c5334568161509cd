"""Join the predictions of all folds in time."""

import logging
from collections.abc import Mapping, Sequence

from dl4ds_core import io
from dl4ds_core.ensembles import of_one_size
from dl4ds_core.identity import product_attributes
from dl4ds_core.samples import in_order

logger = logging.getLogger("dl4ds_core.pool")


def main(predictions: Mapping[str, Sequence[str]], about: Mapping[str, str], pooled: Mapping[str, str]) -> None:
    """Write one file per split; every step of the record is tested on, and validated on, in one fold."""
    for split, paths in predictions.items():
        # Ensembles that are taken from the training period have fewer members where that has fewer candidates.
        folds = of_one_size([io.open_dataset(path) for path in paths])
        joined = in_order(folds)
        io.write(joined, pooled[split], product_attributes(about, "predict"))
        logger.info("%s: %d time steps of %d folds", split, joined.sizes["time"], len(folds))


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        predictions={"validation": list(job.input.validation), "test": list(job.input.test)},
        about=about(job.config),
        pooled={"validation": job.output.validation, "test": job.output.test},
    )
