"""Find out what a trained network's predictions depend on: importance of its inputs, and saliency maps."""

import os
from collections.abc import Mapping, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from dl4ds_core import io, scaling
from dl4ds_core.explaining import chosen_cells, importance, saliency
from dl4ds_core.grids import Grid
from dl4ds_core.identity import product_attributes
from dl4ds_core.prediction import Limits, network_predictor
from dl4ds_core.retransformation import Interface


def main(
    model: str,
    scalers: str,
    static: str | None,
    train: str,
    coarse: str,
    fine: str,
    valid: str,
    steps: int,
    repeats: int,
    places: Mapping[str, Sequence[float]],
    limits: Mapping[str, Mapping[str, float | None]],
    about: Mapping[str, str],
    table: str,
    maps: str,
    threads: int,
) -> None:
    """Write the importance of each input over the validation period, and saliency maps of some cells.

    Parameters
    ----------
    train : str
        Coarse fields of the training period, for their standard deviations.
    valid : str
        File of the cells with truth in the training period.
    places : mapping
        Latitude and longitude of cells to look at, by name; none: the middle of the domain.
    limits : mapping
        `minimum` and `dry_below` by predictand.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    interface, inputs, truth = Interface.load(scalers), io.open_dataset(coarse), io.open_dataset(fine)
    predictor = network_predictor(
        model,
        scaling.load(scalers),
        static,
        list(interface.predictands),
        list(interface.channels),
        shape=Grid.of(truth).shape,
    )
    fields = io.open_dataset(static) if static else None
    bounds = {name: Limits(**given) for name, given in limits.items()}
    found = importance(predictor, inputs, truth, fields, steps=steps, repeats=repeats, limits=bounds)
    with io.atomic(table) as temporary:
        found.to_csv(temporary, index=False, lineterminator="\n")
    known = [io.open_dataset(valid)[name].values > 0 for name in predictor.predictands]
    # Where all predictands have a truth, if there are such cells.
    everywhere = np.logical_and.reduce(known)
    cells = chosen_cells(
        Grid.of(truth),
        {name: (lat, lon) for name, (lat, lon) in places.items()},
        everywhere if everywhere.any() else np.logical_or.reduce(known),
    )
    gradients = saliency(predictor, inputs, io.open_dataset(train), truth, cells, steps=steps)
    io.write(gradients, maps, product_attributes(about, "explain"))


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
        train=job.input.train,
        coarse=job.input.coarse,
        fine=job.input.fine,
        valid=job.input.valid,
        **job.params.settings,
        places=dict(job.params.places),
        limits=job.params.limits,
        about=about(job.config),
        table=job.output.importance,
        maps=job.output.saliency,
        threads=job.threads,
    )
