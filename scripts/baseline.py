"""Fit a baseline on the training period and apply it to the validation and test periods."""

from collections.abc import Mapping
from functools import partial

import dask
import numpy as np
import xarray as xr

from dl4ds_core import io
from dl4ds_core.baselines import Predict, fit_baseline, share_members
from dl4ds_core.channels import field_names
from dl4ds_core.identity import product_attributes
from dl4ds_core.masks import ever_valid
from dl4ds_core.prediction import Limits, predict_lazily


def main(
    name: str,
    scale: int,
    context: int,
    train: Mapping[str, str],
    coarse: Mapping[str, str],
    limits: Mapping[str, Mapping[str, float | None]],
    about: Mapping[str, str],
    predictions: Mapping[str, str],
) -> None:
    """Write a prediction per file of coarse fields; ``train`` has the training period by grid."""
    low, high = io.open_dataset(train["coarse"]).load(), io.open_dataset(train["fine"])
    names = field_names(high)
    known = {key: ever_valid(high[key]).values for key in names}
    bounds = {key: Limits(**given) for key, given in limits.items()}
    fitted = {
        key: fit_baseline(name, low, high[key].load(), scale, context, non_negative=bounds[key].non_negative)
        for key in names
    }
    members = share_members(fitted)
    for split, target in predictions.items():
        inputs = io.open_dataset(coarse[split])
        prediction = predict_lazily(partial(_values, fitted), inputs, high, known, bounds, members)
        with dask.config.set(scheduler="synchronous"):
            io.write(prediction, target, product_attributes(about, "predict"))


def _values(predicts: Mapping[str, Predict], fields: xr.Dataset) -> dict[str, np.ndarray]:
    """Predict all predictands."""
    return {name: predict(fields).values for name, predict in predicts.items()}


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        name=job.wildcards.baseline,
        scale=job.params.scale,
        context=job.params.context,
        train={"fine": job.input.fine, "coarse": job.input.coarse},
        coarse={name: job.input[name] for name, _ in job.output.items()},
        limits=job.params.limits,
        about=about(job.config),
        predictions=dict(job.output.items()),
    )
