"""Fit the scalers on the training period."""

from collections.abc import Mapping

from dl4ds_core import io, scaling
from dl4ds_core.config.schema import Normalization
from dl4ds_core.identity import product_attributes


def main(
    fine: str,
    coarse: str,
    static: str | None,
    normalization: Mapping[str, Mapping[str, str]],
    about: Mapping[str, str],
    scalers: str,
) -> None:
    """Write the scalers of all fields, by name of the field."""
    methods = {name: Normalization.model_validate(entry) for name, entry in normalization.items()}
    fields = io.open_dataset(static) if static else None
    fitted = scaling.fit_all(io.open_dataset(fine), io.open_dataset(coarse), fields, methods)
    scaling.save(fitted, scalers, product_attributes(about, "prepare"))


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(
        main,
        job.log[0],
        fine=job.input.fine,
        coarse=job.input.coarse,
        static=job.input.get("static") or None,
        normalization=job.params.normalization,
        about=about(job.config),
        scalers=job.output[0],
    )
