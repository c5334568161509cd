"""Apply a trained network to the validation and test periods."""

import os
from collections.abc import Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dask

from dl4ds_core import io, scaling
from dl4ds_core.identity import product_attributes
from dl4ds_core.prediction import network_predictor, predict_lazily


def main(
    model: str,
    scalers: str,
    static: str | None,
    coarse: Mapping[str, str],
    fine: str,
    about: Mapping[str, str],
    predictions: Mapping[str, str],
    threads: int,
) -> None:
    """Write a prediction per split; of ``fine`` only the grid and the names of the predictands are used."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    like = io.open_dataset(fine)
    predictands = [str(name) for name in like.data_vars]
    for split, target in predictions.items():
        inputs = io.open_dataset(coarse[split])
        channels = predictands + [str(name) for name in inputs.data_vars if name not in predictands]
        predictor = network_predictor(model, scaling.load(scalers), static, predictands, channels)
        # One chunk at a time: the network itself uses the threads, and memory stays bounded.
        with dask.config.set(scheduler="synchronous"):
            io.write(predict_lazily(predictor, inputs, like), target, product_attributes(about, "predict"))


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
        coarse={"validation": job.input.validation, "test": job.input.test},
        fine=job.input.fine,
        about=about(job.config),
        predictions={"validation": job.output.validation, "test": job.output.test},
        threads=job.threads,
    )
