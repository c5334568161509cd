"""Look at every input and say what will be made of it."""

import logging
from collections.abc import Mapping
from typing import Any

from dl4ds_core.check import inspect
from dl4ds_core.config import parse
from dl4ds_core.io import atomic

logger = logging.getLogger("dl4ds_core.check")


def main(config: Mapping[str, Any], table: str) -> None:
    """Write the table of inputs; problems end the job."""
    text = inspect(parse(config)).table()
    with atomic(table) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logger.info("inputs:\n%s", text)


if "snakemake" in globals():
    from dl4ds_core.jobs import run

    job = globals()["snakemake"]
    run(main, job.log[0], config=job.params.config, table=job.output[0])
