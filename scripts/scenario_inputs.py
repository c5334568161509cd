"""Join the regridded inputs of a scenario, and its truth where it is known."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask

from dl4ds_core import io
from dl4ds_core.config import parse_period
from dl4ds_core.identity import product_attributes
from dl4ds_core.samples import assemble, take

logger = logging.getLogger("dl4ds_core.scenario_inputs")


def main(
    scenario: str,
    parts: Mapping[str, Mapping[str, Sequence[str]]],
    timing: Mapping[str, Mapping[str, Mapping[str, Any]]],
    policy: Mapping[str, Any],
    period: tuple[str, str] | None,
    about: Mapping[str, str],
    outputs: Mapping[str, str],
) -> None:
    """Write one file per grid, `coarse` and, with truth, `fine`."""
    joined = assemble(parts, timing, policy)
    for note in joined.notes:
        logger.info("%s", note)
    for grid, path in outputs.items():
        dataset = getattr(joined, grid)
        if period:
            dataset = take(dataset, parse_period(period), f"prediction.scenarios.{scenario}.period")
        # One chunk at a time: memory stays bounded, and reading is all there is to do.
        with dask.config.set(scheduler="synchronous"):
            io.write(dataset, path, product_attributes(about, "prepare"))
        logger.info("%s: %d time steps", Path(path).name, dataset.sizes["time"])


if "snakemake" in globals():
    from dl4ds_core.identity import about
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(main, job.log[0], about=about(job.config), outputs=dict(job.output.items()), **job.params.arguments)
