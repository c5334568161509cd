"""Fit a baseline on the training period and apply it to the validation and test periods."""

from collections.abc import Mapping

import dask

from dl4ds_core import io
from dl4ds_core.baselines import fit_baseline
from dl4ds_core.identity import product_attributes
from dl4ds_core.prediction import predict_lazily


def main(
    name: str,
    scale: int,
    train: Mapping[str, str],
    coarse: Mapping[str, str],
    about: Mapping[str, str],
    predictions: Mapping[str, str],
) -> None:
    """Write a prediction per split; ``train`` has the training period by grid."""
    low, high = io.open_dataset(train["coarse"]), io.open_dataset(train["fine"])
    names = [str(predictand) for predictand in high.data_vars]
    fitted = {key: fit_baseline(name, low[key].load(), high[key].load(), scale) for key in names}
    for split, target in predictions.items():
        prediction = predict_lazily(
            lambda fields: {key: fitted[key](fields[key]).values for key in names},
            io.open_dataset(coarse[split]),
            high,
        )
        with dask.config.set(scheduler="synchronous"):
            io.write(prediction, target, product_attributes(about, "predict"))


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        name=job.wildcards.baseline,
        scale=job.params.scale,
        train={"fine": job.input.fine, "coarse": job.input.coarse},
        coarse={"validation": job.input.validation, "test": job.input.test},
        about=about(job.config),
        predictions={"validation": job.output.validation, "test": job.output.test},
    )
