"""Apply a trained network to the validation and test periods."""

import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dask

from dl4ds_core import io, scaling
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.members import Members
from dl4ds_core.prediction import Limits, network_predictor, predict_lazily
from dl4ds_core.retransformation import Interface


def main(
    model: str,
    scalers: str,
    static: str | None,
    coarse: Mapping[str, str],
    fine: str,
    valid: str,
    limits: Mapping[str, Mapping[str, float | None]],
    about: Mapping[str, str],
    predictions: Mapping[str, str],
    members: Mapping[str, Any],
    threads: int,
) -> None:
    """Write a prediction per file of coarse fields; of ``fine`` only the grid and the names of the predictands count.

    Parameters
    ----------
    valid : str
        File of the cells with truth in the training period; predictions elsewhere are missing.
    limits : mapping
        `minimum` and `dry_below` by predictand.
    members : mapping
        `method`, `count`, `seed` and `steps` of the members.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    like, interface = io.open_dataset(fine), Interface.load(scalers)
    predictor = network_predictor(
        model,
        scaling.load(scalers),
        static,
        list(interface.predictands),
        list(interface.channels),
        interface.residuals,
        Members(**members),
        Grid.of(like).shape,
    )
    known = {str(name): field.values > 0 for name, field in io.open_dataset(valid).data_vars.items()}
    bounds = {name: Limits(**given) for name, given in limits.items()}
    for split, target in predictions.items():
        prediction = predict_lazily(predictor, io.open_dataset(coarse[split]), like, known, bounds)
        # One chunk at a time: the network itself uses the threads, and memory stays bounded.
        with dask.config.set(scheduler="synchronous"):
            io.write(prediction, target, product_attributes(about, "predict"))


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        model=job.input.model,
        scalers=job.input.scalers,
        static=job.input.get("static") or None,
        coarse={name: job.input[name] for name, _ in job.output.items()},
        fine=job.input.fine,
        valid=job.input.valid,
        limits=job.params.limits,
        about=about(job.config),
        members=job.params.members,
        predictions=dict(job.output.items()),
        threads=job.threads,
    )
